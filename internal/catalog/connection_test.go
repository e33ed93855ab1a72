package catalog_test

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/internal/catalog"
)

// A version never comes again, not even when the connection is deleted and made anew.
func TestConnectionVersions(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		n := catalog.Connection{Owner: "user:ann", Connector: "shopify", Name: "default", Account: "ann.example"}
		var last int64
		put := func() {
			t.Helper()
			n.Ciphertext = append(n.Ciphertext, 0, 255)
			version, err := c.PutConnection(ctx, n)
			must(t, err)
			if version <= last {
				t.Errorf("version %d after %d", version, last)
			}
			last = version
			found, err := c.Connection(ctx, n.Owner, n.Connector, n.Name)
			must(t, err)
			if found.Version != version || found.Account != n.Account || !bytes.Equal(found.Ciphertext, n.Ciphertext) || found.UpdatedAt.IsZero() {
				t.Errorf("got %+v, want %+v", found, n)
			}
		}
		for range 3 {
			put()
		}
		// Another worker's clock is ahead.
		last = time.Now().Add(time.Hour).UnixMicro()
		_, err := raw(t, dsn).Exec(`UPDATE connections SET version = $1`, last)
		must(t, err)
		put()
		last = 0
		must(t, c.DeleteConnection(ctx, n.Owner, n.Connector, n.Name))
		_, err = c.Connection(ctx, n.Owner, n.Connector, n.Name)
		wantErr(t, err, catalog.ErrNotFound, n.Owner, n.Connector, n.Name)
		wantErr(t, c.DeleteConnection(ctx, n.Owner, n.Connector, n.Name), catalog.ErrNotFound, n.Owner)
		put()
	})
}

// A connection is replaced only as it was read, of many at once by one, and keeps its account.
func TestReplaceConnection(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		n := catalog.Connection{Owner: "user:ann", Connector: "crm", Name: "default", Account: "portal-1", Ciphertext: []byte("first")}
		_, err := c.ReplaceConnection(ctx, n)
		wantErr(t, err, catalog.ErrChanged, n.Owner, n.Connector, n.Name)
		n.Version, err = c.PutConnection(ctx, n)
		must(t, err)
		// Its clock was ahead.
		_, err = raw(t, dsn).Exec(`UPDATE connections SET version = $1`, time.Now().Add(time.Hour).UnixMicro())
		must(t, err)
		_, err = c.ReplaceConnection(ctx, n)
		wantErr(t, err, catalog.ErrChanged)
		read, err := c.Connection(ctx, n.Owner, n.Connector, n.Name)
		must(t, err)
		var g errgroup.Group
		var won atomic.Int64
		for i := range 8 {
			g.Go(func() error {
				next := read
				next.Ciphertext, next.Account = []byte{byte(i)}, "another"
				version, err := c.ReplaceConnection(ctx, next)
				if errors.Is(err, catalog.ErrChanged) {
					return nil
				}
				if won.Add(1); version <= read.Version {
					t.Errorf("version %d after %d", version, read.Version)
				}
				return err
			})
		}
		must(t, g.Wait())
		found, err := c.Connection(ctx, n.Owner, n.Connector, n.Name)
		must(t, err)
		if won.Load() != 1 || found.Account != "portal-1" || found.Version <= read.Version || len(found.Ciphertext) != 1 {
			t.Errorf("%d won; found %+v", won.Load(), found)
		}
	})
}

func TestIdleConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		for _, n := range []catalog.Connection{{Owner: "user:ann", Connector: "crm"}, {Owner: "operator", Connector: "crm"}, {Owner: "user:ann", Connector: "shop"}} {
			n.Name, n.Ciphertext = "default", []byte("x")
			_, err := c.PutConnection(ctx, n)
			must(t, err)
		}
		_, err := raw(t, dsn).Exec(`UPDATE connections SET updated_at = 1000000 WHERE owner = 'user:ann'`)
		must(t, err)
		idle, err := c.IdleConnections(ctx, "crm", time.Now().Add(-time.Hour))
		must(t, err)
		if len(idle) != 1 || idle[0].Owner != "user:ann" || idle[0].Connector != "crm" || idle[0].Name != "default" {
			t.Errorf("got %+v", idle)
		}
	})
}

func TestConnectionsOfOwners(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		for _, owner := range []string{"user:bob", "operator", "user:ann"} {
			_, err := c.PutConnection(ctx, catalog.Connection{Owner: owner, Connector: "postgres", Name: "default", Ciphertext: []byte(owner)})
			must(t, err)
		}
		for owner, want := range map[string]int{"": 3, "user:ann": 1, "user:cid": 0} {
			all, err := c.Connections(ctx, owner)
			must(t, err)
			if len(all) != want {
				t.Errorf("owner %q has %d connections, want %d", owner, len(all), want)
			}
			for _, n := range all {
				if string(n.Ciphertext) != n.Owner || owner != "" && n.Owner != owner {
					t.Errorf("owner %q got %+v", owner, n)
				}
			}
		}
	})
}
