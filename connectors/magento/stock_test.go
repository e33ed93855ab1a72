package magento_test

import (
	"fmt"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
)

// stockOf reads all quantities: what came and how often, by key.
func stockOf(t *testing.T, source connectors.Source, cursor *[]byte) (data map[string]string, ids map[string]string) {
	t.Helper()
	data, ids = map[string]string{}, map[string]string{}
	for _, r := range connectortest.Poll(t, source, "stock", cursor) {
		if data[r.Key] != "" {
			t.Errorf("%s came twice", r.Key)
		}
		if r.Version != 0 || !r.OccurredAt.IsZero() {
			t.Errorf("%s has the version %d of %s; the shop says neither", r.Key, r.Version, r.OccurredAt)
		}
		data[r.Key], ids[r.Key] = string(r.Data), r.ID
	}
	return data, ids
}

// A SKU in several sources, SKUs that differ from others by what the database does not tell apart from letters, and more of one than fit a page.
func TestStockComesWhole(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, returned)
	for i := range 40 {
		s.SetQuantity("default", fmt.Sprintf("SKU %d/ä", i), i)
		s.SetQuantity("berlin", fmt.Sprintf("sku %d/ä", i), i)
	}
	for i := range 25 {
		s.SetQuantity(fmt.Sprintf("source_%d", i), "everywhere", i)
	}
	source := open(t, s, magento.Settings{PageSize: 7})
	var cursor []byte
	data, ids := stockOf(t, source, &cursor)
	for _, key := range s.Keys("stock") {
		if data[key] == "" {
			t.Errorf("%s never came", key)
		}
	}
	if len(data) != len(s.Keys("stock")) {
		t.Errorf("%d came of %d", len(data), len(s.Keys("stock")))
	}
	// What is as it was has the ID that it had; what is another has another.
	s.Advance(time.Minute)
	s.SetQuantity("default", "SKU 3/ä", 1000)
	_, again := stockOf(t, source, &cursor)
	for key, id := range ids {
		if (again[key] != id) != (key == "default/SKU 3/ä") {
			t.Errorf("%s: the ID changed, or did not", key)
		}
	}
	if n := s.Largest(); n != 7 {
		t.Errorf("an answer held %d", n)
	}
}

// Quantities that appear and go while a poll reads shift nothing.
func TestStockThatChangesWhilePaging(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, returned)
	for i := range 30 {
		s.SetQuantity("default", fmt.Sprintf("m%02d", i), i)
	}
	source := open(t, s, magento.Settings{PageSize: 5})
	var cursor []byte
	seen := map[string]int{}
	for page := 0; ; page++ {
		p, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "stock", Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			seen[r.Key]++
		}
		if !p.More {
			break
		}
		cursor = p.Cursor
		s.SetQuantity("default", fmt.Sprintf("a%02d", page), 1) // before what has been read
	}
	for i := range 30 {
		if key := fmt.Sprintf("default/m%02d", i); seen[key] != 1 {
			t.Errorf("%s came %d times", key, seen[key])
		}
	}
}

// A page says from when on what it holds may come again: from the beginning of the poll before it, and at the end of a poll from its own.
func TestOverlapOfStock(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, returned)
	for i := range 4 {
		s.SetQuantity("default", fmt.Sprint(i), i)
	}
	source := open(t, s, magento.Settings{PageSize: 2})
	first := s.Now()
	var cursor []byte
	for page, want := range []time.Time{first, first, first, first.Add(time.Hour), first.Add(time.Hour), first.Add(2 * time.Hour)} {
		if page > 0 && page%2 == 0 {
			s.Advance(time.Hour)
		}
		p, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "stock", Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		if !p.OverlapFrom.Equal(want) || p.More != (page%2 == 0) {
			t.Errorf("page %d: from %s, more %v; want %s", page, p.OverlapFrom, p.More, want)
		}
		cursor = p.Cursor
	}
}
