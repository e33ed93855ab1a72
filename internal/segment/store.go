// Package segment keeps sealed, immutable runs of records, and the other objects that an installation
// leaves behind, in local files, S3 or GCS.
package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ErrConflict marks a write to a name that holds other bytes already (I12).
var ErrConflict = errors.New("the name holds different bytes already")

// Ref is what a workflow's history holds of a segment; hence the short names.
type Ref struct {
	Name    string `json:"n"`
	Stream  string `json:"s"`
	Records int    `json:"r"`
	Bytes   int64  `json:"b"` // payload bytes
}

// Object is an entry of a store's listing.
type Object struct {
	Name    string
	Size    int64 // bytes
	ModTime time.Time
}

// Store holds objects by name, each written once. It is safe for concurrent use, also by many processes.
type Store struct {
	backend backend
}

// backend is what a place to keep objects must do. Errors of absent objects satisfy errors.Is(err, os.ErrNotExist).
type backend interface {
	// create writes the pieces as one object, durably and all or nothing. When there is an object of
	// that name, it returns an error that satisfies errors.Is(err, os.ErrExist) and changes nothing.
	create(ctx context.Context, name string, pieces [][]byte) error
	// persist makes sure that an existing object is as durable as create leaves one.
	persist(ctx context.Context, name string) error
	// open returns a reader and the object's length.
	open(ctx context.Context, name string) (io.ReadCloser, int64, error)
	remove(ctx context.Context, name string) error
	// list yields objects in lexical order of their path elements.
	list(ctx context.Context, prefix string) iter.Seq2[Object, error]
	close() error
}

const supported = `supported: file:///absolute/directory, mem:// (one process, for tests), s3://bucket?region=...&prefix=folder/, gs://bucket?prefix=folder/`

// Open opens the store at a URL:
//
//	file:///absolute/directory  local files; the directory is made when it is absent
//	mem://                      memory of this process, gone when the store is closed
//	s3://bucket?region=...      S3 or compatible: also &endpoint=, &use_path_style=true, &prefix=folder/
//	gs://bucket                 Google Cloud Storage: also ?prefix=folder/
//
// Credentials come from where the vendor's own tools look for them. Open reaches no bucket; ID does.
func Open(ctx context.Context, rawURL string) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.User != nil {
		// Neither the URL nor url.Parse's error is repeated: both may hold a password (I7).
		return nil, fmt.Errorf("segment store: not a URL, or one with a password in it; %s", supported)
	}
	var b backend
	switch u.Scheme {
	case "file":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" {
			return nil, fmt.Errorf("segment store %s: want an absolute directory after three slashes and no parameters; %s", u, supported)
		}
		b, err = openFiles(u.Path)
	case "mem", "s3", "gs":
		if strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("segment store %s: a folder in the bucket is given as ?prefix=folder/; %s", u.Redacted(), supported)
		}
		if (u.Host == "") != (u.Scheme == "mem") {
			return nil, fmt.Errorf("segment store %s: want the bucket's name after the two slashes; %s", u.Redacted(), supported)
		}
		b, err = openBucket(ctx, u)
	case "":
		return nil, fmt.Errorf("segment store %q: no scheme; %s", rawURL, supported)
	default:
		return nil, fmt.Errorf("segment store: unknown scheme %q; %s", u.Scheme, supported)
	}
	if err != nil {
		return nil, fmt.Errorf("segment store %s: %w", u.Scheme+"://"+u.Host+u.Path, err)
	}
	return &Store{backend: b}, nil
}

// Close releases what the store holds open.
func (s *Store) Close() error { return s.backend.close() }

// stampName is outside every epoch, so that no sweep comes by it.
const stampName = "store-id"

