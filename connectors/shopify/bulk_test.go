package shopify

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest/clock"
	"tributary/internal/sandbox"
)

// backfill reads a stream to the end of its first poll, with the waits that it asks for.
type backfill struct {
	t      *testing.T
	src    *source
	clock  *clock.Clock
	stream string
	limit  int
	// between is called after each page.
	between func(p connectors.Page)

	times  map[string]int // records by key
	ids    map[string]bool
	data   map[string][]byte
	cursor []byte
	last   connectors.Page
}

func newBackfill(t *testing.T, src *source, clock *clock.Clock, stream string) *backfill {
	return &backfill{t: t, src: src, clock: clock, stream: stream, times: map[string]int{}, ids: map[string]bool{}, data: map[string][]byte{}}
}

func (b *backfill) fetch() (connectors.Page, error) {
	return b.src.Fetch(b.t.Context(), connectors.FetchRequest{Stream: b.stream, Cursor: b.cursor, Limit: b.limit})
}

func (b *backfill) run() {
	b.t.Helper()
	for range 1000 {
		p, err := b.fetch()
		if err != nil {
			b.t.Fatal(err)
		}
		for _, r := range p.Records {
			if b.ids[r.ID] {
				b.t.Errorf("record %s came twice", r.Key)
			}
			b.ids[r.ID] = true
			b.times[r.Key]++
			b.data[r.Key] = r.Data
		}
		b.cursor, b.last = p.Cursor, p
		if !p.More {
			return
		}
		if b.between != nil {
			b.between(p)
		}
		b.clock.Advance(p.Wait)
	}
	b.t.Fatal("the first read does not end")
}

func (b *backfill) wantAll(keys []string) {
	b.t.Helper()
	if len(b.times) != len(keys) {
		b.t.Errorf("%d of %d objects came", len(b.times), len(keys))
	}
	for _, key := range keys {
		if b.times[key] != 1 {
			b.t.Errorf("%s came %d times, want once", key, b.times[key])
		}
	}
}

func keysIn(shop *sandbox.Shop, stream sandbox.Stream) (keys []string) {
	for _, id := range shop.IDs(stream) {
		keys = append(keys, sandbox.Key(stream, id))
	}
	return keys
}

// bulkOf is the state that a page's cursor holds.
func bulkOf(t *testing.T, p connectors.Page) bulkCursor {
	t.Helper()
	var c cursor
	if err := json.Unmarshal(p.Cursor, &c); err != nil {
		t.Fatal(err)
	}
	if c.Bulk == nil {
		t.Fatal("the cursor holds no bulk operation")
	}
	return *c.Bulk
}

// A first read asks for an operation once, whatever is repeated: an attempt that lost sight of its own takes it up.
func TestBulkOperationIsTakenUp(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2025-10", "2026-01"} {
		clock := clock.New()
		shop := newShop(t, sandbox.Options{Customers: 30, Now: clock.Now, BulkTime: 20 * time.Minute})
		src := openShop(t, shop, Settings{Bulk: "always", APIVersion: version}, connectors.Env{Now: clock.Now})
		b := newBackfill(t, src, clock, "customers")
		first, err := b.fetch()
		if err != nil {
			t.Fatal(err)
		}
		if !first.More || len(first.Records) != 0 || first.Wait != firstBulkWait {
			t.Errorf("%s: the first page has %d records, more %t, wait %s", version, len(first.Records), first.More, first.Wait)
		}
		clock.Advance(10 * time.Minute)
		again, err := b.fetch()
		if err != nil || !bytes.Equal(first.Cursor, again.Cursor) {
			t.Errorf("%s: while it runs: %s, %v, want the same operation %s", version, again.Cursor, err, first.Cursor)
		}
		clock.Advance(30 * time.Minute)
		again, err = b.fetch()
		if err != nil || !bytes.Equal(first.Cursor, again.Cursor) {
			t.Errorf("%s: when it has just ended: %s, %v, want the same operation", version, again.Cursor, err)
		}
		if n := shop.BulkOperations(); n != 1 {
			t.Errorf("%s: %d operations, want 1", version, n)
		}
		clock.Advance(2 * time.Hour)
		if _, err = b.fetch(); err != nil || shop.BulkOperations() != 2 {
			t.Errorf("%s: what ended long ago is taken up: %d operations, %v", version, shop.BulkOperations(), err)
		}
	}
}

