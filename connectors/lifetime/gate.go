// Package lifetime ends things in order: calls that run while what they use is closed, and values that several hold.
package lifetime

import (
	"context"
	"errors"
	"sync"

	"tributary/connectors"
)

// Gate lets calls in until it is closed, which ends the ones that are inside. The zero Gate is open.
type Gate struct {
	mu     sync.Mutex
	closed bool
	next   int
	inside map[int]context.CancelCauseFunc
	left   sync.WaitGroup
}

var errClosed = &connectors.Error{Kind: connectors.Unavailable, Op: "write", Message: "the destination is being closed"}

// Enter returns a context that ends when the gate closes, and what must be called on leaving.
func (g *Gate) Enter(ctx context.Context) (context.Context, func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, errClosed
	}
	if g.inside == nil {
		g.inside = make(map[int]context.CancelCauseFunc)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	id := g.next
	g.next++
	g.inside[id] = cancel
	g.left.Add(1)
	return ctx, func() {
		g.mu.Lock()
		delete(g.inside, id)
		g.mu.Unlock()
		cancel(nil)
		g.left.Done()
	}, nil
}

// Ended is err, or where ctx has ended why it has: what an *Error says as its cause, such as that the gate was closed, else that it was cancelled or timed
// out. What a driver makes of a call that was ended says less, and a cause that is a caller's own says nothing about the destination.
func Ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	var e *connectors.Error
	if errors.As(context.Cause(ctx), &e) {
		return e
	}
	return ctx.Err()
}

// Close ends the calls that are inside and returns when they have left.
func (g *Gate) Close() {
	g.mu.Lock()
	g.closed = true
	for _, cancel := range g.inside {
		cancel(errClosed)
	}
	g.mu.Unlock()
	g.left.Wait()
}
