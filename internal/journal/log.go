package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
)

// log keeps groups of entries in a raft-wal, one group in each of its log entries, and opens it again in
// place when raft-wal can't go on with what it has in memory.
type log struct {
	dir          string
	files        disk
	segmentBytes int
	logger       *slog.Logger

	// Used by the writer alone.
	stale   bool   // it must be opened again
	last    uint64 // the last group stored
	encoder encoder

	following atomic.Pointer[position] // the group behind the last one read

	mu   sync.RWMutex // held to replace wal
	wal  *wal.WAL     // nil: not open, and down says why
	down error
}

// position of a group: its number, which raft-wal calls index, and the index of its first entry.
type position struct{ group, index uint64 }

// held says what the files hold.
type held struct {
	first  uint64  // index
	next   uint64  // index
	places *places // of them
}

// Keys of what is kept beside the entries.
var (
	keyID        = []byte("id")
	keyTruncated = []byte("truncated before")
)

func (l *log) open() (held, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	filer := segment.NewFiler(l.dir, l.files)
	meta := &metadata{files: l.files, filer: filer, segmentBytes: l.segmentBytes}
	w, err := wal.Open(l.dir,
		wal.WithSegmentFiler(filer),
		wal.WithMetaStore(meta),
		wal.WithSegmentSize(l.segmentBytes),
		wal.WithLogger(hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, DisableTime: true, Output: lines{l.logger}})),
	)
	if err != nil {
		l.down = errors.Join(err, meta.Close())
		return held{}, l.down
	}
	h, last, err := survey(w, meta.held)
	if err != nil {
		l.down = errors.Join(err, w.Close())
		return held{}, l.down
	}
	l.wal, l.stale, l.last = w, false, last
	l.following.Store(nil)
	return h, nil
}

// survey finds out which entries the groups hold.
func survey(w *wal.WAL, files []fileExtent) (h held, last uint64, err error) {
	h = held{first: 1, next: 1, places: &places{}}
	first, err1 := w.FirstIndex()
	last, err2 := w.LastIndex()
	if err := errors.Join(err1, err2); err != nil || last == 0 {
		h.places.start(h.first, 1)
		return h, last, err
	}
	var group raft.Log
	if err := w.GetLog(last, &group); err != nil {
		return h, last, fmt.Errorf("the last group: %w", err)
	}
	lengths, err := decodeHeader(&group)
	if err != nil {
		return h, last, fmt.Errorf("the last group: %w", err)
	}
	h.next = group.Term + uint64(len(lengths))
	if err := w.GetLog(first, &group); err != nil {
		return h, last, fmt.Errorf("the first group: %w", err)
	}
	h.first = group.Term
	h.places.start(h.first, first)
	bytes := int64(0)
	for _, f := range files {
		bytes += f.bytes
		index := h.next
		if f.next <= last {
			if err := w.GetLog(f.next, &group); err != nil {
				continue // it is found damaged when it is read; its file counts with the next
			}
			index = group.Term
		}
		h.places.add(index, f.next, bytes)
		bytes = 0
	}
	return h, last, nil
}

func (l *log) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wal == nil {
		return nil
	}
	defer func() { l.wal, l.down = nil, ErrClosed }()
	return l.wal.Close()
}

// store makes a group of entries durable, the first of which gets the index, and returns the group's number.
func (l *log) store(index uint64, entries [][]byte) (uint64, error) {
	logs := []*raft.Log{l.encoder.encode(index, entries)}
	err := l.reopen()
	if err == nil {
		logs[0].Index = l.last + 1
		err = l.wal.StoreLogs(logs)
	}
	if errors.Is(err, wal.ErrSealed) || errors.Is(err, os.ErrExist) {
		// A file is full, and making the next one failed, maybe half-way. Any other failure raft-wal
		// takes back itself.
		l.stale = true
		if err = l.reopen(); err == nil {
			err = l.wal.StoreLogs(logs)
		}
	}
	if err != nil {
		return 0, err
	}
	l.last++
	return l.last, nil
}