// It is looked at ever more rarely.
func TestBulkOperationIsWaitedFor(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Customers: 30, Now: clock.Now, BulkTime: 15 * time.Minute})
	src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now})
	b := newBackfill(t, src, clock, "customers")
	var waits []time.Duration
	b.between = func(p connectors.Page) {
		if p.Wait > 0 {
			waits = append(waits, p.Wait)
		}
	}
	b.run()
	b.wantAll(keysIn(shop, sandbox.Customers))
	if len(waits) < 5 || len(waits) > 9 || waits[0] != firstBulkWait || waits[len(waits)-1] < 4*time.Minute {
		t.Errorf("waits %v: want a few that grow", waits)
	}
}

// As many as Shopify allows run: another waits, and is not an error that stops.
func TestBulkOperationsHaveALimit(t *testing.T) {
	t.Parallel()
	for version, most := range map[string]int{"2025-10": 1, "2026-07": 5} {
		clock := clock.New()
		shop := newShop(t, sandbox.Options{Customers: 5, Now: clock.Now, BulkTime: time.Hour})
		src := openShop(t, shop, Settings{Bulk: "always", APIVersion: version}, connectors.Env{Now: clock.Now})
		for i := range most {
			since := clock.Now().Add(-time.Duration(i) * time.Hour)
			if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "customers", Since: since}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "products"})
		e := connectors.AsError("", err)
		if kind(err) != connectors.RateLimited || e.Wait != busyBulkWait {
			t.Errorf("%s: beyond %d operations: %v, want rate_limited with a wait", version, most, err)
		}
	}
}

// What changes while the operation runs comes with the poll after it.
func TestChangesDuringABulkOperationAreNotLost(t *testing.T) {
	t.Parallel()
	for _, stream := range []sandbox.Stream{sandbox.Customers, sandbox.Variants} {
		clock := clock.New()
		of := stream
		if stream == sandbox.Variants {
			of = sandbox.Products
		}
		shop := newShop(t, sandbox.Options{Customers: 400, Products: 200, Now: clock.Now, BulkTime: 30 * time.Minute})
		src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now})
		src.bulkAfter = 100
		b := newBackfill(t, src, clock, string(stream))
		b.limit = 50
		changed := shop.IDs(of)[3] // is read by a page, before the operation
		pages := 0
		b.between = func(connectors.Page) {
			if pages++; pages == 2 {
				if err := shop.Update(of, changed); err != nil {
					t.Fatal(err)
				}
			}
			clock.Advance(10 * time.Minute) // a slow read
		}
		b.run()
		if shop.BulkOperations() != 1 {
			t.Fatalf("%s: %d bulk operations", stream, shop.BulkOperations())
		}
		key := sandbox.Key(stream, changed)
		if stream == sandbox.Variants {
			key = sandbox.Key(stream, sandbox.FirstOf(stream, changed))
		}
		at, _ := shop.UpdatedAt(of, changed)
		newest := int64(0)
		for range 2 {
			p, err := b.fetch()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Records {
				if r.Key == key {
					newest = max(newest, r.Version)
				}
			}
			b.cursor = p.Cursor
		}
		if b.times[key] < 2 && newest < at.UnixMicro() {
			t.Errorf("%s %s changed while it was read, and the change never came", stream, key)
		}
	}
}

// What a file has had and the overlap of the next poll brings again is recognised, also where the file's lines were put together: it has the ID that
// a page gives it, or an append would hold it twice.
func TestThePollAfterABulkOperationBringsNothingTwice(t *testing.T) {
	t.Parallel()
	for _, stream := range []sandbox.Stream{sandbox.Customers, sandbox.Orders, sandbox.Products, sandbox.DraftOrders, sandbox.Checkouts, sandbox.InventoryLevels} {
		clock := clock.New()
		of := stream
		if stream == sandbox.InventoryLevels {
			of = sandbox.Products
		}
		shop := newShop(t, sandbox.Options{
			Customers: 30, Orders: 30, Products: 30, DraftOrders: 30, Checkouts: 30, Now: clock.Now, BulkTime: time.Minute,
		})
		for _, id := range shop.IDs(of)[:20] {
			if err := shop.Update(of, id); err != nil {
				t.Fatal(err)
			}
		}
		b := newBackfill(t, openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now}), clock, string(stream))
		b.run()
		b.wantAll(keysIn(shop, stream))
		again := 0
		for more := true; more; {
			p, err := b.fetch()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Records {
				if again++; !b.ids[r.ID] {
					t.Errorf("%s %s has not changed and comes again with another ID", stream, r.Key)
				}
			}
			b.cursor, more = p.Cursor, p.More
		}
		if again == 0 {
			t.Errorf("%s: the next poll does not bring the overlap", stream)
		}
	}
}

