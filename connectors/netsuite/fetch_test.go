package netsuite_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func answering(t *testing.T, status int, header http.Header, body string) connectors.Source {
	t.Helper()
	env := connectors.Env{Now: func() time.Time { return time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) }, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header.Clone(), Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	})}
	source, err := netsuite.Definition().OpenSource(connectors.Config{Connection: raw(t, tokenBased()), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return source.(connectors.Source)
}

// What the suite does not ask: answers that only this API can give, and statuses that it leaves to the connector.
func TestAnswersHaveTheirKind(t *testing.T) {
	t.Parallel()
	vendor := func(code, detail string) string {
		return `{"type":"x","title":"t","status":400,"o:errorDetails":[{"detail":"` + detail + `","o:errorCode":"` + code + `"}]}`
	}
	row := func(id, at string) string { return `{"links":[],"id":` + id + `,"tributary_changed":"` + at + `"}` }
	list := func(rows ...string) string { return `{"items":[` + strings.Join(rows, ",") + `]}` }
	for name, c := range map[string]struct {
		status int
		header http.Header
		body   string
		kind   connectors.Kind
		wait   time.Duration
		says   string
	}{
		"limit with a wait":       {400, http.Header{"Retry-After": {"9"}}, vendor("SSS_REQUEST_LIMIT_EXCEEDED", ""), connectors.RateLimited, 9 * time.Second, ""},
		"permission":              {400, nil, vendor("INSUFFICIENT_PERMISSION", "Permission Violation"), connectors.Forbidden, 0, "SuiteAnalytics Workbook"},
		"record":                  {400, nil, vendor("INVALID_PARAMETER", "Search error occurred: Record 'x' was not found."), connectors.NotFound, 0, "record type"},
		"query":                   {400, nil, vendor("INVALID_PARAMETER", "Unknown identifier 'x'."), connectors.Invalid, 0, "Unknown identifier"},
		"not JSON":                {400, nil, "<html>", connectors.Invalid, 0, ""},
		"failed":                  {400, nil, vendor("UNEXPECTED_ERROR", "An error ID"), connectors.Unavailable, 0, ""},
		"redirect":                {302, http.Header{"Location": {"https://evil.example.com/"}}, "", connectors.NotFound, 0, "redirects"},
		"no content":              {204, nil, "", connectors.Unavailable, 0, ""},
		"time-out":                {408, nil, "", connectors.Unavailable, 0, ""},
		"gone":                    {410, nil, "", connectors.NotFound, 0, ""},
		"request too large":       {413, nil, "", connectors.TooLarge, 0, ""},
		"maintenance":             {503, http.Header{"Retry-After": {"7"}}, "", connectors.Unavailable, 7 * time.Second, ""},
		"a list":                  {200, nil, `[]`, connectors.Unavailable, 0, ""},
		"no items":                {200, nil, `{"links":[]}`, connectors.Unavailable, 0, ""},
		"a page too large":        {200, nil, `{"items":["` + strings.Repeat("x", 64<<20) + `"]}`, connectors.TooLarge, 0, ""},
		"no id":                   {200, nil, list(`{"tributary_changed":"2026-03-01 12:00:00"}`), connectors.Invalid, 0, "id"},
		"an id that is no number": {200, nil, list(row(`"ab"`, "2026-03-01 12:00:00")), connectors.Invalid, 0, "whole number"},
		"an id of 20 digits":      {200, nil, list(row(`"12345678901234567890"`, "2026-03-01 12:00:00")), connectors.Invalid, 0, "whole number"},
		"no time":                 {200, nil, list(row("1", "3/1/2026")), connectors.Invalid, 0, "lastmodifieddate"},
		"wrong order":             {200, nil, list(row("1", "2026-03-01 12:00:01"), row("2", "2026-03-01 12:00:00")), connectors.Invalid, 0, "out of order"},
		"numbers as texts":        {200, nil, list(row(`"9"`, "2026-03-01 12:00:00"), row(`"10"`, "2026-03-01 12:00:00"), row(`"8"`, "2026-03-01 12:00:00")), connectors.Invalid, 0, "row 8"},
		"the same again":          {200, nil, list(row("1", "2026-03-01 12:00:00"), row("1", "2026-03-01 12:00:00")), connectors.Invalid, 0, "two rows"},
		"to come":                 {200, nil, list(row("1", "2026-03-03 12:00:00")), connectors.Invalid, 0, "time_zone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := answering(t, c.status, c.header, c.body).Fetch(t.Context(), connectors.FetchRequest{Stream: "customer"})
			connectortest.WantError(t, err, c.kind, c.says)
			var e *connectors.Error
			if errors.As(err, &e) && e.Wait != c.wait {
				t.Errorf("wait %s, want %s", e.Wait, c.wait)
			}
			if len(page.Records) != 0 {
				t.Errorf("%d records beside an error", len(page.Records))
			}
		})
	}
}