// ID returns the store's own UUID, which the first caller ever writes into it: two workers that get
// the same ID see the same store.
func (s *Store) ID(ctx context.Context) (string, error) {
	for {
		stamp, err := s.Get(ctx, stampName)
		if err == nil {
			id, err := uuid.ParseBytes(stamp)
			if err != nil {
				return "", fmt.Errorf("segment store: object %s: %w: restore it from a backup", stampName, ErrDamaged)
			}
			return id.String(), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		// Another may be faster: then its stamp is read in the next round.
		err = s.backend.create(ctx, stampName, [][]byte{[]byte(uuid.NewString())})
		if err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("segment store: write %s: %w", stampName, err)
		}
	}
}

// Seal writes the builder's records as the segment n, durable when it returns. Sealing the same records
// under the same name again is success, sealing others an ErrConflict (I12). The builder keeps its records.
func (s *Store) Seal(ctx context.Context, n Name, b *Builder) (Ref, error) {
	if err := n.valid(); err != nil {
		return Ref{}, err
	}
	name := n.String()
	pieces, err := b.encode()
	if err != nil {
		return Ref{}, fmt.Errorf("seal %s: %w", name, err)
	}
	if err := s.createOnce(ctx, name, pieces); err != nil {
		return Ref{}, fmt.Errorf("seal %s: %w", name, err)
	}
	return Ref{Name: name, Stream: n.Stream, Records: b.Len(), Bytes: b.Bytes()}, nil
}

// Load reads a segment and verifies every byte of it. The error of an absent one satisfies
// errors.Is(err, os.ErrNotExist), of one that is not what was sealed errors.Is(err, ErrDamaged).
func (s *Store) Load(ctx context.Context, name string) (*Segment, error) {
	b, err := s.read(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	seg, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	return seg, nil
}

// Put writes data, at most MaxObjectBytes, durable when it returns. Like Seal it is write-once: the same
// bytes again are success, others an ErrConflict.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := s.createOnce(ctx, name, [][]byte{data}); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// Get returns an object's bytes, which it doesn't verify.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	b, err := s.read(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return b, nil
}

// Delete removes an object. Deleting an absent one is success.
func (s *Store) Delete(ctx context.Context, name string) error {
	err := checkPath(name)
	if err == nil {
		err = s.backend.remove(ctx, name)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// List yields the objects whose names start with prefix, sorted within each element of the path. What is
// written or deleted meanwhile may or may not be among them. After an error it yields no more.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range s.backend.list(ctx, prefix) {
			if err != nil {
				yield(Object{}, fmt.Errorf("list %q: %w", prefix, err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (s *Store) createOnce(ctx context.Context, name string, pieces [][]byte) error {
	if err := checkPath(name); err != nil {
		return err
	}
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	if size > MaxObjectBytes {
		return fmt.Errorf("%d bytes pass the limit of %d", size, MaxObjectBytes)
	}
	err := s.backend.create(ctx, name, pieces)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	there, err := s.read(ctx, name)
	if err != nil {
		return fmt.Errorf("compare with what is there: %w", err)
	}
	if !equal(there, pieces) {
		return ErrConflict
	}
	return s.backend.persist(ctx, name)
}

func (s *Store) read(ctx context.Context, name string) ([]byte, error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	r, size, err := s.backend.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size < 0 || size > MaxObjectBytes {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrDamaged, size, MaxObjectBytes)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read %d bytes: %w", size, err)
	}
	if n, err := io.CopyN(io.Discard, r, 1); n > 0 {
		return nil, fmt.Errorf("%w: more bytes than the %d that its store says", ErrDamaged, size)
	} else if err != io.EOF {
		return nil, err
	}
	return b, nil
}

// checkPath refuses what would leave the store's directory, or mean different objects in different backends.
func checkPath(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.HasPrefix(name, scratch) {
		return fmt.Errorf("object name %q: want elements separated by single slashes", name)
	}
	return nil
}

func equal(b []byte, pieces [][]byte) bool {
	for _, p := range pieces {
		if !bytes.HasPrefix(b, p) {
			return false
		}
		b = b[len(p):]
	}
	return len(b) == 0
}
