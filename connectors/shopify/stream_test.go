package shopify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest/clock"
	"tributary/internal/sandbox"
)

// An order that changes for another reason gives none of its children again.
func TestChildrenComeWhenTheyChange(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Orders: 5, Now: clock.Now})
	order := shop.IDs(sandbox.Orders)[2]
	first := fulfill(t, shop, order)
	src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now})
	b := newBackfill(t, src, clock, "fulfillments")
	b.run()
	b.wantAll([]string{fmt.Sprint(first)})

	clock.Advance(time.Hour)
	update(t, shop, sandbox.Orders, order)
	p, err := b.fetch()
	if err != nil || p.More {
		t.Fatalf("the order's note changed: more %t, %v", p.More, err)
	}
	for _, r := range p.Records { // of the overlap
		if !b.ids[r.ID] {
			t.Errorf("the order's note changed, and %s came as another record", r.Key)
		}
	}
	b.cursor = p.Cursor
	clock.Advance(time.Hour)
	second := fulfill(t, shop, order)
	if p, err = b.fetch(); err != nil || len(p.Records) != 1 || p.Records[0].Key != fmt.Sprint(second) {
		t.Errorf("a second parcel: %v, %v, want it alone", p.Records, err)
	}
}

// More children than a page holds, in one order and in many.
func TestManyChildrenOfAnOrder(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Orders: 120, Now: clock.Now})
	for i, id := range shop.IDs(sandbox.Orders) {
		for range []int{0, 1, 0, 13, 2}[i%5] {
			refund(t, shop, id)
		}
	}
	src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now})
	for _, limit := range []int{0, 1, 7} {
		b := newBackfill(t, src, clock, "refunds")
		b.limit = limit
		b.between = func(p connectors.Page) {
			if limit > 0 && len(p.Records) > limit {
				t.Errorf("a page of %d has %d records", limit, len(p.Records))
			}
		}
		b.run()
		b.wantAll(keysIn(shop, sandbox.Refunds))
	}
}

// Orders without children cost their page and nothing else; what is behind an empty page is read all the same.
func TestChildrenBehindEmptyPages(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Orders: 450, Now: clock.Now})
	ids := shop.IDs(sandbox.Orders)
	want := fulfill(t, shop, ids[len(ids)-1])
	calls := 0
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		shop.ServeHTTP(w, r)
	})
	src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now, Transport: handlerTransport{counted}})
	b := newBackfill(t, src, clock, "fulfillments")
	b.run()
	b.wantAll([]string{fmt.Sprint(want)})
	if calls != 10 {
		t.Errorf("%d calls, want 9 pages of orders and one of fulfillments", calls)
	}
	if b.last.Calls != 1 {
		t.Errorf("the page says that it took %d further calls, want 1", b.last.Calls)
	}
}

// All levels are read by an operation, and what changed since a time by pages: an operation would look through all of them for it.
func TestLevelsSinceATime(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Products: 50, Now: clock.Now, Start: clock.Now().Add(-time.Hour)})
	src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now})
	changed := shop.IDs(sandbox.Products)[7]
	update(t, shop, sandbox.Products, changed)
	keys := map[string]bool{}
	p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "inventory_levels", Since: clock.Now()})
	for ; err == nil; p, err = src.Fetch(t.Context(), connectors.FetchRequest{Stream: "inventory_levels", Since: clock.Now(), Cursor: p.Cursor}) {
		for _, r := range p.Records {
			keys[r.Key] = true
		}
		if !p.More {
			break
		}
	}
	first := sandbox.FirstOf(sandbox.InventoryLevels, changed)
	if err != nil || !keys[sandbox.Key(sandbox.InventoryLevels, first)] || !keys[sandbox.Key(sandbox.InventoryLevels, first+1)] || len(keys) > 8 {
		t.Errorf("%v, %v, want the levels of the product that changed", keys, err)
	}
	if shop.BulkOperations() != 0 {
		t.Error("a bulk operation was started")
	}
	if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "inventory_levels"}); err != nil || shop.BulkOperations() != 1 {
		t.Errorf("from the beginning: %d bulk operations, %v", shop.BulkOperations(), err)
	}
}

