// Package object writes records as files into object stores: Amazon S3 and what speaks its protocol, and Google Cloud Storage.
//
// An object holds the records that a batch has for one folder, is written once and never changed. Its name ends in the lane, the
// epoch and the ordinal of its first record, its metadata say up to which ordinal it holds all of the folder's records: that is
// the ledger. See lane.go for why it is enough.
//
// Docs: docs/destinations/s3.md, docs/destinations/gcs.md.
package object

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// Settings of a block.
type Settings struct {
	Bucket      string `json:"bucket,omitempty" jsonschema:"description=Bucket to write to; without it the one that the connection names"`
	Path        string `json:"path,omitempty" jsonschema:"description=Folder of an object; {stream} {integration} {user} {installation} {date} {year} {month} {day} and {hour} stand for the record's,default=stream={stream}/date={date}"`
	Format      string `json:"format,omitempty" jsonschema:"description=ndjson: a line of JSON for each record; parquet: the same as columns,enum=ndjson,enum=parquet,default=ndjson"`
	Compression string `json:"compression,omitempty" jsonschema:"description=gzip is the default of ndjson and zstd that of parquet,enum=gzip,enum=zstd,enum=none"`
}

const (
	// uploads is how many objects of a batch are written at once.
	uploads = 4
	// partBytes is the size of the parts that a large object is sent in, which is all of it that is in memory: one being filled and one or
	// two on their way.
	partBytes = 8 << 20
	// blockBytes is what an encoder hands to an upload at once.
	blockBytes = 256 << 10
	// requestTime bounds a request with its answer.
	requestTime = time.Minute
)

// account is what a connection leads to, shared by the destinations that have the connection.
type account interface {
	open(bucket string) (*blob.Bucket, error)
	// listAfter makes a listing begin behind a key, as blob.ListOptions.BeforeList.
	listAfter(key string) func(as func(any) bool) error
	// writing prepares an upload, as blob.WriterOptions.BeforeWrite. A refused one has a condition that no object can meet.
	writing(refused bool) func(as func(any) bool) error
	// unmet says that an answer was no, because of a write's condition.
	unmet(err error) bool
	// failed explains an error and gives it a kind (I9).
	failed(a action, bucket string, err error) *connectors.Error
	io.Closer
}

// action is something done with a bucket, and the right that it takes.
type action struct {
	op, s3, gcs string
}

var (
	listing   = action{"list objects", "s3:ListBucket", "storage.objects.list"}
	looking   = action{"read an object's metadata", "s3:GetObject", "storage.objects.get"}
	uploading = action{"write an object", "s3:PutObject", "storage.objects.create"}
)

type destination struct {
	account account
	release func() error
	bucket  *blob.Bucket
	name    string // of the bucket
	path    path
	format  format
	dialect *table.Dialect // of the columns; nil in layout raw
	lanes   lanes
	gate    lifetime.Gate
}

var layouts = []string{connectors.LayoutRaw, connectors.LayoutColumns}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

// open opens a destination on an account that acquire gives; bucket is the one that the connection names.
func open(c connectors.Config, bucket string, acquire func() (account, func() error, error)) (connectors.Destination, error) {
	s, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	if c.Mode != "" && c.Mode != connectors.Append {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "mode %q is not possible: an object never changes, so want %s", c.Mode, connectors.Append)
	}
	switch {
	case c.Layout != "" && !slices.Contains(layouts, c.Layout):
		return nil, connectors.Errorf(connectors.Invalid, "settings", "layout %q: want one of %q", c.Layout, layouts)
	case c.Layout == connectors.LayoutColumns && s.Format != "parquet":
		return nil, connectors.Errorf(connectors.Invalid, "settings", "layout %s needs format parquet", c.Layout)
	case c.Schema != "" && c.Schema != connectors.Evolve:
		return nil, connectors.Errorf(connectors.Invalid, "settings", "schema %q is not possible: each file has the columns of its own records, so want %s", c.Schema, connectors.Evolve)
	}
	d := &destination{name: cmp.Or(s.Bucket, bucket)}
	if err := checkBucket(d.name); err != nil {
		return nil, err
	}
	if d.path, err = parsePath(s.Path); err != nil {
		return nil, err
	}
	if c.Layout == connectors.LayoutColumns {
		dialect := d.path.dialect()
		d.dialect = &dialect
	}
	if d.format, err = newFormat(s.Format, s.Compression); err != nil {
		return nil, err
	}
	if d.account, d.release, err = acquire(); err != nil {
		return nil, err
	}
	if d.bucket, err = d.account.open(d.name); err != nil {
		d.release()
		return nil, connectors.Errorf(connectors.Invalid, "settings", "bucket %q can't be opened", d.name)
	}
	return d, nil
}

// Write keeps I3: of each folder, what lies below the end of an object that is there is skipped, and the rest becomes one object that
// is only made if there is none of its name.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	result := connectors.NewResult(len(b.Records))
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()

	known := d.lanes.known(&b)
	ends := make(map[string]int64)
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(uploads)
	for _, p := range d.portions(&b, &result) {
		g.Go(func() error {
			end, err := d.settle(gctx, p, known)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			ends[p.folder] = end
			for _, i := range p.records {
				result.Durable(i, i+1)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return result, err
	}
	d.lanes.moved(&b, known, ends)
	return result, nil
}

// Close ends running writes as Unavailable.
func (d *destination) Close() error {
	d.gate.Close()
	if err := d.bucket.Close(); err != nil {
		d.release()
		return connectors.AsError("close", err)
	}
	return d.release()
}
