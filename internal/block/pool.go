package block

import (
	"context"
	"errors"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/integration"
)

// Destinations are pooled per block revision and connection version: a rotated secret takes effect with the next batch,
// and the old one is closed when its last write is done.
type poolKey struct {
	integration string
	revision    int
	lane        string
	owner       string
}

type pooled struct {
	destination connectors.Destination
	program     *integration.Program
	version     int64
	users       int
	stale       bool
}

// maxPooled bounds how many destinations are held open that nobody uses.
const maxPooled = 256

// Lane is an opened destination block, lent until Release.
type Lane struct {
	connectors.Destination
	Program *integration.Program
	Block   integration.Destination
	Mode    connectors.Mode
	Both    bool
	release func()
}

// Release gives it back.
func (l *Lane) Release() { l.release() }

// Check asks the destination whether it works.
func (l *Lane) Check(ctx context.Context) error {
	return check(ctx, l.Block.Connector, l.Destination)
}

// WriteGuarded is Write with a panic turned into an error.
func (l *Lane) WriteGuarded(ctx context.Context, b connectors.Batch) (r connectors.Result, err error) {
	defer Guard(l.Block.Connector, &err)
	return l.Destination.Write(ctx, b)
}

// Lane opens, or lends again, the destination block of that name.
func (o *Opener) Lane(ctx context.Context, name string, revision int, user, lane string) (*Lane, error) {
	spec, err := o.Spec(ctx, name, revision)
	if err != nil {
		return nil, err
	}
	var b integration.Destination
	for _, d := range spec.Destinations {
		if d.Name == lane {
			b = d
		}
	}
	if b.Name == "" {
		return nil, connectors.Errorf(connectors.Invalid, "open destination", "revision %d of %s has no destination %q", revision, name, lane)
	}
	def, err := o.registry.Lookup(b.Connector)
	if err != nil {
		return nil, err
	}
	if def.OpenDestination == nil {
		return nil, connectors.Errorf(connectors.Invalid, "open destination", "%s is no destination", b.Connector)
	}
	owner := Owner(b.Hidden, user)
	conn, err := o.connection(ctx, def, owner, b.Connection)
	if err != nil {
		return nil, err
	}
	key := poolKey{name, revision, lane, owner}
	mode := b.Mode
	if mode == "" {
		mode = def.Modes[0]
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.pool[key]
	if p == nil || p.version != conn.Version {
		program, err := integration.Compile(b)
		if err != nil {
			return nil, connectors.AsError("compile "+lane, err)
		}
		layout := b.Layout
		if layout == "" {
			layout = connectors.LayoutRaw
		}
		d, err := def.OpenDestination(connectors.Config{Settings: b.Settings, Connection: conn.Secret, Mode: mode, Layout: layout, Env: o.envFor(def.Name)})
		if err != nil {
			return nil, connectors.AsError("open destination "+b.Connector, err)
		}
		o.retire(p)
		o.evict()
		p = &pooled{destination: d, program: program, version: conn.Version}
		o.pool[key] = p
	}
	p.users++
	return &Lane{
		Destination: p.destination, Program: p.program, Block: b, Mode: mode,
		Both: spec.Source.Trigger.Kind == integration.Both,
		release: func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			if p.users--; p.users == 0 && p.stale {
				o.shut(p)
			}
		},
	}, nil
}

// retire closes p now or, while it is in use, at its last release.
func (o *Opener) retire(p *pooled) {
	if p == nil {
		return
	}
	p.stale = true
	if p.users == 0 {
		o.shut(p)
	}
}

// evict makes room among those that nobody uses.
func (o *Opener) evict() {
	for key, p := range o.pool {
		if len(o.pool) < maxPooled {
			return
		}
		if p.users == 0 {
			delete(o.pool, key)
			o.retire(p)
		}
	}
}

func (o *Opener) shut(p *pooled) {
	if err := p.destination.Close(); err != nil {
		o.env.Logger().Warn("close destination", "error", err)
	}
}

// Close closes every destination; writes under way fail.
func (o *Opener) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, p := range o.pool {
		delete(o.pool, key)
		p.stale = true
		o.shut(p)
	}
}

func isNotFound(err error) bool { return errors.Is(err, catalog.ErrNotFound) }

// unavailable is an error of our own stores: it passes, and its text, which may name hosts, goes to the log only.
func unavailable(op string, err error) error {
	if isNotFound(err) {
		return &connectors.Error{Kind: connectors.NotFound, Op: op, Message: "it is not in the catalog", Err: err}
	}
	return &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: "the catalog can't be read: " + err.Error(), Err: err}
}
