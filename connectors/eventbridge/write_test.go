package eventbridge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/eventbridge/eventbridgetest"
)

// versionOf is what the metadata of an entry says.
func versionOf(e eventbridgetest.Entry) string { return gjson.Get(*e.Detail, "metadata.version").Str }

// versions are those put, in order.
func versions(s *eventbridgetest.Server) []string {
	var all []string
	for _, e := range s.Events() {
		all = append(all, gjson.Get(e.Detail, "metadata.version").Str)
	}
	return all
}

// again are the records that come again.
func again(b connectors.Batch, r connectors.Result) connectors.Batch {
	var rest []connectors.Record
	for i, o := range r.Outcomes {
		if o == connectors.Again {
			rest = append(rest, b.Records[i])
		}
	}
	b.Records = rest
	return b
}

func TestEventHoldsTheRecord(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := batch(2, 2)
	b.Records[0].OccurredAt = time.Date(2026, 11, 1, 12, 30, 0, 250e6, time.FixedZone("", 3600))
	b.Records[0].ReceivedAt = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	b.Records[0].Data = []byte(" [1,\t2] ") // no object: it stands under data all the same
	b.Records[1] = connectors.Record{ID: "gone", Stream: "orders", Op: connectors.Delete, OccurredAt: time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC)}
	if _, err := opened(t, at(s.URL), Settings{Source: "com.acme.{integration}.{user}", DetailType: "{integration}: {stream} {op}"}).Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	want := []eventbridgetest.Event{
		{Bus: "default", Source: "com.acme.i.ada", DetailType: "i: orders upsert", Time: time.Date(2026, 11, 1, 11, 30, 0, 250e6, time.UTC),
			Detail: `{"metadata":{"id":"id0","stream":"orders","key":"key0","op":"upsert","version":"0","installation":"i/ada","integration":"i","user":"ada",` +
				`"occurred_at":"2026-11-01T11:30:00.25Z","received_at":"2026-11-01T12:00:00Z"},"data": [1,` + "\t" + `2] }`},
		{Bus: "default", Source: "com.acme.i.ada", DetailType: "i: orders delete",
			Detail: `{"metadata":{"id":"gone","stream":"orders","op":"delete","version":"0","installation":"i/ada","integration":"i","user":"ada","occurred_at":"0001-02-03T00:00:00Z"}}`},
	}
	got := s.Events()
	slices.SortFunc(got, func(a, b eventbridgetest.Event) int { return strings.Compare(b.DetailType, a.DetailType) })
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

// Requests hold ten events as long as they stay under the size.
func TestRequestsAreShaped(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := opened(t, at(s.URL), Settings{Concurrency: 1})
	if _, err := d.Write(t.Context(), batch(25, 25)); err != nil {
		t.Fatal(err)
	}
	if n := s.Requests(); n != 3 {
		t.Errorf("%d requests for 25 records, want 3", n)
	}
	s.Limit(60_000)
	b := batch(10, 10)
	for i := range b.Records {
		b.Records[i].Data = fmt.Appendf(nil, `"%s"`, strings.Repeat("é", 9_960)) // three would fit, were it not for what stands around them
	}
	before := s.Requests()
	if _, err := opened(t, at(s.URL), Settings{Concurrency: 1, MaxBytes: 59_999}).Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if n := s.Requests() - before; n != 5 {
		t.Errorf("%d requests, want 5 of two events of 20 KB each", n)
	}
}

// An account whose limit is lower than the settings say gets everything in smaller requests; what alone is too large is rejected.
func TestSmallerLimitOfTheAccountSplits(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.Limit(262_144)
	b := batch(20, 20)
	for i := range b.Records {
		b.Records[i].Data = fmt.Appendf(nil, `"%s"`, strings.Repeat("x", 90_000))
	}
	b.Records[11].Data = fmt.Appendf(nil, `"%s"`, strings.Repeat("x", 300_000))
	r, err := opened(t, at(s.URL), Settings{}).Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range r.Outcomes {
		if i == 11 && (o != connectors.Rejected || !strings.Contains(r.Reasons[i], "max_bytes")) || i != 11 && o != connectors.Durable {
			t.Errorf("record %d has the outcome %d: %s", i, o, r.Reasons[i])
		}
	}
	if n := len(s.Events()); n != 19 {
		t.Errorf("%d events, want each of 19 once", n)
	}
}

