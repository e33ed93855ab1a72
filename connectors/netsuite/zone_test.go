package netsuite_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
)

// Clocks in Los Angeles are set back on 1 November 2026 at 09:00 UTC: 01:00 to 02:00 comes twice. Polls go on all the while, and a row changes
// before each: what changes in the second pass, behind what the first had, comes all the same, once, and what stands in the end is the last change.
func TestNothingIsLostWhenClocksAreSetBack(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.Set(time.Date(2026, 11, 1, 7, 30, 0, 0, time.UTC))
	source := open(t, s, netsuite.Settings{Overlap: "1m"})
	var cursor []byte
	seen := map[string]bool{}
	version := map[string]int64{}
	stands := map[string]string{} // by the rule of I5
	var overlap time.Time
	for step := range 24 {
		s.Advance(7*time.Minute + 13*time.Second)
		id := int64(step%5 + 1)
		s.Put(t, "customer", id, s.Now())
		want := s.Now().In(s.Zone).Format(time.DateTime)
		fresh := 0
		for more := true; more; {
			page := fetch(t, source, "customer", cursor)
			for _, r := range page.Records {
				if seen[r.ID] {
					if r.OccurredAt.Before(overlap) {
						t.Errorf("row %s came again, before the overlap", r.Key)
					}
					continue
				}
				seen[r.ID] = true
				fresh++
				if r.Version >= version[r.Key] {
					version[r.Key], stands[r.Key] = r.Version, string(r.Data)
				}
			}
			if page.OverlapFrom.After(overlap) {
				overlap = page.OverlapFrom
			}
			cursor, more = page.Cursor, page.More
		}
		if fresh != 1 {
			t.Errorf("after the change at %s %d records came, want 1", want, fresh)
		}
		if got := stands[string(rune('0'+id))]; !strings.Contains(got, want) {
			t.Errorf("row %d changed at %s and stands as %s", id, want, got)
		}
	}
}

// The condition that is there for an index leaves nothing out, in whichever zone, and in an hour that comes twice in whichever pass, NetSuite compares.
func TestTheIndexedConditionLeavesNothingOut(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.Set(time.Date(2026, 11, 1, 8, 30, 0, 0, time.UTC)) // 01:30, first pass
	s.Put(t, "customer", 1, s.Now())
	fetch(t, open(t, s, netsuite.Settings{PageSize: 1}), "customer", fetch(t, open(t, s, netsuite.Settings{PageSize: 1}), "customer", nil).Cursor)
	last := s.Queries()[len(s.Queries())-1]
	if !strings.Contains(last, "lastmodifieddate >= TO_DATE('2026-10-30 23:30:00'") || !strings.Contains(last, "> '2026-11-01 01:30:00'") {
		t.Errorf("asked: %s", last)
	}
}

// Since lies in the first pass of an hour that comes twice: what changed in the second is later, though its time reads earlier.
func TestSinceInAnHourThatComesTwice(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	since := time.Date(2026, 11, 1, 8, 50, 0, 0, time.UTC) // 01:50, first pass
	s.Set(since.Add(20 * time.Minute))                     // 01:10, second pass
	s.Put(t, "customer", 1, s.Now())
	s.Put(t, "customer", 2, since.Add(-time.Hour)) // 00:50
	page, err := open(t, s, netsuite.Settings{}).Fetch(t.Context(), connectors.FetchRequest{Stream: "customer", Since: since})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Records) != 1 || page.Records[0].Key != "1" {
		t.Errorf("%d records came, want row 1", len(page.Records))
	}
}

// A zone east of the user's makes changes lie in the future: that is noticed before anything is recorded with wrong times.
func TestTheWrongTimeZoneIsNoticed(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 1)
	source := open(t, s, netsuite.Settings{TimeZone: "Pacific/Honolulu"})
	_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "customer"})
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != connectors.Invalid || !strings.Contains(e.Message, "time_zone") {
		t.Errorf("got %v, want an invalid time_zone", err)
	}
}

// Times are read in the setting's zone.
func TestVersionsAreInstants(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	s.Zone = berlin
	s.Put(t, "customer", 1, s.Now())
	r := fetch(t, open(t, s, netsuite.Settings{TimeZone: "Europe/Berlin"}), "customer", nil).Records[0]
	if !r.OccurredAt.Equal(s.Now()) || r.Version != s.Now().UnixMicro() {
		t.Errorf("changed at %s, version %d; want %s", r.OccurredAt, r.Version, s.Now())
	}
}

// A time before NetSuite is the beginning, which no query names.
func TestSinceBeforeNetSuiteIsTheBeginning(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 1)
	page, err := open(t, s, netsuite.Settings{}).Fetch(t.Context(), connectors.FetchRequest{Stream: "customer", Since: time.Time{}.Add(time.Second)})
	if err != nil || len(page.Records) != 1 || strings.Contains(s.Queries()[0], "TO_DATE") {
		t.Errorf("%d records, %v, asked: %s", len(page.Records), err, s.Queries())
	}
}
