package sandbox

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Each stream needs its own right.
func TestScopesOfStreams(t *testing.T) {
	t.Parallel()
	for field, scope := range map[string]string{
		"productVariants": "read_products", "inventoryItems": "read_inventory", "draftOrders": "read_draft_orders", "collections": "read_products",
		"abandonedCheckouts": "read_orders",
	} {
		query := `{ ` + field + `(first: 1) { nodes { id } } }`
		if _, got := ask(t, newShop(t, Options{Scopes: []string{scope}}), query, nil); got.Get("errors").Exists() {
			t.Errorf("%s with %s: %s", field, scope, got.Get("errors").Raw)
		}
		_, got := ask(t, newShop(t, Options{Scopes: []string{"read_themes"}}), query, nil)
		if got.Get("errors.0.extensions.code").Str != "ACCESS_DENIED" || !strings.Contains(got.Raw, scope) {
			t.Errorf("%s without %s: %s", field, scope, got.Raw)
		}
	}
	levels := `{ locations(first: 1, sortKey: ID) { nodes { inventoryLevels(first: 1) { nodes { id } } } } }`
	for _, scopes := range [][]string{{"read_inventory"}, {"read_locations"}} {
		if _, got := ask(t, newShop(t, Options{Scopes: scopes}), levels, nil); got.Get("errors.0.extensions.code").Str != "ACCESS_DENIED" {
			t.Errorf("levels with %v: %s", scopes, got.Raw)
		}
	}
}

// A filter that the vendor would leave out is warned of; a level's is refused.
func TestLevelsArePagedAndFiltered(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Products: 30})
	const query = `query ($after: String, $query: String) { locations(first: 1, sortKey: ID) {
		nodes { inventoryLevels(first: 7, after: $after, query: $query) { nodes { id updatedAt item { id } location { id } } pageInfo { hasNextPage endCursor } } } } }`
	seen := map[string]bool{}
	variables := map[string]any{"query": "updated_at:>='2026-01-05T09:00:10Z'"}
	for {
		_, got := ask(t, s, query, variables)
		list := got.Get("data.locations.nodes.0.inventoryLevels")
		for _, n := range list.Get("nodes").Array() {
			if n.Get("updatedAt").Str < "2026-01-05T09:00:10Z" || !strings.Contains(n.Get("id").Str, "?inventory_item_id=") {
				t.Errorf("%s", n.Raw)
			}
			seen[n.Get("id").Str] = true
		}
		if !list.Get("pageInfo.hasNextPage").Bool() {
			break
		}
		variables["after"] = list.Get("pageInfo.endCursor").Str
	}
	want := 0
	for _, id := range s.IDs(InventoryLevels) {
		if at, _ := s.UpdatedAt(InventoryLevels, id); id%2 == s.IDs(InventoryLevels)[0]%2 && at.Sub(s.options.Start).Seconds() >= 10 {
			want++
		}
	}
	if len(seen) != want || want == 0 {
		t.Errorf("%d levels, want %d", len(seen), want)
	}
	if _, got := ask(t, s, query, map[string]any{"query": "changed:>1"}); !got.Get("errors").Exists() {
		t.Errorf("an unknown filter: %s", got.Raw)
	}
}

func TestNodesAreFoundByTheirIDs(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Orders: 2})
	order := s.IDs(Orders)[0]
	refund, err := s.Refund(order)
	if err != nil {
		t.Fatal(err)
	}
	_, got := ask(t, s, `query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Refund { id note } ... on Fulfillment { name } } }`,
		map[string]any{"ids": []string{gid("Refund", refund), gid("Refund", 1), "nonsense"}})
	list := got.Get("data.nodes")
	if n := list.Array(); len(n) != 3 || n[0].Get("id").Str != gid("Refund", refund) || n[0].Get("name").Exists() || n[1].Raw != "null" || n[2].Raw != "null" {
		t.Errorf("%s", got.Raw)
	}
	if _, err := s.Track(order); err == nil {
		t.Error("an order without a parcel was tracked")
	}
}

// https://shopify.dev/docs/apps/build/authentication-authorization/client-credentials-grant
func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Expiring: true})
	post := func(form url.Values) (int, string) {
		req := httptest.NewRequest(http.MethodPost, "/admin/oauth/access_token", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		return rec.Code, rec.Body.String()
	}
	app := func(more ...string) url.Values {
		v := url.Values{"client_id": {s.ClientID()}, "client_secret": {s.ClientSecret()}}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	for name, c := range map[string]struct {
		form   url.Values
		status int
		holds  string
	}{
		"wrong secret":     {app("client_secret", "x", "grant_type", "client_credentials"), 400, "invalid_client"},
		"no grant":         {app(), 400, "unsupported_grant_type"},
		"unknown refresh":  {app("grant_type", "refresh_token", "refresh_token", "x"), 401, "invalid_request"},
		"a token of a day": {app("grant_type", "client_credentials"), 200, `"expires_in":86400`},
		"a refresh":        {app("grant_type", "refresh_token", "refresh_token", s.RefreshToken()), 200, `"refresh_token_expires_in":7776000`},
	} {
		if status, body := post(c.form); status != c.status || !strings.Contains(body, c.holds) {
			t.Errorf("%s: HTTP %d %s, want %d with %s", name, status, body, c.status, c.holds)
		}
	}
}
