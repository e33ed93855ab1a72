package connectortest

import (
	"log"
	"log/slog"
	"slices"
	"testing"
)

// What the process's loggers are told is looked at, and only while the suite runs.
func TestLogsAreWatched(t *testing.T) {
	writer := log.Writer()
	t.Run("suite", func(t *testing.T) {
		l := watchLogs(t)
		slog.Warn("login failed", "host", "db.example.com")
		if told := l.tells("canary-1"); told != nil {
			t.Errorf("told %q", told)
		}
		log.Print("login as ada:canary-1 failed")
		slog.Debug("row refused", "row", `{"id": 1, "total_spent": "0.00"}`)
		told := l.tells("canary-1")
		slices.Sort(told)
		if !slices.Equal(told, []string{"a payload", "the secret"}) {
			t.Errorf("told %q", told)
		}
		if told := l.tells(""); !slices.Equal(told, []string{"a payload"}) {
			t.Errorf("without a canary told %q", told)
		}
	})
	if log.Writer() != writer {
		t.Error("the process's log still goes to the suite")
	}
}
