// Package block opens the blocks of a definition: a connector with the block's settings and the stored credentials of
// whoever the block says, the user or the operator.
package block

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/integration"
	"tributary/internal/vault"
)

// Opener opens sources and destinations. Safe for concurrent use.
type Opener struct {
	registry *connectors.Registry
	catalog  *catalog.Catalog
	vault    *vault.Vault
	env      connectors.Env

	mu     sync.Mutex
	specs  map[specKey]integration.Spec
	pool   map[poolKey]*pooled
	closed bool
}

type specKey struct {
	name     string
	revision int
}

// New makes an Opener; Close ends what it holds open.
func New(r *connectors.Registry, c *catalog.Catalog, v *vault.Vault, env connectors.Env) *Opener {
	return &Opener{
		registry: r, catalog: c, vault: v, env: env,
		specs: make(map[specKey]integration.Spec), pool: make(map[poolKey]*pooled),
	}
}

// Spec reads a revision of a definition; revisions never change, so it is read once. At most maxSpecs are remembered.
func (o *Opener) Spec(ctx context.Context, name string, revision int) (integration.Spec, error) {
	key := specKey{name, revision}
	o.mu.Lock()
	spec, ok := o.specs[key]
	o.mu.Unlock()
	if ok {
		return spec, nil
	}
	stored, err := o.catalog.Integration(ctx, name, revision)
	if errors.Is(err, catalog.ErrNotFound) {
		return integration.Spec{}, connectors.Errorf(connectors.NotFound, "read definition",
			"revision %d of integration %s is not in the catalog: is this worker connected to the right one?", revision, name)
	}
	if err != nil {
		return integration.Spec{}, unavailable("read definition", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.specs) >= maxSpecs {
		clear(o.specs)
	}
	o.specs[key] = stored.Spec
	return stored.Spec, nil
}

const maxSpecs = 10_000

// Source is an opened source block.
type Source struct {
	Value      any // a connectors.Source, Receiver, Subscriber, Checker: what the connector offers
	Definition connectors.Definition
	Spec       integration.Spec
	// Account is the app's account that the connection belongs to, "" where there is no such thing.
	Account string
	// Version is that of the connection.
	Version int64
}

// Source opens the source block of a definition for a user.
func (o *Opener) Source(ctx context.Context, name string, revision int, user string) (Source, error) {
	spec, err := o.Spec(ctx, name, revision)
	if err != nil {
		return Source{}, err
	}
	b := spec.Source
	def, err := o.registry.Lookup(b.Connector)
	if err != nil {
		return Source{}, err
	}
	if def.OpenSource == nil {
		return Source{}, connectors.Errorf(connectors.Invalid, "open source", "%s is no source", b.Connector)
	}
	owner := Owner(b.Hidden, user)
	conn, err := o.connection(ctx, def, owner, b.Connection)
	if err != nil {
		return Source{}, err
	}
	s := Source{Definition: def, Spec: spec, Version: conn.Version}
	err = s.open(connectors.Config{Settings: b.Settings, Connection: conn.Secret, Operator: owner == vault.Operator,
		Streams: b.Streams, Env: o.envFor(def.Name)})
	if err != nil {
		return Source{}, connectors.AsError("open source "+b.Connector, err)
	}
	return s, nil
}

func (s *Source) open(cfg connectors.Config) (err error) {
	defer Guard(s.Definition.Name, &err)
	if s.Value, err = s.Definition.OpenSource(cfg); err == nil && s.Definition.AccountOf != nil {
		s.Account = s.Definition.AccountOf(cfg.Connection)
	}
	return err
}

// Owner is whose connection a block uses: the operator's where it is hidden from the user.
func Owner(hidden bool, user string) string {
	if hidden {
		return vault.Operator
	}
	return vault.User(user)
}

// connection reads a block's credentials; a connector without any has none.
func (o *Opener) connection(ctx context.Context, def connectors.Definition, owner, name string) (vault.Connection, error) {
	if def.Connection == nil {
		return vault.Connection{}, nil
	}
	if name == "" {
		name = DefaultConnection
	}
	conn, err := o.vault.Get(ctx, owner, def.Name, name)
	if errors.Is(err, catalog.ErrNotFound) {
		return conn, connectors.Errorf(connectors.Unauthorized, "open "+def.Name,
			"there is no connection %q of %s for %s; set it with `starter connection set`", name, owner, def.Name)
	}
	if err != nil {
		return conn, unavailable("read connection", err)
	}
	return conn, nil
}

// DefaultConnection is the name of a connection that a block names none for.
const DefaultConnection = "default"

func (o *Opener) envFor(name string) connectors.Env {
	env := o.env
	env.Log = env.Logger().With("connector", name)
	return env
}

// CheckConnection opens a stored connection by itself and asks the connector whether it works, with a block's settings or, as far as
// it can tell so, without any.
func (o *Opener) CheckConnection(ctx context.Context, owner, connector, name string, settings json.RawMessage) error {
	def, err := o.registry.Lookup(connector)
	if err != nil {
		return err
	}
	conn, err := o.connection(ctx, def, owner, name)
	if err != nil {
		return err
	}
	if len(settings) == 0 {
		settings = json.RawMessage(`{}`)
	}
	cfg := connectors.Config{Settings: settings, Connection: conn.Secret, Operator: owner == vault.Operator, Layout: connectors.LayoutRaw, Env: o.envFor(def.Name)}
	if def.OpenSource != nil {
		s := Source{Definition: def}
		if err := s.open(cfg); err != nil {
			return connectors.AsError("open "+connector, err)
		}
		return check(ctx, connector, s.Value)
	}
	cfg.Mode = def.Modes[0]
	p := &pooled{connector: connector, log: cfg.Env.Log}
	if err := p.open(def, cfg); err != nil {
		return connectors.AsError("open "+connector, err)
	}
	defer p.shut()
	return check(ctx, connector, p.destination)
}

// check asks what was opened whether it works.
func check(ctx context.Context, name string, v any) (err error) {
	defer Guard(name, &err)
	if c, ok := v.(connectors.Checker); ok {
		return c.Check(ctx)
	}
	return nil
}

// Check asks the source whether it works.
func (s Source) Check(ctx context.Context) error { return check(ctx, s.Spec.Source.Connector, s.Value) }

// unavailable is an error of our own stores, whose texts hold no secret: it passes.
func unavailable(op string, err error) error {
	return &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: err.Error(), Err: err}
}
