package catalog_test

import (
	"bytes"
	"testing"
	"time"

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
