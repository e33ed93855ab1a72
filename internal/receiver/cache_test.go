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

// What many installations cost is what their webhooks ask for: an entry that nobody asks for is neither looked up again nor looked at when it has expired,
// and where there are more than the cache holds, one look at all of them makes room for a quarter of it.
func TestExpiryCostsNothingByItself(t *testing.T) {
	t.Parallel()
	const limit, keys = 1000, 2000
	now, loads := time.Unix(0, 0), 0
	c := newCache[int, int](3*time.Second, limit, never)
	c.now = func() time.Time { return now }
	get := func(key int) {
		if _, err := c.get(t.Context(), key, func(context.Context) (int, error) { loads++; return key, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for key := range limit {
		get(key)
	}
	for range 100 {
		now = now.Add(3 * time.Second)
		get(0)
	}
	if loads != limit+100 || len(c.entries) != limit {
		t.Errorf("%d look-ups and %d entries, want one look-up a time that it is asked for and the entries left alone", loads, len(c.entries))
	}
	scans := 0
	for key := range keys {
		before := len(c.entries)
		get(limit + key)
		if len(c.entries) <= before {
			scans++
		}
	}
	if most := keys/(limit/4) + 1; scans > most {
		t.Errorf("all entries were looked at %d times for %d new ones, want %d times at most", scans, keys, most)
	}
}

// BenchmarkCache asks for 100,000 installations in turn: all in memory, all expired since they were last asked for, and twice as many as it holds.
func BenchmarkCache(b *testing.B) {
	const installations = 100_000
	ctx := context.Background()
	keys := make([][32]byte, installations)
	for i := range keys {
		_, keys[i] = NewToken()
	}
	load := func(context.Context) (int, error) { return 0, nil }
	for name, of := range map[string]struct {
		limit int
		step  time.Duration // that passes with each request
	}{"in memory": {installations, 0}, "expired": {installations, time.Second}, "more than it holds": {installations / 2, 0}} {
		b.Run(name, func(b *testing.B) {
			now := time.Unix(0, 0)
			c := newCache[[32]byte, int](3*time.Second, of.limit, never)
			c.now = func() time.Time { return now }
			for _, key := range keys {
				_, _ = c.get(ctx, key, load)
			}
			for i := 0; b.Loop(); i++ {
				now = now.Add(of.step)
				_, _ = c.get(ctx, keys[i%installations], load)
			}
		})
	}
}
