package block_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/vault"
)

// However many workers and blocks use a connection that has expired, it is exchanged once, each of them works afterwards, and a batch
// that is written meanwhile keeps its destination. The stored one keeps its account.
func TestOneExchangePerExpiry(t *testing.T) {
	onBoth(t, func(t *testing.T, v *town) {
		workers := v.workers(t, 4)
		held, err := workers[0].Lane(t.Context(), "flow", v.revision, "ada", "out")
		must(t, err)
		for round := 1; round <= 4; round++ {
			v.clock.advance(lifetime)
			var g errgroup.Group
			for _, w := range workers {
				for range 4 {
					g.Go(func() error {
						token, err := v.use(t.Context(), w)
						if err == nil && !v.accepts(token) {
							t.Errorf("round %d: opened with a token that does not work", round)
						}
						return err
					})
					g.Go(func() error {
						l, err := w.Lane(t.Context(), "flow", v.revision, "ada", "out")
						if err != nil {
							return err
						}
						defer l.Release()
						if !v.accepts(accessOf(l.Destination.(*sink).cfg.Connection)) {
							t.Errorf("round %d: lent with a token that does not work", round)
						}
						return nil
					})
				}
			}
			must(t, g.Wait())
			if exchanges, refused := v.counts(); exchanges != round || refused != 0 {
				t.Fatalf("round %d: %d exchanges, %d refused", round, exchanges, refused)
			}
			a, conn := v.stored(t)
			if a.RefreshToken != v.account().RefreshToken || conn.Account != "account-1" {
				t.Fatalf("round %d: what is stored is not what the app gave last, or of account %q", round, conn.Account)
			}
		}
		if held.Destination.(*sink).closed() != 0 {
			t.Error("a destination was closed while it was in use")
		}
		held.Release()
		if held.Destination.(*sink).closed() != 1 {
			t.Error("the one with the old token was not closed")
		}
	})
}

// While the old token works nobody waits for the renewal, not even who began it.
func TestNobodyWaitsWhileItWorks(t *testing.T) {
	onBoth(t, func(t *testing.T, v *town) {
		workers := v.workers(t, 3)
		asked, answer := make(chan struct{}, 10), make(chan struct{})
		v.set(func() { v.rotated = func() { asked <- struct{}{}; <-answer } })
		old := v.account().AccessToken
		v.clock.advance(lifetime - lifetime/4)
		for i := range 9 {
			token, err := v.use(t.Context(), workers[i%3])
			must(t, err)
			if token != old {
				t.Fatal("opened with another token")
			}
			if i == 0 {
				<-asked // it is being renewed
			}
		}
		close(answer)
		for _, w := range workers {
			eventually(t, "the new token is used", func() bool {
				token, err := v.use(t.Context(), w)
				return err == nil && token != old && v.accepts(token)
			})
		}
		if exchanges, refused := v.counts(); exchanges != 1 || refused != 0 {
			t.Errorf("%d exchanges, %d refused", exchanges, refused)
		}
	})
}

// What a user sets while the connection is being renewed wins, whatever the app then answers; and a connection that is deleted stays so.
func TestUserWins(t *testing.T) {
	onBoth(t, func(t *testing.T, v *town) {
		w := v.worker(t)
		mine := account{secretMark + "-mine", secretMark + "-mine-too", v.clock.Now().Add(100 * lifetime), v.clock.Now().Add(99 * lifetime)}
		v.clock.advance(lifetime)
		v.set(func() { v.rotated = func() { v.store(t, mine) } })
		token, err := v.use(t.Context(), w)
		must(t, err)
		if a, _ := v.stored(t); token != mine.AccessToken || a.RefreshToken != mine.RefreshToken {
			t.Error("the renewal displaced what the user had set")
		}

		// Set while the app refuses.
		mine.AccessToken = secretMark + "-second"
		expired := mine
		expired.ExpiresAt, expired.RenewAt = v.clock.Now(), v.clock.Now()
		v.store(t, expired)
		w2 := v.worker(t)
		v.change = func(d *connectors.Definition) {
			renew := d.Renewal.Renew
			d.Renewal.Renew = func(ctx context.Context, c connectors.Config) (json.RawMessage, error) {
				defer v.store(t, mine)
				return renew(ctx, c)
			}
		}
		token, err = v.use(t.Context(), v.worker(t))
		must(t, err)
		if token != mine.AccessToken {
			t.Error("what the user set while the app refused is not used")
		}

		v.store(t, v.account())
		v.clock.advance(lifetime)
		v.set(func() {
			v.rotated = func() {
				must(t, v.catalog.DeleteConnection(context.Background(), vault.User("ada"), "crm", "default"))
			}
		})
		_, err = v.use(t.Context(), w2)
		want(t, err, connectors.Unauthorized, "there is no connection", "`starter connection set crm --user ada`")
		if _, err := v.vault.Get(t.Context(), vault.User("ada"), "crm", "default"); err == nil {
			t.Error("a deleted connection came back")
		}
	})
}

