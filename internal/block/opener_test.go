package block_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/integration"
	"tributary/internal/vault"
)

// A block uses the connection of the user whom it is installed for, a hidden one that of the operator; the connector is told when it is the
// operator's, because only then it may stand for who the worker is.
func TestCredentialsFollowOwner(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, vault.User("ada"), "app", "main", "of-ada")
	f.put(t, vault.User("bob"), "app", "main", "of-bob")
	f.put(t, vault.Operator, "app", "main", "of-operator")
	f.put(t, vault.User("ada"), "sink", "default", "of-ada")
	f.put(t, vault.Operator, "sink", "default", "of-operator")
	own, hidden := integration.Destination{Name: "own", Connector: "sink"}, integration.Destination{Name: "hidden", Connector: "sink", Hidden: true}
	shown, concealed := f.save(t, false, own, hidden), f.save(t, true, own, hidden)

	for _, c := range []struct {
		revision int
		user     string
		want     string
	}{{shown, "ada", "of-ada"}, {shown, "bob", "of-bob"}, {concealed, "ada", "of-operator"}, {concealed, "bob", "of-operator"}} {
		s, err := f.Source(t.Context(), "flow", c.revision, c.user)
		must(t, err)
		cfg := s.Value.(*app).cfg
		if got := string(cfg.Connection); got != `{"token":"`+c.want+`"}` || s.Account != "account of "+got {
			t.Errorf("revision %d for %s: opened with %s, account %q", c.revision, c.user, got, s.Account)
		}
		if cfg.Operator != (c.want == "of-operator") {
			t.Errorf("revision %d for %s: operator %v", c.revision, c.user, cfg.Operator)
		}
		if !slices.Equal(cfg.Streams, []string{"orders"}) {
			t.Errorf("opened with streams %q", cfg.Streams)
		}
	}
	for lane, token := range map[string]string{"own": "of-ada", "hidden": "of-operator"} {
		l := f.lane(t, shown, "ada", lane)
		defer l.Release()
		if got := l.Destination.(*sink).token(); got != token {
			t.Errorf("%s writes with %s", lane, got)
		}
		if told := l.Destination.(*sink).cfg.Operator; told != (lane == "hidden") {
			t.Errorf("%s: operator %v", lane, told)
		}
	}
}

// What can't be opened says what to do, and its kind says whether coming again helps.
func TestWhatCannotBeOpened(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rev := f.save(t, false, integration.Destination{Name: "out", Connector: "sink"}, integration.Destination{Name: "source", Connector: "app"},
		integration.Destination{Name: "odd", Connector: "gone"})
	_, err := f.Source(t.Context(), "flow", rev, "ada")
	want(t, err, connectors.Unauthorized, `"main"`, "user:ada", "starter connection set")
	_, err = f.Lane(t.Context(), "flow", rev, "ada", "out")
	want(t, err, connectors.Unauthorized, `"default"`, "sink", "user:ada", "starter connection set")
	_, err = f.Lane(t.Context(), "flow", rev, "ada", "source")
	want(t, err, connectors.Invalid, "no destination")
	_, err = f.Lane(t.Context(), "flow", rev, "ada", "nowhere")
	want(t, err, connectors.Invalid, `"nowhere"`)
	_, err = f.Lane(t.Context(), "flow", rev, "ada", "odd")
	want(t, err, connectors.Invalid, "there is no connector", "app, bucket, sink")
	_, err = f.Source(t.Context(), "flow", 99, "ada")
	want(t, err, connectors.NotFound, "revision 99", "flow")

	other, err := f.catalog.SaveIntegration(t.Context(), integration.Spec{Name: "reversed", Source: integration.Source{Connector: "sink"}})
	must(t, err)
	_, err = f.Source(t.Context(), "reversed", other, "ada")
	want(t, err, connectors.Invalid, "no source")
}

// A catalog that gives no answer passes; one that is closed stands for it.
func TestCatalogIsAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rev := f.save(t, false, integration.Destination{Name: "out", Connector: "sink"})
	_, err := f.Spec(t.Context(), "flow", rev)
	must(t, err)
	must(t, f.catalog.Close())
	// A revision never changes: what was read once needs no catalog.
	spec, err := f.Spec(t.Context(), "flow", rev)
	must(t, err)
	if spec.Name != "flow" {
		t.Errorf("got %q", spec.Name)
	}
	_, err = f.Spec(t.Context(), "flow", rev+1)
	want(t, err, connectors.Unavailable)
	_, err = f.Source(t.Context(), "flow", rev, "ada")
	want(t, err, connectors.Unavailable)
}

