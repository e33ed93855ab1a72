package hubspot_test

import (
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

// reader follows a stream as the engine does: what comes again behind the overlap is dropped.
type reader struct {
	t       *testing.T
	source  connectors.Source
	stream  string
	since   time.Time
	limit   int
	cursor  []byte
	pages   int
	seen    map[string]bool
	records []connectors.Record // each once
}

func newReader(t *testing.T, s connectors.Source, stream string) *reader {
	return &reader{t: t, source: s, stream: stream, seen: map[string]bool{}}
}

func (r *reader) request() connectors.FetchRequest {
	return connectors.FetchRequest{Stream: r.stream, Cursor: r.cursor, Since: r.since, Limit: r.limit}
}

func (r *reader) page() (more bool) {
	r.t.Helper()
	page, err := r.source.Fetch(r.t.Context(), r.request())
	if err != nil {
		r.t.Fatalf("page %d: %v", r.pages+1, err)
	}
	r.pages++
	r.cursor = page.Cursor
	for _, rec := range page.Records {
		if !r.seen[rec.ID] {
			r.seen[rec.ID] = true
			r.records = append(r.records, rec)
		}
	}
	return page.More
}

// poll reads until there is no more, and returns what is new.
func (r *reader) poll() []connectors.Record {
	r.t.Helper()
	before := len(r.records)
	for range 1_000 {
		if !r.page() {
			return r.records[before:]
		}
	}
	r.t.Fatal("the poll does not end")
	return nil
}

func keys(records []connectors.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, string(r.Op)+" "+r.Key)
	}
	slices.Sort(out)
	return out
}

