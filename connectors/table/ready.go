package table

import "sync"

// Ready remembers which tables are known to be as a store wants them, by what names one there. Its zero value knows none.
type Ready[K comparable] struct {
	mu    sync.Mutex
	known map[K]bool
}

// Is says whether a table is known to be ready.
func (r *Ready[K]) Is(k K) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[k]
}

// Set remembers that a table is ready.
func (r *Ready[K]) Set(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[K]bool)
	}
	r.known[k] = true
}

// Forget makes the next write look at its tables again, after one was found missing or changed.
func (r *Ready[K]) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.known)
}
