package activities

import (
	"maps"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/vault"
)

// Check asks the source or a lane, and returns what the connector says, with its kind.
func TestCheck(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	check := func(lane string) *Failure {
		t.Helper()
		var out CheckOutput
		must(t, r.call(t, CheckName, CheckInput{Target: r.target, Lane: lane}, &out))
		return out.Failure
	}
	want(t, check(""), "")
	want(t, check("out"), "")
	r.app.check = func() error { return connectors.Errorf(connectors.Unauthorized, "", "the token was revoked") }
	r.sink.check = func() error { return connectors.Errorf(connectors.Forbidden, "", "grant insert") }
	if f := check(""); f == nil || f.Kind != connectors.Unauthorized {
		t.Errorf("source: %+v", f)
	}
	if f := check("out"); f == nil || f.Kind != connectors.Forbidden || f.Message != "grant insert" {
		t.Errorf("lane: %+v", f)
	}
	if f := check("nowhere"); f == nil || f.Kind != connectors.Invalid {
		t.Errorf("unknown lane: %+v", f)
	}
	connection := func(connector string) *Failure {
		t.Helper()
		var out CheckOutput
		must(t, r.call(t, CheckConnectionName, ConnectionInput{Owner: vault.User(user), Connector: connector, Name: "default"}, &out))
		return out.Failure
	}
	if f := connection("app"); f == nil || f.Kind != connectors.Unauthorized {
		t.Errorf("connection: %+v", f)
	}
	r.app.check = func() error { return nil }
	want(t, connection("app"), "")
	if f := connection("pushed"); f == nil || !strings.Contains(f.Message, "starter connection set") {
		t.Errorf("no connection: %+v", f)
	}
}

// The catalog learns how far an installation is; ending is final, may be repeated, and an epoch that there isn't has ended.
func TestActivatePublishEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	state := func() catalog.Installation {
		t.Helper()
		i, err := r.Catalog.InstallationByEpoch(t.Context(), "e1")
		must(t, err)
		return i
	}
	must(t, r.call(t, ActivateName, EndInput{Target: r.target}, nil))
	if s := state(); s.State != catalog.Active {
		t.Errorf("state %s", s.State)
	}
	marks := map[string]uint64{"journal-1": 4, PollOrigin: 2}
	in := PublishInput{Target: r.target, Marks: marks, Retention: 48 * time.Hour, Pressure: true}
	must(t, r.call(t, PublishName, in, nil))
	got, retention, err := r.Catalog.Marks(t.Context(), "e1")
	must(t, err)
	if !maps.Equal(got, marks) || retention != 48*time.Hour || !state().Pressure {
		t.Errorf("marks %v, retention %s, pressure %v", got, retention, state().Pressure)
	}
	in.Pressure = false
	must(t, r.call(t, PublishName, in, nil))
	if state().Pressure {
		t.Error("pressure stays on")
	}
	for range 2 {
		must(t, r.call(t, EndName, EndInput{Target: r.target, Note: "uninstalled"}, nil))
	}
	if s := state(); s.State != catalog.Ended || s.Note != "uninstalled" {
		t.Errorf("ended as %s %q", s.State, s.Note)
	}
	if err := r.call(t, ActivateName, EndInput{Target: r.target}, nil); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("activating an ended epoch: %v", err)
	}
	in.Epoch = "e0"
	must(t, r.call(t, EndName, EndInput{Target: in.Target}, nil))
	if err := r.call(t, PublishName, in, nil); err == nil {
		t.Error("published for an epoch that there isn't")
	}
	in.Epoch, in.Revision = "e1", 99
	if err := r.call(t, PublishName, in, nil); err == nil {
		t.Error("published a revision that there isn't")
	}
}
