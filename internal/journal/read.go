package journal

import "fmt"

// recentBytes of the entries last written stay in memory, because the forwarder is mostly right behind.
const recentBytes = 8 << 20

// recent is a run of entries that ends with the last one written.
type recent struct {
	entries []Entry
	bytes   int
}

func (r *recent) add(entries []Entry) {
	r.entries = append(r.entries, entries...)
	for _, e := range entries {
		r.bytes += len(e.Data) + entryOverhead
	}
	drop := 0
	for ; drop < len(r.entries) && r.bytes > recentBytes; drop++ {
		r.bytes -= len(r.entries[drop].Data) + entryOverhead
	}
	r.shift(drop)
}

// dropBefore forgets what is below index.
func (r *recent) dropBefore(index uint64) {
	drop := 0
	for ; drop < len(r.entries) && r.entries[drop].Index < index; drop++ {
		r.bytes -= len(r.entries[drop].Data) + entryOverhead
	}
	r.shift(drop)
}

// shift drops the first n entries and what they hold in memory.
func (r *recent) shift(n int) {
	clear(r.entries[:n])
	r.entries = r.entries[n:]
}

// read copies entries from index on, at least one and then while they fit into maxBytes. None: the index is not here.
func (r *recent) read(index uint64, maxBytes int) []Entry {
	if len(r.entries) == 0 || index < r.entries[0].Index {
		return nil
	}
	from := r.entries[min(index-r.entries[0].Index, uint64(len(r.entries))):]
	n, bytes := 0, 0
	for n < len(from) && (n == 0 || bytes+len(from[n].Data) <= maxBytes) {
		bytes += len(from[n].Data)
		n++
	}
	return append([]Entry(nil), from[:n]...)
}

// Read returns the entries from index on: at least one if there is one, and then as many as fit into
// maxBytes. Below Bounds it starts at the first. Nobody writes to the entries. When the very first of them
// can't be read because the disk has changed it, the error satisfies errors.Is(err, ErrDamaged): reading
// goes on behind it.
func (j *Journal) Read(from uint64, maxBytes int) ([]Entry, error) {
	j.mu.Lock()
	from = max(from, j.first)
	next := j.next
	entries := j.recent.read(from, maxBytes)
	j.mu.Unlock()
	if len(entries) > 0 {
		return entries, nil
	}
	bytes := 0
	for i := from; i < next; i++ {
		data, err := j.log.get(i)
		if first, _ := j.Bounds(); err != nil && i < first {
			return j.Read(first, maxBytes) // truncated meanwhile
		}
		if err != nil && len(entries) == 0 {
			return nil, fmt.Errorf("read journal entry %d: %w", i, err)
		}
		if err != nil || len(entries) > 0 && bytes+len(data) > maxBytes {
			break
		}
		entries = append(entries, Entry{Index: i, Data: data})
		bytes += len(data)
	}
	return entries, nil
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
	j.recent.dropBefore(index)
	reclaim := j.sizes.before(index) - j.sizes.before(j.released)
	j.mu.Unlock()
	if reclaim < j.segment {
		return nil
	}
	// The last entry stays in the files: it holds the place of the next index.
	before := min(index, next-1)
	if err := j.log.deleteBefore(j.released, before); err != nil {
		return fmt.Errorf("truncate journal before %d: files are not released: %w", index, err)
	}
	j.released = before
	j.mu.Lock()
	j.sizes.dropBefore(before)
	j.mu.Unlock()
	return nil
}
