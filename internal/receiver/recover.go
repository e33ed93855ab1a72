package receiver

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"tributary/internal/journal"
)

// recover finds in the journal what an earlier process had bound itself to and not finished, before anything new is
// read. It reads the whole journal, and holds of it the intents only.
//
// An intent stands behind every entry that it covers, so as long as one of those is in the journal it is too: what no intent
// covers was never sealed for good. Of intents from the same place the latest counts: either they are copies, and the tail may
// pass the earlier ones, or writing the earlier ones failed, and they were never sent.
func (f *Forwarder) recover() error {
	first, end := f.Journal.Bounds()
	found := map[string]map[uint64]*intent{} // by epoch and From
	taken, covered := acks{}, acks{}
	for at := first; at < end; {
		entries, err := f.Journal.Read(at, readBytes)
		if errors.Is(err, journal.ErrDamaged) {
			at++ // read reports it
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			at = e.Index + 1
			if len(e.Data) == 0 {
				return fmt.Errorf("journal entry %d: %w", e.Index, errTruncated)
			}
			switch e.Data[0] {
			case entryIntent:
				it, err := decodeIntent(e.Data[1:])
				if err != nil {
					return fmt.Errorf("journal entry %d: %w", e.Index, err)
				}
				it.index = e.Index
				if found[it.Epoch] == nil {
					found[it.Epoch] = map[uint64]*intent{}
				}
				found[it.Epoch][it.From] = it
			case entryAcks:
				a, err := decodeAcks(e.Data[1:])
				if err != nil {
					return fmt.Errorf("journal entry %d: %w", e.Index, err)
				}
				for epoch, to := range a {
					taken[epoch] = max(taken[epoch], to)
				}
			}
		}
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	f.next, f.end, f.covered = first, end, covered
	for epoch, byFrom := range found {
		for _, it := range byFrom {
			covered[epoch] = max(covered[epoch], it.To)
			if it.To > taken[epoch] {
				f.push(f.queue(epoch, it.Installation), it)
			}
		}
	}
	for _, q := range f.queues {
		slices.SortFunc(q.intents, func(a, b *intent) int { return cmp.Compare(a.From, b.From) })
		f.enqueue(q)
	}
	return nil
}
