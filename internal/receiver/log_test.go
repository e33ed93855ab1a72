package receiver

import (
	"context"
	"errors"
	"sync"

	"tributary/internal/journal"
)

// memoryLog is a journal in memory that can be made to fail, for tests that the real one would slow down or that it
// can't be brought to fail for.
type memoryLog struct {
	mu      sync.Mutex
	entries []journal.Entry
	first   uint64
	size    int64
	fail    error         // what Append returns
	block   chan struct{} // Append waits for it to close
	damaged uint64        // an entry that can't be read
	grown   chan struct{}
}

func newMemoryLog() *memoryLog { return &memoryLog{first: 1, grown: make(chan struct{})} }

func (l *memoryLog) ID() string { return "6e0b2f4c-7f0e-4f3a-9a43-0a3c9b1d5e77" }

func (l *memoryLog) Append(ctx context.Context, entry []byte) (uint64, error) {
	return l.AppendAll(ctx, [][]byte{entry})
}

func (l *memoryLog) AppendAll(ctx context.Context, entries [][]byte) (uint64, error) {
	l.mu.Lock()
	block := l.block
	l.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	next := l.first + uint64(len(l.entries))
	for i, e := range entries {
		l.entries = append(l.entries, journal.Entry{Index: next + uint64(i), Data: e})
		l.size += int64(len(e))
	}
	close(l.grown)
	l.grown = make(chan struct{})
	return next, nil
}

func (l *memoryLog) Read(from uint64, maxBytes int) ([]journal.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < l.first {
		return nil, errors.New("read below the tail")
	}
	var out []journal.Entry
	for _, e := range l.entries[min(from-l.first, uint64(len(l.entries))):] {
		if e.Index == l.damaged && len(out) == 0 {
			return nil, journal.ErrDamaged
		}
		if e.Index == l.damaged {
			break
		}
		if len(out) > 0 && maxBytes < len(e.Data) {
			break
		}
		maxBytes -= len(e.Data)
		out = append(out, e)
	}
	return out, nil
}

func (l *memoryLog) Bounds() (first, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.first + uint64(len(l.entries))
}

func (l *memoryLog) Wait(ctx context.Context, from uint64) error {
	for {
		l.mu.Lock()
		next, grown := l.first+uint64(len(l.entries)), l.grown
		l.mu.Unlock()
		if next > from {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *memoryLog) TruncateBefore(index uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.first < index && len(l.entries) > 0 {
		l.size -= int64(len(l.entries[0].Data))
		l.entries = l.entries[1:]
		l.first++
	}
	return nil
}

func (l *memoryLog) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// set changes how the journal behaves from now on.
func (l *memoryLog) set(change func(*memoryLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}
