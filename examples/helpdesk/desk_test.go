package helpdesk_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const token = "canary-token"

// desk is a help desk. Its clock moves only when it is told to.
type desk struct {
	url *url.URL

	mu      sync.Mutex
	now     time.Time
	changes int
	updated map[int64]time.Time // by the ticket's ID
	held    map[string]bool     // keys of tickets that no query shows
}

// newDesk opens a desk with tickets that changed a second after the other.
func newDesk(t *testing.T, tickets int) *desk {
	d := &desk{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), updated: map[int64]time.Time{}, held: map[string]bool{}}
	for range tickets {
		d.now = d.now.Add(time.Second)
		d.updated[int64(len(d.updated)+1)] = d.now
	}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	d.url, _ = url.Parse(server.URL)
	return d
}

func (d *desk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *desk) keys() (keys []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.updated {
		keys = append(keys, strconv.FormatInt(id, 10))
	}
	return keys
}

// change moves the clock on and changes the next ticket.
func (d *desk) change(after time.Duration) (key string, version int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(after)
	id := int64(d.changes%len(d.updated)) + 1
	d.changes++
	d.updated[id] = d.now
	return strconv.FormatInt(id, 10), d.now.UnixMicro()
}

// late changes a ticket that no query shows until release.
func (d *desk) late() (key string, version int64, release func()) {
	key, version = d.change(time.Second)
	hold := func(held bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.held[key] = held
	}
	hold(true)
	return key, version, func() { hold(false) }
}

// ServeHTTP lists tickets, in a spelling that would not survive decoding and encoding.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := r.URL.Query()
	after, badTime := time.Parse(time.RFC3339Nano, q.Get("updated_at"))
	afterID, badID := strconv.ParseInt(q.Get("after_id"), 10, 64)
	limit, badLimit := strconv.Atoi(q.Get("limit"))
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case r.URL.Path != "/v1/tickets":
		w.WriteHeader(http.StatusNotFound)
		return
	case badTime != nil || badID != nil || badLimit != nil || limit < 1:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	ids := slices.Collect(maps.Keys(d.updated))
	place := func(id int64, at time.Time, other int64) int {
		return cmp.Or(d.updated[id].Compare(at), cmp.Compare(id, other))
	}
	ids = slices.DeleteFunc(ids, func(id int64) bool { return d.held[strconv.FormatInt(id, 10)] || place(id, after, afterID) <= 0 })
	slices.SortFunc(ids, func(a, b int64) int { return place(a, d.updated[b], b) })
	more := len(ids) > limit
	var tickets []string
	for _, id := range ids[:min(limit, len(ids))] {
		tickets = append(tickets, fmt.Sprintf(`{ "id": %d, "updated_at": %q, "hours": 1.50, "subject": "caf\u00e9 <1>", "z": 0, "a": 1e2 }`,
			id, d.updated[id].Format(time.RFC3339Nano)))
	}
	_, _ = fmt.Fprintf(w, "\n {\"has_more\": %t,\n\"tickets\": [ %s ]}", more, strings.Join(tickets, " , "))
}
