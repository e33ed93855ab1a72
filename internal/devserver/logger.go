package devserver

import (
	"context"
	"log/slog"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
)

// logger passes what the server says on to a slog.Logger.
type logger struct{ *slog.Logger }

var (
	_ log.Logger      = logger{}
	_ log.WithLogger  = logger{}
	_ log.SLogWrapper = logger{}
)

func newLogger(l *slog.Logger, least slog.Leveler) logger {
	return logger{slog.New(leveled{l.Handler(), least})}
}

func (l logger) log(level slog.Level, msg string, tags []tag.Tag) {
	if ctx := context.Background(); l.Enabled(ctx, level) {
		l.LogAttrs(ctx, level, msg, attrs(tags)...)
	}
}

func (l logger) Debug(msg string, tags ...tag.Tag)  { l.log(slog.LevelDebug, msg, tags) }
func (l logger) Info(msg string, tags ...tag.Tag)   { l.log(slog.LevelInfo, msg, tags) }
func (l logger) Warn(msg string, tags ...tag.Tag)   { l.log(slog.LevelWarn, msg, tags) }
func (l logger) Error(msg string, tags ...tag.Tag)  { l.log(slog.LevelError, msg, tags) }
func (l logger) DPanic(msg string, tags ...tag.Tag) { l.log(slog.LevelError, msg, tags) }

func (l logger) Panic(msg string, tags ...tag.Tag) {
	l.log(slog.LevelError, msg, tags)
	panic(fatal(msg))
}

// fatal is what the server says when it can't go on.
type fatal string

func (f fatal) Error() string { return string(f) }

// Fatal panics: the server must not go on after it.
func (l logger) Fatal(msg string, tags ...tag.Tag) { l.Panic(msg, tags...) }

func (l logger) With(tags ...tag.Tag) log.Logger {
	return logger{slog.New(l.Handler().WithAttrs(attrs(tags)))}
}

// SLog is what the server's own SDK client logs to.
func (l logger) SLog() *slog.Logger { return l.Logger }

func attrs(tags []tag.Tag) []slog.Attr {
	out := make([]slog.Attr, len(tags))
	for i, t := range tags {
		out[i] = slog.Any(t.Key(), t.Value())
	}
	return out
}

// silent is above every level in use.
const silent = slog.Level(1 << 10)

// leveled holds back what is less severe than a level.
type leveled struct {
	slog.Handler
	least slog.Leveler
}

func (h leveled) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.least.Level() && h.Handler.Enabled(ctx, level)
}

func (h leveled) WithAttrs(a []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(a), h.least}
}
func (h leveled) WithGroup(g string) slog.Handler { return leveled{h.Handler.WithGroup(g), h.least} }
