package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/internal/catalog"
	"tributary/internal/integration"
	"tributary/internal/journal"
)

func openJournal(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	l, err := journal.Open(dir, journal.Options{SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The journal on disk, closed and opened again after each death, hands over as the one in memory does.
func TestCrashesOnDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t)
	want := map[string][]string{}
	for e := range 5 {
		w.run(fmt.Sprint("e", e))
	}
	for round, step := range []string{"signal", "append 2", "seal", "truncate", "signal", "append 2"} {
		l := openJournal(t, dir)
		ctx, cancel := context.WithCancel(context.Background())
		d := &faulty{Log: l, store: w.store, signal: w, at: step, after: 1 + round, die: cancel}
		x := live(t, w, l, func(c *ForwarderConfig) { c.Journal, c.Store, c.Signaler = d, d, d })
		for i := 0; ctx.Err() == nil; i++ {
			epoch, id := fmt.Sprint("e", i%5), fmt.Sprint(round, ".", i)
			write(t, l, epoch, id)
			want[epoch] = append(want[epoch], id)
		}
		x.kill(t)
		cancel()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := openJournal(t, dir)
	defer l.Close()
	x := live(t, w, l)
	x.idle(t, l)
	for epoch, ids := range want {
		if got := w.arrived(epoch); !slices.Equal(got, ids) {
			t.Errorf("%s got %d records, want %d, in order", epoch, len(got), len(ids))
		}
	}
	x.kill(t)
}

// Server, journal, forwarder, catalog and segment store together: what many senders got a 200 for reaches the workflow once, and
// what came after the uninstall is in the catalog's quarantine.
func TestFromHookToWorkflow(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c, err := catalog.Open(ctx, t.TempDir()+"/catalog.db")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	revision, err := c.SaveIntegration(ctx, integration.Spec{Name: "shop", Source: integration.Source{Connector: "tiny", Streams: streams}})
	if err != nil {
		t.Fatal(err)
	}
	token, hash := NewToken()
	if err := c.CreateInstallation(ctx, catalog.Installation{ID: "i/e", Integration: "shop", User: "ada", Epoch: "e", Connector: "tiny",
		TokenHash: hash, Revision: revision, State: catalog.Active}); err != nil {
		t.Fatal(err)
	}
	l := openJournal(t, t.TempDir())
	defer l.Close()
	f := start(t, Limits{CacheTime: time.Millisecond}, func(f *fixture, cfg *Config) {
		f.token = token
		cfg.Journal, cfg.Catalog = l, c
	})
	w := newWorld(t)
	w.run("e")
	x := live(t, w, l, func(cfg *ForwarderConfig) { cfg.Catalog = c })

	const senders, each = 16, 20
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for i := range each {
				body := events(payloadEvent(fmt.Sprintf("%d-%d", s, i)))
				if got := f.send(http.MethodPost, "/hooks/"+token, []byte(body), sign(secret, []byte(body))); got.status != 200 {
					t.Errorf("%d %s", got.status, got.body)
				}
			}
		})
	}
	sending.Wait()
	x.idle(t, l)
	w.mu.Lock()
	ids := map[string]int{}
	for _, a := range w.workflows["e"].arrivals {
		for _, ref := range a.Segments {
			s, err := w.store.Load(ctx, ref.Name)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range s.Records() {
				if string(r.Data) != payloadEvent(r.ID) {
					t.Errorf("%s came as %q", r.ID, r.Data)
				}
				ids[r.ID]++
			}
		}
	}
	w.mu.Unlock()
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	if len(ids) != senders*each {
		t.Errorf("%d of %d records came", len(ids), senders*each)
	}

	w.end("e")
	f.want("after the workflow ended", f.hook(events(payloadEvent("late"))), 200)
	if err := c.SetState(ctx, "e", catalog.Ended, "uninstalled"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the catalog's word counts", func() bool { return f.hook(events(payloadEvent("later"))).status == 410 })
	x.idle(t, l)
	rows, err := c.Quarantined(ctx, catalog.QuarantineFilter{Epoch: "e"})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 || rows[0].RecordID != "late" || !strings.Contains(rows[0].Reason, "ended") && !strings.Contains(rows[0].Reason, "not running") {
		t.Errorf("quarantine: %+v", rows)
	}
	x.kill(t)
}

// Stopping hands over what was acknowledged before it returns; a forwarder that can't go on stops the server.
func TestRunStopsInOrder(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("epoch-ada")
	w.set(func(w *world) { w.installations["epoch-ada"] = catalog.Installation{State: catalog.Active} })
	for _, unreadable := range []bool{false, true} {
		f := start(t, Limits{}, func(f *fixture, c *Config) { f.journal, c.Journal = l, l })
		f.stop() // Run below serves instead
		if err := <-f.done; err != nil {
			t.Fatal(err)
		}
		cfg := f.server.cfg
		cfg.Public, cfg.Ops = listen(t), listen(t)
		server, err := NewServer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		f.url = "http://" + cfg.Public.Addr().String()
		forwarder, err := NewForwarder(ForwarderConfig{Journal: l, Store: w.store, Catalog: w, Signaler: w, Metrics: NewMetrics()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- Run(ctx, server, forwarder, 10*time.Second, slog.New(slog.DiscardHandler)) }()
		if unreadable {
			if _, err := l.Append(ctx, []byte{99}); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err == nil {
				t.Error("no error")
			}
			f.done <- nil
			continue
		}
		// This world calls installations i/<epoch>; the entry must say so too.
		write(t, l, "epoch-ada", "direct")
		f.want("hook", f.hook(events(`{"id":"x","stream":"invoices"}`)), 200)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		f.done <- nil
		if got := w.arrived("epoch-ada"); !slices.Equal(got, []string{"direct"}) {
			t.Errorf("after stopping, arrived is %v", got)
		}
		if first, next := l.Bounds(); first != next {
			t.Errorf("the journal still holds %d to %d", first, next)
		}
	}
}

func payloadEvent(id string) string {
	return fmt.Sprintf(`{"id":%q,"stream":"orders","pad":"%s"}`, id, strings.Repeat("x", 200))
}
