package netsuite_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
)

// What is deleted comes as a deletion, behind the last change, once, and of the stream's own record types only.
func TestDeletions(t *testing.T) {
	t.Parallel()
	for stream, kind := range map[string]string{"customer": "Customer", "transaction": "Sales Order", "customrecord_shift": "customRecord"} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			s := netsuitetest.New(t, returned)
			for id := range int64(3) {
				s.Put(t, stream, id+1, s.Now().Add(-time.Hour))
			}
			s.Delete(t, "customer", 90, "Customer", s.Now().Add(-48*time.Hour)) // before the first poll: nobody has it
			source := open(t, s, netsuite.Settings{PageSize: 2})
			var cursor []byte
			if n := len(connectortest.Poll(t, source, stream, &cursor)); n != 3 {
				t.Fatalf("%d records came, want 3", n)
			}
			s.Advance(time.Minute)
			s.Put(t, stream, 2, s.Now())
			s.Delete(t, stream, 2, kind, s.Now())
			s.Delete(t, stream, 3, kind, s.Now())
			s.Delete(t, "customer", 99, "vendor", s.Now())
			var deleted []string
			seen := map[string]bool{}
			for range 3 {
				for _, r := range connectortest.Poll(t, source, stream, &cursor) {
					if r.Op != connectors.Delete || seen[r.ID] {
						continue
					}
					seen[r.ID] = true
					deleted = append(deleted, r.Key)
					if r.Version != s.Now().UnixMicro() || !strings.Contains(string(r.Data), `"recordid"`) {
						t.Errorf("deletion of %s: version %d, data %s", r.Key, r.Version, r.Data)
					}
				}
			}
			if slices.Sort(deleted); !slices.Equal(deleted, []string{"2", "3"}) {
				t.Errorf("deletions of %v came, want 2 and 3", deleted)
			}
		})
	}
}

// A poll of changes alone asks nothing of deletedrecord, which the role may not see then.
func TestDeletionsCanBeLeftOut(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 1)
	s.Hide("deletedrecord")
	var cursor []byte
	if n := len(connectortest.Poll(t, open(t, s, netsuite.Settings{Deletions: new(false)}), "customer", &cursor)); n != 1 {
		t.Errorf("%d records came, want 1", n)
	}
	page := fetch(t, open(t, s, netsuite.Settings{}), "customer", nil)
	_, err := open(t, s, netsuite.Settings{}).Fetch(t.Context(), connectors.FetchRequest{Stream: "customer", Cursor: page.Cursor})
	connectortest.WantError(t, err, connectors.NotFound, "Deleted Records")
}

// A stream of which nothing is ever deleted has a short overlap for all that.
func TestQuietDeletionsKeepTheOverlapShort(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 3)
	source := open(t, s, netsuite.Settings{})
	var cursor []byte
	connectortest.Poll(t, source, "customer", &cursor)
	for range 3 {
		s.Advance(24 * time.Hour)
		s.Put(t, "customer", 1, s.Now())
		connectortest.Poll(t, source, "customer", &cursor)
	}
	for more := true; more; {
		page := fetch(t, source, "customer", cursor)
		if cursor, more = page.Cursor, page.More; !more && s.Now().Sub(page.OverlapFrom) > 6*time.Minute {
			t.Errorf("the overlap is from %s, now is %s", page.OverlapFrom, s.Now())
		}
	}
}

// A deletion that comes again lies behind the overlap that was announced before, however new the changes are that came in between.
func TestDeletionsThatComeAgainWereAnnounced(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 3)
	source := open(t, s, netsuite.Settings{})
	var cursor []byte
	var overlap time.Time
	seen := map[string]bool{}
	again := 0
	poll := func() {
		t.Helper()
		for more := true; more; {
			page := fetch(t, source, "customer", cursor)
			for _, r := range page.Records {
				if seen[r.ID] {
					again++
					if r.OccurredAt.Before(overlap) {
						t.Errorf("the %s of %s at %s came again, before the overlap from %s", r.Op, r.Key, r.OccurredAt, overlap)
					}
				}
				seen[r.ID] = true
			}
			if page.OverlapFrom.After(overlap) {
				overlap = page.OverlapFrom
			}
			cursor, more = page.Cursor, page.More
		}
	}
	poll()
	s.Delete(t, "customer", 3, "customer", s.Now())
	poll()
	s.Advance(20 * time.Minute)
	s.Put(t, "customer", 1, s.Now())
	poll()
	if again == 0 {
		t.Error("nothing came again: the test proves nothing")
	}
}
