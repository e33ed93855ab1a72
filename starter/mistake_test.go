package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A user's ID may be of any script; what can't come true is refused with the reason, also where it is waited for.
func TestWhatCanNotComeTrue(t *testing.T) {
	t.Parallel()
	s, _ := stack(t)
	gone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusGone)
		}
	}))
	t.Cleanup(gone.Close)
	file := s.pushes(gone.URL)
	const user, id = `Zoë "漢" 👩‍🚀`, `pushes/Zoë "漢" 👩‍🚀`
	shop := s.file("customers.yaml", `
name: customers
source: {connector: shopify, connection: eu, trigger: realtime, streams: [customers]}
destinations: [{name: warehouse, connector: duckdb, hidden: true}]
`)
	s.want(exitNotFound, words(`"eu"`, "starter connection set shopify --user "+user+" --name eu"), "install", shop, "--user", user)
	s.in = `{"secret": "` + canary + `"}`
	s.want(exitOK, words(user), "connection", "set", "webhook", "--user", user)
	var in installed
	s.object(&in, "install", file, "--user", user)
	if code := push(t, in.HookURL, "d0", `{}`); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	eventually(s, func(st fullStatus) bool {
		return st.Delivered == 1 && len(st.Lanes) == 2 && st.Lanes[1].Stopped
	}, "status", id)
	eventually(s, func(all []installationRow) bool { return len(all) == 1 && all[0].Health != "" }, "list", "--user", user)

	s.want(exitRefused, words("company stopped", "410", "starter resume "+id), "flush", id, "--wait")
	s.want(exitNotFound, words("company", "98, 99", "starter quarantine list "+id), "quarantine", "redeliver", id, "--lane", "company", "98", "99")
	s.want(exitOK, nil, "quarantine", "list", id)
	s.want(exitOK, words("warehouse: 1 delivered"), "uninstall", id)
}
