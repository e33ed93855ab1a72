package segment

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// files keeps objects in a local directory. An object appears under its name only when all of it is on
// the disk: it is written and synced elsewhere in the directory, then linked. A link, unlike a rename,
// replaces nothing.
type files struct {
	dir string
}

var _ backend = (*files)(nil)

const (
	// scratch is the directory of objects being written. No object's name starts like it.
	scratch = ".scratch"
	// staleAfter a process that was writing in scratch is surely gone.
	staleAfter = 24 * time.Hour
)

func openFiles(dir string) (*files, error) {
	f := &files{dir: filepath.Clean(dir)}
	if err := os.MkdirAll(f.path(scratch), 0o700); err != nil {
		return nil, err
	}
	return f, f.removeStale(time.Now())
}

// removeStale deletes what processes that died while writing have left.
func (f *files) removeStale(now time.Time) error {
	entries, err := os.ReadDir(f.path(scratch))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < staleAfter {
			continue // gone meanwhile, or in use
		}
		if err := os.Remove(filepath.Join(f.path(scratch), e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (f *files) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

func (f *files) create(ctx context.Context, name string, pieces [][]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	final := f.path(name)
	if _, err := os.Lstat(final); err == nil {
		return os.ErrExist // spares a retry the writing
	}
	tmp, err := os.CreateTemp(f.path(scratch), "object-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	for _, p := range pieces {
		if _, err := tmp.Write(p); err != nil {
			tmp.Close()
			return err
		}
	}
	if err := cmp.Or(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return f.link(tmp.Name(), final)
}

// link gives the file tmp the name final, durably.
func (f *files) link(tmp, final string) error {
	err := os.Link(tmp, final)
	// The directory is absent: not made yet, or removed with the last object in it, maybe again meanwhile.
	for tries := 0; errors.Is(err, os.ErrNotExist) && tries < 10; tries++ {
		if err = f.makeDir(filepath.Dir(final)); err == nil {
			err = os.Link(tmp, final)
		}
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(final))
}

// makeDir makes dir and what is absent above it, durably.
func (f *files) makeDir(dir string) error {
	if dir == f.dir {
		return nil
	}
	if err := f.makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func (f *files) persist(_ context.Context, name string) error {
	// The process that linked the object may have died before it synced the directory.
	return syncDir(filepath.Dir(f.path(name)))
}

func (f *files) open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	r, err := os.Open(f.path(name))
	if err != nil {
		return nil, 0, err
	}
	info, err := r.Stat()
	if err != nil {
		r.Close()
		return nil, 0, err
	}
	return r, info.Size(), nil
}

func (f *files) remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Remove(f.path(name)); err != nil {
		return err
	}
	// Directories that are empty now go too; one that isn't refuses.
	for dir := filepath.Dir(f.path(name)); dir != f.dir && os.Remove(dir) == nil; dir = filepath.Dir(dir) {
	}
	return nil
}

func (f *files) list(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		err := fs.WalkDir(os.DirFS(f.dir), ".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, os.ErrNotExist) && name != ".":
				return nil // deleted while listing
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case d.IsDir():
				// A directory on the way to prefix, or below it.
				below := name + "/"
				if name == "." || name != scratch && (strings.HasPrefix(below, prefix) || strings.HasPrefix(prefix, below)) {
					return nil
				}
				return fs.SkipDir
			case !strings.HasPrefix(name, prefix):
				return nil
			}
			info, err := d.Info()
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if !yield(Object{Name: name, Size: info.Size(), ModTime: info.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Object{}, err)
		}
	}
}

func (f *files) close() error { return nil }

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
