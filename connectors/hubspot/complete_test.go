package hubspot_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

func event(stream, key string, op connectors.Op, n int) connectors.Record {
	return connectors.Record{ID: fmt.Sprint(key, "-", n), Stream: stream, Key: key, Op: op, Version: int64(n + 1), Data: []byte(`{"an":"event"}`)}
}

// A thousand events of 250 objects are three calls, and each object comes once, as a poll gives it.
func TestEventsBecomeObjects(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 250)
	s := a.open(t, hubspot.Settings{Receive: "object"})
	polled := map[string]connectors.Record{}
	for _, r := range newReader(t, s, "contacts").poll() {
		polled[r.Key] = r
	}
	before := a.Served("batch")
	ids := a.IDs("contacts")
	var events []connectors.Record
	for i := range connectors.MaxComplete {
		events = append(events, event("contacts", strconv.FormatInt(ids[i%250], 10), connectors.Upsert, i))
	}
	got, err := s.Complete(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	if calls := a.Served("batch") - before; calls != 3 {
		t.Errorf("%d calls for 250 objects", calls)
	}
	if len(got) != 250 {
		t.Fatalf("%d records, want 250", len(got))
	}
	for _, r := range got {
		want := polled[r.Key]
		if r.ID != want.ID || r.Version != want.Version || string(r.Data) != string(want.Data) {
			t.Errorf("%s: got %s version %d, a poll gave %s version %d", r.Key, r.Data, r.Version, want.Data, want.Version)
		}
	}
}