// auto reads a small stream by pages and the rest of a large one by an operation, nothing twice and nothing not.
func TestAutoGoesOnInBulk(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Second, 20 * time.Millisecond} {
		for _, stream := range []sandbox.Stream{sandbox.Customers, sandbox.Products, sandbox.Variants, sandbox.InventoryItems, sandbox.Checkouts} {
			clock := clock.New()
			shop := newShop(t, sandbox.Options{Customers: 700, Products: 400, Checkouts: 400, Step: step, Now: clock.Now, BulkTime: time.Minute})
			for after, operations := range map[int]int{200: 1, 5000: 0} {
				before := shop.BulkOperations()
				src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now})
				src.bulkAfter = after
				b := newBackfill(t, src, clock, string(stream))
				b.run()
				b.wantAll(keysIn(shop, stream))
				if n := shop.BulkOperations() - before; n != operations {
					t.Errorf("%s, step %s, after %d: %d bulk operations, want %d", stream, step, after, n, operations)
				}
			}
		}
	}
}

// Whatever all changed within one second is read by pages: an operation would read again what they had.
func TestASingleSecondIsNotCut(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Customers: 500, Step: -1, Now: clock.Now})
	src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now})
	src.bulkAfter = 200
	b := newBackfill(t, src, clock, "customers")
	b.run()
	b.wantAll(keysIn(shop, sandbox.Customers))
	if shop.BulkOperations() != 0 {
		t.Error("a bulk operation took over within a second")
	}
}

// Children of orders are lists with connections, which no bulk operation takes.
func TestChildrenAreNeverReadInBulk(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Orders: 300, Now: clock.Now})
	for _, id := range shop.IDs(sandbox.Orders) {
		refund(t, shop, id)
	}
	src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now})
	b := newBackfill(t, src, clock, "refunds")
	b.run()
	b.wantAll(keysIn(shop, sandbox.Refunds))
	if shop.BulkOperations() != 0 {
		t.Error("a bulk operation was started")
	}
}

// A file that dies before it is read costs another operation, which goes on behind what was read.
func TestAFileThatDiesIsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, stream := range []sandbox.Stream{sandbox.Customers, sandbox.Orders} {
		clock := clock.New()
		shop := newShop(t, sandbox.Options{Customers: 300, Orders: 300, Now: clock.Now})
		src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now})
		b := newBackfill(t, src, clock, string(stream))
		b.limit = 70
		read := 0
		b.between = func(p connectors.Page) {
			if read += len(p.Records); read > 0 && len(p.Records) > 0 && shop.BulkOperations() == 1 && read >= 140 {
				shop.KillFiles()
			}
		}
		b.run()
		b.wantAll(keysIn(shop, stream))
		if n := shop.BulkOperations(); n != 2 {
			t.Errorf("%s: %d operations, want 2", stream, n)
		}
	}
}

// One that dies before anything of it was read is not taken up again, although its operation has just ended.
func TestAFileThatDiesUnread(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Customers: 100, Now: clock.Now})
	src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now})
	b := newBackfill(t, src, clock, "customers")
	b.between = func(p connectors.Page) {
		if shop.BulkOperations() == 1 && bulkOf(t, p).Size > 0 {
			shop.KillFiles()
		}
	}
	b.run()
	b.wantAll(keysIn(shop, sandbox.Customers))
	if n := shop.BulkOperations(); n != 2 {
		t.Errorf("%d operations, want 2", n)
	}
}

// Seven days later the same.
func TestAFileDiesOfAge(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Customers: 100, Now: clock.Now})
	src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now})
	b := newBackfill(t, src, clock, "customers")
	b.limit = 40
	b.between = func(p connectors.Page) {
		if len(p.Records) > 0 && shop.BulkOperations() == 1 {
			clock.Advance(8 * 24 * time.Hour)
		}
	}
	b.run()
	b.wantAll(keysIn(shop, sandbox.Customers))
}

