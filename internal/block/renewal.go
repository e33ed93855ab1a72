package block

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/vault"
)

// A connection that is due is renewed by one worker at a time, under a lease of the catalog. While its credentials still work, whoever
// opens it goes on with them; from their end on it waits a moment for the renewal.
//
// What Renew returns is stored before anything uses it (I15), and only where the connection is still the one that was renewed: what a user
// sets meanwhile wins. Between the app's answer and the end of the storing, a process that is killed loses a refresh token that was
// rotated. That time is kept short: the lease has just proved that the catalog can be written to, nothing but encrypting comes between,
// neither a cancelled activity nor a worker that stops cuts it off, and a catalog that is down is asked again until it answers. After a
// kill the next worker comes with the old token, which most apps that rotate accept for a while; where one does not, the user connects
// the account again, and nothing else is lost.
const (
	// renewTime bounds a Renew.
	renewTime = 20 * time.Second
	// renewPatience is how long a block whose credentials have ended waits for their renewal; after that the workflow waits.
	renewPatience = 10 * time.Second
	// renewLease is how long the others are kept off when a worker died at a renewal. It outlives renewTime and the storing by more than
	// clocks differ, and is extended where storing takes long.
	renewLease = 3 * time.Minute
	// renewPoll is how often a worker looks whether another is done.
	renewPoll = 100 * time.Millisecond
	// storeTime bounds an attempt to store, and closeTime all of those after Close.
	storeTime = 5 * time.Second
	closeTime = 10 * time.Second
	// What failed is not tried again by this worker before: what may pass by itself, what asks for somebody, and what another is at.
	againSoon  = 5 * time.Second
	againLater = 30 * time.Second
	againBusy  = time.Second
)

// errBusy is what becomes of waiting for another worker.
var errBusy = connectors.Error{
	Kind: connectors.Unavailable, Op: "renew connection", Wait: againSoon,
	Message: "the credentials have expired and another worker is renewing them, or died doing so; they are tried again",
}

// connectionKey names a stored connection.
type connectionKey struct{ owner, connector, name string }

// renewal is one that runs, or one that failed and is not to be tried again yet.
type renewal struct {
	done chan struct{}
	// What it found when done is closed.
	conn vault.Connection
	err  *connectors.Error
	// It failed for these versions, and is not tried again before until.
	version, app int64
	until        time.Time
}

