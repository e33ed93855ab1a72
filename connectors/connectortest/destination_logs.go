package connectortest

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// logs collects what is logged while a suite runs: by a connector that is opened with slog.Default() as Env.Log, and by any library that uses the
// process's own loggers.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// watchLogs collects until the test ends.
func watchLogs(t *testing.T) *logs {
	t.Helper()
	l := &logs{}
	logger, writer, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() {
		slog.SetDefault(logger)
		log.SetOutput(writer)
		log.SetFlags(flags)
	})
	return l
}

// tells lists what of secrets and of the suite's payloads was logged (I7).
func (l *logs) tells(canary string) (told []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for what, text := range map[string]string{"the secret": canary, "a payload": "total_spent"} {
		if text != "" && strings.Contains(l.text.String(), text) {
			told = append(told, what)
		}
	}
	return told
}
