// Package connectortest holds the conformance suites that connectors pass.
package connectortest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// SourceHarness lets TestSource drive a source and the app behind it.
type SourceHarness struct {
	// Start gives each test an app of its own, with at least three pages of objects that don't change by themselves.
	Start func(t *testing.T) SourceApp
}

// SourceApp is an app, or a stand-in, and how to open the source on it.
type SourceApp struct {
	// Transport reaches the app. The suite puts itself before it.
	Transport http.RoundTripper
	// Open opens the source with Env.Transport for its requests. The connection holds every one of Secrets.
	Open    func(env connectors.Env) (any, error)
	Secrets []string
	// Now is the clock of the app and of the source; nil = time.Now.
	Now func() time.Time
	// Stream is what is read, in pages of Limit.
	Stream string
	Limit  int
	// Keys are the keys of all objects that the stream has now.
	Keys func() []string
	// Change changes an object and returns its key and new version. It picks another one each time, and the version is greater
	// than those of all changes before.
	Change func() (key string, version int64)
	// Late, where the app may index changes late, makes one that no query shows until release is called.
	Late func() (key string, version int64, release func())
	// Timeless says that the app tells neither versions nor times of the stream's objects, so that every poll reads all of them. Change then returns 0.
	Timeless bool
	// Deliver, for a receiver, changes an object and returns the webhook that the app sends of it. Where the source completes webhooks, the
	// completed records are what a poll must agree with.
	Deliver func(t *testing.T) connectors.Delivery
	// OneURL says that the app calls one URL only: subscribing another is refused as long as it has one.
	OneURL bool
}

// TestSource proves that a source keeps the contract of connectors.Source and, where it is one, of connectors.Subscriber.
func TestSource(t *testing.T, h SourceHarness) {
	for name, test := range map[string]func(*testing.T, SourceApp){
		"pages hold everything once":             testPagesHoldEverythingOnce,
		"the same request gives the same":        testSameRequestSameRecords,
		"changes while paging are not lost":      testChangesWhilePaging,
		"what comes again was announced":         testOverlapIsAnnounced,
		"a late indexed change is not lost":      testLateChange,
		"since leaves out what is older":         testSince,
		"a cancelled fetch ends":                 testCancelledFetchEnds,
		"errors have the kind that they must":    testErrorKinds,
		"hostile answers cost little memory":     testBoundedMemory,
		"errors hold no secret":                  testErrorsHoldNoSecret,
		"what can't be read is refused":          testUnreadableRequests,
		"subscribing is idempotent":              testSubscriber,
		"a webhook and a poll agree on a change": testWebhookAgreesWithPoll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, h.Start(t))
		})
	}
}

// sourcePatience bounds a test's waiting.
const sourcePatience = 20 * time.Second

