package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

// faulty is a file system that can be made to fail, and looked at around every sync.
type faulty struct {
	types.VFS
	mu     sync.Mutex
	room   int64 // bytes that can still be written and reserved; -1: as many as one likes
	sync   error // what Sync returns
	create int   // so many Creates fail
	after  error // what Sync returns after that
	synced func(path string, from, to int64, before bool)
}

func newFaulty() *faulty { return &faulty{VFS: fs.New(), room: -1} }

func (f *faulty) set(room int64, sync error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room, f.sync = room, sync
}

// take returns how many of n bytes there is room for.
func (f *faulty) take(n int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.room < 0 || f.room >= n {
		if f.room >= 0 {
			f.room -= n
		}
		return n, nil
	}
	n, f.room = f.room, 0
	return n, &os.PathError{Op: "write", Path: "file", Err: syscall.ENOSPC}
}

func (f *faulty) Create(dir, name string, size uint64) (types.WritableFile, error) {
	w, err := f.VFS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	if f.fails() {
		w.Close() // like the real one, it leaves an empty file
		return nil, &os.PathError{Op: "fallocate", Path: name, Err: syscall.ENOSPC}
	}
	return &faultyFile{WritableFile: w, fs: f, path: filepath.Join(dir, name)}, nil
}

func (f *faulty) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.create > 0 {
		f.create--
		f.sync = f.after
		return true
	}
	return f.room == 0
}

func (f *faulty) OpenWriter(dir, name string) (types.WritableFile, error) {
	w, err := f.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{WritableFile: w, fs: f, path: filepath.Join(dir, name)}, nil
}

type faultyFile struct {
	types.WritableFile
	fs       *faulty
	path     string
	from, to int64 // of the last write
}

func (f *faultyFile) WriteAt(b []byte, offset int64) (int, error) {
	room, full := f.fs.take(int64(len(b)))
	n, err := f.WritableFile.WriteAt(b[:room], offset)
	f.from, f.to = offset, offset+int64(n)
	return n, errors.Join(full, err)
}

func (f *faultyFile) Sync() error {
	f.fs.mu.Lock()
	fail, look := f.fs.sync, f.fs.synced
	f.fs.mu.Unlock()
	if look != nil && f.to > 0 {
		look(f.path, f.from, f.to, true)
	}
	if err := errors.Join(fail, f.WritableFile.Sync()); err != nil {
		return err
	}
	if look != nil && f.to > 0 {
		look(f.path, f.from, f.to, false)
	}
	return nil
}

func (f *faultyFile) Truncate(size int64) error {
	return f.WritableFile.(interface{ Truncate(int64) error }).Truncate(size)
}

// When the disk is full or fails, in a write, a sync or the making of the next file, appends fail and say
// why, nothing that was acknowledged is lost or changed, nothing that was not is there, and appends go on
// by themselves when the disk works again.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		room int64
		sync error
		want error
	}{
		"no room at all":            {room: 0, want: syscall.ENOSPC},
		"no room for the next file": {room: 14_000, want: syscall.ENOSPC},
		"room for half a batch":     {room: 700, want: syscall.ENOSPC},
		"room for a few batches":    {room: 5_000, want: syscall.ENOSPC},
		"sync fails":                {room: -1, sync: syscall.EIO, want: syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, disk := t.TempDir(), newFaulty()
			o := Options{SegmentBytes: 14 << 10, files: disk}
			j := start(t, dir, o)
			next := fill(t, j, 50, 500)
			for range 3 {
				disk.set(test.room, test.sync)
				var err error
				for err == nil {
					if _, err = j.Append(t.Context(), entry(next, 500)); err == nil {
						next++
					}
				}
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), "nothing is acknowledged until the disk works again") {
					t.Fatalf("err = %v, want %v and what follows from it", err, test.want)
				}
				for range 3 {
					if _, err := j.Append(t.Context(), entry(next, 500)); !errors.Is(err, test.want) {
						t.Fatalf("again: %v, want %v", err, test.want)
					}
				}
				check(t, j, 1, next, 500)
				disk.set(-1, nil)
				next = fill(t, j, 30, 500)
				check(t, j, 1, next, 500)
			}
			disk.set(test.room, test.sync)
			for err := error(nil); err == nil; {
				if _, err = j.Append(t.Context(), entry(next, 500)); err == nil {
					next++
				}
			}
			stop(t, j)
			disk.set(-1, nil)
			j = start(t, dir, o)
			check(t, j, 1, next, 500)
			check(t, j, 1, fill(t, j, 30, 500), 500)
		})
	}
}

// When the next file can't be made at once, but can when it is needed, no append notices.
func TestNextFileFailsOnce(t *testing.T) {
	t.Parallel()
	dir, disk := t.TempDir(), newFaulty()
	j := start(t, dir, Options{SegmentBytes: 4 << 10, files: disk})
	var next uint64
	for range 5 {
		disk.mu.Lock()
		disk.create = 1
		disk.mu.Unlock()
		next = fill(t, j, 30, 500)
		disk.mu.Lock()
		if disk.create != 0 {
			t.Error("no file was made")
		}
		disk.mu.Unlock()
	}
	check(t, j, 1, next, 500)
	stop(t, j)
	check(t, start(t, dir, small), 1, next, 500)
}

