package block_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/integration"
	"tributary/internal/vault"
)

var out = integration.Destination{Name: "out", Connector: "sink"}

// One destination serves all batches of a block until its connection changes: then a new one is opened, and the old one is
// closed when its last user releases it, not before.
func TestRotatedConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, vault.User("ada"), "sink", "default", "first")
	rev := f.save(t, false, out)
	a, b := f.lane(t, rev, "ada", "out"), f.lane(t, rev, "ada", "out")
	if a.Destination != b.Destination || len(f.opened()) != 1 {
		t.Fatalf("%d destinations were opened for one block", len(f.opened()))
	}
	f.put(t, vault.User("ada"), "sink", "default", "second")
	c := f.lane(t, rev, "ada", "out")
	old, fresh := f.opened()[0], f.opened()[1]
	if c.Destination != connectors.Destination(fresh) || fresh.token() != "second" {
		t.Fatalf("the next batch is written with %q", fresh.token())
	}
	a.Release()
	if old.closed() != 0 {
		t.Fatal("closed while in use")
	}
	b.Release()
	if old.closed() != 1 {
		t.Fatalf("the old one was closed %d times after its last release", old.closed())
	}
	c.Release()
	if fresh.closed() != 0 {
		t.Error("one that is current is closed with its last user")
	}
	f.put(t, vault.User("ada"), "sink", "default", "third")
	f.lane(t, rev, "ada", "out").Release()
	if fresh.closed() != 1 {
		t.Errorf("one that nobody used was closed %d times", fresh.closed())
	}
}

// A revision's settings, mode and layout are its own; the default mode is the connector's first.
func TestLaneConfig(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.save(t, false, integration.Destination{Name: "out", Connector: "bucket", Settings: []byte(`{"v":1}`)})
	second := f.save(t, false, integration.Destination{Name: "out", Connector: "bucket", Settings: []byte(`{"v":2}`), Mode: connectors.Append, Layout: "wide"})
	for rev, w := range map[int]struct {
		settings, layout string
		mode             connectors.Mode
	}{first: {`{"v":1}`, connectors.LayoutRaw, connectors.ModeUpsert}, second: {`{"v":2}`, "wide", connectors.Append}} {
		l := f.lane(t, rev, "ada", "out")
		cfg := l.Destination.(*sink).cfg
		if string(cfg.Settings) != w.settings || cfg.Layout != w.layout || cfg.Mode != w.mode || l.Mode != w.mode {
			t.Errorf("revision %d: %s %s %s %s", rev, cfg.Settings, cfg.Layout, cfg.Mode, l.Mode)
		}
		l.Release()
	}
	bad := f.save(t, false, integration.Destination{Name: "out", Connector: "bucket", Map: "{"})
	_, err := f.Lane(t.Context(), "flow", bad, "ada", "out")
	want(t, err, connectors.Invalid, "map")
	if n := len(f.opened()); n != 2 {
		t.Errorf("%d were opened", n)
	}
}

// An opening that fails leaves what is open as it is, and is tried again.
func TestFailedOpening(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, vault.User("ada"), "sink", "default", "first")
	rev := f.save(t, false, out)
	f.lane(t, rev, "ada", "out").Release()
	f.put(t, vault.User("ada"), "sink", "default", "second")
	f.fail = func() error { return connectors.Errorf(connectors.Invalid, "open", "no such host") }
	_, err := f.Lane(t.Context(), "flow", rev, "ada", "out")
	want(t, err, connectors.Invalid, "no such host")
	f.fail = nil
	f.lane(t, rev, "ada", "out").Release()
	if s := f.opened(); len(s) != 2 || s[0].closed() != 1 || s[1].token() != "second" {
		t.Errorf("%d were opened", len(s))
	}
}