// Two events of one contact in one webhook name it once in the call.
func TestEventsOfOneObjectNameItOnce(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 2)
	var asked []string
	v, err := hubspot.Definition().OpenSource(connectors.Config{
		Settings: raw(t, hubspot.Settings{Receive: "object"}), Connection: raw(t, connection()), App: raw(t, app()),
		Env: connectors.Env{Now: a.Now, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			if strings.HasSuffix(req.URL.Path, "/batch/read") {
				body, err := io.ReadAll(req.Body)
				if err != nil {
					return nil, err
				}
				for _, id := range gjson.GetBytes(body, "inputs.#.id").Array() {
					asked = append(asked, id.Str)
				}
				req.Body = io.NopCloser(bytes.NewReader(body))
			}
			return a.contract.RoundTrip(req)
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := v.(source)
	subscribe(t, s, "contacts")
	first, second := a.IDs("contacts")[0], a.IDs("contacts")[1]
	a.Update("contacts", first, map[string]string{"email": "one@example.com"})
	a.Update("contacts", second, map[string]string{"email": "other@example.com"})
	a.Update("contacts", first, map[string]string{"email": "two@example.com", "firstname": "Ada"})
	deliveries := a.Deliveries(0)
	if len(deliveries) != 1 {
		t.Fatalf("%d webhooks", len(deliveries))
	}
	received, err := s.Receive(t.Context(), deliveries[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Complete(t.Context(), received.Records)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(asked)
	if want := []string{strconv.FormatInt(first, 10), strconv.FormatInt(second, 10)}; len(received.Records) != 4 || !slices.Equal(asked, want) || len(got) != 2 {
		t.Errorf("%d events of %s: asked for %s, and %d records came", len(received.Records), want, asked, len(got))
	}
}

// The calls that completing takes are told before they are made, and no more are made.
func TestCallsOfCompleting(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 201)
	a.fill("deals", 1)
	of := func(stream string, n int) (events []connectors.Record) {
		for i, id := range a.IDs(stream)[:n] {
			for again := range 2 {
				events = append(events, event(stream, strconv.FormatInt(id, 10), connectors.Upsert, 2*i+again))
			}
		}
		return events
	}
	s := a.open(t, hubspot.Settings{Receive: "object", Properties: map[string][]string{"deals": {"dealname"}}})
	made := func() int { return a.Served("batch") + a.Served("properties") + a.Served("list") + a.Served("search") }
	for i, c := range []struct {
		events []connectors.Record
		want   int
	}{
		{of("contacts", 201), 4}, // the list of properties too
		{of("contacts", 201), 3}, {of("contacts", 200), 2}, {of("contacts", 1), 1}, {of("deals", 1), 1}, {nil, 0},
		{[]connectors.Record{event("contacts", "7", connectors.Delete, 1), event("contacts", "1/2/CONTACT_TO_COMPANY", connectors.Upsert, 2)}, 0},
		{[]connectors.Record{event("conversation", "7", connectors.Upsert, 1)}, 0},
	} {
		said, before := s.CompleteCalls(c.events), made()
		if _, err := s.Complete(t.Context(), c.events); err != nil {
			t.Fatal(err)
		}
		if calls := made() - before; said != c.want || calls != c.want {
			t.Errorf("case %d: said %d calls and made %d, want %d", i, said, calls, c.want)
		}
	}
	a.Advance(time.Hour) // the list is old
	if n := s.CompleteCalls(of("contacts", 100)); n != 2 {
		t.Errorf("%d calls after an hour, want 2", n)
	}
}

// What is no object, or is one no more, stays as it came, and what was merged comes as what it was merged into.
func TestEventsThatStayAsTheyCame(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 5)
	ids := a.IDs("contacts")
	key := func(i int) string { return strconv.FormatInt(ids[i], 10) }
	a.Archive("contacts", ids[1])
	a.Merge("contacts", ids[3], ids[2])
	events := []connectors.Record{
		event("contacts", key(0), connectors.Upsert, 0), event("contacts", key(0), connectors.Delete, 1), event("contacts", key(1), connectors.Upsert, 2),
		event("contacts", key(2), connectors.Upsert, 3), event("contacts", "1/2/CONTACT_TO_COMPANY", connectors.Upsert, 4), event("contacts", "", connectors.Upsert, 5),
	}
	s := a.open(t, hubspot.Settings{Receive: "object"})
	got, err := s.Complete(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	asItCame := func(e connectors.Record) bool {
		return slices.ContainsFunc(got, func(r connectors.Record) bool { return r.ID == e.ID && string(r.Data) == string(e.Data) })
	}
	for i, want := range []bool{false, true, true, true, true, true} {
		if asItCame(events[i]) != want {
			t.Errorf("event %d as it came: %v, want %v", i, !want, want)
		}
	}
	for _, i := range []int{0, 3} {
		if !slices.ContainsFunc(got, func(r connectors.Record) bool { return r.Key == key(i) && gjson.GetBytes(r.Data, "id").Str == key(i) }) {
			t.Errorf("object %d did not come", i)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d records: %v", len(got), keys(got))
	}
}

// A restored object wins against its delete, although it has not changed since.
func TestARestoredObjectComesBack(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 1)
	id := a.IDs("contacts")[0]
	s := a.open(t, hubspot.Settings{Receive: "object"})
	subscribe(t, s, "contacts")
	a.Archive("contacts", id)
	a.Advance(time.Minute)
	a.Restore("contacts", id)
	deliveries := a.Deliveries(0)
	received, err := s.Receive(t.Context(), deliveries[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Complete(t.Context(), received.Records)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[connectors.Op]int64{}
	for _, r := range got {
		versions[r.Op] = r.Version
		if r.Op == connectors.Upsert && !gjson.GetBytes(r.Data, "properties").Exists() {
			t.Errorf("the restored object is %s", r.Data)
		}
	}
	if len(got) != 2 || versions[connectors.Upsert] <= versions[connectors.Delete] {
		t.Errorf("the versions are %v", versions)
	}
}

func TestBlocksChooseWhatEventsBecome(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	for receive, want := range map[string]bool{"": false, "event": false, "object": true} {
		if got := a.open(t, hubspot.Settings{Receive: receive}).Completes(); got != want {
			t.Errorf("receive %q completes: %v", receive, got)
		}
	}
}

// A failure makes all records come again; nothing is returned half done.
func TestCompletingFails(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 150)
	s := a.open(t, hubspot.Settings{Receive: "object"})
	calls := 0
	a.Refuse(func(call string) *hubspottest.Refusal {
		if call != "batch" {
			return nil
		}
		if calls++; calls == 2 {
			return hubspottest.TenSecondly()
		}
		return nil
	})
	var events []connectors.Record
	for i, id := range a.IDs("contacts") {
		events = append(events, event("contacts", strconv.FormatInt(id, 10), connectors.Upsert, i))
	}
	got, err := s.Complete(t.Context(), events)
	connectortest.WantError(t, err, connectors.RateLimited)
	if len(got) != 0 {
		t.Errorf("%d records beside an error", len(got))
	}
}