func openSource(t *testing.T, app SourceApp, transport http.RoundTripper) any {
	t.Helper()
	s, err := app.Open(connectors.Env{Transport: transport, Now: app.Now})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func testPagesHoldEverythingOnce(t *testing.T, app SourceApp) {
	r := read(t, app)
	r.poll(nil)
	if r.pages < 3 {
		t.Fatalf("%d pages prove nothing; the harness must have at least 3", r.pages)
	}
	want := app.Keys()
	for _, key := range want {
		if n := r.times[key]; n != 1 {
			t.Errorf("key %s came %d times, want once", key, n)
		}
	}
	if len(r.times) != len(want) {
		t.Errorf("%d keys came, the app has %d", len(r.times), len(want))
	}
	before := len(r.seen)
	r.poll(nil)
	if after := len(r.seen); after != before {
		t.Errorf("a second poll of an unchanged app found %d new records", after-before)
	}
}

func testSameRequestSameRecords(t *testing.T, app SourceApp) {
	r := read(t, app)
	for more := true; more; {
		req := r.request()
		req.Cursor = bytes.Clone(req.Cursor)
		first := r.page()
		again, err := r.source.Fetch(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		same := slices.EqualFunc(first.Records, again.Records, func(a, b connectors.Record) bool {
			return a.ID == b.ID && a.Key == b.Key && a.Version == b.Version && a.OccurredAt.Equal(b.OccurredAt) && bytes.Equal(a.Data, b.Data)
		})
		if !same || first.More != again.More {
			t.Fatalf("page %d differs when it is asked for again", r.pages)
		}
		more = first.More
	}
}

func testChangesWhilePaging(t *testing.T, app SourceApp) {
	r := read(t, app)
	want := map[string]int64{}
	left := 10
	r.poll(func() {
		if left--; left >= 0 {
			key, version := app.Change()
			want[key] = max(want[key], version)
		}
	})
	r.poll(nil) // what changed behind the last page comes with the next poll
	if len(want) == 0 {
		t.Fatal("nothing changed while paging")
	}
	for key, version := range want {
		if r.newest[key] < version {
			t.Errorf("key %s changed to version %d while paging; the newest that came is %d", key, version, r.newest[key])
		}
	}
	for _, key := range app.Keys() {
		if r.times[key] == 0 {
			t.Errorf("key %s never came", key)
		}
	}
}

// testOverlapIsAnnounced makes changes that fill several pages and polls twice after them; reading.page checks what comes again.
func testOverlapIsAnnounced(t *testing.T, app SourceApp) {
	r := read(t, app)
	r.poll(nil)
	for range 3 * app.Limit {
		key, version := app.Change()
		defer func() {
			if r.newest[key] < version {
				t.Errorf("key %s: the change to version %d never came", key, version)
			}
			if app.Timeless && r.times[key] < 2 {
				t.Errorf("key %s: no change came", key)
			}
		}()
	}
	r.poll(nil)
	before := len(r.seen)
	r.poll(nil)
	if after := len(r.seen); after != before {
		t.Errorf("a poll after nothing changed found %d new records", after-before)
	}
}

func testLateChange(t *testing.T, app SourceApp) {
	if app.Late == nil {
		return // the app has no index that lags
	}
	r := read(t, app)
	r.poll(nil)
	lateKey, lateVersion, release := app.Late()
	key, version := app.Change()
	r.poll(nil)
	if r.newest[key] < version {
		t.Fatalf("key %s: the change to version %d did not come", key, version)
	}
	if r.newest[lateKey] >= lateVersion {
		t.Fatal("the late change came before its release: the harness does not hold it back")
	}
	release()
	r.poll(nil)
	if r.newest[lateKey] < lateVersion {
		t.Errorf("key %s: the change to version %d was indexed late and is lost", lateKey, lateVersion)
	}
}

func testSince(t *testing.T, app SourceApp) {
	all := read(t, app)
	all.poll(nil)
	olderKey, older := app.Change()
	key, version := app.Change()
	if app.Timeless {
		some := read(t, app)
		some.since = connectors.Env{Now: app.Now}.Time().Add(time.Hour)
		some.poll(nil)
		if len(some.times) != len(all.times) {
			t.Errorf("with Since %d keys came of %d, although nothing says which are older", len(some.times), len(all.times))
		}
		return
	}
	if older >= version {
		t.Fatal("two changes have one version: the harness must tell them apart")
	}
	some := read(t, app)
	some.since = time.UnixMicro(version)
	some.poll(nil)
	if some.newest[key] < version {
		t.Errorf("key %s changed at Since and did not come", key)
	}
	if len(some.times) >= len(all.times) {
		t.Errorf("since the last change %d keys came, without it %d", len(some.times), len(all.times))
	}
	some.poll(nil) // its overlap must not fall back behind Since
	if some.newest[olderKey] != 0 {
		t.Errorf("key %s changed before Since and came", olderKey)
	}
}

func testCancelledFetchEnds(t *testing.T, app SourceApp) {
	entered := make(chan struct{})
	stall := roundTripper(func(req *http.Request) (*http.Response, error) {
		close(entered)
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	source := openSource(t, app, stall).(connectors.Source)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := source.Fetch(ctx, connectors.FetchRequest{Stream: app.Stream})
		result <- err
	}()
	<-entered
	cancel()
	select {
	case err := <-result:
		wantKind(t, err, connectors.Unavailable)
	case <-time.After(sourcePatience):
		t.Fatal("fetch goes on after its context ended")
	}
}

func testUnreadableRequests(t *testing.T, app SourceApp) {
	source := openSource(t, app, app.Transport).(connectors.Source)
	_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "no such stream"})
	wantKind(t, err, connectors.Invalid, connectors.NotFound)
	for _, cursor := range []string{"", "garbage", "{}", "null", `{"v":9999}`, "\x00\xff"} {
		_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: app.Stream, Cursor: []byte(cursor)})
		wantKind(t, err, connectors.CursorExpired, connectors.Invalid)
	}
}

