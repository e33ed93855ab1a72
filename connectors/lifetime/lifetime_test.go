package lifetime_test

import (
	"context"
	"errors"
	"testing"

	"tributary/connectors"
	"tributary/connectors/lifetime"
)

type closer struct{ closed int }

func (c *closer) Close() error {
	c.closed++
	return nil
}

// A value lives as long as somebody has it, however often one of them lets go.
func TestShared(t *testing.T) {
	t.Parallel()
	var s lifetime.Shared[*closer]
	open := func() (*closer, error) { return &closer{}, nil }
	one, releaseOne, err := s.Acquire("a", open)
	if err != nil {
		t.Fatal(err)
	}
	two, releaseTwo, _ := s.Acquire("a", open)
	other, releaseOther, _ := s.Acquire("b", open)
	if one != two || one == other {
		t.Fatal("a key is not a value")
	}
	for range 2 {
		if err := releaseOne(); err != nil || one.closed != 0 {
			t.Fatalf("closed %d times while in use, %v", one.closed, err)
		}
	}
	if err := errors.Join(releaseTwo(), releaseOther()); err != nil || one.closed != 1 || other.closed != 1 {
		t.Fatalf("closed %d and %d times, %v", one.closed, other.closed, err)
	}
	if again, _, _ := s.Acquire("a", open); again == one {
		t.Fatal("a closed value came back")
	}
	failure := errors.New("no")
	if _, _, err := s.Acquire("c", func() (*closer, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Fatal(err)
	}
}

// Closing a gate ends who is inside, waits for them and lets nobody in.
func TestGate(t *testing.T) {
	t.Parallel()
	var g lifetime.Gate
	ctx, leave, err := g.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() {
		<-ctx.Done()
		left <- context.Cause(ctx)
		leave()
	}()
	g.Close()
	var e *connectors.Error
	if err := <-left; !errors.As(err, &e) || e.Kind != connectors.Unavailable {
		t.Fatalf("the cause is %v", err)
	}
	if _, _, err := g.Enter(t.Context()); !errors.As(err, &e) || e.Kind != connectors.Unavailable {
		t.Fatalf("entered: %v", err)
	}
}

// What ended a call is what its end says: a closed gate, or that it was cancelled, whatever the caller's cause or a driver's words for it.
func TestEnded(t *testing.T) {
	t.Parallel()
	said := errors.New("canceling statement due to user request")
	if err := lifetime.Ended(t.Context(), said); err != said {
		t.Errorf("of a context that goes on: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the heartbeat was lost"))
	if err := lifetime.Ended(ctx, said); err != context.Canceled {
		t.Errorf("cancelled by a caller: %v", err)
	}
	var g lifetime.Gate
	ctx, leave, err := g.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-ctx.Done()
		leave()
	}()
	g.Close()
	var e *connectors.Error
	if err := lifetime.Ended(ctx, said); !errors.As(err, &e) || e.Message != "the destination is being closed" {
		t.Errorf("the gate was closed: %v", err)
	}
}
