package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newShop(t *testing.T, o Options) *Shop {
	t.Helper()
	s := New(o)
	t.Cleanup(s.Close)
	return s
}

// ask sends a query as an app would and returns the status and the whole answer.
func ask(t *testing.T, s *Shop, query string, variables map[string]any) (int, gjson.Result) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/admin/api/2026-07/graphql.json", bytes.NewReader(body))
	req.Header.Set("X-Shopify-Access-Token", s.AccessToken())
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	return rec.Code, gjson.ParseBytes(rec.Body.Bytes())
}

const productPage = `query ($after: String, $query: String) {
	products(first: 10, after: $after, query: $query, sortKey: UPDATED_AT) { nodes { id updatedAt title } pageInfo { hasNextPage endCursor } }
}`

// pages reads products to the end; between runs after each page.
func pages(t *testing.T, s *Shop, search string, between func()) (ids []string) {
	t.Helper()
	variables := map[string]any{"query": search}
	for {
		_, got := ask(t, s, productPage, variables)
		if e := got.Get("errors"); e.Exists() {
			t.Fatalf("errors: %s", e.Raw)
		}
		last := ""
		for _, n := range got.Get("data.products.nodes").Array() {
			ids = append(ids, n.Get("id").Str)
			if at := n.Get("updatedAt").Str; at < last {
				t.Fatalf("updatedAt falls from %s to %s", last, at)
			} else {
				last = at
			}
		}
		if !got.Get("data.products.pageInfo.hasNextPage").Bool() {
			return ids
		}
		variables["after"] = got.Get("data.products.pageInfo.endCursor").Str
		if between != nil {
			between()
		}
	}
}

func TestOnlyTheTokenAndThePathOpen(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{})
	for name, c := range map[string]struct {
		method, path, token string
		want                int
	}{
		"right":       {"POST", "/admin/api/2026-07/graphql.json", s.AccessToken(), 400}, // an empty body
		"no token":    {"POST", "/admin/api/2026-07/graphql.json", "", 401},
		"wrong token": {"POST", "/admin/api/2026-07/graphql.json", "shpat_other", 401},
		"wrong path":  {"POST", "/admin/api/latest/graphql.json", s.AccessToken(), 404},
		"GET":         {"GET", "/admin/api/2026-07/graphql.json", s.AccessToken(), 404},
	} {
		req := httptest.NewRequest(c.method, c.path, nil)
		req.Header.Set("X-Shopify-Access-Token", c.token)
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		if rec.Code != c.want {
			t.Errorf("%s: %d, want %d", name, rec.Code, c.want)
		}
	}
}

// The stand-in must not be more lenient than the vendor, or a misspelt query would pass every test.
func TestQueriesThatTheVendorRefuses(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Products: 30, Depth: 20, Scopes: []string{"read_products"}})
	for query, code := range map[string]string{
		`{ products(first: 1) { nodes { id colour } } }`:                                 "undefinedField",
		`{ carts(first: 1) { nodes { id } } }`:                                           "undefinedField",
		`{ products(first: 1, limit: 5) { nodes { id } } }`:                              "knownArgumentNames",
		`{ products(first: 1, sortKey: COLOUR) { nodes { id } } }`:                       "valuesOfCorrectType",
		`{ products(first: 1) { nodes } }`:                                               "scalarLeafs",
		`{ products(`:                                                                    "parseError",
		`query ($n: Int!) { products(first: $n) { nodes { id } } }`:                      "INVALID_VARIABLE",
		`{ products { nodes { id } } }`:                                                  "BAD_REQUEST",
		`{ products(first: 251) { nodes { id } } }`:                                      "BAD_REQUEST",
		`{ products(first: 21) { nodes { id } } }`:                                       "BAD_REQUEST",
		`{ customers(first: 1) { nodes { id } } }`:                                       "ACCESS_DENIED",
		`{ products(first: 250) { nodes { id variants(first: 10) { nodes { id } } } } }`: "MAX_COST_EXCEEDED",
	} {
		status, got := ask(t, s, query, nil)
		if status != 200 || got.Get("errors.0.extensions.code").Str != code || got.Get("errors.0.message").Str == "" {
			t.Errorf("%s: %d %s, want %s", query, status, got.Raw, code)
		}
	}
	_, got := ask(t, s, `{ products(first: 1, after: "x") { nodes { id } } }`, nil)
	if !strings.HasPrefix(got.Get("errors.0.message").Str, "Invalid cursor") {
		t.Errorf("a bad cursor: %s", got.Raw)
	}
	_, got = ask(t, s, `{ products(first: 1, query: "changed_at:>=2026") { nodes { id } } }`, nil)
	if got.Get("errors").Exists() || !got.Get("extensions.search.0.warnings.0.message").Exists() || got.Get("data.products.nodes.#").Int() != 1 {
		t.Errorf("an unknown filter is left out with a warning: %s", got.Raw)
	}
}

