package connectortest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"tributary/connectors"
)

// reading follows a stream page by page and checks what must hold of every page.
type reading struct {
	t      *testing.T
	app    SourceApp
	source connectors.Source
	bodies *recorder
	cursor []byte
	since  time.Time
	pages  int
	// overlap is the latest OverlapFrom: what comes again lies behind it.
	overlap time.Time
	polling bool             // a poll has begun and not ended
	polled  time.Time        // the latest Seen
	seen    map[string]bool  // by ID
	times   map[string]int   // different records by key
	newest  map[string]int64 // version by key
}

func read(t *testing.T, app SourceApp) *reading {
	t.Helper()
	bodies := &recorder{base: app.Transport}
	source, ok := openSource(t, app, bodies).(connectors.Source)
	if !ok {
		t.Fatal("what opens is no connectors.Source")
	}
	return &reading{t: t, app: app, source: source, bodies: bodies, seen: map[string]bool{}, times: map[string]int{}, newest: map[string]int64{}}
}

func (r *reading) request() connectors.FetchRequest {
	return connectors.FetchRequest{Stream: r.app.Stream, Cursor: r.cursor, Since: r.since, Limit: r.app.Limit}
}

func (r *reading) page() connectors.Page {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), sourcePatience)
	defer cancel()
	r.bodies.reset()
	p, err := r.source.Fetch(ctx, r.request())
	if err != nil {
		r.t.Fatalf("page %d: %v", r.pages+1, err)
	}
	r.pages++
	if p.Cursor == nil {
		r.t.Fatalf("page %d has no cursor", r.pages)
	}
	if len(p.Cursor) > 16<<10 {
		r.t.Errorf("page %d: a cursor of %d bytes is too large for a workflow's state", r.pages, len(p.Cursor))
	}
	if p.More && bytes.Equal(p.Cursor, r.cursor) {
		r.t.Fatalf("page %d: the cursor repeats", r.pages)
	}
	if r.app.Limit > 0 && len(p.Records) > r.app.Limit {
		r.t.Errorf("page %d has %d records, more than the limit %d", r.pages, len(p.Records), r.app.Limit)
	}
	r.checkSeen(p)
	for _, rec := range p.Records {
		checkSourceRecord(r.t, rec)
		if rec.Stream != r.app.Stream {
			r.t.Errorf("record %s is of stream %q", rec.Key, rec.Stream)
		}
		if !r.bodies.hold(rec.Data) {
			r.t.Errorf("record %s: its data is not a slice of what the app sent (I8)", rec.Key)
		}
		timeless := r.app.Timeless && rec.OccurredAt.IsZero() // remembered from when it came last
		if r.seen[rec.ID] && (r.overlap.IsZero() || !timeless && rec.OccurredAt.Before(r.overlap)) {
			r.t.Errorf("record %s of %s came again, before OverlapFrom %s (I6)", rec.Key, rec.OccurredAt, r.overlap)
		}
		if !r.seen[rec.ID] {
			r.seen[rec.ID] = true
			r.times[rec.Key]++
		}
		r.newest[rec.Key] = max(r.newest[rec.Key], rec.Version)
		if r.app.Timeless && (rec.Version != 0 || !rec.OccurredAt.IsZero()) {
			r.t.Errorf("record %s has the version %d of %s, which the app does not tell", rec.Key, rec.Version, rec.OccurredAt)
		}
	}
	if p.OverlapFrom.After(r.overlap) {
		r.overlap = p.OverlapFrom
	}
	// A cursor travels through JSON, and the source must not rely on the slice that it returned.
	raw, err := json.Marshal(p.Cursor)
	if err != nil {
		r.t.Fatal(err)
	}
	clear(p.Cursor)
	r.cursor = nil
	if err := json.Unmarshal(raw, &r.cursor); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// checkSeen checks the time of a poll that contents are seen by: without it an object that is again what it was would share an ID with then (I1).
func (r *reading) checkSeen(p connectors.Page) {
	r.t.Helper()
	switch {
	case r.app.Timeless == p.Seen.IsZero():
		r.t.Errorf("page %d: Seen is %s; the app tells when objects changed: %v (I1)", r.pages, p.Seen, !r.app.Timeless)
	case r.polling && !p.Seen.Equal(r.polled):
		r.t.Errorf("page %d: Seen is %s, and %s on the page before of the same poll", r.pages, p.Seen, r.polled)
	case r.app.Timeless && !r.polling && !p.Seen.After(r.polled):
		r.t.Errorf("page %d: Seen is %s, not later than the poll's before, %s (I1)", r.pages, p.Seen, r.polled)
	case r.app.Timeless && p.OverlapFrom.After(p.Seen):
		r.t.Errorf("page %d: OverlapFrom is %s, after Seen: what this poll saw is forgotten", r.pages, p.OverlapFrom)
	}
	r.polling, r.polled = p.More, p.Seen
}

// poll reads until there is no more; between may change the app after each page.
func (r *reading) poll(between func()) {
	r.t.Helper()
	for range 10_000 {
		if !r.page().More {
			return
		}
		if between != nil {
			between()
		}
	}
	r.t.Fatal("the stream does not end")
}

func checkSourceRecord(t *testing.T, r connectors.Record) {
	t.Helper()
	plain := func(field, s string) {
		if len(s) > connectors.MaxIDBytes || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("record %.40q: %s is too long or holds what no database takes", r.ID, field)
		}
	}
	plain("ID", r.ID)
	plain("Key", r.Key)
	if r.ID == "" {
		t.Errorf("a record of %s has no ID (I1)", r.Stream)
	}
	if r.Op != connectors.Upsert && r.Op != connectors.Delete {
		t.Errorf("record %s: op %q", r.ID, r.Op)
	}
	if r.Version < 0 {
		t.Errorf("record %s: version %d", r.ID, r.Version)
	}
	if !r.ReceivedAt.IsZero() || r.Ordinal != 0 {
		t.Errorf("record %s: ReceivedAt and Ordinal are the engine's", r.ID)
	}
	if err := connectors.CheckPayload("", r.Data); err != nil {
		t.Errorf("record %s: its data is no JSON: %v", r.ID, err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// recorder keeps the bodies that the app answered since the last reset.
type recorder struct {
	base   http.RoundTripper
	mu     sync.Mutex
	bodies [][]byte
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, body)
	return res, nil
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = nil
}

func (r *recorder) hold(data []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.bodies, func(body []byte) bool { return bytes.Contains(body, data) })
}
