package journal

import "fmt"

// Read returns the entries from index on: at least one if there is one, and then as many as fit into
// maxBytes. Below Bounds it starts at the first. Entries share memory with their neighbours: nobody writes
// to them. When the very first of them can't be read because the disk has changed it, the error satisfies
// errors.Is(err, ErrDamaged): reading goes on behind it.
func (j *Journal) Read(from uint64, maxBytes int) ([]Entry, error) {
	var entries []Entry
	for bytes := 0; ; {
		j.mu.Lock()
		from = max(from, j.first)
		next := j.next
		lo, hi := j.places.groups(from)
		j.mu.Unlock()
		if from >= next {
			return entries, nil
		}
		group, err := j.log.read(from, lo, hi)
		for _, e := range group {
			if len(entries) > 0 && bytes+len(e.Data) > maxBytes {
				return entries, nil
			}
			entries = append(entries, e)
			bytes += len(e.Data)
			from = e.Index + 1
		}
		switch first, _ := j.Bounds(); {
		case len(entries) > 0 && (err != nil || bytes >= maxBytes):
			return entries, nil
		case err != nil && from >= first: // else it was truncated meanwhile
			return nil, fmt.Errorf("read journal entry %d: %w", from, err)
		}
	}
}

// TruncateBefore forgets the entries below index, durably. It costs a sync, which no append waits for, and
// every Options.SegmentBytes some more that releases files.
func (j *Journal) TruncateBefore(index uint64) error {
	j.truncating.Lock()
	defer j.truncating.Unlock()
	first, next := j.Bounds()
	if index > next {
		return fmt.Errorf("truncate journal before %d: the next entry is %d", index, next)
	}
	if index <= first {
		return nil
	}
	if err := j.log.setTruncatedBefore(index); err != nil {
		return fmt.Errorf("truncate journal before %d: %w", index, err)
	}
	j.mu.Lock()
	j.first = index
	reclaim := j.places.before(index) - j.places.before(j.released)
	lo, hi := j.places.groups(index)
	j.mu.Unlock()
	if reclaim < j.segment {
		return nil
	}
	if err := j.log.deleteBefore(index, lo, hi); err != nil {
		return fmt.Errorf("truncate journal before %d: files are not released: %w", index, err)
	}
	j.released = index
	j.mu.Lock()
	j.places.dropBefore(index)
	j.mu.Unlock()
	return nil
}
