package shopify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest/clock"
	"tributary/internal/sandbox"
)

// readAll polls once and returns how often each key came, and how many pages it took.
func readAll(t *testing.T, src *source, stream string, limit int) (times map[string]int, pages int, last connectors.Page) {
	t.Helper()
	times = map[string]int{}
	ids := map[string]bool{}
	var cursor []byte
	for pages = 1; ; pages++ {
		if pages > 1000 {
			t.Fatal("the stream does not end")
		}
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: stream, Cursor: cursor, Limit: limit})
		if err != nil {
			t.Fatalf("page %d: %v", pages, err)
		}
		for _, r := range p.Records {
			if !ids[r.ID] {
				ids[r.ID] = true
				times[r.Key]++
			}
		}
		if cursor = p.Cursor; !p.More {
			return times, pages, p
		}
	}
}

// The vendor ends a query at a depth; the connector narrows the query before and still reads everything.
func TestDepthCeilingIsSplit(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{
		"spread over time":   time.Second,
		"all in one second":  -1,
		"many in one second": time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n, depth = 830, 200
			shop := newShop(t, sandbox.Options{Products: n, Step: step, Depth: depth})
			src := openShop(t, shop, Settings{}, connectors.Env{})
			src.depth = depth
			times, _, _ := readAll(t, src, "products", 0)
			if len(times) != n {
				t.Errorf("%d of %d products came", len(times), n)
			}
			for key, k := range times {
				if k != 1 {
					t.Errorf("product %s came as %d records", key, k)
				}
			}
		})
	}
}

// Default pages stay below what the vendor lets a query cost.
func TestDefaultPagesAreAffordable(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{Customers: 5, Orders: 50, Products: 5})
	for _, id := range shop.IDs(sandbox.Orders) {
		for range 6 {
			fulfill(t, shop, id)
			refund(t, shop, id)
		}
	}
	for _, st := range streams {
		src := openShop(t, shop, Settings{Bulk: "never"}, connectors.Env{})
		if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: st.name}); err != nil {
			t.Errorf("%s: a page of %d: %v", st.name, st.pageSize, err)
		}
		src = openShop(t, shop, Settings{Bulk: "never", PageSize: 250}, connectors.Env{})
		_, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: st.name})
		if st.name == "inventory_items" {
			if err != nil {
				t.Errorf("%s: a page of 250: %v", st.name, err)
			}
		} else if kind(err) != connectors.TooLarge {
			t.Errorf("%s: a page of 250: %v, want too_large so that the engine asks for half", st.name, err)
		}
		if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: st.name, Limit: 10}); err != nil {
			t.Errorf("%s: a page of 10: %v", st.name, err)
		}
	}
}

// An empty bucket says how long to wait, and after that time the same page comes.
func TestThrottleSaysHowLong(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Products: 200, Now: clock.Now, Throttle: sandbox.Throttle{Maximum: 1000, Restore: 100}})
	src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now})
	var cursor []byte
	var throttled *connectors.Error
	for range 20 {
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "products", Cursor: cursor})
		if errors.As(err, &throttled) {
			break
		}
		cursor = p.Cursor
	}
	if throttled == nil || throttled.Kind != connectors.RateLimited {
		t.Fatalf("the bucket never ran dry: %v", throttled)
	}
	if throttled.Wait < time.Second || throttled.Wait > 10*time.Second {
		t.Errorf("wait %s: the bucket of 1,000 refills within 10 s", throttled.Wait)
	}
	clock.Advance(throttled.Wait)
	if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "products", Cursor: cursor}); err != nil {
		t.Errorf("after the wait that it asked for: %v", err)
	}
}

