package magento_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
)

// An import changed more orders in one second than fit many pages: each comes once, and no answer is larger than a page.
func TestManyOrdersInOneSecond(t *testing.T) {
	t.Parallel()
	const orders, together, size = 100_000, 20_000, 1000
	s := magentotest.New(t, returned)
	began := s.Now().Add(-24 * time.Hour)
	for i := range int64(orders) {
		at := i
		if i >= 50_000 && i < 50_000+together {
			at = 50_000
		}
		s.Put("orders", i+1, began.Add(time.Duration(at/2)*time.Second))
	}
	source := open(t, s, magento.Settings{PageSize: size})
	var cursor []byte
	seen := make(map[string]bool, orders)
	for _, r := range connectortest.Poll(t, source, "orders", &cursor) {
		if seen[r.ID] {
			t.Fatalf("order %s came twice", r.Key)
		}
		seen[r.ID] = true
	}
	if len(seen) != orders {
		t.Errorf("%d orders came, want %d", len(seen), orders)
	}
	if n := s.Largest(); n != size {
		t.Errorf("an answer held %d orders, want %d", n, size)
	}
	if n := len(s.Searches()); n != orders/size {
		t.Errorf("%d searches for %d pages", n, orders/size)
	}
	if again := connectortest.Poll(t, source, "orders", &cursor); len(again) > 2*(5*60+1) {
		t.Errorf("the next poll read %d orders, more than changed in the overlap", len(again))
	}
}

// What an extra search would cost is not paid: one search finds the rest of a second and what changed later.
func TestSearches(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, returned)
	for i := range int64(3) {
		s.Put("customers", i+1, s.Now())
	}
	var cursor []byte
	connectortest.Poll(t, open(t, s, magento.Settings{PageSize: 2, Store: "german"}), "customers", &cursor)
	want := "/rest/german/V1/customers/search?(updated_at gteq 2026-03-01 12:00:00) AND (updated_at gt 2026-03-01 12:00:00 OR entity_id gt 2)"
	if got := s.Searches(); len(got) != 2 || got[1] != want {
		t.Errorf("searched %q", got)
	}
	// The database's times begin here, and its zero time is not among them: https://dev.mysql.com/doc/refman/8.4/en/datetime.html
	if got := s.Searches()[0]; !strings.Contains(got, "(updated_at gteq 1970-01-01 00:00:01)") {
		t.Errorf("the first search is %q", got)
	}
}

// A cart that never changed has no time; it comes when it gets one.
func TestWhatNeverChangedComesWhenItDoes(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, returned)
	s.Put("carts", 1, time.Time{})
	s.Put("carts", 2, s.Now())
	source := open(t, s, magento.Settings{})
	var cursor []byte
	if got := connectortest.Poll(t, source, "carts", &cursor); len(got) != 1 || got[0].Key != "2" {
		t.Errorf("%d carts came, want 2 alone", len(got))
	}
	s.Advance(time.Second)
	s.Put("carts", 1, s.Now())
	got := connectortest.Poll(t, source, "carts", &cursor)
	if len(got) != 2 || got[1].Key != "1" || !got[1].OccurredAt.Equal(s.Now()) || got[1].Version != s.Now().UnixMicro() {
		t.Errorf("came %+v", got)
	}
}

// A change is committed late while a poll goes on for longer than the overlap, always behind newer ones: the next poll has it.
func TestALongPollMissesNoLateChange(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, returned)
	for id := range int64(5) {
		s.Put("orders", id+1, s.Now())
	}
	source := open(t, s, magento.Settings{PageSize: 1, Overlap: "1m"})
	var cursor []byte
	next := func() bool {
		page, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders", Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		cursor = page.Cursor
		return page.More
	}
	next()
	s.Advance(time.Second)
	late := s.Now()
	for id := range int64(4) {
		s.Advance(time.Minute)
		s.Put("orders", id+2, s.Now())
		next()
	}
	for next() {
	}
	s.Put("orders", 1, late)
	for _, r := range connectortest.Poll(t, source, "orders", &cursor) {
		if r.Key == "1" && r.OccurredAt.Equal(late) {
			return
		}
	}
	t.Error("the late change is lost")
}

// Every stream finds its objects, with the names that its endpoint has for them.
func TestStreams(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, returned)
	s.SetQuantity("default", "24-MB01", 5)
	for _, st := range magento.Definition().Streams {
		if st.Name != "stock" {
			s.Put(st.Name, 7, s.Now())
		}
		var cursor []byte
		want := "7"
		if st.Name == "stock" {
			want = "default/24-MB01"
		}
		if got := connectortest.Poll(t, open(t, s, magento.Settings{}), st.Name, &cursor); len(got) != 1 || got[0].Key != want || got[0].Stream != st.Name {
			t.Errorf("%s: came %+v", st.Name, got)
		}
	}
}

// Answers that only a shop with strange extensions gives, and that would lose something or never end.
func TestAnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	order := func(id int, at string) string { return fmt.Sprintf(`{"entity_id":%d,"updated_at":%q}`, id, at) }
	const at = "2026-03-01 10:00:00"
	for name, c := range map[string]struct {
		stream, items string
		total         int
		kind          connectors.Kind
		says          string
	}{
		"unsorted times":      {"orders", order(1, "2026-03-01 10:00:01") + "," + order(2, at), 3, connectors.Invalid, "out of order"},
		"unsorted IDs":        {"orders", order(2, at) + "," + order(1, at), 3, connectors.Invalid, "out of order"},
		"an object twice":     {"orders", order(1, at) + "," + order(1, at), 2, connectors.Invalid, "out of order"},
		"no ID":               {"orders", `{"updated_at":"` + at + `"}`, 1, connectors.Invalid, "entity_id"},
		"no time":             {"orders", order(1, ""), 1, connectors.Invalid, "updated_at"},
		"another time":        {"orders", order(1, "2026-03-01T10:00:00Z"), 1, connectors.Invalid, "updated_at"},
		"too many":            {"orders", strings.Repeat(order(1, at)+",", 3) + order(1, at), 5, connectors.Invalid, "where 3 were asked for"},
		"a count of nothing":  {"orders", "", 5, connectors.Unavailable, "shows none"},
		"a quantity again":    {"stock", `{"sku":"a","source_code":"b"},{"sku":"a","source_code":"b"}`, 2, connectors.Invalid, "comes twice"},
		"a quantity of what?": {"stock", `{"sku":"a"}`, 1, connectors.Invalid, "source_code"},
		"a SKU too long":      {"stock", `{"sku":"` + strings.Repeat("a", 600) + `","source_code":"b"}`, 1, connectors.Invalid, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, ` {"items": [%s], "total_count": %d}`, c.items, c.total)
			}))
			t.Cleanup(server.Close)
			source := openWith(t, magentotest.New(t, returned), signing(server.URL), magento.Settings{PageSize: 3}).(connectors.Source)
			_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: c.stream})
			connectortest.WantError(t, err, c.kind, c.says)
		})
	}
}

// Some shops write a null where nothing was found.
func TestNothingFound(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"items":null,"search_criteria":{},"total_count":0}`)
	}))
	t.Cleanup(server.Close)
	source := openWith(t, magentotest.New(t, returned), bearer(server.URL), magento.Settings{}).(connectors.Source)
	var cursor []byte
	if got := connectortest.Poll(t, source, "orders", &cursor); len(got) != 0 {
		t.Errorf("%d records", len(got))
	}
}