// More levels than can be paged through at a location: the window is halved until they can.
func TestLevelsBeyondTheDepth(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Products: 120, Now: clock.Now, Start: clock.Now().Add(-time.Hour), Depth: 60})
	src := openShop(t, shop, Settings{Bulk: "never"}, connectors.Env{Now: clock.Now})
	src.depth, src.pageSize = 60, 20
	seen := map[string]bool{}
	var cursor []byte
	for pages := 0; ; pages++ {
		if pages > 500 {
			t.Fatal("it does not end")
		}
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "inventory_levels", Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			if seen[r.ID] && r.OccurredAt.Before(p.OverlapFrom) {
				t.Errorf("%s came again, before OverlapFrom %s", r.Key, p.OverlapFrom)
			}
			seen[r.ID] = true
		}
		if cursor = p.Cursor; !p.More {
			break
		}
	}
	if want := len(shop.IDs(sandbox.InventoryLevels)); len(seen) != want {
		t.Errorf("%d of %d levels came", len(seen), want)
	}

	shop = newShop(t, sandbox.Options{Products: 120, Now: clock.Now, Step: -1, Depth: 60})
	src = openShop(t, shop, Settings{Bulk: "never"}, connectors.Env{Now: clock.Now})
	src.depth, src.pageSize = 60, 20
	cursor = nil
	for range 500 {
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "inventory_levels", Cursor: cursor})
		if kind(err) == connectors.Invalid && strings.Contains(err.Error(), "within one second") {
			return
		}
		if err != nil || !p.More {
			t.Fatalf("all in one second: %v, more %t, want an error that says so", err, p.More)
		}
		cursor = p.Cursor
	}
	t.Error("all in one second: no error")
}

// A list that is out of order could hide others behind the place from which it goes on.
func TestListsOutOfOrderStop(t *testing.T) {
	t.Parallel()
	node := func(kind, id string) string {
		return `{"id":"gid://shopify/` + kind + `/` + id + `","updatedAt":"2026-01-01T00:00:00Z","refunds":[]}`
	}
	for stream, field := range map[string][2]string{
		"variants": {"productVariants", "ProductVariant"}, "inventory_items": {"inventoryItems", "InventoryItem"}, "refunds": {"orders", "Order"},
	} {
		src := fakeShop(t, func(gjson.Result) string {
			return `{"data":{"` + field[0] + `":{"nodes":[` + node(field[1], "5") + `,` + node(field[1], "4") + `],"pageInfo":{"hasNextPage":true}}}}`
		})
		if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: stream}); kind(err) != connectors.Invalid || !strings.Contains(err.Error(), "out of the order") {
			t.Errorf("%s: %v, want invalid: out of order", stream, err)
		}
		empty := fakeShop(t, func(gjson.Result) string {
			return `{"data":{"` + field[0] + `":{"nodes":[],"pageInfo":{"hasNextPage":true}}}}`
		})
		if _, err := empty.Fetch(t.Context(), connectors.FetchRequest{Stream: stream}); kind(err) != connectors.Invalid || !strings.Contains(err.Error(), "repeated") {
			t.Errorf("%s: more of nothing: %v, want invalid: repeated", stream, err)
		}
	}
}