func TestThrottleWaitIsClamped(t *testing.T) {
	t.Parallel()
	for cost, want := range map[string]time.Duration{
		`{"requestedQueryCost":500,"throttleStatus":{"currentlyAvailable":100,"restoreRate":100}}`: 4 * time.Second,
		`{"requestedQueryCost":101,"throttleStatus":{"currentlyAvailable":100,"restoreRate":100}}`: minWait,
		`{"requestedQueryCost":100,"throttleStatus":{"currentlyAvailable":100,"restoreRate":0}}`:   minWait,
		`{"requestedQueryCost":100,"throttleStatus":{"currentlyAvailable":0,"restoreRate":-1}}`:    minWait,
		`{"requestedQueryCost":1e300,"throttleStatus":{"restoreRate":1}}`:                          connectors.MaxWait,
		`{"requestedQueryCost":1e308,"throttleStatus":{"restoreRate":1e-300}}`:                     connectors.MaxWait,
		`{}`:  minWait,
		`"x"`: minWait,
	} {
		if got := throttleWait(gjson.Parse(cost)); got != want {
			t.Errorf("%s: wait %s, want %s", cost, got, want)
		}
	}
}

// A shop that answers whatever body a test gives it.
func fakeShop(t *testing.T, answer func(variables gjson.Result) string) *source {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, answer(gjson.GetBytes(body, "variables")))
	})
	src, err := open(connectors.Config{
		Connection: raw(t, Connection{Shop: "example", AccessToken: "shpat_canary", ClientSecret: "shpss_canary"}),
		Env:        connectors.Env{Transport: handlerTransport{h}, Now: clock.New().Now},
	})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func kind(err error) connectors.Kind {
	var e *connectors.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

func TestErrorsInsideAnAnswer(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]connectors.Kind{
		`{"errors":[{"message":"Access denied for orders field.","extensions":{"code":"ACCESS_DENIED"}}],"data":{"orders":null}}`: connectors.Forbidden,
		`{"errors":[{"message":"gone","extensions":{"code":"SHOP_INACTIVE"}}]}`:                                                   connectors.Forbidden,
		`{"errors":[{"message":"oops","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`:                                           connectors.Unavailable,
		`{"errors":[{"message":"Field 'x' doesn't exist","extensions":{"code":"undefinedField"}}]}`:                               connectors.Invalid,
		`{"errors":"something"}`: connectors.Invalid,
		`{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}`:    connectors.RateLimited,
		`{"errors":[{"message":"dear","extensions":{"code":"MAX_COST_EXCEEDED"}}]}`: connectors.TooLarge,
		`{"data":{}}`:                      connectors.Unavailable,
		`{"data":{"orders":{"nodes":{}}}}`: connectors.Unavailable,
		`{"data":{"orders":{"nodes":[{"id":"x","updatedAt":"2026-01-01T00:00:00Z"}]}}}`:                          connectors.Invalid,
		`{"data":{"orders":{"nodes":[{"id":"gid://shopify/Order/1","updatedAt":"yesterday"}]}}}`:                 connectors.Invalid,
		`{"data":{"orders":{"nodes":[{"id":"gid://shopify/Order/1","updatedAt":"9999-12-31T23:59:59-01:00"}]}}}`: connectors.Invalid,
		`{"data":{"orders":{"nodes":[],"pageInfo":{"hasNextPage":true,"endCursor":null}}}}`:                      connectors.Invalid,
		`{"data":{"orders":{"nodes":[]}},"extensions":{"search":[{"warnings":[{"message":"Invalid"}]}]}}`:        connectors.Invalid,
	} {
		src := fakeShop(t, func(gjson.Result) string { return answer })
		_, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
		if kind(err) != want {
			t.Errorf("%s: %v, want %s", answer, err, want)
		}
	}
}

func TestStatusesThatTheSuiteLeavesOut(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]connectors.Kind{
		301: connectors.NotFound, 302: connectors.NotFound, 400: connectors.Invalid, 402: connectors.Forbidden, 408: connectors.Unavailable,
		413: connectors.TooLarge, 423: connectors.Unavailable, 430: connectors.Forbidden, 504: connectors.Unavailable,
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(status)
		})
		src, err := open(connectors.Config{
			Connection: raw(t, Connection{Shop: "example", AccessToken: "t"}), Env: connectors.Env{Transport: handlerTransport{h}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"}); kind(err) != want {
			t.Errorf("HTTP %d: %v, want %s", status, err, want)
		}
	}
}

