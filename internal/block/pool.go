package block

import (
	"context"
	"log/slog"
	"sync"

	"tributary/connectors"
	"tributary/internal/integration"
	"tributary/internal/vault"
)

// Destinations are pooled per block revision and owner: a rotated secret takes effect with the next batch, and the old one
// is closed when its last write is done.
type poolKey struct {
	integration string
	revision    int
	lane        string
	owner       string
}

type pooled struct {
	connector   string
	log         *slog.Logger
	destination connectors.Destination
	program     *integration.Program
	version     int64 // of the connection; it only grows
	app         int64 // that of the app's credentials
	users       int
	stale       bool
	closing     sync.Once
}

// maxPooled bounds how many destinations are held open that nobody uses.
const maxPooled = 256

// Lane is an opened destination block, lent until Release.
type Lane struct {
	connectors.Destination
	Program *integration.Program
	Block   integration.Destination
	Mode    connectors.Mode
	release func()
}

// Release gives it back. It is called once.
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
	cred, err := o.connection(ctx, def, owner, b.Connection)
	if err != nil {
		return nil, err
	}
	mode := b.Mode
	if mode == "" {
		mode = def.Modes[0]
	}
	layout := b.Layout
	if layout == "" {
		layout = connectors.LayoutRaw
	}
	cfg := connectors.Config{Settings: b.Settings, Connection: cred.conn.Secret, App: cred.app.Secret, Operator: owner == vault.Operator,
		Mode: mode, Layout: layout, Schema: b.Schema, Env: o.envFor(def.Name)}
	p, old, err := o.lend(poolKey{name, revision, lane, owner}, cred, b, def, cfg)
	// Outside the lock: a destination that is slow to close delays no other (I11).
	for _, x := range old {
		x.shut()
	}
	if err != nil {
		return nil, err
	}
	return &Lane{
		Destination: p.destination, Program: p.program, Block: b, Mode: mode,
		release: func() { o.takeBack(p) },
	}, nil
}

// lend finds or opens a destination and counts its user. What it displaced and nobody uses is the caller's to close.
func (o *Opener) lend(key poolKey, cred credentials, b integration.Destination, def connectors.Definition, cfg connectors.Config) (p *pooled, old []*pooled, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, nil, stopping("open destination")
	}
	p = o.pool[key]
	// Who read the connection before it was rotated gets the newer one.
	version, app := cred.conn.Version, cred.app.Version
	if p == nil || p.version < version || p.version == version && p.app != app {
		fresh := &pooled{connector: def.Name, log: cfg.Env.Log, version: version, app: app}
		if fresh.program, err = integration.Compile(b); err != nil {
			return nil, nil, connectors.AsError("compile "+key.lane, err)
		}
		if err := fresh.open(def, cfg); err != nil {
			return nil, nil, connectors.AsError("open destination "+b.Connector, err)
		}
		if p != nil {
			old = o.retire(key, p, old)
		}
		old = o.evict(old)
		o.pool[key] = fresh
		p = fresh
	}
	p.users++
	return p, old, nil
}

// takeBack counts a user out and closes what was retired meanwhile.
func (o *Opener) takeBack(p *pooled) {
	o.mu.Lock()
	p.users--
	last := p.users == 0 && p.stale
	o.mu.Unlock()
	if last {
		p.shut()
	}
}

// retire takes p out of the pool. It joins what is to be closed now, or is closed at its last release.
func (o *Opener) retire(key poolKey, p *pooled, old []*pooled) []*pooled {
	delete(o.pool, key)
	p.stale = true
	if p.users == 0 {
		old = append(old, p)
	}
	return old
}

// evict makes room among those that nobody uses.
func (o *Opener) evict(old []*pooled) []*pooled {
	for key, p := range o.pool {
		if len(o.pool) < maxPooled {
			break
		}
		if p.users == 0 {
			old = o.retire(key, p, old)
		}
	}
	return old
}

// Close closes every destination; writes under way fail, and nothing is opened any more. A renewal that has begun ends before: it is
// waited for as long as it may take.
func (o *Opener) Close() {
	o.mu.Lock()
	o.closed = true
	var all []*pooled
	for key, p := range o.pool {
		delete(o.pool, key)
		p.stale = true
		all = append(all, p)
	}
	o.mu.Unlock()
	o.end()
	for _, p := range all {
		p.shut()
	}
	o.renewing.Wait()
}

func (p *pooled) open(def connectors.Definition, cfg connectors.Config) (err error) {
	defer Guard(def.Name, &err)
	p.destination, err = def.OpenDestination(cfg)
	return err
}

// shut closes the destination, once: a Close of the pool may come before its last release.
func (p *pooled) shut() {
	p.closing.Do(func() {
		if err := p.end(); err != nil {
			p.log.Warn("close destination", "error", connectors.AsError("", err))
		}
	})
}

func (p *pooled) end() (err error) {
	defer Guard(p.connector, &err)
	return p.destination.Close()
}