// Each error that NetSuite documents has its kind, whether the connector gives cause for it or a proxy or a change of the API does.
func TestDocumentedErrorsHaveTheirKind(t *testing.T) {
	t.Parallel()
	for code, c := range map[string]struct {
		kind connectors.Kind
		wait time.Duration
	}{
		"INVALID_LOGIN": {connectors.Unauthorized, 0}, "INVALID_HEADER": {connectors.Invalid, 0}, "INVALID_PARAMETER": {connectors.Invalid, 0},
		"INVALID_CONTENT": {connectors.Invalid, 0}, "METHOD_NOT_ALLOWED": {connectors.Invalid, 0}, "NONEXISTENT_ID": {connectors.NotFound, 0},
		"INSUFFICIENT_PERMISSION": {connectors.Forbidden, 0}, "UNEXPECTED_ERROR": {connectors.Unavailable, 0},
		"CONCURRENCY_LIMIT_EXCEEDED": {connectors.RateLimited, 2 * time.Second}, "SSS_REQUEST_LIMIT_EXCEEDED": {connectors.RateLimited, 2 * time.Second},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := netsuitetest.New(t, returned)
			source := open(t, s, netsuite.Settings{})
			s.Fail(code)
			_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "customer"})
			connectortest.WantError(t, err, c.kind, "The request failed.")
			if wait := connectors.AsError("", err).Wait; wait != c.wait {
				t.Errorf("wait %s, want %s", wait, c.wait)
			}
			s.Fail("")
			fetch(t, source, "customer", nil)
		})
	}
	for code, kind := range map[string]connectors.Kind{
		"invalid_request": connectors.Invalid, "unsupported_grant_type": connectors.Invalid, "invalid_grant": connectors.Unauthorized,
		"invalid_client": connectors.Unauthorized, "invalid_scope": connectors.Forbidden,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := netsuitetest.New(t, returned)
			s.Upload(netsuitetest.CertificateID, keys().ec.Public())
			s.Fail(code)
			_, err := netsuite.Definition().Renewal.Renew(t.Context(), connectors.Config{Connection: raw(t, clientCredentials(t, keys().ec)), Env: envOf(t, s)})
			connectortest.WantError(t, err, kind, code)
			s.Fail("")
			renew(t, s, clientCredentials(t, keys().ec))
		})
	}
}

// Names come in any case.
func TestNamesMayBeSpelledOtherwise(t *testing.T) {
	t.Parallel()
	source := answering(t, 200, nil, `{"items":[{"ID":5,"Tributary_Changed":"2026-03-01 12:00:00"}]}`)
	page, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "customer"})
	if err != nil || len(page.Records) != 1 || page.Records[0].Key != "5" {
		t.Errorf("%d records, %v", len(page.Records), err)
	}
}