// reopen opens the log again after a failure.
func (l *log) reopen() error {
	if !l.stale {
		return nil
	}
	last := l.last
	if err := l.close(); err != nil {
		return err
	}
	if _, err := l.open(); err != nil {
		return err
	}
	if l.last != last {
		got := l.last
		l.stale, l.last = true, last
		return fmt.Errorf("%w: files end with group %d, not %d: restart, and check the disk", ErrDamaged, got, last)
	}
	return nil
}

// read returns the entries of one group from index on. The group is in [lo, hi). With the error of an
// entry that is damaged come those before it.
func (l *log) read(index, lo, hi uint64) ([]Entry, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.wal == nil {
		return nil, l.down
	}
	number, err := l.find(index, lo, hi)
	if err != nil {
		return nil, err
	}
	var group raft.Log
	if err := l.get(number, &group); err != nil {
		return nil, err
	}
	entries, err := decode(&group, index)
	if n := len(entries); n > 0 && err == nil {
		l.following.Store(&position{number + 1, entries[n-1].Index + 1})
	}
	return entries, err
}

// find returns the number of the group in [lo, hi) that holds the entry index.
func (l *log) find(index, lo, hi uint64) (uint64, error) {
	if p := l.following.Load(); p != nil && p.index == index {
		return p.group, nil
	}
	var (
		group raft.Log
		err   error
	)
	// The last group that begins at index or below.
	n := sort.Search(int(hi-lo), func(i int) bool {
		if err == nil {
			err = l.get(lo+uint64(i), &group)
		}
		if errors.Is(err, wal.ErrNotFound) {
			err = nil
			return false // deleted: below every index that is read
		}
		return err != nil || group.Term > index
	})
	return lo + uint64(max(n, 1)) - 1, err
}

func (l *log) get(group uint64, to *raft.Log) error {
	err := l.wal.GetLog(group, to)
	var path *os.PathError
	if err == nil || errors.As(err, &path) || errors.Is(err, wal.ErrNotFound) || errors.Is(err, wal.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: group %d: %w", ErrDamaged, group, err)
}

// stamp returns the ID in the log; the first time, it takes the one that it is offered.
func (l *log) stamp(offer func() string) (string, error) {
	id, err := l.wal.Get(keyID)
	if err != nil || len(id) > 0 {
		return string(id), err
	}
	id = []byte(offer())
	return string(id), l.wal.Set(keyID, id)
}

// truncatedBefore is the index below which entries are truncated, though files may still hold them.
func (l *log) truncatedBefore() (uint64, error) { return l.wal.GetUint64(keyTruncated) }

func (l *log) setTruncatedBefore(index uint64) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.wal == nil {
		return l.down
	}
	return l.wal.SetUint64(keyTruncated, index)
}

// deleteBefore deletes the files that only hold entries below index, which is in a group in [lo, hi) or
// the next to be stored. The last group stays, for it tells the next index.
func (l *log) deleteBefore(index, lo, hi uint64) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.wal == nil {
		return l.down
	}
	group, err := l.find(index, lo, hi)
	if err != nil {
		return err
	}
	first, err1 := l.wal.FirstIndex()
	last, err2 := l.wal.LastIndex()
	group = min(group, last)
	if err := errors.Join(err1, err2); err != nil || group <= first {
		return err
	}
	return l.wal.DeleteRange(first, group-1)
}

// deleteAll deletes every group. The next one may hold any index.
func (l *log) deleteAll() error {
	if l.last == 0 {
		return nil
	}
	err := l.wal.DeleteRange(1, l.last)
	if err == nil {
		l.last, err = l.wal.LastIndex()
	}
	return err
}

// lines passes a text log on.
type lines struct{ logger *slog.Logger }

func (l lines) Write(b []byte) (int, error) {
	l.logger.Warn("journal files", "message", strings.TrimSpace(string(b)))
	return len(b), nil
}
