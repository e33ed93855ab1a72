package netsuitetest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"tributary/connectors/netsuite/netsuitetest"
)

// ask runs a query, after change has had its way with the request.
func ask(t *testing.T, s *netsuitetest.Server, query, parameters string, change func(*http.Request)) (int, gjson.Result) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/services/rest/query/v1/suiteql"+parameters,
		strings.NewReader(fmt.Sprintf(`{"q": %q}`, query)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Login())
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", "transient")
	if change != nil {
		change(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, gjson.ParseBytes(body)
}

const all = "SELECT id FROM customer ORDER BY id"

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, nil)
	s.AddCustomers(t, 3)
	for name, c := range map[string]struct {
		query, parameters string
		change            func(*http.Request)
		status            int
		code              string
	}{
		"no login":             {all, "", func(r *http.Request) { r.Header.Del("Authorization") }, 401, "INVALID_LOGIN"},
		"a strange token":      {all, "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "INVALID_LOGIN"},
		"no Prefer":            {all, "", func(r *http.Request) { r.Header.Del("Prefer") }, 400, "INVALID_HEADER"},
		"no content type":      {all, "", func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "INVALID_HEADER"},
		"GET":                  {all, "", func(r *http.Request) { r.Method = http.MethodGet }, 405, "METHOD_NOT_ALLOWED"},
		"a limit too high":     {all, "?limit=1001", nil, 400, "INVALID_PARAMETER"},
		"a limit of nothing":   {all, "?limit=0", nil, 400, "INVALID_PARAMETER"},
		"an offset in between": {all, "?limit=2&offset=3", nil, 400, "INVALID_PARAMETER"},
		"a strange parameter":  {all, "?page=2", nil, 400, "INVALID_PARAMETER"},
		"a strange field": {all, "", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(`{"q":"x","x":1}`))
			r.ContentLength = -1
		}, 400, "INVALID_CONTENT"},
		"LIMIT":         {"SELECT id FROM customer LIMIT 1", "", nil, 400, "INVALID_PARAMETER"},
		"a function":    {"SELECT STRFTIME(id) FROM customer", "", nil, 400, "INVALID_PARAMETER"},
		"a record type": {"SELECT id FROM unicorn", "", nil, 400, "INVALID_PARAMETER"},
		"a column":      {"SELECT horn FROM customer", "", nil, 400, "INVALID_PARAMETER"},
		"a change":      {"DELETE FROM customer", "", nil, 400, "INVALID_PARAMETER"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, body := ask(t, s, c.query, c.parameters, c.change)
			if code := body.Get("o:errorDetails.0.o:errorCode").Str; status != c.status || code != c.code || int(body.Get("status").Int()) != status {
				t.Errorf("HTTP %d %s: %s", status, code, body.Raw)
			}
		})
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, nil)
	s.AddCustomers(t, 5)
	status, body := ask(t, s, all, "?limit=2&offset=2", nil)
	var ids []string
	for _, id := range body.Get("items.#.id").Array() {
		ids = append(ids, id.Str)
	}
	if status != 200 || strings.Join(ids, " ") != "3 4" || body.Get("totalResults").Int() != 5 || !body.Get("hasMore").Bool() || body.Get("count").Int() != 2 {
		t.Errorf("HTTP %d: %s", status, body.Raw)
	}
	// Dates come cut to the day.
	if _, body := ask(t, s, "SELECT lastmodifieddate FROM customer WHERE id = 1", "", nil); body.Get("items.0.lastmodifieddate").Str != "3/1/2026" {
		t.Errorf("a date is %s", body.Raw)
	}
}

func TestACeilingOfResults(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, nil)
	s.Exec(t, `WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 100001) INSERT INTO customer (id) SELECT id FROM n`)
	if status, body := ask(t, s, all, "", nil); status != 400 {
		t.Errorf("HTTP %d: %d results", status, body.Get("totalResults").Int())
	}
	if status, body := ask(t, s, "SELECT id FROM customer WHERE id > 1 ORDER BY id", "", nil); status != 200 {
		t.Errorf("HTTP %d: %s", status, body.Raw)
	}
}

// Rows that nothing sorts come in another order each time.
func TestWhatIsNotSortedComesInAnyOrder(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, nil)
	for id := range int64(30) {
		s.Put(t, "customer", id+1, s.Now())
	}
	for _, query := range []string{
		"SELECT id FROM customer", "SELECT id FROM customer ORDER BY lastmodifieddate",
		"SELECT * FROM (SELECT id FROM customer ORDER BY id) WHERE ROWNUM <= 30",
		"SELECT * FROM (SELECT id FROM customer) WHERE ROWNUM <= 10 ORDER BY id",
	} {
		orders := map[string]bool{}
		for range 3 {
			_, body := ask(t, s, query, "", nil)
			orders[body.Get("items.#.id").Raw] = true
		}
		if len(orders) == 1 {
			t.Errorf("the rows of %s come in one order", query)
		}
	}
}
