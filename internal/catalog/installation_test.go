package catalog_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/internal/catalog"
	"tributary/internal/pgtest"
)

func installation(id, epoch string) catalog.Installation {
	return catalog.Installation{
		ID: id, Integration: "shop", User: "ann", Epoch: epoch, Connector: "shopify", Account: "ann.example",
		TokenHash: sha256.Sum256([]byte(epoch)), SealedToken: []byte{0, 1, 2}, Revision: 1, State: catalog.Installing,
		Note: "registering webhooks", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC),
	}
}

// install saves the integration shop and begins an epoch of it.
func install(t *testing.T, c *catalog.Catalog, id, epoch string) catalog.Installation {
	t.Helper()
	_, err := c.SaveIntegration(t.Context(), spec("shop", "of tests"))
	must(t, err)
	i := installation(id, epoch)
	must(t, c.CreateInstallation(t.Context(), i))
	return i
}

func TestInstallationLife(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		first := install(t, c, "shop/ann", "epoch-1")
		for by, find := range map[string]func() (catalog.Installation, error){
			"ID":    func() (catalog.Installation, error) { return c.Installation(ctx, "shop/ann") },
			"token": func() (catalog.Installation, error) { return c.InstallationByToken(ctx, first.TokenHash) },
			"epoch": func() (catalog.Installation, error) { return c.InstallationByEpoch(ctx, "epoch-1") },
		} {
			found, err := find()
			must(t, err)
			if !reflect.DeepEqual(found, first) {
				t.Errorf("by %s:\n got %+v\nwant %+v", by, found, first)
			}
		}

		second := installation("shop/ann", "epoch-2")
		wantErr(t, c.CreateInstallation(ctx, second), catalog.ErrExists, "shop/ann")
		must(t, c.CreateInstallation(ctx, first)) // the answer to the first attempt was lost
		elsewhere := installation("shop/bob", "epoch-1")
		wantErr(t, c.CreateInstallation(ctx, elsewhere), catalog.ErrExists, "epoch-1")
		sameToken := installation("shop/bob", "epoch-3")
		sameToken.TokenHash = first.TokenHash
		wantErr(t, c.CreateInstallation(ctx, sameToken), catalog.ErrExists, "token")

		must(t, c.SetState(ctx, "epoch-1", catalog.Active, ""))
		must(t, c.SetPressure(ctx, "epoch-1", true))
		must(t, c.SetAccount(ctx, "epoch-1", "new.example"))
		found, err := c.Installation(ctx, "shop/ann")
		must(t, err)
		if found.State != catalog.Active || !found.Pressure || found.Account != "new.example" || found.Note != "" || !found.EndedAt.IsZero() {
			t.Errorf("got %+v", found)
		}

		must(t, c.SetState(ctx, "epoch-1", catalog.Ended, "uninstalled"))
		ended, err := c.InstallationByToken(ctx, first.TokenHash)
		must(t, err)
		if ended.State != catalog.Ended || ended.Note != "uninstalled" || ended.EndedAt.IsZero() {
			t.Errorf("got %+v", ended)
		}
		wantErr(t, c.SetState(ctx, "epoch-1", catalog.Active, ""), catalog.ErrEnded, "shop/ann", "epoch-1")
		must(t, c.SetState(ctx, "epoch-1", catalog.Ended, "left a webhook"))
		again, err := c.InstallationByEpoch(ctx, "epoch-1")
		must(t, err)
		if again.Note != "left a webhook" || !again.EndedAt.Equal(ended.EndedAt) {
			t.Errorf("ended at %v, then %v with note %q", ended.EndedAt, again.EndedAt, again.Note)
		}

		// Reinstalled, perhaps with the URL that the app already has: the newest epoch counts.
		second.TokenHash = first.TokenHash
		must(t, c.CreateInstallation(ctx, second))
		for by, find := range map[string]func() (catalog.Installation, error){
			"ID":    func() (catalog.Installation, error) { return c.Installation(ctx, "shop/ann") },
			"token": func() (catalog.Installation, error) { return c.InstallationByToken(ctx, first.TokenHash) },
		} {
			found, err := find()
			must(t, err)
			if found.Epoch != "epoch-2" {
				t.Errorf("by %s: got epoch %s", by, found.Epoch)
			}
		}
	})
}

func TestCreateInstallationRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		i := installation("shop/ann", "epoch-1")
		wantErr(t, c.CreateInstallation(ctx, i), catalog.ErrNotFound, "integration shop")
		_, err := c.SaveIntegration(ctx, spec("shop", ""))
		must(t, err)
		i.Revision = 2
		wantErr(t, c.CreateInstallation(ctx, i), catalog.ErrNotFound, "revision 2")
		i.Revision = 1
		must(t, c.SetActive(ctx, "shop", false))
		wantErr(t, c.CreateInstallation(ctx, i), catalog.ErrInactive, "shop", "activate")
		must(t, c.SetActive(ctx, "shop", true))
		i.State = "asleep"
		if err := c.CreateInstallation(ctx, i); err == nil {
			t.Error("an unknown state was stored")
		}
		_, err = c.Installation(ctx, "shop/ann")
		wantErr(t, err, catalog.ErrNotFound, "shop/ann")
	})
}

