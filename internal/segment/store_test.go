package segment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
)

func open(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// each runs a test on every kind of store.
func each(t *testing.T, test func(t *testing.T, s *Store)) {
	for name, url := range map[string]func(t *testing.T) string{
		"file": func(t *testing.T) string { return "file://" + filepath.Join(t.TempDir(), "not there yet", "store") },
		"mem":  func(*testing.T) string { return "mem://" },
		"s3":   func(t *testing.T) string { return serveS3(t) + "&prefix=some/folder/" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t, url(t)))
		})
	}
}

func builder(records ...connectors.Record) *Builder {
	b := NewBuilder()
	for _, r := range records {
		b.Add(r)
	}
	return b
}

// What is sealed is loaded; sealing it again is success, sealing something else under its name changes
// nothing (I12).
func TestSealLoad(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		n := Name{Epoch: "e", Stream: "or/ders", Origin: OriginPoll, Sequence: 3, Suffix: "ab"}
		if _, err := s.Load(ctx, n.String()); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("before: %v, want os.ErrNotExist", err)
		}
		b := builder(samples()...)
		for range 2 {
			ref, err := s.Seal(ctx, n, b)
			if want := (Ref{Name: n.String(), Stream: "or/ders", Records: b.Len(), Bytes: b.Bytes()}); err != nil || ref != want {
				t.Fatalf("Seal = %+v, %v; want %+v", ref, err, want)
			}
		}
		if _, err := s.Seal(ctx, n, builder(samples()[1])); !errors.Is(err, ErrConflict) {
			t.Errorf("different records: %v, want ErrConflict", err)
		}
		seg, err := s.Load(ctx, n.String())
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range seg.Records() {
			if !same(r, samples()[i]) {
				t.Errorf("record %d = %+v", i, r)
			}
		}
		if seg.Len() != len(samples()) {
			t.Errorf("Len = %d", seg.Len())
		}
		for range 2 {
			if err := s.Delete(ctx, n.String()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Load(ctx, n.String()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after: %v, want os.ErrNotExist", err)
		}
		if _, err := s.Seal(ctx, n, b); err != nil {
			t.Errorf("after Delete: %v", err)
		}
	})
}

// Of many writers of one name with different bytes one wins, and the others learn it.
func TestSealRace(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *Store) {
		var (
			wg   sync.WaitGroup
			errs [8]error
		)
		n := Name{Epoch: "e", Stream: "s", Origin: "o"}
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = s.Seal(t.Context(), n, builder(connectors.Record{ID: fmt.Sprint(i)}))
			})
		}
		wg.Wait()
		seg, err := s.Load(t.Context(), n.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range seg.Records() {
			for i, err := range errs {
				if won := r.ID == fmt.Sprint(i); won && err != nil || !won && !errors.Is(err, ErrConflict) {
					t.Errorf("writer %d: %v, and %s won", i, err, r.ID)
				}
			}
		}
	})
}

// Put, Get and List: write-once, and listed by prefix with their sizes.
func TestPutGetList(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		names := []string{"e1/a/x", "e1/a/y", "e1/ab/x", "e2/a/x", "e2/b%2Fc/x", "top"}
		for _, name := range names {
			if err := s.Put(ctx, name, []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Put(ctx, "top", []byte("top")); err != nil {
			t.Errorf("same bytes again: %v", err)
		}
		for _, other := range []string{"to", "topp", ""} {
			if err := s.Put(ctx, "top", []byte(other)); !errors.Is(err, ErrConflict) {
				t.Errorf("%q over %q: %v, want ErrConflict", other, "top", err)
			}
		}
		if b, err := s.Get(ctx, "e2/b%2Fc/x"); err != nil || string(b) != "e2/b%2Fc/x" {
			t.Errorf("Get = %q, %v", b, err)
		}
		for prefix, want := range map[string][]string{
			"": names, "e1/": names[:3], "e1/a": names[:3], "e1/a/": names[:2], "e1/a/y": names[1:2], "e": names[:5], "none/": nil, "e1/a/x/": nil,
		} {
			var got []string
			for o, err := range s.List(ctx, prefix) {
				if err != nil {
					t.Fatal(err)
				}
				if o.Size != int64(len(o.Name)) || time.Since(o.ModTime).Abs() > time.Hour {
					t.Errorf("%+v", o)
				}
				got = append(got, o.Name)
			}
			if !slices.Equal(got, want) {
				t.Errorf("List(%q) = %q, want %q", prefix, got, want)
			}
		}
		for o, err := range s.List(ctx, "") {
			if err != nil || o.Name != names[0] {
				t.Errorf("%+v, %v", o, err)
			}
			break
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if err := s.Put(canceled, "late", nil); err == nil {
			t.Error("Put with a canceled context succeeded")
		}
		for _, err := range s.List(canceled, "") {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("List with a canceled context: %v", err)
			}
		}
		if _, err := s.Get(ctx, "late"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the canceled Put left something: %v", err)
		}
	})
}

