package journal

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft-wal/types"
)

// disk makes files keep what raft-wal takes for granted: what it finds on opening is durable, and a write
// that failed is not found later.
type disk struct {
	types.VFS
}

func (d disk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := d.VFS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	return &file{WritableFile: f, unsynced: synced}, nil
}

// OpenWriter syncs before anything is read: a process that was killed may have left entries in the page
// cache only. Read and consumed, and then lost with the power, their indexes would be used again.
func (d disk) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := d.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Sync(), syncDir(dir)); err != nil {
		f.Close()
		return nil, err
	}
	return &file{WritableFile: f, unsynced: synced}, nil
}

// file takes back writes that failed. raft-wal writes each batch at the end of what is durable, then syncs.
type file struct {
	types.WritableFile
	unsynced int64 // offset from which on what was written isn't synced, or synced
}

const synced = -1

func (f *file) WriteAt(b []byte, offset int64) (int, error) {
	if f.unsynced == synced {
		f.unsynced = offset
	}
	n, err := f.WritableFile.WriteAt(b, offset)
	if err != nil {
		err = errors.Join(err, f.takeBack())
	}
	return n, err
}

// Sync that fails leaves pages that look clean and may not be on the disk: they must not be read, nor be
// taken for written by the next Sync.
func (f *file) Sync() error {
	if err := f.WritableFile.Sync(); err != nil {
		return errors.Join(err, f.takeBack())
	}
	f.unsynced = synced
	return nil
}

func (f *file) takeBack() error {
	if f.unsynced == synced {
		return nil
	}
	err := f.cut(f.unsynced)
	if err == nil {
		f.unsynced = synced
	}
	return err
}

func (f *file) cut(size int64) error {
	t, ok := f.WritableFile.(interface{ Truncate(size int64) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return t.Truncate(size)
}

// makeDir makes a directory, durably.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