// A stored connection is checked by itself, with a block's settings or without, and a destination that was opened for it is closed.
func TestCheckConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, vault.Operator, "sink", "default", "t")
	f.put(t, vault.Operator, "app", "default", "t")
	must(t, f.CheckConnection(t.Context(), vault.Operator, "sink", "default", json.RawMessage(`{"a":1}`)))
	must(t, f.CheckConnection(t.Context(), vault.Operator, "app", "default", nil))
	s := f.opened()[0]
	if !s.cfg.Operator {
		t.Error("the connector is not told that it is the operator's connection")
	}
	if s.closed() != 1 || string(s.cfg.Settings) != `{"a":1}` || s.cfg.Mode != connectors.ModeUpsert {
		t.Errorf("closed %d times, settings %s, mode %s", s.closed(), s.cfg.Settings, s.cfg.Mode)
	}
	want(t, f.CheckConnection(t.Context(), vault.Operator, "nothing", "default", nil), connectors.Invalid, "there is no connector")
	want(t, f.CheckConnection(t.Context(), vault.Operator, "app", "other", nil), connectors.Unauthorized, "starter connection set")
	f.fail = func() error { return connectors.Errorf(connectors.Forbidden, "check", "grant read_orders") }
	want(t, f.CheckConnection(t.Context(), vault.Operator, "app", "default", nil), connectors.Forbidden, "grant read_orders")
}

// A connector's panic becomes an error that says where, and neither it nor a foreign error shows what it holds (I7), wherever
// the engine calls the connector.
func TestPanicsAndForeignErrors(t *testing.T) {
	t.Parallel()
	const canary = "canary-51c0"
	for name, fail := range map[string]func() error{
		"panic": func() error { panic("row " + canary) },
		"error": func() error { return &url.Error{Op: "Get", URL: "https://x?token=" + canary, Err: errors.New(canary)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.put(t, vault.User("ada"), "app", "main", canary)
			f.put(t, vault.User("ada"), "sink", "default", canary)
			rev := f.save(t, false, integration.Destination{Name: "out", Connector: "sink"}, integration.Destination{Name: "shut", Connector: "bucket"})

			source, err := f.Source(t.Context(), "flow", rev, "ada")
			must(t, err)
			lane := f.lane(t, rev, "ada", "out")
			lane.Destination.(*sink).write = fail
			lane.Destination.(*sink).close = fail
			f.fail = fail
			calls := map[string]func() error{
				"check source":     func() error { return source.Check(t.Context()) },
				"open source":      func() error { _, err := f.Source(t.Context(), "flow", rev, "ada"); return err },
				"open destination": func() error { _, err := f.Lane(t.Context(), "flow", rev, "ada", "shut"); return err },
				"check lane":       func() error { return lane.Check(t.Context()) },
				"write":            func() error { _, err := lane.WriteGuarded(t.Context(), connectors.Batch{}); return err },
				"connection source": func() error {
					return f.CheckConnection(t.Context(), vault.User("ada"), "app", "main", nil)
				},
				"connection destination": func() error {
					return f.CheckConnection(t.Context(), vault.User("ada"), "sink", "default", nil)
				},
			}
			for where, call := range calls {
				e := connectors.AsError("", call())
				if e == nil || e.Kind != connectors.Unknown || strings.Contains(e.Error(), canary) {
					t.Errorf("%s: got %v", where, e)
				}
				if name == "panic" && e != nil && !(strings.Contains(e.Error(), "panicked with string in block_test.") && strings.Contains(e.Error(), "line ")) {
					t.Errorf("%s: %v does not say where it panicked", where, e)
				}
			}
			lane.Release()
			f.Close()
			if log := f.log.String(); !strings.Contains(log, "close destination") || strings.Contains(log, canary) {
				t.Errorf("the log is %q", log)
			}
		})
	}
}

// A key file that is no longer the catalog's is said in words, without the secret, and passes when it is mended.
func TestUnreadableConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, vault.User("ada"), "app", "main", "of-ada")
	rev := f.save(t, false)
	stored, err := f.catalog.Connection(t.Context(), vault.User("ada"), "app", "main")
	must(t, err)
	stored.Ciphertext[len(stored.Ciphertext)-1] ^= 1
	_, err = f.catalog.PutConnection(t.Context(), stored)
	must(t, err)
	_, err = f.Source(t.Context(), "flow", rev, "ada")
	want(t, err, connectors.Unavailable, "does not decrypt", "store it again")
	if errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "of-ada") {
		t.Errorf("got %v", err)
	}
}

// Owner names whose connection is used.
func TestOwner(t *testing.T) {
	t.Parallel()
	if got := block.Owner(true, "ada"); got != vault.Operator {
		t.Errorf("hidden: %q", got)
	}
	if got := block.Owner(false, "ada"); got != vault.User("ada") {
		t.Errorf("shown: %q", got)
	}
}