func (n *renewal) running() bool {
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// deadlines tells when a connection is to be renewed and when it ends, by the connector's word; a zero due is never.
func deadlines(def connectors.Definition, secret json.RawMessage) (due, ends time.Time, err error) {
	defer Guard(def.Name, &err)
	due = def.Renewal.Due(secret)
	if ends = due; def.Renewal.Expires != nil && !due.IsZero() {
		if e := def.Renewal.Expires(secret); !e.IsZero() {
			ends = e
		}
	}
	return due, ends, nil
}

// renewed gives back a connection that works as far as its times tell, which is conn itself unless it is due. With wait it does not go
// on with what is due, and tells why that could not be renewed.
func (o *Opener) renewed(ctx context.Context, def connectors.Definition, key connectionKey, conn, app vault.Connection, wait bool) (vault.Connection, error) {
	if def.Renewal == nil {
		return conn, nil
	}
	patience := time.NewTimer(o.patience)
	defer patience.Stop()
	for {
		due, ends, err := deadlines(def, conn.Secret)
		now := o.env.Time()
		if err != nil || due.IsZero() || now.Before(due) {
			return conn, err
		}
		n := o.renew(def, key, conn, app, wait)
		if now.Before(ends) && !wait {
			return conn, nil
		}
		select {
		case <-n.done:
		case <-ctx.Done():
			return conn, connectors.AsError("renew connection", ctx.Err())
		case <-patience.C:
			busy := errBusy
			return conn, &busy
		}
		if n.err != nil {
			shown := *n.err // callers may change it
			return conn, &shown
		}
		if n.conn.Version == conn.Version {
			return n.conn, nil
		}
		// It was set meanwhile, and is perhaps due again.
		conn = n.conn
	}
}

// renew joins the renewal that this worker has under way, begins one, or gives back the one that failed a moment ago unless that is to be
// tried again.
func (o *Opener) renew(def connectors.Definition, key connectionKey, conn, app vault.Connection, again bool) *renewal {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.env.Time()
	if n := o.renewals[key]; n != nil &&
		(n.running() || !again && n.version == conn.Version && n.app == app.Version && now.Before(n.until)) {
		return n
	}
	n := &renewal{done: make(chan struct{}), version: conn.Version, app: app.Version}
	if o.closed {
		n.err = stopping("renew connection")
		close(n.done)
		return n
	}
	for k, old := range o.renewals {
		if !old.running() && !now.Before(old.until) {
			delete(o.renewals, k)
		}
	}
	o.renewals[key] = n
	o.renewing.Go(func() { o.run(def, key, n) })
	return n
}

// run is the renewal of a connection, by this worker or by another that is at it.
func (o *Opener) run(def connectors.Definition, key connectionKey, n *renewal) {
	log := o.envFor(def.Name).Log.With("owner", key.owner, "connection", key.name)
	conn, err := o.underLease(def, key)
	pause := againSoon
	switch e := connectors.AsError("renew connection", err); {
	case err == nil:
	case e == &errBusy:
		pause = againBusy
	default:
		log.Warn("renew connection", "error", e, "kind", e.Kind)
		if e.Kind.Stops() {
			pause = againLater
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	defer close(n.done)
	if n.conn = conn; err == nil {
		delete(o.renewals, key)
		return
	}
	n.err = connectors.AsError("renew connection", err)
	n.until = o.env.Time().Add(max(pause, min(n.err.Wait, connectors.MaxWait)))
	if conn.Version != 0 {
		n.version = conn.Version // of the one that was tried
	}
}

// underLease waits for its turn and renews what is still due then. Beside an error it gives back the connection that it tried.
func (o *Opener) underLease(def connectors.Definition, key connectionKey) (vault.Connection, error) {
	name := "renew " + key.owner + "/" + key.connector + "/" + key.name
	holder := uuid.NewString()
	patience := time.NewTimer(o.patience)
	defer patience.Stop()
	for {
		mine, err := o.catalog.AcquireLease(o.life, name, holder, renewLease, o.env.Time())
		if err != nil {
			return vault.Connection{}, unavailable("renew connection", err)
		}
		conn, due, err := o.stillDue(def, key)
		if mine {
			defer func() {
				ctx, cancel := context.WithTimeout(context.Background(), storeTime)
				defer cancel()
				_ = o.catalog.ReleaseLease(ctx, name, holder) // else it ends by itself
			}()
		}
		switch {
		case err != nil || !due:
			return conn, err // another has renewed it, or a user has set it
		case mine:
			return o.exchange(def, key, conn, func(ctx context.Context) {
				_, _ = o.catalog.AcquireLease(ctx, name, holder, renewLease, o.env.Time())
			})
		}
		select {
		case <-o.life.Done():
			return conn, stopping("renew connection")
		case <-patience.C:
			return conn, &errBusy
		case <-time.After(renewPoll):
		}
	}
}

// stillDue reads the connection anew.
func (o *Opener) stillDue(def connectors.Definition, key connectionKey) (conn vault.Connection, yes bool, err error) {
	ctx, cancel := context.WithTimeout(o.life, storeTime)
	defer cancel()
	if conn, err = o.stored(ctx, key); err != nil {
		return conn, false, err
	}
	due, _, err := deadlines(def, conn.Secret)
	return conn, !due.IsZero() && !o.env.Time().Before(due), err
}

// exchange renews and stores. From here on nothing cuts it off but time: the app may have rotated the token when it is asked.
func (o *Opener) exchange(def connectors.Definition, key connectionKey, conn vault.Connection, extend func(context.Context)) (vault.Connection, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.life), renewTime)
	defer cancel()
	app, err := o.app(ctx, def, key.name)
	if err != nil {
		return conn, err
	}
	secret, err := callRenew(ctx, def, connectors.Config{
		Connection: conn.Secret, App: app.Secret, Operator: key.owner == vault.Operator, Env: o.envFor(def.Name),
	})
	if err != nil {
		// What a user has set meanwhile is not refused by it.
		if fresh, rerr := o.stored(ctx, key); rerr == nil && fresh.Version != conn.Version {
			return fresh, nil
		}
		return conn, err
	}
	fresh, err := o.keep(key, conn, secret, extend)
	if err != nil {
		return conn, err
	}
	due, _, err := deadlines(def, fresh.Secret)
	if err == nil && !due.IsZero() && !o.env.Time().Before(due) && fresh.Version != conn.Version {
		// Else every block that is opened would renew it again.
		err = connectors.Errorf(connectors.Unavailable, "renew connection", "it is to be renewed again already: check this machine's clock")
	}
	return fresh, err
}

func callRenew(ctx context.Context, def connectors.Definition, cfg connectors.Config) (secret json.RawMessage, err error) {
	defer Guard(def.Name, &err)
	if secret, err = def.Renewal.Renew(ctx, cfg); err != nil {
		return nil, connectors.AsError("renew connection", err)
	}
	if !gjson.ValidBytes(secret) || !bytes.HasPrefix(bytes.TrimSpace(secret), []byte("{")) {
		return nil, connectors.Errorf(connectors.Unknown, def.Name, "the connector renewed a connection into what is no JSON object: report it to who maintains the connector")
	}
	return secret, nil
}

// keep stores a renewed connection (I15), as often as it takes, unless it was set or deleted meanwhile: then that counts.
func (o *Opener) keep(key connectionKey, old vault.Connection, secret json.RawMessage, extend func(context.Context)) (vault.Connection, error) {
	var giveUp <-chan time.Time
	closing := o.life.Done()
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(o.life), storeTime)
		version, err := o.vault.Replace(ctx, key.owner, key.connector, key.name, old.Version, secret)
		switch {
		case err == nil:
			cancel()
			return vault.Connection{Secret: secret, Version: version, Account: old.Account, UpdatedAt: o.env.Time()}, nil
		case errors.Is(err, catalog.ErrChanged):
			// Perhaps by an attempt whose answer was lost.
			conn, err := o.stored(ctx, key)
			cancel()
			return conn, err
		}
		extend(ctx)
		cancel()
		o.envFor(key.connector).Log.Warn("store a renewed connection, which is tried again", "owner", key.owner, "connection", key.name, "error", err)
		wait := time.After(delay)
		select {
		case <-wait:
		case <-closing:
			closing, giveUp = nil, time.After(closeTime)
		case <-giveUp:
			o.envFor(key.connector).Log.Error("a renewed connection was not stored: the account may have to be connected again",
				"owner", key.owner, "connection", key.name)
			return old, unavailable("renew connection", err)
		}
	}
}

// stored reads a connection.
func (o *Opener) stored(ctx context.Context, key connectionKey) (vault.Connection, error) {
	conn, err := o.vault.Get(ctx, key.owner, key.connector, key.name)
	if errors.Is(err, catalog.ErrNotFound) {
		return conn, NoConnection(key.owner, key.connector, key.name)
	}
	if err != nil {
		return conn, unavailable("read connection", err)
	}
	return conn, nil
}

// NoConnection is the error, which is a catalog.ErrNotFound too, of a connection that is not stored. It says how to store it.
func NoConnection(owner, connector, name string) *connectors.Error {
	flags := "--operator"
	if user, ok := vault.UserOf(owner); ok {
		flags = "--user " + user
	}
	if name != DefaultConnection {
		flags += " --name " + name
	}
	return &connectors.Error{Kind: connectors.Unauthorized, Op: "open " + connector, Err: catalog.ErrNotFound,
		Message: fmt.Sprintf("there is no connection %q of %s for %s: store it with `starter connection set %s %s`", name, owner, connector, connector, flags)}
}

func stopping(op string) *connectors.Error {
	return connectors.Errorf(connectors.Unavailable, op, "this worker is stopping")
}
