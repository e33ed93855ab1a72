package journal

import (
	"context"
	"fmt"
	"runtime"
)

// A group is what is written and synced at once: as many waiting requests as there are, within these bounds.
const (
	maxGroupEntries = 4096
	maxGroupBytes   = 8 << 20
)

// entryOverhead is what an entry takes on the disk beside its own bytes, about.
const entryOverhead = 8

// request is an append that waits to be written.
type request struct {
	entries [][]byte
	bytes   int64
	done    chan result // buffered: nobody waits for one who has given up
}

type result struct {
	first uint64
	err   error
}

// Append writes an entry and returns its index when it is on the disk (I2). Appends that come together share
// a write and a sync. The journal keeps entry: the caller must not change it afterwards.
//
// When ctx ends first, the entry may still become durable. After any other error it is not in the journal;
// only when the disk fails and the process is then killed before the next append, it may come back. When
// the disk fails or is full, appends succeed again as soon as it works.
func (j *Journal) Append(ctx context.Context, entry []byte) (uint64, error) {
	return j.AppendAll(ctx, [][]byte{entry})
}

// AppendAll is Append of many entries, at most MaxBatchBytes together, with consecutive indexes: all of
// them or none.
func (j *Journal) AppendAll(ctx context.Context, entries [][]byte) (first uint64, err error) {
	if len(entries) == 0 {
		return 0, fmt.Errorf("append to journal: no entries")
	}
	r := &request{entries: entries, done: make(chan result, 1)}
	for _, e := range entries {
		r.bytes += int64(len(e)) + entryOverhead
	}
	if err := j.admit(r); err != nil {
		return 0, fmt.Errorf("append to journal: %w", err)
	}
	select {
	case j.requests <- r:
	case <-ctx.Done():
		j.settle(r)
		return 0, ctx.Err()
	case <-j.closing:
		j.settle(r)
		return 0, ErrClosed
	}
	select {
	case res := <-r.done:
		return res.first, res.err
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-j.closed:
	}
	select {
	case res := <-r.done: // it was in the last write
		return res.first, res.err
	default:
		return 0, ErrClosed
	}
}

// admit reserves room for r.
func (j *Journal) admit(r *request) error {
	if r.bytes > min(MaxBatchBytes, j.max) {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, r.bytes, min(MaxBatchBytes, j.max))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.size()+j.pending+r.bytes > j.max {
		return ErrFull
	}
	j.pending += r.bytes
	return nil
}

// settle gives back the room of a request that will not be written.
func (j *Journal) settle(r *request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending -= r.bytes
}

// commit is the one writer. It ends when the journal closes.
func (j *Journal) commit() {
	defer close(j.closed)
	var w writer
	for {
		select {
		case <-j.closing:
			return
		case r := <-j.requests:
			// Those that the last write has just answered may be about to append again: let them join.
			runtime.Gosched()
			w.gather(r, j.requests)
			j.write(&w)
		}
	}
}

// writer holds the group being written.
type writer struct {
	group   []*request
	bytes   int64
	entries [][]byte
}

// gather takes the requests that wait.
func (w *writer) gather(r *request, waiting <-chan *request) {
	clear(w.group)
	clear(w.entries)
	w.group, w.entries, w.bytes = w.group[:0], w.entries[:0], 0
	for {
		w.group = append(w.group, r)
		w.entries = append(w.entries, r.entries...)
		w.bytes += r.bytes
		if len(w.entries) >= maxGroupEntries || w.bytes >= maxGroupBytes {
			return
		}
		select {
		case r = <-waiting:
		default:
			return
		}
	}
}

// write makes the group durable and tells those who wait.
func (j *Journal) write(w *writer) {
	index := j.next // only this goroutine changes it
	group, err := j.log.store(index, w.entries)
	j.mu.Lock()
	j.pending -= w.bytes
	if err == nil {
		j.next = index + uint64(len(w.entries))
		j.places.add(j.next, group+1, w.bytes)
		close(j.grown)
		j.grown = make(chan struct{})
	}
	j.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("append to journal: nothing is acknowledged until the disk works again: %w", err)
	}
	for _, r := range w.group {
		r.done <- result{first: index, err: err}
		index += uint64(len(r.entries))
	}
}