// The account refuses what is over its limit, and that is a limit, not a failure.
func TestConcurrencyOfTheAccount(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 1)
	s.Concurrent = 2
	var inside sync.WaitGroup
	inside.Add(s.Concurrent)
	leave := make(chan struct{})
	s.Entered(func() { inside.Done(); <-leave })
	source := open(t, s, netsuite.Settings{})
	results := make(chan error, s.Concurrent)
	for range s.Concurrent {
		go func() {
			_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "customer"})
			results <- err
		}()
	}
	inside.Wait()
	_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "customer"})
	connectortest.WantError(t, err, connectors.RateLimited, "Concurrent request limit")
	close(leave)
	for range s.Concurrent {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// All installations of an account share its budget, which leaves a request of the smallest account's five to others and may be set.
func TestBudget(t *testing.T) {
	t.Parallel()
	if n := netsuite.Definition().Budget.Concurrent; n != 4 {
		t.Errorf("%d at once, want 4", n)
	}
	for set, want := range map[int]int{0: 4, 1: 1, 20: 20} {
		conn := tokenBased()
		conn.Concurrency = set
		source, err := netsuite.Definition().OpenSource(connectors.Config{Connection: raw(t, conn)})
		if err != nil {
			t.Fatal(err)
		}
		if got := source.(connectors.Pacer).Budget(connectors.FetchRequest{Stream: "customer"}); got != (connectors.Budget{Concurrent: want}) {
			t.Errorf("with %d the budget is %+v", set, got)
		}
	}
}

// Check proves the credentials, each stream and its deletions.
func TestCheck(t *testing.T) {
	t.Parallel()
	check := func(s *netsuitetest.Server, settings netsuite.Settings, streams ...string) error {
		source, err := netsuite.Definition().OpenSource(connectors.Config{
			Settings: raw(t, settings), Connection: raw(t, tokenBased()), Streams: streams, Env: envOf(t, s),
		})
		if err != nil {
			t.Fatal(err)
		}
		return source.(connectors.Checker).Check(t.Context())
	}
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 30)
	if err := check(s, netsuite.Settings{}, "customer", "transaction", "customrecord_shift"); err != nil {
		t.Error(err)
	}
	connectortest.WantError(t, check(s, netsuite.Settings{}, "customer", "unicorn"), connectors.NotFound, "record type", "unicorn")
	own := netsuite.Settings{Queries: map[string]netsuite.Query{"mine": {Query: "SELECT id, lastmodifieddate, nosuch FROM customer"}}}
	connectortest.WantError(t, check(s, own, "mine"), connectors.Invalid, "Unknown identifier")
	s.Hide("deletedrecord")
	connectortest.WantError(t, check(s, netsuite.Settings{}, "customer"), connectors.NotFound, "Deleted Records")
	if err := check(s, netsuite.Settings{Deletions: new(false)}, "customer"); err != nil {
		t.Error(err)
	}
	if n := s.Largest(); n > 1 {
		t.Errorf("a check asked for %d rows", n)
	}
}

// A query of one's own is read like a record type: in pages, by changes, with the deletions that it names.
func TestOwnQuery(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	for id := range int64(25) {
		s.Put(t, "transaction", id+1, s.Now().Add(time.Duration(id/10)*time.Second))
	}
	source := open(t, s, netsuite.Settings{PageSize: 4, Queries: map[string]netsuite.Query{"orders": {
		Query: "SELECT t.id AS number, t.lastmodifieddate AS moved, t.tranid FROM transaction t WHERE t.type = 'SalesOrd' AND t.id <> 3",
		ID:    "number", Changed: "moved", Deleted: []string{"Sales Order"},
	}}})
	s.Delete(t, "transaction", 5, "salesorder", s.Now())
	s.Delete(t, "transaction", 6, "invoice", s.Now())
	var cursor []byte
	var keys []string
	for _, r := range connectortest.Poll(t, source, "orders", &cursor) {
		if r.Stream != "orders" {
			t.Errorf("a record of %s", r.Stream)
		}
		keys = append(keys, string(r.Op)+" "+r.Key)
	}
	if len(keys) != 25-3+1 || !slices.Contains(keys, "delete 5") || slices.Contains(keys, "delete 6") || slices.Contains(keys, "upsert 3") {
		t.Errorf("came: %v", keys)
	}
	for _, q := range s.Queries() {
		if !strings.Contains(q, "ROWNUM <= 4") {
			t.Errorf("a query without its limit: %s", q)
		}
	}
}
