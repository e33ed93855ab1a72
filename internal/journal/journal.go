// Package journal is the durable intake of webhooks: an append-only log in a directory of its own, in which
// an entry is on the disk before its webhook is acknowledged (I2), and stays until the forwarder truncates it.
package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/google/uuid"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

var (
	// ErrFull refuses an append because the journal holds Options.MaxBytes that are not truncated yet.
	ErrFull = errors.New("journal is full: entries are not forwarded as fast as they come")
	// ErrTooLarge refuses what can never be appended.
	ErrTooLarge = errors.New("too large for the journal")
	// ErrDamaged marks an entry whose bytes on the disk are not those that were appended.
	ErrDamaged = errors.New("journal entry is damaged")
	// ErrClosed is returned once Close has been called.
	ErrClosed = errors.New("journal is closed")
)

const (
	// MaxBatchBytes bounds the entries of one append, together.
	MaxBatchBytes = 32 << 20

	defaultMaxBytes     = 8 << 30
	defaultSegmentBytes = 64 << 20
)

// Options of a Journal. The zero value is useful.
type Options struct {
	// MaxBytes bounds what the entries that are not truncated take on the disk; 0 means 8 GiB. Files
	// are released as a whole, so the directory may hold up to two SegmentBytes more.
	MaxBytes int64
	// SegmentBytes is the size at which a file is sealed and the next one started, and for which disk
	// space is reserved ahead; 0 means 64 MiB.
	SegmentBytes int
	// Logger gets what goes wrong in the background; nil means slog.Default.
	Logger *slog.Logger

	files types.VFS // of tests that make the disk fail
}

// Journal is a log of entries with consecutive indexes from 1 up. An index is never used twice, also not
// when everything was truncated. It is safe for concurrent use by one process: a second one can't open it.
type Journal struct {
	id       string
	max      int64
	segment  int64
	lock     *lock
	log      *log
	requests chan *request
	closing  chan struct{} // closed by Close
	closed   chan struct{} // closed when the last write has ended
	close    sync.Once

	truncating sync.Mutex // held by TruncateBefore, before mu
	released   uint64     // the first index that is not deleted from the files; guarded by truncating

	mu      sync.Mutex
	first   uint64
	next    uint64
	pending int64 // bytes of entries that wait to be written
	places  places
	grown   chan struct{} // closed and replaced when next grows
}

// Entry is what Append was given, and where it stands.
type Entry struct {
	Index uint64
	Data  []byte
}

// Open opens the journal in dir, and makes both when they are absent. What a crash has left unfinished is
// repaired: everything that was acknowledged is there.
func Open(dir string, o Options) (*Journal, error) {
	j, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	return j, nil
}

func open(dir string, o Options) (*Journal, error) {
	if o.SegmentBytes < 0 || o.SegmentBytes > 1<<30 || o.MaxBytes < 0 {
		return nil, fmt.Errorf("want 0 <= SegmentBytes <= 1 GiB and MaxBytes >= 0, not %d and %d", o.SegmentBytes, o.MaxBytes)
	}
	o.MaxBytes = cmp.Or(o.MaxBytes, defaultMaxBytes)
	o.SegmentBytes = cmp.Or(o.SegmentBytes, defaultSegmentBytes)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.files == nil {
		o.files = fs.New()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	l := &log{dir: dir, files: disk{o.files}, segmentBytes: o.SegmentBytes, logger: o.Logger}
	j := &Journal{
		max: o.MaxBytes, segment: int64(o.SegmentBytes), lock: lock, log: l,
		requests: make(chan *request, maxGroupEntries), closing: make(chan struct{}), closed: make(chan struct{}),
		grown: make(chan struct{}),
	}
	if err := j.load(); err != nil {
		return nil, errors.Join(err, l.close(), lock.release())
	}
	go j.commit()
	return j, nil
}

// load reads what the files hold.
func (j *Journal) load() error {
	held, err := j.log.open()
	if err != nil {
		return err
	}
	if j.id, err = j.log.stamp(uuid.NewString); err != nil {
		return err
	}
	truncated, err := j.log.truncatedBefore()
	if err != nil {
		return err
	}
	if truncated > held.next {
		// Entries at the end are gone that had been consumed: nothing is lost, but their indexes must
		// not be used again.
		if err := j.log.deleteAll(); err != nil {
			return err
		}
		held.first, held.next = truncated, truncated
		held.places.start(truncated, j.log.last+1)
	}
	j.released, j.places = held.first, *held.places
	j.first, j.next = max(truncated, held.first), held.next
	return nil
}

// ID is the journal's UUID. It is kept in the directory and tells this journal's indexes from those of
// every other.
func (j *Journal) ID() string { return j.id }

// Bounds returns the first index that is not truncated and the one that the next entry gets. They are
// equal when the journal is empty.
func (j *Journal) Bounds() (first, next uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first, j.next
}

// Size estimates how many bytes the entries that are not truncated take on the disk: to about a megabyte,
// but entries found on opening count with the average of their file.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size()
}

func (j *Journal) size() int64 { return j.places.before(j.next) - j.places.before(j.first) }

// Wait returns when there is an entry at from, that is, when next > from.
func (j *Journal) Wait(ctx context.Context, from uint64) error {
	for {
		j.mu.Lock()
		next, grown := j.next, j.grown
		j.mu.Unlock()
		if next > from {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		case <-j.closing:
			return ErrClosed
		}
	}
}

// Close waits for the write in progress and closes the files. Appends that wait for their turn end with
// ErrClosed. Entries stay.
func (j *Journal) Close() error {
	err := ErrClosed
	j.close.Do(func() {
		close(j.closing)
		<-j.closed
		j.truncating.Lock()
		defer j.truncating.Unlock()
		err = errors.Join(j.log.close(), j.lock.release())
	})
	return err
}
