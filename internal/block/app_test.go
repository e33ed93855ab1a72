package block_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/vault"
)

// Blocks are opened with the credentials of the app that has the connection's name, which may be missing; a pooled destination is opened
// anew when they change.
func TestAppCredentials(t *testing.T) {
	onBoth(t, func(t *testing.T, v *town) {
		w := v.worker(t)
		appOf := func() (source, lane string) {
			t.Helper()
			s, err := w.Source(t.Context(), "flow", v.revision, "ada")
			must(t, err)
			l, err := w.Lane(t.Context(), "flow", v.revision, "ada", "out")
			must(t, err)
			defer l.Release()
			return string(s.Value.(*crm).cfg.App), string(l.Destination.(*sink).cfg.App)
		}
		want := func(app string) {
			t.Helper()
			if s, l := appOf(); s != app || l != app {
				t.Errorf("source %q, destination %q; want %q", s, l, app)
			}
		}
		want("")
		v.storeApp(t, secretMark+"-1")
		want(`{"client_id":"id","client_secret":"` + secretMark + `-1"}`)
		first, err := w.Lane(t.Context(), "flow", v.revision, "ada", "out")
		must(t, err)
		first.Release()
		v.storeApp(t, secretMark+"-2")
		want(`{"client_id":"id","client_secret":"` + secretMark + `-2"}`)
		if first.Destination.(*sink).closed() != 1 {
			t.Error("the destination with the old credentials was not closed")
		}
		_, err = v.vault.Put(t.Context(), vault.App, "crm", "other", json.RawMessage(`{"client_id":"other"}`), "")
		must(t, err)
		want(`{"client_id":"id","client_secret":"` + secretMark + `-2"}`)
		must(t, v.catalog.DeleteConnection(t.Context(), vault.App, "crm", "default"))
		want("")
	})
}

// The receiver of an app-wide URL is opened with the app's credentials alone, and neither it nor that of an installation waits for a
// renewal or fails with it.
func TestReceivers(t *testing.T) {
	t.Parallel()
	v := newTown(t, t.TempDir()+"/catalog.db")
	w := v.worker(t)
	_, err := w.AppReceiver(t.Context(), "crm", "")
	want(t, err, connectors.NotFound)
	_, err = w.AppReceiver(t.Context(), "nothing", "")
	want(t, err, connectors.NotFound)
	want(t, w.CheckConnection(t.Context(), vault.App, "crm", "default", nil), connectors.NotFound)
	v.storeApp(t, secretMark)
	r, err := w.AppReceiver(t.Context(), "crm", "")
	must(t, err)
	if cfg := r.(*crm).cfg; cfg.Connection != nil || len(cfg.App) == 0 {
		t.Errorf("opened with a connection of %d bytes and an app of %d", len(cfg.Connection), len(cfg.App))
	}
	must(t, w.CheckConnection(t.Context(), vault.App, "crm", "default", nil))

	v.set(func() { v.status = 503 })
	v.clock.advance(lifetime)
	s, err := w.Receiver(t.Context(), "flow", v.revision, "ada")
	must(t, err)
	if accessOf(s.Value.(*crm).cfg.Connection) != v.account().AccessToken {
		t.Error("opened without the connection as it is stored")
	}
	if _, refused := v.counts(); refused != 0 {
		t.Error("a receiver had the connection renewed")
	}
}

// A check has a connection that is due renewed, and tells why it can't be although the old token still works.
func TestCheckRenews(t *testing.T) {
	t.Parallel()
	v := newTown(t, t.TempDir()+"/catalog.db")
	w := v.worker(t)
	v.clock.advance(lifetime - lifetime/4)
	v.set(func() { v.status = 503 })
	for range 2 {
		want(t, w.CheckConnection(t.Context(), vault.User("ada"), "crm", "", nil), connectors.Unavailable, "HTTP 503")
	}
	v.set(func() { v.status = 0 })
	must(t, w.CheckConnection(t.Context(), vault.User("ada"), "crm", "", nil))
	if a, _ := v.stored(t); a.RefreshToken != v.account().RefreshToken {
		t.Error("it was not renewed")
	}
}

// A connection that no block opens is renewed once a week, by one worker, and one that is in use is left to its blocks.
func TestKeepAlive(t *testing.T) {
	onBoth(t, func(t *testing.T, v *town) {
		workers := v.workers(t, 3)
		sweep := func(want int) {
			t.Helper()
			for _, w := range workers {
				must(t, w.KeepAlive(t.Context()))
			}
			if exchanges, refused := v.counts(); exchanges != want || refused != 0 {
				t.Fatalf("%d exchanges, %d refused; want %d", exchanges, refused, want)
			}
		}
		const day = 24 * time.Hour
		sweep(0)
		v.clock.advance(6 * day)
		sweep(0)
		v.clock.advance(day + time.Hour)
		sweep(1)
		v.clock.advance(day)
		// The catalog's own clock, by which updated_at is set, is not put forward: by it the renewal is a week old again.
		sweep(2)
		// One that can't be renewed stops no other.
		raw, err := json.Marshal(account{RefreshToken: secretMark, ExpiresAt: time.Unix(1, 0), RenewAt: time.Unix(1, 0)})
		must(t, err)
		_, err = v.vault.Put(t.Context(), vault.User("bob"), "crm", "default", raw, "")
		must(t, err)
		v.storeApp(t, secretMark)
		v.clock.advance(day)
		must(t, workers[0].KeepAlive(t.Context()))
		if exchanges, refused := v.counts(); exchanges != 3 || refused != 1 {
			t.Errorf("%d exchanges, %d refused", exchanges, refused)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		v.clock.advance(day)
		if err := workers[0].KeepAlive(cancelled); err == nil {
			t.Error("cancelled: no error")
		}
	})
}