// Inventory levels stand in a file in no order to go on from: they are read anew.
func TestAFileWithoutAnOrderIsReadAnew(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Products: 50, Now: clock.Now})
	src := openShop(t, shop, Settings{}, connectors.Env{Now: clock.Now})
	b := newBackfill(t, src, clock, "inventory_levels")
	b.limit = 20
	for {
		p, err := b.fetch()
		if err != nil {
			t.Fatal(err)
		}
		b.cursor = p.Cursor
		if len(p.Records) > 0 {
			break
		}
	}
	shop.KillFiles()
	if _, err := b.fetch(); kind(err) != connectors.CursorExpired {
		t.Errorf("%v, want cursor_expired", err)
	}
}

func TestBulkOperationsThatFail(t *testing.T) {
	t.Parallel()
	const n = 200
	for name, c := range map[string]struct {
		failures   []sandbox.BulkFailure
		operations int
	}{
		"once":                       {[]sandbox.BulkFailure{{Status: "FAILED", Code: "INTERNAL_SERVER_ERROR"}}, 2},
		"cancelled":                  {[]sandbox.BulkFailure{{Status: "CANCELED"}}, 2},
		"half of the file":           {[]sandbox.BulkFailure{{Status: "FAILED", Code: "TIMEOUT", Lines: 101}}, 2},
		"a quarter twice":            {[]sandbox.BulkFailure{{Status: "FAILED", Code: "TIMEOUT", Lines: 51}, {Status: "CANCELED", Lines: 51}}, 3},
		"always: it pages then":      {[]sandbox.BulkFailure{{Status: "FAILED"}, {Status: "FAILED"}, {Status: "FAILED"}, {Status: "FAILED"}}, bulkFailures},
		"a first line that is empty": {[]sandbox.BulkFailure{{Status: "FAILED", Lines: 1}}, 2},
	} {
		for _, stream := range []sandbox.Stream{sandbox.Customers, sandbox.Variants, sandbox.Orders} {
			t.Run(name+" "+string(stream), func(t *testing.T) {
				t.Parallel()
				clock := clock.New()
				shop := newShop(t, sandbox.Options{Customers: n, Products: n, Orders: n, Now: clock.Now})
				shop.FailBulk(c.failures...)
				src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now})
				b := newBackfill(t, src, clock, string(stream))
				b.limit = 30
				b.run()
				b.wantAll(keysIn(shop, stream))
				if stream == sandbox.Orders { // an order at the end of half a file may lack lines
					paged := newBackfill(t, openShop(t, shop, Settings{Bulk: "never"}, connectors.Env{Now: clock.Now}), clock, "orders")
					paged.run()
					for key, data := range b.data {
						if got, want := gjson.GetBytes(data, "lineItems.nodes.#").Int(), gjson.GetBytes(paged.data[key], "lineItems.nodes.#").Int(); got != want {
							t.Errorf("order %s has %d lines, want %d", key, got, want)
						}
					}
				}
				if got := shop.BulkOperations(); got != c.operations {
					t.Errorf("%d operations, want %d", got, c.operations)
				}
			})
		}
	}
}

func TestABulkOperationWithoutTheRight(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Customers: 3, Now: clock.Now})
	shop.FailBulk(sandbox.BulkFailure{Status: "FAILED", Code: "ACCESS_DENIED"})
	src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now})
	b := newBackfill(t, src, clock, "customers")
	p, err := b.fetch()
	if err != nil {
		t.Fatal(err)
	}
	b.cursor = p.Cursor
	if _, err := b.fetch(); kind(err) != connectors.Forbidden || !strings.Contains(err.Error(), "read_customers") {
		t.Errorf("%v, want forbidden, naming the scope", err)
	}
	shop = newShop(t, sandbox.Options{Scopes: []string{"read_products"}})
	src = openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{})
	if _, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "customers"}); kind(err) != connectors.Invalid {
		t.Errorf("an operation that is refused: %v, want invalid", err)
	}
}

// An empty stream leaves no file.
func TestABulkOperationThatFindsNothing(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Now: clock.Now})
	src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now})
	b := newBackfill(t, src, clock, "orders")
	b.run()
	b.wantAll(nil)
	if want := clock.Now().Add(-time.Hour); b.last.OverlapFrom.Before(want) {
		t.Errorf("the next poll begins at %s, long before the operation", b.last.OverlapFrom)
	}
}
