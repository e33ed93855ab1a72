package hubspot_test

import (
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

// The limits: how long to wait, what the headers tell, and which budget a call is taken from.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refusal *hubspottest.Refusal
		wait    time.Duration
	}{
		"ten seconds":      {hubspottest.TenSecondly(), 10 * time.Second},
		"a second":         {hubspottest.Secondly(), time.Second},
		"a day":            {hubspottest.Daily(), time.Hour},
		"with Retry-After": {&hubspottest.Refusal{Status: 429, Category: "RATE_LIMITS", Message: "wait", Policy: "DAILY", Header: map[string]string{"Retry-After": "90"}}, 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, hubspottest.Options{})
			a.Refuse(func(string) *hubspottest.Refusal { return c.refusal })
			_, err := a.open(t, hubspot.Settings{}).Fetch(t.Context(), connectors.FetchRequest{Stream: "deals"})
			if e := connectortest.WantError(t, err, connectors.RateLimited); e.Wait != c.wait {
				t.Errorf("wait %s, want %s", e.Wait, c.wait)
			}
		})
	}
	t.Run("what answers allow", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t, hubspottest.Options{General: 190})
		a.fill("deals", 3)
		s := a.open(t, hubspot.Settings{})
		req := connectors.FetchRequest{Stream: "deals"}
		if b := s.Budget(req); b.Name != "" || b.Calls != 110 || b.Per != 10*time.Second {
			t.Errorf("a list is taken from %+v", b)
		}
		page, err := s.Fetch(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		// The list, the properties and the objects.
		if page.Calls != 2 || page.Allowed == nil || page.Allowed.Name != "" || page.Allowed.Calls != 190 || page.Allowed.Per != 10*time.Second {
			t.Errorf("%d more calls, allowed %+v", page.Calls, page.Allowed)
		}
		req.Cursor = page.Cursor
		if b := s.Budget(req); b.Name != "search" || b.Calls != 5 || b.Per != time.Second {
			t.Errorf("a search is taken from %+v", b)
		}
		if page, err = s.Fetch(t.Context(), req); err != nil || page.Calls != 0 || page.Allowed != nil {
			t.Errorf("a search that finds nothing: %d more calls, allowed %+v, %v", page.Calls, page.Allowed, err)
		}
	})
	t.Run("calls of a page that fails", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t, hubspottest.Options{General: 190})
		a.fill("deals", 3)
		s := a.open(t, hubspot.Settings{})
		a.Refuse(func(call string) *hubspottest.Refusal {
			if call == "batch" {
				return &hubspottest.Refusal{Status: 500, Message: "internal error"}
			}
			return nil
		})
		// The list, the properties, and the objects, which don't come.
		page, err := s.Fetch(t.Context(), connectors.FetchRequest{Stream: "deals"})
		connectortest.WantError(t, err, connectors.Unavailable)
		if page.Calls != 2 || page.Allowed == nil || page.Allowed.Calls != 190 {
			t.Errorf("%d more calls, allowed %+v: they were made", page.Calls, page.Allowed)
		}
		if page.Records != nil || page.Cursor != nil || page.More {
			t.Errorf("%d records beside the error, more %t", len(page.Records), page.More)
		}
	})
	t.Run("a whole read within them", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t, hubspottest.Options{Limited: true, General: 9, Search: 2})
		a.fill("deals", 150)
		s := a.open(t, hubspot.Settings{PageSize: 5})
		var cursor []byte
		came, refused := 0, 0
		for more := true; more; {
			page, err := s.Fetch(t.Context(), connectors.FetchRequest{Stream: "deals", Cursor: cursor})
			if err != nil {
				refused++
				a.Advance(connectortest.WantError(t, err, connectors.RateLimited).Wait)
				continue
			}
			cursor, more, came = page.Cursor, page.More, came+len(page.Records)
		}
		if came != 150 || refused == 0 || refused > 10 {
			t.Errorf("%d objects came with %d refusals", came, refused)
		}
	})
}