func testSubscriber(t *testing.T, app SourceApp) {
	s, ok := openSource(t, app, app.Transport).(connectors.Subscriber)
	if !ok {
		return // its webhooks are set up by hand
	}
	ctx, cancel := context.WithTimeout(t.Context(), sourcePatience)
	defer cancel()
	req := connectors.SubscribeRequest{URL: "https://receiver.example/hooks/one", Streams: []string{app.Stream}}
	other := connectors.SubscribeRequest{URL: "https://receiver.example/hooks/two", Streams: []string{app.Stream}}
	subscribe := func(req connectors.SubscribeRequest) []string {
		t.Helper()
		subs, err := s.Subscribe(ctx, req)
		if err != nil {
			t.Fatalf("subscribe: %v", err)
		}
		return subscriptionIDs(subs)
	}
	list := func(req connectors.SubscribeRequest) []string {
		t.Helper()
		subs, err := s.Subscriptions(ctx, req)
		if err != nil {
			t.Fatalf("subscriptions: %v", err)
		}
		for _, sub := range subs {
			if sub.ID == "" || sub.Topic == "" || sub.Stream != app.Stream {
				t.Errorf("subscription %+v lacks something", sub)
			}
		}
		return subscriptionIDs(subs)
	}
	first := subscribe(req)
	if len(first) == 0 {
		t.Fatal("subscribing made nothing")
	}
	var theirs []string
	if app.OneURL {
		_, err := s.Subscribe(ctx, other)
		wantKind(t, err, connectors.Invalid)
		if err := s.Unsubscribe(ctx, other); err != nil {
			t.Errorf("unsubscribing a URL that the app does not call: %v", err)
		}
	} else {
		theirs = subscribe(other)
	}
	if again := subscribe(req); !slices.Equal(first, again) {
		t.Errorf("subscribing again made %v of %v", again, first)
	}
	if now := list(req); !slices.Equal(first, now) {
		t.Errorf("the app lists %v, subscribing said %v", now, first)
	}
	if left := subscribe(connectors.SubscribeRequest{URL: req.URL}); len(left) != 0 {
		t.Errorf("subscribing to no stream left %v", left)
	}
	subscribe(req)
	for range 2 {
		if err := s.Unsubscribe(ctx, req); err != nil {
			t.Fatalf("unsubscribe: %v", err)
		}
		if left := list(req); len(left) != 0 {
			t.Errorf("unsubscribing left %v", left)
		}
	}
	if now := list(other); !slices.Equal(theirs, now) {
		t.Errorf("unsubscribing one URL turned the other's %v into %v", theirs, now)
	}
}

func subscriptionIDs(subs []connectors.Subscription) []string {
	ids := map[string]bool{}
	for _, sub := range subs {
		ids[sub.ID] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

func testWebhookAgreesWithPoll(t *testing.T, app SourceApp) {
	if app.Deliver == nil {
		return // the source is polled only
	}
	d := app.Deliver(t)
	receiver := openSource(t, app, app.Transport).(connectors.Receiver)
	got, err := receiver.Receive(t.Context(), d)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	if len(got.Records) == 0 {
		t.Fatal("the webhook holds no record")
	}
	if c, ok := receiver.(connectors.Completer); ok && c.Completes() {
		if got.Records, err = c.Complete(t.Context(), got.Records); err != nil {
			t.Fatalf("complete: %v", err)
		}
	}
	r := read(t, app)
	r.poll(nil)
	for _, rec := range got.Records {
		checkSourceRecord(t, rec)
		if rec.Stream != app.Stream || rec.Key == "" || rec.Version == 0 {
			t.Errorf("the webhook's record is %s %q version %d: it can't be recognised in a poll", rec.Stream, rec.Key, rec.Version)
		}
		if c, ok := receiver.(connectors.Completer); ok && c.Completes() && !r.seen[rec.ID] {
			t.Errorf("key %s: the poll has no record of the ID that the completed webhook has (I1)", rec.Key)
		}
		if r.newest[rec.Key] != rec.Version {
			t.Errorf("key %s: the webhook says version %d, the poll %d", rec.Key, rec.Version, r.newest[rec.Key])
		}
	}
}

// wantKind checks that err is an *Error of one of the kinds.
func wantKind(t *testing.T, err error, kinds ...connectors.Kind) {
	t.Helper()
	var e *connectors.Error
	switch {
	case err == nil:
		t.Errorf("no error, want %v", kinds)
	case !errors.As(err, &e):
		t.Errorf("%T is no *connectors.Error: %v", err, err)
	case !slices.Contains(kinds, e.Kind):
		t.Errorf("kind %s, want %v: %v", e.Kind, kinds, err)
	case strings.TrimSpace(e.Message) == "":
		t.Error("the error says nothing")
	}
}