// In the order of the IDs a change behind the place is missed: the next poll begins before this one did, by the shop's clock and not by ours.
func TestPollsByIDBeginWhereTheLastDid(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Products: 300, Now: clock.Now})
	ours := func() time.Time { return clock.Now().Add(24 * time.Hour) } // a clock that is a day ahead
	src := openShop(t, shop, Settings{Bulk: "never"}, connectors.Env{Now: ours})
	b := newBackfill(t, src, clock, "variants")
	b.limit = 100
	ids := shop.IDs(sandbox.Products)
	pages := 0
	b.between = func(connectors.Page) {
		clock.Advance(time.Hour)
		switch pages++; pages {
		case 2:
			update(t, shop, sandbox.Products, ids[0]) // behind the place
		case 4:
			update(t, shop, sandbox.Products, ids[len(ids)-1]) // before it, and later
		}
	}
	b.run()
	at, _ := shop.UpdatedAt(sandbox.Products, ids[0])
	p, err := b.fetch()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Records {
		if r.Key == sandbox.Key(sandbox.Variants, sandbox.FirstOf(sandbox.Variants, ids[0])) && r.Version == at.UnixMicro() {
			return
		}
	}
	t.Errorf("the change behind the place is lost: the next poll begins at %s, it happened at %s", b.last.OverlapFrom, at)
}

// The state of the bucket decides when the next page is asked for, so that Shopify need not refuse one.
func TestThrottleStatusDecidesThePace(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"products", "variants", "refunds"} {
		clock := clock.New()
		shop := newShop(t, sandbox.Options{Products: 1500, Orders: 1500, Now: clock.Now, Throttle: sandbox.Throttle{Maximum: 1000, Restore: 100}})
		src := openShop(t, shop, Settings{Bulk: "never"}, connectors.Env{Now: clock.Now})
		var cursor []byte
		pages, waits := 0, 0
		for ; ; pages++ {
			p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: stream, Cursor: cursor})
			if err != nil {
				t.Fatalf("%s: page %d: %v", stream, pages, err)
			}
			if p.Wait > 0 {
				waits++
			}
			if p.Wait > 10*time.Second {
				t.Errorf("%s: wait %s: the bucket of 1,000 is full within 10 s", stream, p.Wait)
			}
			clock.Advance(p.Wait)
			if cursor = p.Cursor; !p.More {
				break
			}
		}
		if waits == 0 || waits > pages {
			t.Errorf("%s: %d waits in %d pages", stream, waits, pages)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	for cost, want := range map[string]time.Duration{
		`{"requestedQueryCost":500,"throttleStatus":{"maximumAvailable":2000,"currentlyAvailable":500,"restoreRate":100}}`: 0,
		`{"requestedQueryCost":500,"throttleStatus":{"maximumAvailable":2000,"currentlyAvailable":400,"restoreRate":100}}`: 6 * time.Second,
		`{"requestedQueryCost":900,"throttleStatus":{"maximumAvailable":1000,"currentlyAvailable":400,"restoreRate":100}}`: 5 * time.Second,
		`{"requestedQueryCost":500,"throttleStatus":{"maximumAvailable":2000,"currentlyAvailable":400,"restoreRate":0}}`:   0,
		`{"requestedQueryCost":500}`: 0, `{}`: 0, `"x"`: 0,
		`{"requestedQueryCost":1e300,"throttleStatus":{"restoreRate":1e-9}}`: connectors.MaxWait,
	} {
		if got := pace(gjson.Parse(cost)); got != want {
			t.Errorf("%s: %s, want %s", cost, got, want)
		}
	}
}

// A cursor of an earlier release goes on where it was.
func TestCursorsOfEarlierReleases(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{Customers: 400})
	src := openShop(t, shop, Settings{}, connectors.Env{})
	src.bulkAfter = 1
	p, err := src.Fetch(t.Context(), connectors.FetchRequest{
		Stream: "customers", Cursor: []byte(`{"v":1,"from":"2026-01-05T09:05:00Z","newest":"2026-01-05T09:05:00Z"}`),
	})
	if err != nil || len(p.Records) != 100 || p.More {
		t.Errorf("%d records, more %t, %v, want the 100 customers since then", len(p.Records), p.More, err)
	}
	var c cursor
	if err := json.Unmarshal(p.Cursor, &c); err != nil || c.Bulk != nil {
		t.Errorf("%s, %v", p.Cursor, err)
	}
}
