package lifetime

import (
	"io"
	"sync"
)

// Shared opens a value once per key and closes it when the last who has it lets go. The zero Shared is ready.
type Shared[T io.Closer] struct {
	mu   sync.Mutex
	held map[string]*holding[T]
}

type holding[T io.Closer] struct {
	value   T
	holders int
}

// Acquire returns the value of the key, opened if nobody has it, and what lets go of it. A release beyond the first does nothing.
func (s *Shared[T]) Acquire(key string, open func() (T, error)) (T, func() error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[key]
	if h == nil {
		v, err := open()
		if err != nil {
			return v, nil, err
		}
		if s.held == nil {
			s.held = make(map[string]*holding[T])
		}
		h = &holding[T]{value: v}
		s.held[key] = h
	}
	h.holders++
	var once sync.Once
	return h.value, func() (err error) {
		once.Do(func() { err = s.release(key, h) })
		return err
	}, nil
}

// release closes under the lock: who comes for the key meanwhile must find it closed, not closing.
func (s *Shared[T]) release(key string, h *holding[T]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.holders--
	if h.holders > 0 {
		return nil
	}
	delete(s.held, key)
	return h.value.Close()
}
