package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob" // gs://
	_ "gocloud.dev/blob/memblob" // mem://
	_ "gocloud.dev/blob/s3blob"  // s3://
	"gocloud.dev/gcerrors"
)

// bucket keeps objects in an object store, which makes them durable before it answers.
type bucket struct {
	b *blob.Bucket
}

var _ backend = (*bucket)(nil)

func openBucket(ctx context.Context, u *url.URL) (*bucket, error) {
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, err
	}
	return &bucket{b: b}, nil
}

func (b *bucket) create(ctx context.Context, name string, pieces [][]byte) error {
	// A canceled context makes Close drop the upload; without it Close would seal half an object.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.b.NewWriter(ctx, name, &blob.WriterOptions{
		IfNotExist:                  true, // S3: If-None-Match, GCS: ifGenerationMatch=0
		ContentType:                 "application/octet-stream",
		DisableContentTypeDetection: true,
	})
	if err != nil {
		return translate(err)
	}
	for _, p := range pieces {
		if _, err := w.Write(p); err != nil {
			cancel()
			w.Close()
			return translate(err)
		}
	}
	return translate(w.Close())
}

func (b *bucket) persist(context.Context, string) error { return nil }

func (b *bucket) open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	r, err := b.b.NewReader(ctx, name, nil)
	if err != nil {
		return nil, 0, translate(err)
	}
	return r, r.Size(), nil
}

func (b *bucket) remove(ctx context.Context, name string) error {
	return translate(b.b.Delete(ctx, name))
}

func (b *bucket) list(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for it := b.b.List(&blob.ListOptions{Prefix: prefix}); ; {
			o, err := it.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err = cmp.Or(ctx.Err(), err); err != nil { // memory doesn't look at the context
				yield(Object{}, translate(err))
				return
			}
			if !yield(Object{Name: o.Key, Size: o.Size, ModTime: o.ModTime}, nil) {
				return
			}
		}
	}
}

func (b *bucket) close() error { return b.b.Close() }

// translate gives the two outcomes that callers tell apart their names in package os.
func translate(err error) error {
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return fmt.Errorf("%w: %w", os.ErrNotExist, err)
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return fmt.Errorf("%w: %w", os.ErrExist, err)
	}
	return err
}
