package netsuite_test

import (
	"testing"
	"time"

	"tributary/connectors/connectortest"
	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
)

// A first poll of many rows, of which an import changed more in one second than fit many pages, reads each once, and no query finds more than a page.
func TestManyRowsAreReadOnceInWindows(t *testing.T) {
	t.Parallel()
	const rows, together = 250_000, 30_000
	s := netsuitetest.New(t, returned)
	// 22 rows a second, and those in the middle all at once.
	s.Exec(t, `WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?1)
		INSERT INTO customer SELECT id, 'c' || id, NULL, 'F', '0', strftime('%Y-%m-%d %H:%M:%S', '2026-02-01 00:00:00', '+' ||
			((CASE WHEN id BETWEEN 100000 AND 99999 + ?2 THEN 100000 ELSE id END) / 22) || ' seconds') FROM n`, rows, together)
	source := open(t, s, netsuite.Settings{})
	var cursor []byte
	seen := make(map[string]bool, rows)
	for _, r := range connectortest.Poll(t, source, "customer", &cursor) {
		if seen[r.ID] {
			t.Fatalf("row %s came twice", r.Key)
		}
		seen[r.ID] = true
	}
	if len(seen) != rows {
		t.Errorf("%d rows came, want %d", len(seen), rows)
	}
	if n := s.Largest(); n > 1000 {
		t.Errorf("a query found %d rows", n)
	}
	if again := connectortest.Poll(t, source, "customer", &cursor); len(again) > 22*(5*60+1) {
		t.Errorf("the next poll read %d rows, more than changed in the overlap", len(again))
	}
}

// Rows that change while a second with many rows is read come again, and the rest of the second still comes.
func TestRowsThatLeaveASecondShiftNothing(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	for id := range int64(50) {
		s.Put(t, "customer", id+1, s.Now())
	}
	source := open(t, s, netsuite.Settings{PageSize: 10})
	var cursor []byte
	came := map[string]int{}
	for page := range 100 {
		p := fetch(t, source, "customer", cursor)
		for _, r := range p.Records {
			came[r.Key]++
		}
		cursor = p.Cursor
		if !p.More {
			break
		}
		if page < 3 { // rows that have been read leave the second
			s.Advance(time.Second)
			s.Put(t, "customer", int64(page*10+1), s.Now())
			s.Put(t, "customer", int64(page*10+2), s.Now())
		}
	}
	for _, key := range s.Keys(t, "customer") {
		if came[key] == 0 {
			t.Errorf("row %s never came", key)
		}
	}
}

// A change is shown late while a poll goes on for longer than the overlap, always behind newer ones: the next poll has it.
func TestALongPollMissesNoLateChange(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 5)
	source := open(t, s, netsuite.Settings{PageSize: 1, Overlap: "1m", Deletions: new(false)})
	var cursor []byte
	next := func() bool {
		page := fetch(t, source, "customer", cursor)
		cursor = page.Cursor
		return page.More
	}
	next()
	s.Advance(time.Second)
	late := s.Now()
	for id := range int64(4) {
		s.Advance(time.Minute)
		s.Put(t, "customer", id+2, s.Now())
		next()
	}
	for next() {
	}
	s.Put(t, "customer", 1, late)
	for _, r := range connectortest.Poll(t, source, "customer", &cursor) {
		if r.Key == "1" && r.OccurredAt.Equal(late) {
			return
		}
	}
	t.Error("the late change is lost")
}