// Of a request that is accepted in part only the failed events are put again, in their order, and those that are refused never.
func TestOnlyFailedEventsComeAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var mu sync.Mutex
	failing := map[string]string{"2": "InternalFailure", "5": "InternalFailure", "7": "MalformedDetail"}
	s.FailEntries(func(e eventbridgetest.Entry) string {
		mu.Lock()
		defer mu.Unlock()
		return failing[versionOf(e)]
	})
	d := opened(t, at(s.URL), Settings{Concurrency: 1})
	b := batch(10, 1)
	r, err := d.Write(t.Context(), b)
	connectortest.WantError(t, err, connectors.Unavailable, "InternalFailure")
	for i, o := range r.Outcomes {
		want := connectors.Durable
		switch i {
		case 2, 5:
			want = connectors.Again
		case 7:
			want = connectors.Rejected
		}
		if o != want {
			t.Errorf("record %d has the outcome %d, want %d", i, o, want)
		}
	}
	mu.Lock()
	clear(failing)
	mu.Unlock()
	if _, err := d.Write(t.Context(), again(b, r)); err != nil {
		t.Fatal(err)
	}
	if got, want := versions(s), []string{"0", "1", "3", "4", "6", "8", "9", "2", "5"}; !slices.Equal(got, want) {
		t.Errorf("put %v, want %v", got, want)
	}
}

// A throttled bus is left alone at once.
func TestThrottlingEndsTheWrite(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.FailEntries(func(eventbridgetest.Entry) string { return "ThrottlingException" })
	_, err := opened(t, at(s.URL), Settings{Concurrency: 1}).Write(t.Context(), batch(1000, 1000))
	connectortest.WantError(t, err, connectors.RateLimited, "ThrottlingException")
	if n := s.Requests(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// Every code that AWS documents for an entry or a request has its kind. Of an answer's words nothing is told, also not the payload that they quote.
func TestCodesHaveKinds(t *testing.T) {
	t.Parallel()
	const refused = connectors.Kind("refused")
	entry := map[string]connectors.Kind{
		"InternalFailure": connectors.Unavailable, "ThrottlingException": connectors.RateLimited, "AccessDeniedException": connectors.Forbidden,
		"InvalidAccountIdException": connectors.Invalid, "InvalidArgument": refused, "MalformedDetail": refused, "RedactionFailure": refused,
		"NotAuthorizedForSourceException": connectors.Forbidden, "NotAuthorizedForDetailTypeException": connectors.Forbidden,
	}
	request := map[string]connectors.Kind{
		"AccessDeniedException": connectors.Forbidden, "ExpiredTokenException": connectors.Unauthorized, "IncompleteSignature": connectors.Unauthorized,
		"InternalFailure": connectors.Unavailable, "MalformedHttpRequestException": connectors.Invalid, "NotAuthorized": connectors.Forbidden,
		"OptInRequired": connectors.Forbidden, "RequestAbortedException": connectors.Unavailable, "RequestEntityTooLargeException": refused,
		"RequestExpired": connectors.Unavailable, "RequestTimeoutException": connectors.Unavailable, "ServiceUnavailable": connectors.Unavailable,
		"ThrottlingException": connectors.RateLimited, "UnrecognizedClientException": connectors.Unauthorized, "UnknownOperationException": connectors.Invalid,
		"ValidationError": refused, "InternalException": connectors.Unavailable, "ResourceNotFoundException": connectors.NotFound,
		"InvalidSignatureException": connectors.Unauthorized, "ValidationException": refused, "SerializationException": refused, "": refused,
	}
	judge := func(t *testing.T, s *eventbridgetest.Server, want connectors.Kind) {
		t.Helper()
		b := batch(1, 1)
		b.Records[0].Data = []byte(`{"name": "` + canary + `"}`)
		r, err := opened(t, at(s.URL), Settings{}).Write(t.Context(), b)
		said := r.Reasons[0]
		if want == refused {
			if err != nil || r.Outcomes[0] != connectors.Rejected {
				t.Fatalf("got %v, outcome %d", err, r.Outcomes[0])
			}
		} else {
			connectortest.WantError(t, err, want)
			said = err.Error()
		}
		if strings.Contains(said, "canary") || strings.Contains(said, "asked") {
			t.Errorf("it says %q", said)
		}
	}
	for _, code := range eventbridgetest.EntryErrors {
		t.Run("entry "+code, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			answered := false
			s.FailEntries(func(eventbridgetest.Entry) string {
				answered = true
				return code
			})
			if entry[code] == "" {
				t.Fatal("no kind is wanted for it")
			}
			judge(t, s, entry[code])
			if !answered {
				t.Error("it was never returned")
			}
		})
	}
	for code := range eventbridgetest.RequestErrors {
		t.Run("request "+code, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			asked := 0
			s.FailRequests(func() string {
				asked++
				return code
			})
			if request[code] == "" {
				t.Fatal("no kind is wanted for it")
			}
			judge(t, s, request[code])
			if asked != 1 {
				t.Errorf("asked %d times: the engine tries again, not the client", asked)
			}
		})
	}
}

