package receiver

import (
	"context"
	"errors"
	"sync"
	"time"
)

// loadTimeout bounds how long a look-up may take that many requests may be waiting for.
const loadTimeout = 5 * time.Second

var errLoadPanicked = errors.New("cache: the look-up panicked")

// cache remembers answers for a short time. Requests for the same key share one look-up. Of errors it remembers only
// those that remember says are answers, such as "there is none".
type cache[K comparable, V any] struct {
	ttl      time.Duration
	limit    int // entries at most
	remember func(error) bool
	now      func() time.Time

	mu      sync.Mutex
	entries map[K]*cached[V]
}

type cached[V any] struct {
	done    chan struct{}
	value   V
	err     error
	expires time.Time // read and written under cache.mu; zero while loading
}

func newCache[K comparable, V any](ttl time.Duration, limit int, remember func(error) bool) *cache[K, V] {
	return &cache[K, V]{ttl: ttl, limit: limit, remember: remember, now: time.Now, entries: map[K]*cached[V]{}}
}

// get answers from memory or calls load, whose context does not end with ctx, because others may wait for its answer.
func (c *cache[K, V]) get(ctx context.Context, key K, load func(context.Context) (V, error)) (V, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e != nil && (e.expires.IsZero() || c.now().Before(e.expires)) {
		c.mu.Unlock()
		select {
		case <-e.done:
			return e.value, e.err
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	if e == nil && len(c.entries) >= c.limit {
		c.evict()
	}
	e = &cached[V]{done: make(chan struct{}), err: errLoadPanicked}
	c.entries[key] = e
	c.mu.Unlock()

	defer func() {
		c.mu.Lock()
		if e.err == nil || c.remember(e.err) {
			e.expires = c.now().Add(c.ttl)
		} else if c.entries[key] == e {
			delete(c.entries, key)
		}
		c.mu.Unlock()
		close(e.done)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	e.value, e.err = load(ctx)
	return e.value, e.err
}

// evict makes room: first what has expired, then whatever comes, so that no flood of keys grows the memory.
func (c *cache[K, V]) evict() {
	now := c.now()
	for k, e := range c.entries {
		if !e.expires.IsZero() && !now.Before(e.expires) {
			delete(c.entries, k)
		}
	}
	for k, e := range c.entries {
		if len(c.entries) < c.limit*3/4 {
			return
		}
		if !e.expires.IsZero() {
			delete(c.entries, k)
		}
	}
}