// Of many who install the same at once exactly one succeeds.
func TestInstallAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		_, err := c.SaveIntegration(t.Context(), spec("shop", ""))
		must(t, err)
		var (
			g       errgroup.Group
			created atomic.Int32
		)
		for n := range 8 {
			g.Go(func() error {
				err := c.CreateInstallation(t.Context(), installation("shop/ann", fmt.Sprint("epoch-", n)))
				if errors.Is(err, catalog.ErrExists) {
					return nil
				}
				created.Add(1)
				return err
			})
		}
		must(t, g.Wait())
		if created.Load() != 1 {
			t.Errorf("%d were created", created.Load())
		}
	})
}

// Installations that only poll have no token: there may be many, and a token of zeros finds none.
func TestWithoutToken(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		install(t, c, "shop/ann", "epoch-1")
		for _, user := range []string{"bob", "cid"} {
			i := installation("shop/"+user, "epoch-"+user)
			i.TokenHash, i.SealedToken = [32]byte{}, nil
			must(t, c.CreateInstallation(t.Context(), i))
			found, err := c.InstallationByEpoch(t.Context(), i.Epoch)
			must(t, err)
			if !reflect.DeepEqual(found, i) {
				t.Errorf("got %+v, want %+v", found, i)
			}
		}
		_, err := c.InstallationByToken(t.Context(), [32]byte{})
		wantErr(t, err, catalog.ErrNotFound)
		_, err = c.InstallationByToken(t.Context(), [32]byte{1})
		wantErr(t, err, catalog.ErrNotFound)
	})
}

func TestInstallationLists(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		_, err := c.SaveIntegration(ctx, spec("crm", ""))
		must(t, err)
		install(t, c, "shop/ann", "1")
		must(t, c.SetState(ctx, "1", catalog.Ended, ""))
		install(t, c, "shop/ann", "2")
		bob := installation("shop/bob", "3")
		bob.User, bob.Account = "bob", "bob.example"
		must(t, c.CreateInstallation(ctx, bob))
		crm := installation("crm/ann", "4")
		crm.Integration, crm.CreatedAt = "crm", time.Time{}
		must(t, c.CreateInstallation(ctx, crm))

		epochs := func(all []catalog.Installation, err error) string {
			must(t, err)
			var s string
			for _, i := range all {
				s += i.Epoch
				if i.CreatedAt.IsZero() {
					t.Errorf("epoch %s has no creation time", i.Epoch)
				}
			}
			return s
		}
		for _, test := range []struct {
			filter catalog.Filter
			want   string
		}{
			{catalog.Filter{}, "234"},
			{catalog.Filter{Ended: true}, "1234"},
			{catalog.Filter{User: "ann"}, "24"},
			{catalog.Filter{Integration: "shop"}, "23"},
			{catalog.Filter{Integration: "shop", User: "ann", Ended: true}, "12"},
			{catalog.Filter{User: "nobody"}, ""},
		} {
			if got := epochs(c.Installations(ctx, test.filter)); got != test.want {
				t.Errorf("%+v: got epochs %q, want %q", test.filter, got, test.want)
			}
		}
		if got := epochs(c.InstallationsByAccount(ctx, "shopify", "ann.example")); got != "24" {
			t.Errorf("by account: got epochs %q", got)
		}
		if got := epochs(c.InstallationsByAccount(ctx, "other", "ann.example")); got != "" {
			t.Errorf("by account of another connector: got epochs %q", got)
		}
	})
}

func TestChangesOfUnknownEpochs(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		install(t, c, "shop/ann", "epoch-1")
		wantErr(t, c.SetState(ctx, "nowhere", catalog.Active, ""), catalog.ErrNotFound, "nowhere")
		wantErr(t, c.SetPressure(ctx, "nowhere", true), catalog.ErrNotFound, "nowhere")
		wantErr(t, c.SetRevision(ctx, "nowhere", 1), catalog.ErrNotFound, "nowhere")
		wantErr(t, c.SetRevision(ctx, "epoch-1", 2), catalog.ErrNotFound, "shop/ann", "revision 2")
		_, err := c.SaveIntegration(ctx, spec("shop", "changed"))
		must(t, err)
		must(t, c.SetRevision(ctx, "epoch-1", 2))
		found, err := c.InstallationByEpoch(ctx, "epoch-1")
		must(t, err)
		if found.Revision != 2 {
			t.Errorf("revision is %d", found.Revision)
		}
	})
}

// An installation that begins while its integration is being deactivated waits for that and is refused: who
// deactivated finds all there are. SQLite has one writer at a time anyway.
func TestInstallWhileDeactivating(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	c, db, ctx := open(t, dsn), raw(t, dsn), t.Context()
	_, err := c.SaveIntegration(ctx, spec("shop", ""))
	must(t, err)
	deactivation, err := db.Begin()
	must(t, err)
	defer deactivation.Rollback()
	_, err = deactivation.Exec(`UPDATE integrations SET active = FALSE WHERE name = 'shop'`)
	must(t, err)

	created := make(chan error, 1)
	go func() { created <- c.CreateInstallation(ctx, installation("shop/ann", "epoch-1")) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for waiting := false; !waiting; {
		select {
		case err := <-created:
			t.Fatalf("it did not wait: %v", err)
		case <-tick.C:
			must(t, db.QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.datname = current_database()
				WHERE NOT l.granted AND l.pid IN (SELECT pid FROM pg_stat_activity WHERE datid = d.oid))`).Scan(&waiting))
		}
	}
	must(t, deactivation.Commit())
	wantErr(t, <-created, catalog.ErrInactive, "shop")
}
