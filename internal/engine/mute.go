package engine

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// mutable is a log handler that can be silenced, with all that were derived from it.
type mutable struct {
	slog.Handler
	muted *mute
}

type mute = atomic.Bool

func (m *mutable) Enabled(ctx context.Context, level slog.Level) bool {
	return !m.muted.Load() && m.Handler.Enabled(ctx, level)
}

func (m *mutable) WithAttrs(a []slog.Attr) slog.Handler {
	return &mutable{m.Handler.WithAttrs(a), m.muted}
}

func (m *mutable) WithGroup(g string) slog.Handler { return &mutable{m.Handler.WithGroup(g), m.muted} }