// A redirect would hand the access token to whoever it names.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var stolen atomic.Bool
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "example.myshopify.com" {
			stolen.Store(true)
		}
		http.Redirect(w, r, "https://thief.example/admin", http.StatusTemporaryRedirect)
	})
	src, err := open(connectors.Config{
		Connection: raw(t, Connection{Shop: "example", AccessToken: "t"}), Env: connectors.Env{Transport: handlerTransport{h}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"}); kind(err) != connectors.NotFound {
		t.Errorf("%v, want not_found", err)
	}
	if stolen.Load() {
		t.Error("the token went to the host that the redirect names")
	}
}

const pageOfOne = `{"data":{"orders":{"nodes":[{"id":"gid://shopify/Order/%ID%","updatedAt":"2026-01-01T00:00:0%S%Z"}],"pageInfo":{"hasNextPage":true,"endCursor":"%CURSOR%"}}}}`

func onePage(id, second, cursor string) string {
	return strings.NewReplacer("%ID%", id, "%S%", second, "%CURSOR%", cursor).Replace(pageOfOne)
}

func TestRepeatedCursorStops(t *testing.T) {
	t.Parallel()
	src := fakeShop(t, func(gjson.Result) string { return onePage("1", "1", "same") })
	p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders", Cursor: p.Cursor})
	if kind(err) != connectors.Invalid || !strings.Contains(err.Error(), "cursor repeated") {
		t.Errorf("%v, want invalid: cursor repeated", err)
	}
}

// A cursor that the vendor no longer takes costs one page and no resync: the place is known.
func TestForgottenCursorContinuesAtItsPlace(t *testing.T) {
	t.Parallel()
	var queries []string
	src := fakeShop(t, func(v gjson.Result) string {
		queries = append(queries, v.Get("query").Str+" "+v.Get("sortKey").Str)
		if v.Get("after").Exists() {
			return `{"errors":[{"message":"Invalid cursor for current pagination sort."}]}`
		}
		return onePage("1", "5", "c")
	})
	var cursor []byte
	for range 5 {
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders", Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		if !p.More {
			t.Fatal("it ended")
		}
		cursor = p.Cursor
	}
	const at = "updated_at:>='2026-01-01T00:00:05Z'"
	want := []string{" UPDATED_AT", " UPDATED_AT", at + " UPDATED_AT", at + " UPDATED_AT", at + " AND updated_at:<'2026-01-01T00:00:06Z' ID"}
	if !slices.Equal(queries, want) {
		t.Errorf("queries %q, want %q", queries, want)
	}
}

// While a poll runs, what it passes may not be indexed yet: the next poll goes back to before the time at which this one came near the present.
func TestNextPollStartsWhereIndexingWasSettled(t *testing.T) {
	t.Parallel()
	clock := clock.New() // 12:00:00
	at := "2026-03-01T11:59:00Z"
	more := "true"
	src := fakeShop(t, func(gjson.Result) string {
		return `{"data":{"orders":{"nodes":[{"id":"gid://shopify/Order/1","updatedAt":"` + at + `"}],"pageInfo":{"hasNextPage":` + more + `,"endCursor":"` + at + `"}}}}`
	})
	src.now = clock.Now
	p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour) // a slow poll
	at, more = "2026-03-01T13:00:00Z", "false"
	p, err = src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders", Cursor: p.Cursor})
	if err != nil {
		t.Fatal(err)
	}
	var next cursor
	if err := json.Unmarshal(p.Cursor, &next); err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 3, 1, 11, 58, 0, 0, time.UTC); !next.From.Equal(want) || !p.OverlapFrom.Equal(want) {
		t.Errorf("the next poll starts at %s, overlap %s, want %s", next.From, p.OverlapFrom, want)
	}
	// Its first page leaves most of what comes again to the pages after it.
	at, more = "2026-03-01T11:58:30Z", "true"
	p, err = src.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders", Cursor: p.Cursor})
	if err != nil {
		t.Fatal(err)
	}
	if here := time.Date(2026, 3, 1, 11, 58, 30, 0, time.UTC); p.OverlapFrom.After(here) {
		t.Errorf("at %s the overlap starts at %s: what lies between would be doubled", here, p.OverlapFrom)
	}
}

