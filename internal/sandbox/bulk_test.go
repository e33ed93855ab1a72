package sandbox

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

const startBulk = `mutation ($q: String!, $g: Boolean!) {
	bulkOperationRunQuery(query: $q, groupObjects: $g) { bulkOperation { id status } userErrors { field message code } }
}`

func bulkRun(t *testing.T, s *Shop, query string, grouped bool) gjson.Result {
	t.Helper()
	_, got := ask(t, s, startBulk, map[string]any{"q": query, "g": grouped})
	if e := got.Get("errors"); e.Exists() {
		t.Fatalf("errors: %s", e.Raw)
	}
	return got.Get("data.bulkOperationRunQuery")
}

func bulkLook(t *testing.T, s *Shop, id string) gjson.Result {
	t.Helper()
	_, got := ask(t, s, `query ($id: ID!) { node(id: $id) { ... on BulkOperation { status errorCode url partialDataUrl fileSize objectCount rootObjectCount } } }`,
		map[string]any{"id": id})
	return got.Get("data.node")
}

func bulkFile(t *testing.T, s *Shop, where string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	u, err := url.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodGet, u.RequestURI(), nil)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	return rec
}

// https://shopify.dev/docs/api/usage/bulk-operations/queries#operation-restrictions
func TestBulkRestrictions(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{})
	for query, want := range map[string]string{
		`{ shop { name } }`: "at least one connection",
		`{ customers { edges { node { id } } } products { edges { node { id } } } }`:                           "single top-level field",
		`{ orders { edges { node { id fulfillments { fulfillmentLineItems { edges { node { id } } } } } } } }`: "connection field within a list field",
		`{ orders { edges { node { name lineItems { edges { node { id } } } } } } }`:                           "must select the 'id' field",
		`{ customers { edges { node { id nonsense } } } }`:                                                     "Invalid bulk query",
		`{ customers { `: "Invalid bulk query",
		`mutation { webhookSubscriptionDelete(id: "x") { userErrors { message } } }`:                                                                        "Only `query` operations",
		`{ locations(sortKey: ID) { edges { node { id inventoryLevels { edges { node { id item { inventoryLevels { edges { node { id } } } } } } } } } } }`: "nesting depth greater than 2",
	} {
		got := bulkRun(t, s, query, false)
		if message := got.Get("userErrors.0.message").Str; !strings.Contains(message, want) || got.Get("userErrors.0.code").Str != "INVALID" {
			t.Errorf("%s: %s, want %q", query, got.Raw, want)
		}
	}
	denied := newShop(t, Options{Scopes: []string{"read_orders"}})
	if got := bulkRun(t, denied, `{ customers { edges { node { id } } } }`, false); !strings.Contains(got.Get("userErrors.0.message").Str, "Access denied") {
		t.Errorf("without the scope: %s", got.Raw)
	}
}

// Children stand under their parents only where that is asked for; else behind all of them.
func TestBulkLines(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Orders: 20})
	for _, grouped := range []bool{true, false} {
		got := bulkRun(t, s, `{ orders(query: "updated_at:>='2026-01-05T09:00:05Z'") { edges { node { id name lineItems { edges { node { id title } } } } } } }`, grouped)
		op := bulkLook(t, s, got.Get("bulkOperation.id").Str)
		if op.Get("status").Str != "COMPLETED" || op.Get("rootObjectCount").Str != "15" {
			t.Fatalf("%s", op.Raw)
		}
		file := bulkFile(t, s, op.Get("url").Str)
		if file.Code != http.StatusOK || op.Get("fileSize").Str != fmt.Sprint(file.Body.Len()) {
			t.Fatalf("HTTP %d, %d bytes of %s", file.Code, file.Body.Len(), op.Get("fileSize").Str)
		}
		parents, children, last, under := 0, 0, "", true
		for line := range strings.Lines(file.Body.String()) {
			v := gjson.Parse(line)
			if v.Get("lineItems").Exists() || !gjson.Valid(line) {
				t.Fatalf("line %s", line)
			}
			if of := v.Get("__parentId").Str; of == "" {
				parents, last = parents+1, v.Get("id").Str
			} else {
				children++
				under = under && of == last
			}
		}
		if parents != 15 || children == 0 || under != grouped || op.Get("objectCount").Str != fmt.Sprint(parents+children) {
			t.Errorf("grouped %t: %d parents, %d children, children under their parents %t", grouped, parents, children, under)
		}
	}
}

func TestFilesAreServedBySignatureAlone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s := newShop(t, Options{Customers: 3, Now: func() time.Time { return now }})
	id := bulkRun(t, s, `{ customers { edges { node { id } } } }`, false).Get("bulkOperation.id").Str
	where := bulkLook(t, s, id).Get("url").Str
	if rec := bulkFile(t, s, where, "X-Shopify-Access-Token", s.AccessToken()); rec.Code != http.StatusBadRequest {
		t.Errorf("with a token: HTTP %d", rec.Code)
	}
	if rec := bulkFile(t, s, where+"x"); rec.Code != http.StatusForbidden {
		t.Errorf("with another signature: HTTP %d", rec.Code)
	}
	if rec := bulkFile(t, s, where, "Range", "bytes=2-5"); rec.Code != http.StatusPartialContent || rec.Body.Len() != 4 {
		t.Errorf("a piece: HTTP %d, %d bytes", rec.Code, rec.Body.Len())
	}
	now = now.Add(fileLife + time.Second)
	if rec := bulkFile(t, s, where); rec.Code != http.StatusNotFound {
		t.Errorf("after seven days: HTTP %d", rec.Code)
	}
}

func TestBulkFailures(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Customers: 10})
	s.FailBulk(BulkFailure{Status: "FAILED", Code: "TIMEOUT", Lines: 4}, BulkFailure{Status: "CANCELED"})
	id := bulkRun(t, s, `{ customers { edges { node { id } } } }`, false).Get("bulkOperation.id").Str
	op := bulkLook(t, s, id)
	part := bulkFile(t, s, op.Get("partialDataUrl").Str).Body.String()
	if op.Get("status").Str != "FAILED" || op.Get("errorCode").Str != "TIMEOUT" || op.Get("url").Str != "" || strings.Count(part, "\n") != 3 || strings.HasSuffix(part, "\n") {
		t.Errorf("%s with %q", op.Raw, part)
	}
	id = bulkRun(t, s, `{ customers { edges { node { id } } } }`, false).Get("bulkOperation.id").Str
	if op := bulkLook(t, s, id); op.Get("status").Str != "CANCELED" || op.Get("partialDataUrl").Str != "" {
		t.Errorf("%s", op.Raw)
	}
}
