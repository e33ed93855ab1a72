package object

import (
	"context"
	"errors"
	"io"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

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
	prefix := d.path.fixed()
	if _, _, err := d.bucket.ListPage(ctx, blob.FirstPageToken, 1, &blob.ListOptions{Prefix: prefix}); err != nil && !errors.Is(err, io.EOF) {
		return d.account.failed(listing, d.name, err)
	}
	key := prefix + "_tributary_check"
	if _, err := d.bucket.Attributes(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return d.account.failed(looking, d.name, err)
	}
	err = d.bucket.WriteAll(ctx, key, nil, &blob.WriterOptions{DisableContentTypeDetection: true, BeforeWrite: d.account.writing(true)})
	if err == nil {
		// No harm is left where we may delete, and an empty object where we may not.
		_ = d.bucket.Delete(ctx, key)
		return connectors.Errorf(connectors.Invalid, "check",
			"the store wrote an object although a condition forbade it, so it would write records twice: use one that keeps the conditions of writes (If-Match, If-None-Match)")
	}
	e := d.account.failed(uploading, d.name, err)
	if code := gcerrors.Code(err); code == gcerrors.FailedPrecondition || code == gcerrors.NotFound && e.Kind == connectors.NotFound {
		return nil // allowed, but for the condition
	}
	return e
}
