package main

import (
	"encoding/json"
	"slices"
	"testing"

	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
	"tributary/workflows"
)

// An access token that the app revoked stops the installation, which says what it waits for. Storing another connection lets it go on by itself.
func TestStoringAConnectionResumesWhatWaitsForIt(t *testing.T) {
	t.Parallel()
	s, _ := stack(t)
	shop := magentotest.New(t, nil)
	put := func(id int64) { shop.Put("orders", id, shop.Now()) }
	connect := func(token string) (got stored) {
		t.Helper()
		raw, err := json.Marshal(magento.Connection{URL: shop.URL, AccessToken: token})
		if err != nil {
			t.Fatal(err)
		}
		s.in = string(raw)
		s.object(&got, "connection", "set", "magento", "--user", "ada")
		return got
	}
	put(1)
	connect(magentotest.AccessToken)
	file := s.file("orders.yaml", `
name: orders
source: {connector: magento, trigger: {kind: polling, interval: 1s}, streams: [orders]}
destinations: [{name: warehouse, connector: duckdb, hidden: true}]
`)
	s.want(exitOK, nil, "install", file, "--user", "ada")
	eventually(s, func(st fullStatus) bool { return st.Delivered == 1 }, "status", "orders/ada")
	token := shop.Reauthorize()
	put(2)
	eventually(s, func(st fullStatus) bool { return st.Health == workflows.NeedsAuth }, "status", "orders/ada")
	s.want(exitOK, words("needs reauthorization", "the access token is not accepted"), "status", "orders/ada")
	if got := connect(token); !slices.Equal(got.Resumed, []string{"orders/ada"}) {
		t.Errorf("resumed %q", got.Resumed)
	}
	eventually(s, func(st fullStatus) bool { return st.Health == workflows.Healthy && st.Delivered == 2 }, "status", "orders/ada")
}
