package table

import (
	"context"

	"tributary/connectors"
	"tributary/connectors/lifetime"
)

// Destination is what a destination of rows is made of, besides its Check. A connector embeds it.
type Destination struct {
	Options Options
	gate    lifetime.Gate
	store   func(mode connectors.Mode) Store
	release func() error
}

// Open sets it up, once, with what makes a Store for a batch of a mode, and what lets go of what the stores use.
func (d *Destination) Open(o Options, store func(mode connectors.Mode) Store, release func() error) {
	d.Options, d.store, d.release = o, store, release
}

// Enter returns a context that ends when the destination closes, and what must be called on leaving.
func (d *Destination) Enter(ctx context.Context) (context.Context, func(), error) {
	return d.gate.Enter(ctx)
}

// Write keeps I3 and I5 by the Store; see Write.
func (d *Destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	ctx, leave, err := d.Enter(ctx)
	if err != nil {
		return connectors.NewResult(len(b.Records)), err
	}
	defer leave()
	return Write(ctx, d.store(b.Mode), d.Options, b)
}

// Close ends running writes as Unavailable.
func (d *Destination) Close() error {
	d.gate.Close()
	return d.release()
}
