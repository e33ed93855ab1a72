package hubspot_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

// answers gives each call an answer by the end of its path.
func answers(by map[string]string) roundTripper {
	return func(req *http.Request) (*http.Response, error) {
		for end, body := range by {
			if strings.HasSuffix(req.URL.Path, end) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
			}
		}
		return nil, fmt.Errorf("no answer for %s", req.URL.Path)
	}
}

func object(id, changed string) string {
	return fmt.Sprintf(`{"id":%q,"properties":{"hs_lastmodifieddate":%q},"createdAt":"2026-01-01T00:00:00Z","updatedAt":%q,"archived":false}`, id, changed, changed)
}

func results(more string, objects ...string) string {
	return `{"total":9,"results":[` + strings.Join(objects, ",") + `]` + more + `}`
}

const (
	one, two = "2026-03-01T10:00:00.001Z", "2026-03-01T10:00:00.002Z"
	next     = `,"paging":{"next":{"after":"2"}}`
)

// Answers that only HubSpot can give, and that would lose something or never end.
func TestAnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	cursor := func(c map[string]any) []byte {
		c["v"] = 1
		out, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	const at = 1772359200001 // one
	listing := cursor(map[string]any{"phase": "list", "after": "2", "began": at, "from": 1, "at": 1})
	searching := cursor(map[string]any{"phase": "search", "from": 1, "at": 1})
	byID := cursor(map[string]any{"phase": "search", "from": 1, "at": at, "by_id": true, "after_id": 7})
	archived := cursor(map[string]any{"phase": "archived", "from": 1, "at": 1, "began": at, "until": at + 1000, "deleted": 1, "checked": 1})
	both := func(s string) map[string]string {
		return map[string]string{"/deals": s, "/search": s, "/read": results("")}
	}
	for name, c := range map[string]struct {
		cursor []byte
		by     map[string]string
		kind   connectors.Kind
	}{
		"a list without results":              {listing, both(`{}`), connectors.Unavailable},
		"a page too large":                    {listing, both(strings.Repeat(" ", 64<<20) + results("")), connectors.TooLarge},
		"a list that repeats":                 {listing, map[string]string{"/deals": results(next), "/read": results("")}, connectors.Invalid},
		"a list that goes on nowhere":         {listing, map[string]string{"/deals": results(`,"paging":{"next":{"after":""}}`)}, connectors.Invalid},
		"a list with an ID that is none":      {listing, both(results("", object("x", one))), connectors.Invalid},
		"more than was asked for":             {listing, both(results("", object("1", one), object("2", one), object("3", one), object("4", one))), connectors.Unavailable},
		"a search without results":            {searching, both(`{"total":1}`), connectors.Unavailable},
		"a search out of order":               {searching, both(results("", object("1", two), object("2", one))), connectors.Unavailable},
		"a search behind the place":           {cursor(map[string]any{"phase": "search", "from": 1, "at": at + 5}), both(results("", object("1", one))), connectors.Unavailable},
		"a search that goes on with nothing":  {searching, both(results(next)), connectors.Invalid},
		"a search without times":              {searching, both(results("", `{"id":"1","properties":{}}`)), connectors.Invalid},
		"by ID, out of order":                 {byID, both(results("", object("9", one), object("8", one))), connectors.Unavailable},
		"by ID, the same again":               {byID, both(results(next, object("7", one))), connectors.Unavailable},
		"by ID, of another time":              {byID, both(results("", object("8", two))), connectors.Unavailable},
		"objects without times":               {searching, map[string]string{"/search": results("", object("1", one)), "/read": results("", `{"id":"1","properties":{}}`)}, connectors.Invalid},
		"objects that can't be read":          {searching, map[string]string{"/search": results("", object("1", one)), "/read": results(`,"errors":[{"category":"VALIDATION_ERROR","message":"no"}]`)}, connectors.Unavailable},
		"an archived object without a time":   {archived, both(results("", `{"id":"1","properties":{}}`)), connectors.Invalid},
		"an archived object without a number": {archived, both(results("", `{"id":"a","archivedAt":"`+one+`"}`)), connectors.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := openOn(t, answers(c.by)).Fetch(t.Context(), connectors.FetchRequest{Stream: "deals", Cursor: c.cursor, Limit: 3})
			connectortest.WantError(t, err, c.kind)
			if len(page.Records) != 0 {
				t.Errorf("%d records beside an error", len(page.Records))
			}
		})
	}
}

func openOn(t *testing.T, transport http.RoundTripper) connectors.Source {
	t.Helper()
	v, err := hubspot.Definition().OpenSource(connectors.Config{
		Settings:   raw(t, hubspot.Settings{Properties: map[string][]string{"deals": {"dealname"}}}),
		Connection: raw(t, connection()), Env: connectors.Env{Transport: transport, Now: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v.(connectors.Source)
}

// Properties that are no names would be asked for for ever.
func TestListsOfPropertiesThatAreNone(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"no list":      `{}`,
		"no name":      `{"results":[{"label":"x"}]}`,
		"a wrong name": `{"results":[{"name":"a b"}]}`,
		"very many":    `{"results":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, 5001), ",") + `]}`,
	} {
		v, err := hubspot.Definition().OpenSource(connectors.Config{Connection: raw(t, connection()), Env: connectors.Env{
			Transport: answers(map[string]string{"/properties/deals": body, "/objects/deals": results("", object("1", one))}),
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "deals"}); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			connectortest.WantError(t, err, connectors.Unavailable)
		}
	}
}

// What the suite does not ask: statuses that HubSpot documents, from the stand-in, and some that anybody may answer.
func TestStatusesHaveTheirKind(t *testing.T) {
	t.Parallel()
	for status, c := range map[int]struct {
		kind connectors.Kind
		wait time.Duration
	}{
		301: {connectors.NotFound, 0}, 400: {connectors.Invalid, 0}, 401: {connectors.Unauthorized, 0}, 403: {connectors.Forbidden, 0},
		408: {connectors.Unavailable, 0}, 413: {connectors.TooLarge, 0}, 414: {connectors.Invalid, 0}, 423: {connectors.Unavailable, 2 * time.Second},
		429: {connectors.RateLimited, 10 * time.Second}, 477: {connectors.Unavailable, 10 * time.Minute},
		502: {connectors.Unavailable, 0}, 503: {connectors.Unavailable, 0}, 504: {connectors.Unavailable, 0}, 521: {connectors.Unavailable, 0},
		522: {connectors.Unavailable, 0}, 523: {connectors.Unavailable, 0}, 524: {connectors.Unavailable, 0}, 525: {connectors.Unavailable, 0},
		526: {connectors.Unavailable, 0},
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, hubspottest.Options{})
			calls, header := 0, map[string]string{"Location": "https://elsewhere.example/"}
			if status == 477 {
				header["Retry-After"] = "600"
			}
			a.Refuse(func(string) *hubspottest.Refusal {
				calls++
				return &hubspottest.Refusal{Status: status, Category: "no such", Message: "what HubSpot says", Header: header}
			})
			_, err := a.open(t, hubspot.Settings{}).Fetch(t.Context(), connectors.FetchRequest{Stream: "deals"})
			e := connectortest.WantError(t, err, c.kind)
			if e.Wait != c.wait || calls != 1 || !strings.Contains(e.Message, "what HubSpot says") {
				t.Errorf("got %v after %d calls, wait %s, want %s", err, calls, e.Wait, c.wait)
			}
		})
	}
}