// PutEvents tells no error when the bus is not there: what was put then is not called durable, and comes again when there is one.
func TestVanishedBusLosesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := opened(t, at(s.URL), Settings{Bus: "changes"})
	if _, err := d.Write(t.Context(), batch(10, 10)); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	s.After(func() { once.Do(func() { go s.DeleteBus("changes") }) })
	b := batch(10, 10)
	r, err := d.Write(t.Context(), b)
	for deadline := time.Now().Add(30 * time.Second); err == nil && time.Now().Before(deadline); { // the bus goes a moment after it was put onto
		r, err = d.Write(t.Context(), b)
	}
	connectortest.WantError(t, err, connectors.NotFound, "aws events create-event-bus --name changes")
	if slices.Contains(r.Outcomes, connectors.Durable) {
		t.Error("events for a bus that is not there are called durable")
	}
	before := s.Requests()
	_, err = d.Write(t.Context(), b)
	connectortest.WantError(t, err, connectors.NotFound)
	if s.Requests() != before {
		t.Error("events are put onto a bus that is known not to be there")
	}
	s.CreateBus("changes")
	if r, err := d.Write(t.Context(), b); err != nil || slices.Contains(r.Outcomes, connectors.Again) {
		t.Fatal(r, err)
	}
}

// What is too large goes to the bucket, once whatever comes again, or to quarantine where there is none.
func TestOversizedPayload(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := batch(12, 12)
	large := fmt.Appendf(nil, `{"text": "%s"}`, strings.Repeat("é", 600_000))
	b.Records[4].Data = large
	b.Lane = "lane a/b"
	r, err := opened(t, at(s.URL), Settings{}).Write(t.Context(), b)
	if err != nil || r.Outcomes[4] != connectors.Rejected || !strings.Contains(r.Reasons[4], "overflow") || len(s.Events()) != 11 {
		t.Fatalf("got %v %v, %d events", r, err, len(s.Events()))
	}

	d := opened(t, at(s.URL), Settings{Overflow: "s3://overflowing/some/prefix/"})
	sum := sha256.Sum256(large)
	name := fmt.Sprintf("some/prefix/e/lane%%20a%%2Fb/4-%x.json", sum[:8])
	for i := range 2 {
		if i == 1 { // written once: what is there is not written again
			s.PutObject(t, "overflowing", name, large[:10])
		}
		if r, err := d.Write(t.Context(), b); err != nil || slices.ContainsFunc(r.Outcomes, func(o connectors.Outcome) bool { return o != connectors.Durable }) {
			t.Fatal(r, err)
		}
		if i == 0 && !bytes.Equal(s.Object(t, "overflowing", name), large) {
			t.Error("the object is not the payload")
		}
	}
	if !bytes.Equal(s.Object(t, "overflowing", name), large[:10]) {
		t.Error("the object was written twice")
	}
	found := 0
	for _, e := range s.Events() {
		if at := gjson.Get(e.Detail, "data_at"); at.Exists() {
			found++
			if at.Get("url").Str != "s3://overflowing/"+name || at.Get("bytes").Int() != int64(len(large)) || at.Get("sha256").Str != hex.EncodeToString(sum[:]) || gjson.Get(e.Detail, "data").Exists() {
				t.Errorf("the event points to %s", at.Raw)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d events point to an object, want one a Write", found)
	}
}

// A bucket that fails holds up the record that needs it, and no other.
func TestFailingOverflow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		overflow string
		deny     string
		kind     connectors.Kind
	}{
		"no bucket": {"s3://nowhere-to-be-found", "", connectors.NotFound},
		"no right":  {"s3://overflowing", "s3", connectors.Forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			s.Deny(c.deny)
			b := batch(5, 5)
			b.Records[1].Data = fmt.Appendf(nil, `"%s"`, strings.Repeat("x", 1_100_000))
			d := opened(t, at(s.URL), Settings{Overflow: c.overflow, Concurrency: 1})
			r, err := d.Write(t.Context(), b)
			connectortest.WantError(t, err, c.kind)
			if r.Outcomes[1] != connectors.Again {
				t.Errorf("the record has the outcome %d", r.Outcomes[1])
			}
			connectortest.WantError(t, d.(connectors.Checker).Check(t.Context()), c.kind, "s3:PutObject")
		})
	}
}