// A clock of ours that is an hour ahead takes everything for long indexed; the overlap before the newest change holds all the same.
func TestOverlapHoldsWithAClockAhead(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Customers: 3, Now: clock.Now})
	src := openShop(t, shop, Settings{}, connectors.Env{Now: func() time.Time { return clock.Now().Add(time.Hour) }})
	shop.HoldIndex(1)
	late := strconv.FormatInt(shop.Create("customers"), 10)
	clock.Advance(time.Minute)
	shop.Create("customers")
	times, _, last := readAll(t, src, "customers", 0)
	if times[late] != 0 {
		t.Fatal("the late customer came before its release")
	}
	shop.ReleaseIndex()
	p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "customers", Cursor: last.Cursor})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(p.Records, func(r connectors.Record) bool { return r.Key == late }) {
		t.Error("the customer that was indexed late is lost")
	}
}

// Nor does that clock decide when indexing was settled, where the shop's says otherwise: a poll that was held up near the present goes back to there.
func TestASlowPollGoesBackWithAClockAhead(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Customers: 2, Now: clock.Now})
	src := openShop(t, shop, Settings{PageSize: 1}, connectors.Env{Now: func() time.Time { return clock.Now().Add(time.Hour) }})
	shop.HoldIndex(1)
	late := strconv.FormatInt(shop.Create("customers"), 10)
	clock.Advance(time.Minute)
	shop.Create("customers")
	var cursor []byte
	var found []string
	read := func() (more bool) {
		t.Helper()
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "customers", Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		cursor = p.Cursor
		for _, r := range p.Records {
			found = append(found, r.Key)
		}
		return p.More
	}
	shop.Create("customers")
	for len(found) < 3 && read() {
	}
	if len(found) != 3 || slices.Contains(found, late) {
		t.Fatalf("%q came before the late customer, want the first three others", found)
	}
	shop.ReleaseIndex()
	clock.Advance(time.Hour) // the poll is held up
	shop.Create("customers")
	for range 2 { // to its end, and the next one
		for read() {
		}
	}
	if !slices.Contains(found, late) {
		t.Error("the customer that was indexed late is lost")
	}
}

// A quiet shop that was read long ago is asked for its newest two minutes and not for everything.
func TestQuietShopIsCheap(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{Customers: 1000})
	src := openShop(t, shop, Settings{}, connectors.Env{})
	_, _, last := readAll(t, src, "customers", 0)
	p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "customers", Cursor: last.Cursor})
	if err != nil {
		t.Fatal(err)
	}
	if p.More || len(p.Records) > 121 {
		t.Errorf("%d records, more %t; want those of the last two minutes", len(p.Records), p.More)
	}
}

func TestSlowShopTimesOutWithTheContext(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{Customers: 1})
	shop.SetFaults(sandbox.Faults{Stall: 1, StallFor: time.Hour})
	src := openShop(t, shop, Settings{}, connectors.Env{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := src.Fetch(ctx, connectors.FetchRequest{Stream: "customers"}); kind(err) != connectors.Unavailable {
		t.Errorf("%v, want unavailable", err)
	}
}

// With faults of every kind on a third of the answers, asking again until it works reads everything.
func TestFaultyShopIsReadInTheEnd(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{Products: 300, Seed: 7})
	server := httptest.NewServer(shop)
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	shop.SetFaults(sandbox.Faults{ServerError: .1, Throttle: .1, Truncate: .1})
	conn := connectionTo(shop)
	conn.AdminURL = server.URL
	src, err := open(connectors.Config{Connection: raw(t, conn), Env: connectors.Env{Networks: loopback(t)}})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	var cursor []byte
	failed := 0
	for more := true; more; {
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "products", Cursor: cursor, Limit: 10})
		switch kind(err) {
		case "":
		case connectors.Unavailable, connectors.RateLimited:
			failed++
			continue
		default:
			t.Fatal(err)
		}
		for _, r := range p.Records {
			keys[r.Key] = true
		}
		cursor, more = p.Cursor, p.More
	}
	if len(keys) != 300 || failed == 0 {
		t.Errorf("%d of 300 products came, %d answers were spoiled", len(keys), failed)
	}
}
