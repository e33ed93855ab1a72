package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"tributary/connectors/shopify"
	"tributary/internal/sandbox"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

func shop(t *testing.T, o sandbox.Options) (*sandbox.Shop, shopify.Connection) {
	t.Helper()
	s := sandbox.New(o)
	server := httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); server.Close() })
	return s, shopify.Connection{Shop: s.Domain(), AccessToken: s.AccessToken(), ClientSecret: s.ClientSecret(), AdminURL: server.URL}
}

// Thousands of products over many pages arrive in DuckDB, each once.
func TestProductsByPolling(t *testing.T) {
	t.Parallel()
	s := stack.Start(t)
	_, conn := shop(t, sandbox.Options{Products: 3000})
	s.Connect(vault.User("u1"), "shopify", conn)
	s.Define(`
name: products
source:
  connector: shopify
  trigger: {kind: polling, interval: 1h}
  streams: [products]
destinations:
  - name: warehouse
    connector: duckdb
    hidden: true
`)
	in := s.Install("products", "u1", workflows.Timing{ChunkRecords: 700})
	st := s.Await(in.ID, time.Minute, "products", func(st workflows.Status) bool {
		return len(st.Streams) == 1 && st.Streams[0].Polls == 1 && st.Lag == 0
	})
	rows := s.Query("warehouse.duckdb", "SELECT count(*), count(DISTINCT _key) FROM products")
	if fmt.Sprint(rows) != "[[3000 3000]]" {
		raw, _ := json.Marshal(st)
		t.Errorf("rows %v, status %s", rows, raw)
	}
}

// Webhooks arrive in DuckDB, and reconciliation finds what was withheld, no more.
func TestReconciliationFindsWhatWebhooksMissed(t *testing.T) {
	t.Parallel()
	s := stack.Start(t)
	sh, conn := shop(t, sandbox.Options{})
	s.Connect(vault.User("u1"), "shopify", conn)
	s.Define(`
name: customers
source:
  connector: shopify
  trigger: {kind: both, interval: 10m}
  streams: [customers]
destinations:
  - name: warehouse
    connector: duckdb
    hidden: true
    mode: append
`)
	in := s.Install("customers", "u1")
	s.Await(in.ID, time.Minute, "first poll", func(st workflows.Status) bool { return st.Streams[0].Polls == 1 })
	sh.Withhold(7)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 1000 {
		sh.Create(sandbox.Customers)
	}
	if err := sh.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	s.Await(in.ID, time.Minute, "webhooks", stack.Settled(993))
	if rows := s.Query("warehouse.duckdb", "SELECT count(*) FROM customers"); fmt.Sprint(rows) != "[[993]]" {
		t.Fatalf("rows %v before reconciliation", rows)
	}
	if _, err := s.Update(ctx, s.Client, in.ID, workflows.PollUpdate, "", workflows.StreamsRequest{}); err != nil {
		t.Fatal(err)
	}
	st := s.Await(in.ID, time.Minute, "reconciliation", func(st workflows.Status) bool { return st.Streams[0].Polls == 2 && st.Lag == 0 })
	if st.Missed != 7 {
		t.Errorf("status says %d missed", st.Missed)
	}
	if rows := s.Query("warehouse.duckdb", "SELECT count(*), count(DISTINCT _key) FROM customers"); fmt.Sprint(rows) != "[[1000 1000]]" {
		t.Errorf("rows %v", rows)
	}
}