// A renewal that is refused does not stop what still works, then asks for the user, and is not asked for again and again; another
// connection or other credentials of the app are tried at once.
func TestRefusedRenewal(t *testing.T) {
	onBoth(t, func(t *testing.T, v *town) {
		w := v.worker(t)
		v.storeApp(t, secretMark+"-wrong")
		v.set(func() { v.secret = secretMark + "-right" })
		v.clock.advance(lifetime - lifetime/4)
		_, err := v.use(t.Context(), w)
		must(t, err)
		eventually(t, "the endpoint is asked", func() bool { _, refused := v.counts(); return refused == 1 })
		want(t, w.CheckConnection(t.Context(), vault.User("ada"), "crm", "", nil), connectors.Unauthorized, "invalid_client", "app's own credentials")
		v.clock.advance(lifetime / 4)
		_, before := v.counts()
		for range 5 {
			_, err = v.use(t.Context(), w)
			want(t, err, connectors.Unauthorized, "invalid_client")
		}
		if _, refused := v.counts(); refused > before+1 {
			t.Errorf("asked %d times in a row", refused-before)
		}
		v.storeApp(t, secretMark+"-right")
		token, err := v.use(t.Context(), w)
		must(t, err)
		if !v.accepts(token) {
			t.Error("the token does not work")
		}

		// The grant itself is gone.
		v.clock.advance(lifetime)
		v.set(func() { v.current = secretMark + "-revoked" })
		_, err = v.use(t.Context(), w)
		want(t, err, connectors.Unauthorized, "invalid_grant", "connect the account again")
		v.set(v.issue)
		again := v.account()
		again.ExpiresAt, again.RenewAt = v.clock.Now(), v.clock.Now() // due at once, and tried at once
		v.store(t, again)
		token, err = v.use(t.Context(), w)
		must(t, err)
		if !v.accepts(token) {
			t.Error("the token does not work")
		}
		if !strings.Contains(v.log.String(), "renew connection") {
			t.Error("the log says nothing of it")
		}
	})
}

// An endpoint that is down, or asks to wait, is left alone for a while, says so when the token has expired, and is asked again then.
func TestEndpointDown(t *testing.T) {
	t.Parallel()
	v := newTown(t, t.TempDir()+"/catalog.db")
	w := v.worker(t)
	v.clock.advance(lifetime)
	for status, kind := range map[int]connectors.Kind{503: connectors.Unavailable, 429: connectors.RateLimited} {
		v.set(func() { v.status, v.refused = status, 0 })
		for range 3 {
			_, err := v.use(t.Context(), w)
			want(t, err, kind, "HTTP")
		}
		if _, refused := v.counts(); refused != 1 {
			t.Errorf("status %d: asked %d times at once", status, refused)
		}
		v.clock.advance(time.Minute)
	}
	v.set(func() { v.status = 0 })
	token, err := v.use(t.Context(), w)
	must(t, err)
	if !v.accepts(token) {
		t.Error("the token does not work")
	}
}

