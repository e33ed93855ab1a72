package object

import (
	"context"
	"errors"
	"io"

	"gocloud.dev/blob"

	"tributary/connectors"
)

// Check proves that the bucket is there, that objects may be listed, looked at and written in the folders of the block, and that the store
// keeps the conditions of a write. It changes nothing: its write has a condition that no object can meet.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	prefix := d.path.fixed
	if _, _, err := d.bucket.ListPage(ctx, blob.FirstPageToken, 1, &blob.ListOptions{Prefix: prefix}); err != nil && !errors.Is(err, io.EOF) {
		return d.account.failed(listing, d.name, err)
	}
	key := prefix + "_tributary_check"
	if _, err := d.bucket.Attributes(ctx, key); err != nil {
		if e := d.account.failed(looking, d.name, err); e.Kind != connectors.NotFound {
			return e
		}
	}
	err = d.bucket.WriteAll(ctx, key, nil, &blob.WriterOptions{DisableContentTypeDetection: true, BeforeWrite: d.account.writing(true)})
	if err == nil {
		// No harm is left where we may delete, and an empty object where we may not.
		_ = d.bucket.Delete(ctx, key)
		return connectors.Errorf(connectors.Invalid, "check",
			"the store wrote an object although a condition forbade it, so it would write records twice: use one that keeps the conditions of writes (If-Match, If-None-Match)")
	}
	e := d.account.failed(uploading, d.name, err)
	if d.account.unmet(err) || e.Kind == connectors.NotFound { // Amazon says that there is no object to match; the bucket is there
		return nil
	}
	return e
}
