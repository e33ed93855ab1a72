package activities

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/google/uuid"

	"tributary/connectors"
	"tributary/internal/segment"
)

// maxInline is how large a bookmark may be in a history, in bytes, also where the workflow would carry more.
const maxInline = 1024

// fingerprint stands for a record in the sets below: the first 16 bytes of a SHA-256.
type fingerprint [16]byte

// memory is a set of fingerprints with a time by which the old ones are forgotten.
type memory map[fingerprint]int64 // Unix microseconds

// forget drops what is older than t.
func (m memory) forget(t time.Time) {
	for f, at := range m {
		if at < t.UnixMicro() {
			delete(m, f)
		}
	}
}

const bookmarkVersion = 1

// encode writes a cursor and a set: version, cursor, then 24 bytes a fingerprint.
func encode(cursor []byte, m memory) []byte {
	b := make([]byte, 0, 1+binary.MaxVarintLen64+len(cursor)+len(m)*24)
	b = append(b, bookmarkVersion)
	b = binary.AppendUvarint(b, uint64(len(cursor)))
	b = append(b, cursor...)
	for f, at := range m {
		b = append(b, f[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(at))
	}
	return b
}

var errCut = connectors.Errorf(connectors.Unknown, "read bookmark", "it is cut short: restore it from a backup, or read the stream again with a backfill")

func decode(b []byte) (cursor []byte, m memory, err error) {
	m = make(memory)
	if len(b) == 0 {
		return nil, m, nil
	}
	if b[0] != bookmarkVersion {
		return nil, nil, connectors.Errorf(connectors.Unknown, "read bookmark", "its version %d is unknown: a newer worker wrote it", b[0])
	}
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)-1-k) {
		return nil, nil, errCut
	}
	b = b[1+k:]
	cursor, b = b[:n:n], b[n:]
	if len(b)%24 != 0 {
		return nil, nil, errCut
	}
	for ; len(b) > 0; b = b[24:] {
		m[fingerprint(b[:16])] = int64(binary.BigEndian.Uint64(b[16:24]))
	}
	return cursor, m, nil
}

// load reads a bookmark from where it is.
func (a *Activities) load(ctx context.Context, b Bookmark) ([]byte, memory, error) {
	raw := b.Inline
	if b.Object != "" {
		var err error
		raw, err = a.Segments.Get(ctx, b.Object)
		if errors.Is(err, os.ErrNotExist) {
			// A workflow reset may go back to one that was not needed any more.
			return nil, nil, connectors.Errorf(connectors.CursorExpired, "read bookmark", "%s is not in the segment store any more", b.Object)
		}
		if err != nil {
			return nil, nil, storeError("read bookmark", err)
		}
	}
	return decode(raw)
}

// save writes a bookmark: inline where it is small, else as an object of its own.
func (a *Activities) save(ctx context.Context, in FetchInput, cursor []byte, m memory) (Bookmark, error) {
	raw := encode(cursor, m)
	if len(raw) <= min(in.Inline, maxInline) {
		return Bookmark{Inline: raw}, nil
	}
	name, err := a.put(ctx, segment.Name{
		Epoch: in.Epoch, Stream: in.Stream, Origin: Origin(OverlapOrigin, in.Suffix), Sequence: in.Chunk, Suffix: attempt(),
	}, raw)
	return Bookmark{Object: name}, err
}

func (a *Activities) put(ctx context.Context, n segment.Name, raw []byte) (string, error) {
	name := n.String()
	if err := a.Segments.Put(ctx, name, raw); err != nil {
		return "", storeError("write "+n.Origin, err)
	}
	return name, nil
}

// attempt tells the objects of one attempt from those of another: a retried fetch may find other records.
func attempt() string { return uuid.NewString()[:8] }

// storeError is an error of the segment store, whose texts hold no secret and no payload: it passes.
func storeError(op string, err error) error {
	return &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: "segment store: " + err.Error(), Err: err}
}

// catalogError is an error of the catalog or the vault, of which the same is true.
func catalogError(op string, err error) error {
	return &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: "catalog: " + err.Error(), Err: err}
}