// A search has 25,000 results, of which HubSpot shows 10,000; and 12,000 of them changed in one millisecond, as after an import.
func TestMoreThanASearchShows(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	begun := a.Now().Add(-48 * time.Hour)
	for i := range 25_000 {
		at := begun.Add(time.Duration(i/3) * time.Millisecond) // three a millisecond
		if i >= 6_000 && i < 18_000 {
			at = begun.Add(2 * time.Second)
		}
		a.CreateAt("deals", map[string]string{"dealname": strconv.Itoa(i)}, at)
	}
	// Nobody can page that deep.
	body := `{"after":"9900","filterGroups":[],"limit":200,"properties":[],"sorts":[]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.hubapi.com/crm/v3/objects/deals/search", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+hubspottest.AccessToken)
	res, err := a.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(res.Body)
	if res.StatusCode != 400 || !strings.Contains(string(said), "paged through up to 10000") {
		t.Fatalf("the stand-in answers %d %s beyond its ceiling", res.StatusCode, said)
	}

	r := newReader(t, a.open(t, hubspot.Settings{Properties: map[string][]string{"deals": {"dealname"}}, Overlap: "100ms"}), "deals")
	r.since = begun // by search, not by the list
	got := r.poll()
	if a.Served("list") != 0 {
		t.Error("the list was read")
	}
	came := map[string]int{}
	for _, rec := range got {
		came[rec.Key]++
	}
	if len(got) != 25_000 || len(came) != 25_000 {
		t.Fatalf("%d records of %d objects came, want 25,000", len(got), len(came))
	}
	if again := r.poll(); len(again) != 0 {
		t.Errorf("%d records came again", len(again))
	}
	if n := a.Served("search"); n > 300 {
		t.Errorf("%d searches for 250 pages", n)
	}
}

// Moments that are larger than a page, as large, and smaller; one is the last.
func TestMomentsThatFillPages(t *testing.T) {
	t.Parallel()
	for size := 1; size <= 6; size++ {
		a := newAccount(t, hubspottest.Options{})
		at := a.Now().Add(-48 * time.Hour)
		want := 0
		for moment, n := range []int{1, 5, 4, 3, 2, 1, 1, 1, 5} {
			for range n {
				a.CreateAt("deals", nil, at.Add(time.Duration(moment)*time.Millisecond))
				want++
			}
		}
		r := newReader(t, a.open(t, hubspot.Settings{PageSize: size, Overlap: "0s"}), "deals")
		r.since = at
		r.poll()
		came := map[string]bool{}
		for _, rec := range r.records {
			came[rec.Key] = true
		}
		if len(came) != want || len(r.records) != want {
			t.Errorf("pages of %d: %d records of %d objects, want %d", size, len(r.records), len(came), want)
		}
	}
}

// A change is indexed late while a poll goes on for longer than the overlap, always behind newer ones: the next poll has it.
func TestALongPollMissesNoLateChange(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 20)
	r := newReader(t, a.open(t, hubspot.Settings{}), "contacts")
	r.poll()
	ids := a.IDs("contacts")
	change := func(id int64) {
		a.Advance(time.Second)
		a.Update("contacts", id, map[string]string{"email": a.Now().String()})
	}
	a.HoldIndex("contacts", 1)
	change(ids[0])
	version := a.ChangedAt("contacts", ids[0]).UnixMicro()
	for _, id := range ids[1:15] {
		change(id)
	}
	r.limit = 2
	for i := range 6 {
		if !r.page() {
			t.Fatal("the poll is over too soon to prove anything")
		}
		a.Advance(2 * time.Minute)
		change(ids[15+i%5])
	}
	r.poll()
	a.ReleaseIndex("contacts")
	r.poll()
	if !slices.ContainsFunc(r.records, func(rec connectors.Record) bool {
		return rec.Key == strconv.FormatInt(ids[0], 10) && rec.Version == version
	}) {
		t.Error("the late change never came")
	}
}

// Our clock is ahead of HubSpot's, as its answers tell, or by less than the overlap where something on the way has taken their date: what changes
// while the list is read comes nevertheless.
func TestAClockThatIsAhead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ahead time.Duration
		dated bool
	}{{20 * time.Minute, true}, {50 * time.Second, false}} {
		a := newAccount(t, hubspottest.Options{})
		a.fill("deals", 30)
		v, err := hubspot.Definition().OpenSource(connectors.Config{
			Settings: raw(t, hubspot.Settings{PageSize: 10, Overlap: "1m"}), Connection: raw(t, connection()),
			Env: connectors.Env{
				Now: func() time.Time { return a.Now().Add(c.ahead) },
				Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					res, err := a.contract.RoundTrip(req)
					if err == nil && !c.dated {
						res.Header.Del("Date")
					}
					return res, err
				}),
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		r := newReader(t, v.(connectors.Source), "deals")
		r.page()
		a.Advance(2 * time.Second)
		id := a.IDs("deals")[0]
		a.Update("deals", id, map[string]string{"amount": "7"})
		version := a.ChangedAt("deals", id).UnixMicro()
		r.poll()
		if !slices.ContainsFunc(r.records, func(rec connectors.Record) bool { return rec.Version == version }) {
			t.Errorf("%s ahead: the change never came", c.ahead)
		}
	}
}

// Archived objects are deletes, each told once, however many polls read the list; what was archived before the first poll was never told.
func TestArchivedObjectsAreDeletes(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("companies", 250)
	ids := a.IDs("companies")
	a.Archive("companies", ids[0])
	a.Advance(time.Hour)
	r := newReader(t, a.open(t, hubspot.Settings{Deletions: "30m"}), "companies")
	if got := r.poll(); len(got) != 249 {
		t.Fatalf("%d objects, want 249", len(got))
	}
	var want []string
	for _, id := range ids[1:150] { // more than a page
		a.Advance(time.Second)
		a.Archive("companies", id)
		want = append(want, "delete "+strconv.FormatInt(id, 10))
	}
	slices.Sort(want)
	if got := r.poll(); len(got) != 0 {
		t.Errorf("deletes came before it was time: %v", keys(got))
	}
	a.Advance(time.Hour)
	archived := a.Now()
	a.Archive("companies", ids[200]) // a moment ago: told the next time
	got := r.poll()
	if !slices.Equal(keys(got), want) {
		t.Fatalf("got %v", keys(got))
	}
	for _, rec := range got {
		at, err := time.Parse(time.RFC3339, gjson.GetBytes(rec.Data, "archivedAt").Str)
		if err != nil || rec.Version != at.UnixMicro() || !rec.OccurredAt.Equal(at) || gjson.GetBytes(rec.Data, "id").Str != rec.Key {
			t.Errorf("%s: version %d, occurred %s: %s", rec.Key, rec.Version, rec.OccurredAt, rec.Data)
		}
	}
	for range 3 {
		a.Advance(time.Hour)
		got = append(got, r.poll()...)
	}
	if more := got[len(want):]; len(more) != 1 || more[0].Key != strconv.FormatInt(ids[200], 10) || more[0].Version != archived.UnixMicro() {
		t.Errorf("later came %v, want the one that was archived last", keys(more))
	}
	// One that is restored and archived once more is told once more.
	a.Restore("companies", ids[200])
	a.Advance(time.Minute)
	a.Archive("companies", ids[200])
	a.Advance(2 * time.Hour)
	if got := r.poll(); len(got) != 1 || got[0].Op != connectors.Delete {
		t.Errorf("after another archiving came %v", keys(got))
	}
}

func TestDeletionsCanBeLeftOut(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("companies", 3)
	r := newReader(t, a.open(t, hubspot.Settings{Deletions: "never"}), "companies")
	r.poll()
	a.Archive("companies", a.IDs("companies")[0])
	a.Advance(1000 * time.Hour)
	before := a.Served("list")
	if got := r.poll(); len(got) != 0 || a.Served("list") != before {
		t.Errorf("%v came, by %d lists", keys(got), a.Served("list")-before)
	}
}

// An object type has more properties than fit a URL, which HubSpot refuses, and a search, whose body has 3,000 characters.
func TestPropertiesThatFitNoURL(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	var names []string
	for i := range 900 {
		names = append(names, fmt.Sprintf("a_property_with_a_long_name_%d", i))
	}
	a.AddProperties("contacts", names...)
	a.fill("contacts", 120)
	id := a.Create("contacts", map[string]string{names[0]: "first", names[899]: "last"})
	a.Advance(time.Hour)
	r := newReader(t, a.open(t, hubspot.Settings{}), "contacts")
	r.poll()
	a.Update("contacts", id, map[string]string{names[0]: "changed"})
	r.poll()
	var last gjson.Result
	for _, rec := range r.records {
		if rec.Key == strconv.FormatInt(id, 10) {
			last = gjson.ParseBytes(rec.Data)
		}
	}
	if last.Get("properties."+names[0]).Str != "changed" || last.Get("properties."+names[899]).Str != "last" {
		t.Errorf("got %s", last.Raw)
	}
	if n := a.Served("properties"); n != 1 {
		t.Errorf("the properties were listed %d times", n)
	}
}

// A list of properties is kept for a while, and a property that is new comes with the next one.
func TestNewPropertiesAreNoticed(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 12)
	r := newReader(t, a.open(t, hubspot.Settings{PageSize: 3}), "contacts")
	r.poll()
	if n := a.Served("properties"); n != 1 {
		t.Errorf("the properties were listed %d times", n)
	}
	a.AddProperties("contacts", "brand_new")
	a.Advance(11 * time.Minute)
	a.Update("contacts", a.IDs("contacts")[0], map[string]string{"brand_new": "yes"})
	if got := r.poll(); len(got) != 1 || gjson.GetBytes(got[0].Data, "properties.brand_new").Str != "yes" {
		t.Errorf("got %d records", len(got))
	}
}

// Named properties are the only ones, besides those that HubSpot always gives.
func TestNamedProperties(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.Create("contacts", map[string]string{"email": "a@example.com", "firstname": "Ada"})
	r := newReader(t, a.open(t, hubspot.Settings{Properties: map[string][]string{"contacts": {"email"}}}), "contacts")
	got := r.poll()
	if len(got) != 1 || gjson.GetBytes(got[0].Data, "properties.email").Str != "a@example.com" || gjson.GetBytes(got[0].Data, "properties.firstname").Exists() {
		t.Errorf("got %s", got[0].Data)
	}
	if a.Served("properties") != 0 {
		t.Error("the properties were listed")
	}
}

// An object is deleted between the page that names it and its reading: the others come, and the list of the archived tells of it.
func TestAnObjectGoesWhileItIsRead(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("deals", 5)
	id := a.IDs("deals")[2]
	a.Refuse(func(call string) *hubspottest.Refusal {
		if call == "batch" {
			go a.Archive("deals", id) // it waits until this call is served, and is done when the next is refused
			return &hubspottest.Refusal{Status: 503, Category: "INTERNAL_ERROR", Message: "try again"}
		}
		return nil
	})
	s := a.open(t, hubspot.Settings{Deletions: "1s", Overlap: "1s"})
	_, err := s.Fetch(t.Context(), connectors.FetchRequest{Stream: "deals"})
	connectortest.WantError(t, err, connectors.Unavailable)
	a.Refuse(nil)
	for len(a.IDs("deals")) == 5 {
		time.Sleep(time.Millisecond)
	}
	r := newReader(t, s, "deals")
	if got := r.poll(); len(got) != 4 {
		t.Errorf("got %v", keys(got))
	}
}