func TestAnswersKeepTheOrderOfTheQuery(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Orders: 1})
	_, got := ask(t, s, `{ a: orders(first: 1) { edges { node { name ...more __typename lineItems(first: 1) { nodes { sku } pageInfo { hasNextPage } } } } } }
		fragment more on Order { id total: totalPriceSet { shopMoney { currencyCode } } cancelledAt }`, nil)
	node := got.Get("data.a.edges.0.node").Raw
	at := -1
	for _, field := range []string{`{"name":"#1001"`, `"id":"gid://shopify/Order/`, `"total":{"shopMoney":{"currencyCode":"USD"}}`, `"cancelledAt":null`, `"__typename":"Order"`, `"lineItems":{"nodes":[{"sku":`} {
		i := strings.Index(node, field)
		if i <= at {
			t.Errorf("%s stands at %d, after %d, in %s", field, i, at, node)
		}
		at = i
	}
}

func TestSearchBounds(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	s := newShop(t, Options{Products: 50, Start: start})
	ids := s.IDs(Products)
	for search, want := range map[string]int{
		"":                                     50,
		"updated_at:>='2026-01-05T09:00:40Z'":  10,
		"updated_at:>'2026-01-05T09:00:40Z'":   9,
		"updated_at:<'2026-01-05T09:00:10Z'":   10,
		"updated_at:<=2026-01-05T09:00:10Z":    11,
		"updated_at:2026-01-05T04:00:10-05:00": 1,
		"updated_at:>='2026-01-05T09:00:10Z' AND updated_at:<'2026-01-05T09:00:20Z'": 10,
		fmt.Sprintf("id:>=%d", ids[45]):                                              5,
		fmt.Sprintf("id:>%d", ids[45]):                                               4,
		fmt.Sprintf("id:<=%d", ids[4]):                                               5,
		fmt.Sprintf("id:%d updated_at:>='2026-01-05T09:00:00Z'", ids[4]):             1,
	} {
		if got := len(pages(t, s, search, nil)); got != want {
			t.Errorf("%q finds %d, want %d", search, got, want)
		}
	}
}

// A page follows the change order, also while objects change and old entries are compacted away.
func TestPagingHoldsWhileObjectsChange(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Products: 100})
	ids := s.IDs(Products)
	seen := map[string]bool{}
	turn := 0
	for _, id := range pages(t, s, "", func() {
		if turn++; turn > 5 {
			return
		}
		for range 500 { // far more changes than objects, so that the log is compacted
			if err := s.Update(Products, ids[turn]); err != nil {
				t.Error(err)
			}
		}
	}) {
		seen[id] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d of 100 products came", len(seen))
	}
	if n := len(s.collections[Products].log); n > 2*100+1000 {
		t.Errorf("the log has %d entries for 100 products", n)
	}
}

func TestTheSameSeedIsTheSameShop(t *testing.T) {
	t.Parallel()
	shot := func(seed uint64) string {
		s := newShop(t, Options{Seed: seed, Customers: 5, Orders: 5, Products: 5})
		_, got := ask(t, s, `{ orders(first: 5) { nodes { id name email totalPriceSet { shopMoney { amount } } } } products(first: 5) { nodes { title } } }`, nil)
		return got.Get("data").Raw
	}
	if a, b := shot(1), shot(1); a != b {
		t.Errorf("%s\nis not\n%s", a, b)
	}
	if shot(1) == shot(2) {
		t.Error("another seed is the same shop")
	}
}

func TestUpdatedAtNeverFalls(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	s := newShop(t, Options{Now: func() time.Time { return now }})
	id := s.Create(Customers)
	before, _ := s.UpdatedAt(Customers, id)
	now = now.Add(-time.Hour)
	if err := s.Update(Customers, id); err != nil {
		t.Fatal(err)
	}
	if after, _ := s.UpdatedAt(Customers, id); after.Before(before) {
		t.Errorf("updated_at fell from %s to %s", before, after)
	}
}