// A destination that is slow to close delays no other (I11).
func TestSlowCloseDelaysNobody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, vault.User("ada"), "sink", "default", "first")
	rev := f.save(t, false, out, integration.Destination{Name: "other", Connector: "bucket"})
	closing, let := make(chan struct{}), make(chan struct{})
	f.prepare = func(s *sink) { s.close = func() error { close(closing); <-let; return nil } }
	f.lane(t, rev, "ada", "out").Release()
	f.prepare = nil
	f.put(t, vault.User("ada"), "sink", "default", "second")
	var g sync.WaitGroup
	g.Go(func() {
		l, err := f.Lane(t.Context(), "flow", rev, "ada", "out")
		if err != nil {
			t.Error(err)
			return
		}
		l.Release()
	})
	<-closing
	lent := make(chan struct{})
	g.Go(func() {
		defer close(lent)
		l, err := f.Lane(t.Context(), "flow", rev, "ada", "other")
		if err != nil {
			t.Error(err)
			return
		}
		l.Release()
	})
	select {
	case <-lent:
	case <-time.After(10 * time.Second):
		t.Error("another lane waits for a destination that is being closed")
	}
	close(let)
	g.Wait()
}

// At most maxPooled destinations that nobody uses are held open; those in use stay.
func TestIdleOnesMakeRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rev := f.save(t, false, integration.Destination{Name: "out", Connector: "bucket"})
	used := f.lane(t, rev, "first", "out")
	const users = 300
	for i := range users {
		f.lane(t, rev, fmt.Sprint("user", i), "out").Release()
	}
	open := 0
	for _, s := range f.opened() {
		switch s.closed() {
		case 0:
			open++
		case 1:
		default:
			t.Fatalf("one was closed %d times", s.closed())
		}
	}
	if open != block.MaxPooled {
		t.Errorf("%d are open; want %d", open, block.MaxPooled)
	}
	if used.Destination.(*sink).closed() != 0 {
		t.Error("one that is in use was closed")
	}
	used.Release()
}

// Close ends what is in use too, each once, and nothing is opened after it: a worker that stops leaves nothing behind.
func TestCloseWithUsers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, vault.User("ada"), "sink", "default", "first")
	rev := f.save(t, false, out)
	old := f.lane(t, rev, "ada", "out")
	f.put(t, vault.User("ada"), "sink", "default", "second")
	current := f.lane(t, rev, "ada", "out")
	f.Close()
	s := f.opened()
	if s[1].closed() != 1 {
		t.Fatalf("the one in use was closed %d times", s[1].closed())
	}
	current.Release()
	old.Release()
	f.Close()
	for i, x := range s {
		if x.closed() != 1 {
			t.Errorf("destination %d was closed %d times", i, x.closed())
		}
	}
	_, err := f.Lane(t.Context(), "flow", rev, "ada", "out")
	want(t, err, connectors.Unavailable, "stopping")
	if len(f.opened()) != len(s) {
		t.Error("one was opened after Close")
	}
}

// Many lanes at once, with rotations between: each destination is closed exactly once in the end.
func TestManyUsersAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, vault.User("ada"), "sink", "default", "0")
	rev := f.save(t, false, out)
	var g sync.WaitGroup
	for i := range 8 {
		g.Go(func() {
			for j := range 20 {
				l, err := f.Lane(t.Context(), "flow", rev, "ada", "out")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := l.WriteGuarded(t.Context(), connectors.Batch{}); err != nil {
					t.Error(err)
				}
				if l.Destination.(*sink).closed() != 0 {
					t.Error("lent after it was closed, or closed while in use")
				}
				l.Release()
				if i == 0 && j%5 == 0 {
					f.put(t, vault.User("ada"), "sink", "default", fmt.Sprint(j))
				}
			}
		})
	}
	g.Wait()
	f.Close()
	for i, s := range f.opened() {
		if s.closed() != 1 {
			t.Errorf("destination %d was closed %d times", i, s.closed())
		}
	}
	if n := len(f.opened()); n > 5 {
		t.Errorf("%d destinations were opened for 5 versions of a connection", n)
	}
}
