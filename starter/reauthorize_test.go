package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// An access token that the app revoked stops the installation, which says what it waits for. Storing another connection lets it go on by itself.
func TestStoringAConnectionResumesWhatWaitsForIt(t *testing.T) {
	t.Parallel()
	st := stack.Start(t)
	store := magentotest.New(t, nil)
	put := func(id int64) { store.Put("orders", id, store.Now()) }
	put(1)
	st.Connect(vault.User(st.User), "magento", magento.Connection{URL: store.URL, AccessToken: magentotest.AccessToken})
	st.Define(`
name: orders
source:
  connector: magento
  trigger: {kind: polling, interval: 1s}
  streams: [orders]
destinations:
  - {name: warehouse, connector: duckdb, hidden: true}
`)
	in := st.Install("orders", st.User)
	st.Await(in.ID, time.Minute, "the first order", stack.Settled(1))
	token := store.Reauthorize()
	put(2)
	stuck := st.Await(in.ID, time.Minute, "the refusal", func(s workflows.Status) bool { return s.Health == workflows.NeedsAuth })
	if !strings.Contains(stuck.Problem, "the access token is not accepted") {
		t.Errorf("the problem is %q", stuck.Problem)
	}

	s := &shell{T: t, env: map[string]string{"TRIBUTARY_DIR": st.Config.Dir, "TRIBUTARY_KEY_FILE": st.Config.KeyFile, "TEMPORAL_ADDRESS": st.Temporal}}
	raw, err := json.Marshal(magento.Connection{URL: store.URL, AccessToken: token})
	if err != nil {
		t.Fatal(err)
	}
	s.in = string(raw)
	var got stored
	s.object(&got, "connection", "set", "magento", "--user", st.User)
	if !slices.Equal(got.Resumed, []string{in.ID}) {
		t.Errorf("resumed %q, want %s", got.Resumed, in.ID)
	}
	st.Await(in.ID, time.Minute, "the second order", func(s workflows.Status) bool { return s.Health == workflows.Healthy && s.Delivered == 2 })
}
