// Package block opens the blocks of a definition: a connector with the block's settings and the stored credentials of
// whoever the block says, the user or the operator.
package block

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

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

	// life ends with Close, which waits for renewing.
	life     context.Context
	end      context.CancelFunc
	renewing sync.WaitGroup
	patience time.Duration // renewPatience; tests have less

	mu       sync.Mutex
	specs    map[specKey]integration.Spec
	pool     map[poolKey]*pooled
	renewals map[connectionKey]*renewal
	closed   bool
}

type specKey struct {
	name     string
	revision int
}

// New makes an Opener; Close ends what it holds open.
func New(r *connectors.Registry, c *catalog.Catalog, v *vault.Vault, env connectors.Env) *Opener {
	life, end := context.WithCancel(context.Background())
	return &Opener{
		registry: r, catalog: c, vault: v, env: env, life: life, end: end, patience: renewPatience,
		specs: make(map[specKey]integration.Spec), pool: make(map[poolKey]*pooled), renewals: make(map[connectionKey]*renewal),
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
	return o.source(ctx, name, revision, user, o.connection)
}

// Receiver opens it to take webhooks, with the connection as it is stored: what authenticates a webhook does not expire, and a webhook must
// not wait for an app to answer, or be refused because the app refuses a token.
func (o *Opener) Receiver(ctx context.Context, name string, revision int, user string) (Source, error) {
	return o.source(ctx, name, revision, user, o.asStored)
}

type reading func(ctx context.Context, def connectors.Definition, owner, name string) (credentials, error)

func (o *Opener) source(ctx context.Context, name string, revision int, user string, read reading) (Source, error) {
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
	cred, err := read(ctx, def, owner, b.Connection)
	if err != nil {
		return Source{}, err
	}
	s := Source{Definition: def, Spec: spec, Version: cred.conn.Version}
	err = s.open(connectors.Config{Settings: b.Settings, Connection: cred.conn.Secret, App: cred.app.Secret, Operator: owner == vault.Operator,
		Streams: b.Streams, Env: o.envFor(def.Name)})
	if err != nil {
		return Source{}, connectors.AsError("open source "+b.Connector, err)
	}
	return s, nil
}

// AppReceiver opens an app-wide connector for the webhooks of an app, which the credentials of that name authenticate: no account's are
// needed. An unknown connector, and one without such credentials, is NotFound.
func (o *Opener) AppReceiver(ctx context.Context, connector, name string) (any, error) {
	def, err := o.registry.Lookup(connector)
	if err != nil || !def.AppWide || def.OpenSource == nil {
		return nil, connectors.Errorf(connectors.NotFound, "", "there is no app-wide connector of that name")
	}
	app, err := o.app(ctx, def, name)
	if err != nil {
		return nil, err
	}
	if def.App != nil && app.Secret == nil {
		return nil, connectors.Errorf(connectors.NotFound, "", "there are no such credentials of an app")
	}
	s := Source{Definition: def}
	if err := s.open(connectors.Config{Settings: json.RawMessage(`{}`), App: app.Secret, Env: o.envFor(def.Name)}); err != nil {
		return nil, connectors.AsError("open "+connector, err)
	}
	return s.Value, nil
}

func (s *Source) open(cfg connectors.Config) (err error) {
	defer Guard(s.Definition.Name, &err)
	if s.Value, err = s.Definition.OpenSource(cfg); err == nil && s.Definition.AccountOf != nil && cfg.Connection != nil {
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

// credentials are what a block is opened with: the connection, and those of the app that it belongs to.
type credentials struct{ conn, app vault.Connection }

// connection reads a block's credentials, and has them renewed where they are due; a connector without any has none.
func (o *Opener) connection(ctx context.Context, def connectors.Definition, owner, name string) (credentials, error) {
	return o.current(ctx, def, owner, name, false)
}

func (o *Opener) current(ctx context.Context, def connectors.Definition, owner, name string, wait bool) (credentials, error) {
	cred, err := o.asStored(ctx, def, owner, name)
	if err == nil && def.Connection != nil {
		cred.conn, err = o.renewed(ctx, def, connectionKey{owner, def.Name, named(name)}, cred.conn, cred.app, wait)
	}
	return cred, err
}

// asStored reads a block's credentials, which may have expired.
func (o *Opener) asStored(ctx context.Context, def connectors.Definition, owner, name string) (cred credentials, err error) {
	if def.Connection != nil {
		if cred.conn, err = o.stored(ctx, connectionKey{owner, def.Name, named(name)}); err != nil {
			return cred, err
		}
	}
	cred.app, err = o.app(ctx, def, name)
	return cred, err
}

// app reads the credentials of the app that connections of that name belong to; none where the operator has stored none.
func (o *Opener) app(ctx context.Context, def connectors.Definition, name string) (vault.Connection, error) {
	if def.App == nil {
		return vault.Connection{}, nil
	}
	app, err := o.vault.Get(ctx, vault.App, def.Name, named(name))
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		return vault.Connection{}, nil
	case err != nil:
		return vault.Connection{}, unavailable("read the app's credentials", err)
	}
	return app, nil
}

func named(connection string) string { return cmp.Or(connection, DefaultConnection) }

// DefaultConnection is the name of a connection that a block names none for.
const DefaultConnection = "default"

func (o *Opener) envFor(name string) connectors.Env {
	env := o.env
	env.Log = env.Logger().With("connector", name)
	return env
}

// CheckConnection opens a stored connection, or an app's credentials, by itself and asks the connector whether it works, with a block's
// settings or, as far as it can tell so, without any. A connection that is due is renewed first. An app's credentials are opened as for its
// webhooks.
func (o *Opener) CheckConnection(ctx context.Context, owner, connector, name string, settings json.RawMessage) error {
	def, err := o.registry.Lookup(connector)
	if err != nil {
		return err
	}
	cfg := connectors.Config{Settings: settings, Layout: connectors.LayoutRaw, Operator: owner == vault.Operator, Env: o.envFor(def.Name)}
	if len(settings) == 0 {
		cfg.Settings = json.RawMessage(`{}`)
	}
	if owner == vault.App {
		v, err := o.AppReceiver(ctx, connector, name)
		if err != nil {
			return err
		}
		return check(ctx, connector, v)
	}
	cred, err := o.current(ctx, def, owner, name, true)
	if err != nil {
		return err
	}
	cfg.Connection, cfg.App = cred.conn.Secret, cred.app.Secret
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