// Neither an activity that is cancelled nor a worker that stops cuts a renewal off: what the app gave is stored.
func TestCancelledWhileRenewing(t *testing.T) {
	onBoth(t, func(t *testing.T, v *town) {
		for round, cut := range []func(cancel func(), w *block.Opener) (wait func()){
			func(cancel func(), _ *block.Opener) func() { cancel(); return func() {} },
			func(_ func(), w *block.Opener) func() {
				var g sync.WaitGroup
				g.Go(w.Close)
				return g.Wait
			},
		} {
			w := v.worker(t)
			v.clock.advance(lifetime)
			ctx, cancel := context.WithCancel(t.Context())
			asked, answer := make(chan struct{}), make(chan struct{})
			v.set(func() { v.rotated = func() { close(asked); <-answer } })
			opened := make(chan error, 1)
			go func() {
				_, err := v.use(ctx, w)
				opened <- err
			}()
			<-asked
			wait := cut(cancel, w)
			if round == 0 {
				want(t, <-opened, connectors.Unavailable)
				opened <- nil
			}
			close(answer)
			wait()
			kept := func() bool {
				a, _ := v.stored(t)
				return a.RefreshToken == v.account().RefreshToken
			}
			if round == 1 && !kept() {
				t.Error("a worker has stopped before it stored what the app gave")
			}
			<-opened
			cancel()
			eventually(t, "what the app gave is stored", kept)
			if exchanges, refused := v.counts(); exchanges != round+1 || refused != 0 {
				t.Errorf("%d exchanges, %d refused", exchanges, refused)
			}
		}
		_, err := v.use(t.Context(), v.worker(t))
		must(t, err)
	})
}

// A worker that stops begins no renewal.
func TestNoRenewalAfterClose(t *testing.T) {
	t.Parallel()
	v := newTown(t, t.TempDir()+"/catalog.db")
	w := v.worker(t)
	w.Close()
	v.clock.advance(lifetime)
	_, err := v.use(t.Context(), w)
	want(t, err, connectors.Unavailable, "stopping")
	if exchanges, _ := v.counts(); exchanges != 0 {
		t.Errorf("%d exchanges", exchanges)
	}
}

// What a connector does wrong stays its own: a panic, an answer that is no connection, or one that is due again at once.
func TestBrokenRenewals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*connectors.Renewal)
		kind   connectors.Kind
		say    string
	}{
		"due panics":     {func(r *connectors.Renewal) { r.Due = func(json.RawMessage) time.Time { panic(secretMark) } }, connectors.Unknown, "panicked"},
		"expires panics": {func(r *connectors.Renewal) { r.Expires = func(json.RawMessage) time.Time { panic(secretMark) } }, connectors.Unknown, "panicked"},
		"renew panics": {func(r *connectors.Renewal) {
			r.Renew = func(context.Context, connectors.Config) (json.RawMessage, error) { panic(secretMark) }
		}, connectors.Unknown, "panicked"},
		"foreign error": {func(r *connectors.Renewal) {
			r.Renew = func(context.Context, connectors.Config) (json.RawMessage, error) {
				return nil, context.DeadlineExceeded
			}
		}, connectors.Unavailable, "renew connection"},
		"nil":    {renewsInto(``), connectors.Unknown, "no JSON object"},
		"string": {renewsInto(`"` + secretMark + `"`), connectors.Unknown, "no JSON object"},
		"broken": {renewsInto(`{"access_token":"` + secretMark), connectors.Unknown, "no JSON object"},
		"due":    {renewsInto(`{"access_token":"` + secretMark + `","renew_at":"2020-01-01T00:00:00Z"}`), connectors.Unavailable, "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newTown(t, t.TempDir()+"/catalog.db")
			calls := 0
			v.change = func(d *connectors.Definition) {
				c.change(d.Renewal)
				renew := d.Renewal.Renew
				d.Renewal.Renew = func(ctx context.Context, cfg connectors.Config) (json.RawMessage, error) {
					calls++
					return renew(ctx, cfg)
				}
			}
			w := v.worker(t)
			v.clock.advance(lifetime)
			for range 3 {
				_, err := v.use(t.Context(), w)
				want(t, err, c.kind, c.say)
			}
			if calls > 1 {
				t.Errorf("renewed %d times at once", calls)
			}
		})
	}
}

func renewsInto(secret string) func(*connectors.Renewal) {
	return func(r *connectors.Renewal) {
		r.Renew = func(context.Context, connectors.Config) (json.RawMessage, error) { return json.RawMessage(secret), nil }
	}
}

// The command stores the connection that is missing, whoever is to own it.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	for command, c := range map[string]struct{ owner, name string }{
		"`starter connection set crm --user ada`":              {vault.User("ada"), block.DefaultConnection},
		"`starter connection set crm --operator --name spare`": {vault.Operator, "spare"},
	} {
		err := block.NoConnection(c.owner, "crm", c.name)
		want(t, err, connectors.Unauthorized, c.owner, command)
		if !errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("%v is not told to be missing", err)
		}
	}
}
