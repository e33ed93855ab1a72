package receiver

import (
	"context"
	"errors"
	"testing"
	"time"
)

// An unknown token asks the catalog once a while, not at each request; "can't tell" is not remembered.
func TestLookupsAreCached(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{CacheTime: time.Hour})
	token, hash := NewToken()
	asked := func() (n int) {
		f.catalog.set(func(d *directory) { n = d.asked })
		return n
	}
	f.catalog.set(func(d *directory) { d.down = errors.New("down") })
	f.wantRetry("catalog down", f.send("POST", "/hooks/"+token, nil, ""), 503)
	f.catalog.set(func(d *directory) { d.down = nil })
	for range 5 {
		f.want("unknown", f.send("POST", "/hooks/"+token, nil, ""), 404)
	}
	if n := asked(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
	for range 5 {
		f.want("known", f.hook(events(event("a"))), 200)
	}
	if n := asked(); n != 3 || f.opener.opened.Load() != 1 {
		t.Errorf("asked %d times, want 3; opened %d times, want 1", n, f.opener.opened.Load())
	}
	_ = hash
}

// A cache under a flood of keys stays small and keeps answering; requests for one key share a look-up, one that panics too.
func TestCache(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newCache[int, int](time.Hour, 100, never)
	for i := range 1000 {
		if v, err := c.get(ctx, i, func(context.Context) (int, error) { return i, nil }); v != i || err != nil {
			t.Fatal(v, err)
		}
		if len(c.entries) > 100 {
			t.Fatalf("%d entries", len(c.entries))
		}
	}
	loading, release := make(chan struct{}), make(chan struct{})
	results := make(chan error, 2)
	go func() {
		defer func() { recover(); results <- nil }()
		_, _ = c.get(ctx, -1, func(context.Context) (int, error) { close(loading); <-release; panic("x") })
	}()
	<-loading
	go func() {
		_, err := c.get(ctx, -1, func(context.Context) (int, error) { return 0, errors.New("a second look-up") })
		results <- err
	}()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.get(gone, -1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("one that left got %v", err)
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil && !errors.Is(err, errLoadPanicked) && err.Error() != "a second look-up" {
			t.Error(err)
		}
	}
	if v, err := c.get(ctx, -1, func(context.Context) (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("after a panic: %v, %v", v, err)
	}
}
