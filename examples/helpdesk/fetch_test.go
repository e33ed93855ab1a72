package helpdesk_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// A change is indexed late while a poll goes on for longer than the overlap, always behind newer ones: the next poll has it.
func TestALongPollMissesNoLateChange(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	source, err := open(t, d, connectors.Env{Now: d.clock})
	if err != nil {
		t.Fatal(err)
	}
	var cursor []byte
	came := map[string]int64{}
	fetch := func() (more bool) {
		t.Helper()
		page, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "tickets", Cursor: cursor, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			came[r.Key] = max(came[r.Key], r.Version)
		}
		cursor = page.Cursor
		return page.More
	}
	fetch()
	key, version, release := d.late()
	for range 4 {
		d.change(time.Minute)
		fetch()
	}
	for fetch() {
	}
	release()
	for fetch() {
	}
	if came[key] != version {
		t.Errorf("ticket %s: version %d came, want %d", key, came[key], version)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// What the suite does not ask: answers that only this API can give, and statuses that it leaves to the connector.
func TestAnswersHaveTheirKind(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	elsewhere := d.url.JoinPath("v1/tickets").String() + "?updated_at=2026-03-01T00:00:00Z&after_id=0&limit=1"
	const one, two = `{"id": 1, "updated_at": "2026-03-01T12:00:01Z"}`, `{"id": 2, "updated_at": "2026-03-01T12:00:01Z"}`
	for name, c := range map[string]struct {
		status int
		header http.Header
		body   string
		kind   connectors.Kind
		wait   time.Duration
	}{
		"redirect":                  {302, http.Header{"Location": {elsewhere}}, "", connectors.NotFound, 0},
		"no content":                {204, nil, "", connectors.Unavailable, 0},
		"bad request":               {400, nil, "{}", connectors.Invalid, 0},
		"request timeout":           {408, nil, "", connectors.Unavailable, 0},
		"gone":                      {410, nil, "", connectors.NotFound, 0},
		"maintenance":               {503, http.Header{"Retry-After": {"7"}}, "", connectors.Unavailable, 7 * time.Second},
		"an object without its end": {200, nil, `{"has_more": false, "tickets": [` + one + `]`, connectors.Unavailable, 0},
		"no list":                   {200, nil, `{"has_more": false}`, connectors.Unavailable, 0},
		"no has_more":               {200, nil, `{"tickets": []}`, connectors.Unavailable, 0},
		"wrong order":               {200, nil, `{"has_more": false, "tickets": [` + two + `, ` + one + `]}`, connectors.Invalid, 0},
		"the same again":            {200, nil, `{"has_more": false, "tickets": [` + one + `, ` + one + `]}`, connectors.Invalid, 0},
		"id is a string":            {200, nil, `{"has_more": false, "tickets": [{"id": "1", "updated_at": "2026-03-01T12:00:01Z"}]}`, connectors.Invalid, 0},
		"no updated_at":             {200, nil, `{"has_more": false, "tickets": [{"id": 1}]}`, connectors.Invalid, 0},
		"a page too large":          {200, nil, strings.Repeat(" ", 16<<20) + `{"has_more": false, "tickets": []}`, connectors.TooLarge, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, err := open(t, d, connectors.Env{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: c.status, Header: c.header.Clone(), Body: io.NopCloser(strings.NewReader(c.body)), Request: req}, nil
			})})
			if err != nil {
				t.Fatal(err)
			}
			page, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "tickets"})
			var e *connectors.Error
			if !errors.As(err, &e) || e.Kind != c.kind || e.Wait != c.wait {
				t.Errorf("got %v, want kind %s and wait %s", err, c.kind, c.wait)
			}
			if len(page.Records) != 0 {
				t.Errorf("%d records beside an error", len(page.Records))
			}
		})
	}
}