func TestBucketRunsDryAndRefills(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	s := newShop(t, Options{Products: 20, Now: func() time.Time { return now }, Throttle: Throttle{Maximum: 100, Restore: 10}})
	const query = `{ products(first: 50) { nodes { id } } }` // asks for 52, uses 22
	_, got := ask(t, s, query, nil)
	cost := got.Get("extensions.cost")
	if cost.Get("requestedQueryCost").Int() != 52 || cost.Get("actualQueryCost").Int() != 22 || cost.Get("throttleStatus.currentlyAvailable").Int() != 78 {
		t.Fatalf("cost %s", cost.Raw)
	}
	ask(t, s, query, nil) // 56 left
	ask(t, s, query, nil) // 34 left
	_, got = ask(t, s, query, nil)
	if got.Get("errors.0.extensions.code").Str != "THROTTLED" || got.Get("data").Exists() || got.Get("extensions.cost.throttleStatus.currentlyAvailable").Int() != 34 {
		t.Fatalf("an empty bucket: %s", got.Raw)
	}
	now = now.Add(2 * time.Second)
	if _, got = ask(t, s, query, nil); got.Get("errors").Exists() {
		t.Errorf("after two seconds: %s", got.Raw)
	}
}

func TestServedIsWhatWasWritten(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Products: 15})
	var want []Served
	variables := map[string]any{}
	for range 2 {
		_, got := ask(t, s, productPage, variables)
		for _, n := range got.Get("data.products.nodes").Array() {
			id := strings.TrimPrefix(n.Get("id").Str, "gid://shopify/Product/")
			want = append(want, Served{Products, gjson.Parse(id).Int(), sha256.Sum256([]byte(n.Raw))})
		}
		variables["after"] = got.Get("data.products.pageInfo.endCursor").Str
	}
	ask(t, s, productPage, nil) // the same nodes once more
	served := map[Served]bool{}
	for _, v := range s.Served() {
		served[v] = true
	}
	if len(want) != 15 || len(served) != 15 {
		t.Fatalf("%d nodes came, %d were served", len(want), len(served))
	}
	for _, v := range want {
		if !served[v] {
			t.Errorf("product %d is not in the ledger", v.ID)
		}
	}
}

func TestHeldChangesStayOutOfQueries(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Products: 3})
	s.HoldIndex(1)
	id := s.Create(Products)
	s.Create(Products)
	if n := len(pages(t, s, "", nil)); n != 4 {
		t.Errorf("%d products show, want 4 of 5", n)
	}
	s.ReleaseIndex()
	all := strings.Join(pages(t, s, "", nil), " ")
	if !strings.Contains(all, fmt.Sprint(id)) {
		t.Errorf("product %d does not show after its release: %s", id, all)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Products: 10})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client := server.Client()
	get := func() (int, []byte, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/admin/api/2026-07/graphql.json",
			strings.NewReader(`{"query":"{ products(first: 10) { nodes { id } } }"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Shopify-Access-Token", s.AccessToken())
		res, err := client.Do(req)
		if err != nil {
			return 0, nil, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, body, err
	}
	s.SetFaults(Faults{ServerError: 1})
	if status, _, _ := get(); status != 500 {
		t.Errorf("server error: %d", status)
	}
	s.SetFaults(Faults{Throttle: 1})
	if _, body, _ := get(); !bytes.Contains(body, []byte("THROTTLED")) {
		t.Errorf("throttle: %s", body)
	}
	s.SetFaults(Faults{Truncate: 1})
	if _, body, err := get(); !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 || json.Valid(body) {
		t.Errorf("truncate: %q, %v", body, err)
	}
	s.SetFaults(Faults{Stall: 1, StallFor: 50 * time.Millisecond})
	begun := time.Now()
	if status, _, _ := get(); status != 200 || time.Since(begun) < 50*time.Millisecond {
		t.Errorf("stall: %d after %s", status, time.Since(begun))
	}
	s.SetFaults(Faults{})
	if status, _, err := get(); status != 200 || err != nil {
		t.Errorf("no faults: %d, %v", status, err)
	}
}
