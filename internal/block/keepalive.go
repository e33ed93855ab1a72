package block

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"tributary/internal/vault"
)

const (
	// idleTime is how long a connection may rest. Refresh tokens that end when they are not used live for weeks at the least.
	idleTime = 7 * 24 * time.Hour
	// idleEvery is how often one worker looks for them, for all, and idleAtOnce how many it renews at once.
	idleEvery  = 23 * time.Hour
	idleAtOnce = 8
)

// KeepAlive, called now and then, once a day renews the connections that are due and that nobody has renewed for a week, since no block
// opened them: many apps let a refresh token end that is not used. What can't be renewed is in the log, and its user hears of it at its next
// use. The error is one of the catalog.
func (o *Opener) KeepAlive(ctx context.Context) error {
	// The lease is not given back, nor extended: its end is when to look again.
	now := o.env.Time()
	mine, err := o.catalog.AcquireLease(ctx, "keep connections alive", uuid.NewString(), idleEvery, now)
	if err != nil || !mine {
		return err
	}
	var g errgroup.Group
	g.SetLimit(idleAtOnce)
	var problems error
	for _, name := range o.registry.Names() {
		def, err := o.registry.Lookup(name)
		if err != nil || def.Renewal == nil {
			continue
		}
		idle, err := o.catalog.IdleConnections(ctx, name, now.Add(-idleTime))
		problems = errors.Join(problems, err)
		for _, c := range idle {
			if c.Owner == vault.App {
				continue
			}
			g.Go(func() error {
				if ctx.Err() != nil {
					return nil
				}
				if _, err := o.current(ctx, def, c.Owner, c.Name, true); err != nil {
					o.envFor(def.Name).Log.Warn("keep a connection alive", "owner", c.Owner, "connection", c.Name, "error", err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // there is none
	return problems
}
