package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
)

// log is a raft-wal that can be opened again in place: after a failed write, what it has in memory is
// rebuilt from what is on the disk.
type log struct {
	dir          string
	files        disk
	segmentBytes int
	logger       *slog.Logger

	stale bool   // the last write failed; used by the writer alone
	last  uint64 // the last index stored; used by the writer alone

	mu   sync.RWMutex // held to replace wal
	wal  *wal.WAL     // nil: not open, and down says why
	down error
}

// extent says what the files hold: the entries [first, next), and below first some from base on that are
// deleted only in name.
type extent struct {
	base, first, next uint64
	files             []fileExtent
}

// Keys of what is kept beside the entries.
var (
	keyID        = []byte("id")
	keyTruncated = []byte("truncated before")
)

func (l *log) open() (extent, error) {
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
		return extent{}, l.down
	}
	first, err1 := w.FirstIndex()
	last, err2 := w.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		l.down = errors.Join(err, w.Close())
		return extent{}, l.down
	}
	l.wal, l.stale, l.last = w, false, last
	return extent{base: max(meta.base, 1), first: max(first, 1), next: last + 1, files: meta.held}, nil
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

// store makes entries durable. The indexes follow those stored before.
func (l *log) store(entries []*raft.Log) error {
	err := l.reopen()
	if err == nil {
		err = l.wal.StoreLogs(entries)
	}
	if errors.Is(err, wal.ErrSealed) {
		// The last write filled its file, and the next one could not be made then.
		l.stale = true
		if err = l.reopen(); err == nil {
			err = l.wal.StoreLogs(entries)
		}
	}
	if err != nil {
		l.stale = true
		return err
	}
	l.last = entries[len(entries)-1].Index
	return nil
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
		return fmt.Errorf("%w: files end with entry %d, not %d: restart, and check the disk", ErrDamaged, got, last)
	}
	return nil
}

// get reads an entry and verifies it.
func (l *log) get(index uint64) ([]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.wal == nil {
		return nil, l.down
	}
	var entry raft.Log
	if err := l.wal.GetLog(index, &entry); err != nil {
		if errors.Is(err, wal.ErrCorrupt) {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil, err
	}
	if entry.Index != index || len(entry.Extensions) != 4 || binary.LittleEndian.Uint32(entry.Extensions) != checksum(index, entry.Data) {
		return nil, fmt.Errorf("%w: checksum differs", ErrDamaged)
	}
	return entry.Data, nil
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

// deleteBefore deletes the files that only hold entries in [first, before).
func (l *log) deleteBefore(first, before uint64) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.wal == nil {
		return l.down
	}
	if before <= first {
		return nil
	}
	return l.wal.DeleteRange(first, before-1)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode adds the checksum of an entry. raft-wal has one of each batch, but looks at it only when it
// recovers the last.
func encode(e Entry) raft.Log {
	return raft.Log{
		Index:      e.Index,
		Data:       e.Data,
		Extensions: binary.LittleEndian.AppendUint32(nil, checksum(e.Index, e.Data)),
	}
}

func checksum(index uint64, data []byte) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], index)
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, data)
}

// lines passes a text log on.
type lines struct{ logger *slog.Logger }

func (l lines) Write(b []byte) (int, error) {
	l.logger.Warn("journal files", "message", strings.TrimSpace(string(b)))
	return len(b), nil
}
