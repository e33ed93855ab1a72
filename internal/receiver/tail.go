package receiver

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// sweepEvery moves the journal's tail from time to time. What fails is tried again.
func (f *Forwarder) sweepEvery(ctx context.Context) {
	tick := time.NewTicker(f.Sweep)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := f.sweep(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			f.ForwarderConfig.Log.Warn("the journal's tail can't be moved", "error", err)
		}
		failing = err != nil
	}
}

// sweep parks what holds back too much of the journal, notes which intents were taken, and moves the tail up to the
// lowest entry still needed.
func (f *Forwarder) sweep(ctx context.Context) error {
	f.sweeping.Lock()
	defer f.sweeping.Unlock()
	f.mu.Lock()
	needed := f.next
	oldest := time.Time{}
	need := func(index uint64, since time.Time) {
		needed = min(needed, index)
		if oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	var stale []*intent
	for _, q := range f.queues {
		if len(q.waiting) > 0 {
			need(q.waiting[0].index, q.waiting[0].received)
			if f.offset-q.waiting[0].offset > f.ParkBytes {
				f.park(ctx, q)
			}
		}
		for _, it := range q.intents {
			need(it.index, it.At)
			if f.offset-it.offset > f.ParkBytes {
				stale = append(stale, it)
			}
		}
	}
	// Taken intents that the tail can't pass yet would be sent again after a restart: harmless, but for nothing.
	var taken acks
	if len(f.acked) > 0 {
		if needed < f.next {
			taken = f.acked
		}
		f.acked = acks{}
	}
	f.observe(oldest)
	f.broadcast()
	f.mu.Unlock()

	if taken != nil {
		if err := f.noteTaken(ctx, taken); err != nil {
			return err
		}
	}
	if len(stale) > 0 {
		if err := f.reappend(ctx, stale); err != nil {
			return err
		}
	}
	if first, _ := f.Journal.Bounds(); needed > first {
		if err := f.Journal.TruncateBefore(needed); err != nil {
			return fmt.Errorf("truncate the journal before %d: %w", needed, err)
		}
	}
	return nil
}

func (f *Forwarder) noteTaken(ctx context.Context, taken acks) error {
	b, err := encodeAcks(taken)
	if err != nil {
		return err
	}
	if _, err := f.Journal.Append(ctx, b); err != nil {
		return fmt.Errorf("note what was taken: %w", err)
	}
	return nil
}

// maxReappend intents stay below what the journal takes at once.
const maxReappend = 1000

// reappend writes intents again at the journal's head, as they are, so that the tail can pass their old places. The order
// in the journal is of no account: recover sorts by From.
func (f *Forwarder) reappend(ctx context.Context, stale []*intent) error {
	for some := range slices.Chunk(stale, maxReappend) {
		entries := make([][]byte, len(some))
		for i, it := range some {
			b, err := encodeIntent(it)
			if err != nil {
				return err
			}
			entries[i] = b
		}
		first, err := f.Journal.AppendAll(ctx, entries)
		if err != nil {
			return fmt.Errorf("write %d intents again: %w", len(some), err)
		}
		f.mu.Lock()
		for i, it := range some {
			it.index, it.offset = first+uint64(i), f.offset
		}
		f.mu.Unlock()
		f.Metrics.reappended.Add(float64(len(some)))
	}
	return nil
}

// observe sets the gauges. f.mu is held.
func (f *Forwarder) observe(oldest time.Time) {
	m := f.Metrics
	m.inFlight.Set(float64(f.inFlight))
	m.waiting.Set(float64(f.waiting))
	m.parked.Set(float64(f.intents))
	m.busy.Set(float64(len(f.queues)))
	m.journalBytes.Set(float64(f.Journal.Size()))
	_, next := f.Journal.Bounds()
	m.lag.Set(float64(next - min(next, f.next)))
	age := 0.0
	if !oldest.IsZero() {
		age = time.Since(oldest).Seconds()
	}
	m.lagSeconds.Set(age)
}