func TestRecordsThatNoEventCanHold(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := batch(6, 6)
	b.Records[0].Data = []byte(`{"a":`)
	b.Records[1].Data = []byte(`{} {}`)
	b.Records[2].Stream = strings.Repeat("s", 200)
	b.Records[3].ID = "\xff"
	b.Records[4].Data = []byte(strings.Repeat("[", 1001) + strings.Repeat("]", 1001))
	r, err := opened(t, at(s.URL), Settings{}).Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range []string{"JSON", "JSON", "detail type", "UTF-8", "levels"} {
		if r.Outcomes[i] != connectors.Rejected || !strings.Contains(r.Reasons[i], part) {
			t.Errorf("record %d: outcome %d, %q", i, r.Outcomes[i], r.Reasons[i])
		}
	}
	if r.Outcomes[5] != connectors.Durable || len(s.Events()) != 1 {
		t.Errorf("%d events", len(s.Events()))
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings Settings
		deny     string
		kind     connectors.Kind // "": it works
		says     string
	}{
		"works":           {Settings{Bus: "changes", Overflow: "s3://overflowing"}, "", "", ""},
		"default bus":     {Settings{}, "events:DescribeEventBus", "", ""},
		"by ARN":          {Settings{Bus: "arn:aws:events:eu-central-1:123456789012:event-bus/changes"}, "", "", ""},
		"no bus":          {Settings{Bus: "nowhere"}, "", connectors.NotFound, "create-event-bus --name nowhere"},
		"may not put":     {Settings{Bus: "changes"}, "events:PutEvents", connectors.Forbidden, `"Resource":"arn:aws:events:*:*:event-bus/changes"`},
		"may not look":    {Settings{Bus: "changes"}, "events:DescribeEventBus", connectors.Forbidden, "events:DescribeEventBus"},
		"no bucket":       {Settings{Overflow: "s3://nowhere-to-be-found"}, "", connectors.NotFound, "s3:ListBucket"},
		"may not look in": {Settings{Overflow: "s3://overflowing"}, "s3", connectors.Forbidden, "s3:ListBucket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			s.Deny(c.deny)
			err := opened(t, at(s.URL), c.settings).(connectors.Checker).Check(t.Context())
			if c.kind != "" {
				connectortest.WantError(t, err, c.kind, c.says)
			} else if err != nil {
				t.Error(err)
			}
			if n := len(s.Events()); n != 0 {
				t.Errorf("the check put %d events", n)
			}
		})
	}
}