// Every opener of one store gets the same ID, also when all are first; another store has another.
func TestID(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *Store) {
		var (
			wg  sync.WaitGroup
			ids [8]string
		)
		for i := range ids {
			wg.Go(func() {
				var err error
				if ids[i], err = s.ID(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id == "" || id != ids[0] {
				t.Fatalf("IDs differ: %q", ids)
			}
		}
		other, err := open(t, "mem://").ID(t.Context())
		if err != nil || other == ids[0] {
			t.Errorf("another store's ID is %q, %v", other, err)
		}
	})
}

// A damaged segment is not read, and a damaged stamp isn't replaced by a new one.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, "file://"+dir)
	ref, err := s.Seal(t.Context(), Name{Epoch: "e", Stream: "s", Origin: "o"}, builder(samples()...))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filepath.FromSlash(ref.Name))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), ref.Name); !errors.Is(err, ErrDamaged) {
		t.Errorf("Load: %v, want ErrDamaged", err)
	}
	if err := os.WriteFile(filepath.Join(dir, stampName), []byte("scribble"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := s.ID(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("ID = %q, %v, want ErrDamaged", id, err)
	}
	if err := os.Truncate(path, MaxObjectBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), ref.Name); !errors.Is(err, ErrDamaged) {
		t.Errorf("an object past the limit: %v, want ErrDamaged", err)
	}
}

// Nothing but objects is left in a directory: no half-written files, no side files, no empty folders; and
// what a killed process left is removed when nobody can be writing it any more.
func TestFilesLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, "file://"+dir)
	ref, err := s.Seal(t.Context(), Name{Epoch: "e", Stream: "s", Origin: "o"}, builder(samples()...))
	if err != nil {
		t.Fatal(err)
	}
	tree := func() (paths []string) {
		for p, err := range walk(dir) {
			if err != nil {
				t.Fatal(err)
			}
			paths = append(paths, p)
		}
		return paths
	}
	if got, want := tree(), []string{".scratch", "e", "e/s", ref.Name}; !slices.Equal(got, want) {
		t.Errorf("after Seal: %q, want %q", got, want)
	}
	if err := s.Delete(t.Context(), ref.Name); err != nil {
		t.Fatal(err)
	}
	if got, want := tree(), []string{".scratch"}; !slices.Equal(got, want) {
		t.Errorf("after Delete: %q, want %q", got, want)
	}
	for name, age := range map[string]time.Duration{"old": staleAfter + time.Hour, "new": 0} {
		path := filepath.Join(dir, scratch, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	open(t, "file://"+dir)
	if got, want := tree(), []string{".scratch", ".scratch/new"}; !slices.Equal(got, want) {
		t.Errorf("after opening again: %q, want %q", got, want)
	}
}

func walk(dir string) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if rel, _ := filepath.Rel(dir, path); rel != "." && !yield(filepath.ToSlash(rel), err) {
				return filepath.SkipAll
			}
			return nil
		})
	}
}

// Sealing and deleting in one directory at once loses no object to the removal of empty directories.
func TestFilesSealWhileDeleting(t *testing.T) {
	t.Parallel()
	s := open(t, "file://"+t.TempDir())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 25 {
				n := Name{Epoch: "e", Stream: "s", Origin: fmt.Sprint(i), Sequence: uint64(j)}
				ref, err := s.Seal(t.Context(), n, builder(samples()[1]))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Load(t.Context(), ref.Name); err != nil {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), ref.Name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// Names that would leave the store, or mean nothing in one of the backends, are refused.
func TestBadNames(t *testing.T) {
	t.Parallel()
	s := open(t, "file://"+t.TempDir())
	for _, name := range []string{"", ".", "..", "/etc/x", "a/../../x", "a//b", "a/", ".scratch/x", "a/./b"} {
		if err := s.Put(t.Context(), name, nil); err == nil {
			t.Errorf("Put(%q) succeeded", name)
		}
		if _, err := s.Get(t.Context(), name); err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("Get(%q): %v", name, err)
		}
		if err := s.Delete(t.Context(), name); err == nil {
			t.Errorf("Delete(%q) succeeded", name)
		}
	}
	if _, err := s.Seal(t.Context(), Name{Epoch: "..", Stream: "s", Origin: "o"}, NewBuilder()); err == nil {
		t.Error("Seal of an epoch .. succeeded")
	}
}

// A URL that can't work is refused with what would, and without repeating a password in it (I7).
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "/var/lib/x", "file://relative/dir", "file:relative", "file:///x?create_dir=true", "ftp://host/x", "s3:bucket",
		"s3://bucket/folder", "s3://", "gs://bucket/folder", "mem://name", "s3://key:hunter2@bucket", "://hunter2", "http://u:hunter2@h",
	} {
		_, err := Open(t.Context(), url)
		if err == nil || !strings.Contains(err.Error(), "supported: file:///") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q): %v", url, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), "file://"+file); err == nil {
		t.Error("a file was opened as a directory")
	}
}