// The same while the log is empty and its first file is made anew for another index.
func TestFirstFileFailsOnce(t *testing.T) {
	t.Parallel()
	dir, disk := t.TempDir(), newFaulty()
	o := Options{SegmentBytes: 4 << 10, files: disk}
	j := start(t, dir, o)
	next := fill(t, j, 4, 500)
	if err := j.TruncateBefore(next); err != nil {
		t.Fatal(err)
	}
	if err := j.log.deleteAll(); err != nil {
		t.Fatal(err)
	}
	disk.mu.Lock()
	disk.create = 1
	disk.mu.Unlock()
	if _, err := j.Append(t.Context(), entry(next, 500)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Append = %v, want ENOSPC", err)
	}
	check(t, j, next, fill(t, j, 4, 500), 500)
}

// While the files can't be opened again, reading and truncating say why.
func TestReadWhileDown(t *testing.T) {
	t.Parallel()
	disk := newFaulty()
	j := start(t, t.TempDir(), Options{SegmentBytes: 4 << 10, files: disk})
	next := fill(t, j, 3, 500)
	disk.mu.Lock()
	disk.create, disk.after = 1, syscall.EIO
	disk.mu.Unlock()
	var err error
	for i := 0; err == nil && i < 100; i++ {
		if _, err = j.Append(t.Context(), entry(next, 500)); err == nil {
			next++
		}
	}
	if !errors.Is(err, syscall.EIO) {
		t.Fatalf("Append = %v, want EIO", err)
	}
	if _, err := j.Read(1, 1); !errors.Is(err, syscall.EIO) {
		t.Errorf("Read = %v, want EIO", err)
	}
	if err := j.TruncateBefore(2); !errors.Is(err, syscall.EIO) {
		t.Errorf("TruncateBefore = %v, want EIO", err)
	}
	disk.set(-1, nil)
	check(t, j, 1, fill(t, j, 1, 500), 500)
}

// What Open finds is made durable before anybody can read it: an entry that a killed process left in the
// page cache only must not be consumed and then, with the power, lose its index to another.
func TestOpenSyncs(t *testing.T) {
	t.Parallel()
	dir, disk := t.TempDir(), newFaulty()
	j := start(t, dir, Options{files: disk})
	fill(t, j, 4, 500)
	stop(t, j)
	disk.set(-1, syscall.EIO)
	if _, err := Open(dir, Options{files: disk}); !errors.Is(err, syscall.EIO) {
		t.Errorf("Open = %v, want EIO", err)
	}
	disk.set(-1, nil)
	check(t, start(t, dir, Options{files: disk}), 1, 5, 500)
}

// Whatever a crash leaves at any sync opens again: the state before and after it, the last write torn
// at any place, or behind it the rest of an earlier one. All that was acknowledged by then is there,
// nothing else but whole entries of the write in progress, and appends go on.
func TestCrashAtEverySync(t *testing.T) {
	t.Parallel()
	type crash struct {
		dir   string
		acked uint64
	}
	var (
		disk    = newFaulty()
		dir     = t.TempDir()
		next    = uint64(1) // as acknowledged; the sync that is looked at comes before
		crashes []crash
	)
	j := start(t, dir, Options{SegmentBytes: 4 << 10, files: disk})
	snapshot := func() string {
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Error(err)
		}
		return to
	}
	disk.mu.Lock()
	disk.synced = func(path string, from, to int64, before bool) {
		crashes = append(crashes, crash{snapshot(), next})
		if !before {
			return
		}
		for _, keep := range []int64{0, 1, 100, (to - from) / 2, to - from - 500, to - from - 24, to - from - 20, to - from - 16, to - from - 9} {
			if keep < 0 || keep >= to-from {
				continue
			}
			for _, zero := range []bool{true, false} {
				torn := snapshot()
				crashes = append(crashes, crash{torn, next})
				f, err := os.OpenFile(filepath.Join(torn, filepath.Base(path)), os.O_RDWR, 0)
				if err != nil {
					t.Error(err)
					continue
				}
				if zero { // the beginning of the write is on the disk
					_, err = f.WriteAt(make([]byte, to-from-keep), from+keep)
				} else { // its end is
					_, err = f.WriteAt(make([]byte, keep), from)
				}
				if err := errors.Join(err, f.Close()); err != nil {
					t.Error(err)
				}
			}
		}
	}
	disk.mu.Unlock()
	for range 5 {
		batch := [][]byte{entry(next, 500), entry(next+1, 500), entry(next+2, 500)}
		if _, err := j.AppendAll(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		next += uint64(len(batch))
	}
	stop(t, j)
	for _, c := range crashes {
		for range 2 { // what the first opening writes is as good
			j := start(t, c.dir, Options{SegmentBytes: 4 << 10})
			_, held := j.Bounds()
			if held != c.acked && held != c.acked+3 {
				t.Fatalf("next = %d, acknowledged was up to %d, in writes of 3", held, c.acked)
			}
			check(t, j, 1, held, 500)
			c.acked = fill(t, j, 9, 500)
			check(t, j, 1, c.acked, 500)
			stop(t, j)
		}
	}
	if len(crashes) < 80 {
		t.Errorf("only %d crashes", len(crashes))
	}

}
