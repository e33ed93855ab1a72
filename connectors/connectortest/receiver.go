package connectortest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// ReceiverHarness is what TestReceiver needs to know of a connector.
type ReceiverHarness struct {
	Definition connectors.Definition
	Settings   json.RawMessage
	// Secret and Other are two secrets such as the app makes them.
	Secret, Other string
	// Connect makes the connection that holds the secret, which may be empty.
	Connect func(secret string) json.RawMessage
	// InApp says that what Connect and Overlap make is the credentials of the app (Definition.App) and no connection.
	InApp bool
	// Overlap makes a connection whose previous secret is valid until then; nil where the connector has no such thing.
	Overlap func(secret, previous string, until time.Time) json.RawMessage
	// Sign sets the headers that the app adds to authenticate the delivery, with one signature, as it does at that
	// time; an empty secret is a key of no bytes.
	Sign func(d *connectors.Delivery, secret string, at time.Time)
	// Tolerance is how far the signed time may be from the clock; 0 where the app signs no time.
	Tolerance time.Duration
	// Samples are deliveries before they are signed, of at least two different changes in all.
	Samples []ReceiverSample
}

// ReceiverSample is a delivery and what must come of it.
type ReceiverSample struct {
	Name     string
	Delivery connectors.Delivery
	// Want are the records; one without an ID may have any.
	Want []connectors.Record
}

var receiverNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// TestReceiver proves that a connector receives what its app signed and nothing else. A receiver that passes refuses
// every forged or stale delivery as Unauthorized before it reads it (I13), gives each change one ID for ever (I1),
// keeps payloads byte for byte (I8), and survives every body without losing it in silence (I4).
func TestReceiver(t *testing.T, h ReceiverHarness) {
	s := &receiverSuite{ReceiverHarness: h, private: []string{receiverCanary}}
	for _, sample := range h.Samples {
		s.private = append(s.private, receiverTexts(gjson.ParseBytes(sample.Delivery.Body))...)
	}
	t.Cleanup(func() { s.checkSilence(t, "log", s.log.String()) })
	for name, test := range map[string]func(*testing.T){
		"definition":           s.testDefinition,
		"authentic deliveries": s.testAuthentic,
		"identity":             s.testIdentity,
		"tampered body":        s.testTamperedBody,
		"tampered headers":     s.testTamperedHeaders,
		"secrets":              s.testSecrets,
		"secret overlap":       s.testOverlap,
		"replay":               s.testReplay,
		"hostile bodies":       s.testHostileBodies,
		"concurrency":          s.testConcurrency,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

type receiverSuite struct {
	ReceiverHarness
	log     receiverLog
	private []string // pieces of payloads
}

// receiverLog collects what a connector logs.
type receiverLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *receiverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *receiverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (s *receiverSuite) config(connection json.RawMessage, now time.Time) connectors.Config {
	c := connectors.Config{
		Settings: s.Settings, Connection: connection,
		Env: connectors.Env{
			Log: slog.New(slog.NewJSONHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Now: func() time.Time { return now },
		},
	}
	if s.InApp {
		c.Connection, c.App = nil, connection
	}
	return c
}

func (s *receiverSuite) open(t *testing.T, connection json.RawMessage, now time.Time) connectors.Receiver {
	t.Helper()
	v, err := s.Definition.OpenSource(s.config(connection, now))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	r, ok := v.(connectors.Receiver)
	if !ok {
		t.Fatalf("OpenSource gives a %T, which is no connectors.Receiver", v)
	}
	return r
}

// signed returns a copy of the delivery with the app's signature.
func (s *receiverSuite) signed(d connectors.Delivery, secret string, at time.Time) connectors.Delivery {
	d.Header, d.Body, d.ReceivedAt = d.Header.Clone(), bytes.Clone(d.Body), receiverNow
	if d.Header == nil {
		d.Header = make(http.Header)
	}
	if d.Method == "" {
		d.Method = http.MethodPost
	}
	s.Sign(&d, secret, at)
	return d
}

// signatureHeaders names what Sign adds.
func (s *receiverSuite) signatureHeaders(t *testing.T, sample ReceiverSample) []string {
	t.Helper()
	signed := s.signed(sample.Delivery, s.Secret, receiverNow).Header
	var names []string
	for name := range signed {
		if !slices.Equal(sample.Delivery.Header[name], signed[name]) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("Sign sets no header")
	}
	return slices.Sorted(slices.Values(names))
}

func (s *receiverSuite) testAuthentic(t *testing.T) {
	r := s.open(t, s.Connect(s.Secret), receiverNow)
	for _, sample := range s.Samples {
		d := s.signed(sample.Delivery, s.Secret, receiverNow)
		body := bytes.Clone(d.Body)
		got, err := r.Receive(t.Context(), d)
		if err != nil {
			t.Errorf("%s: refused: %v", sample.Name, err)
			continue
		}
		if !bytes.Equal(d.Body, body) {
			t.Errorf("%s: Receive wrote to the body", sample.Name)
		}
		s.checkRecords(t, sample.Name, d, got)
		if len(got.Records) != len(sample.Want) {
			t.Errorf("%s: got %d records, want %d", sample.Name, len(got.Records), len(sample.Want))
			continue
		}
		for i, want := range sample.Want {
			rec := got.Records[i]
			if want.ID == "" {
				want.ID = rec.ID
			}
			if !reflect.DeepEqual(rec, want) {
				t.Errorf("%s: record %d:\n got %+v\nwant %+v", sample.Name, i, rec, want)
			}
		}
	}
}

// checkRecords checks what holds for the records of any delivery.
func (s *receiverSuite) checkRecords(t *testing.T, name string, d connectors.Delivery, got connectors.Received) {
	t.Helper()
	if s.Definition.AppWide && len(got.Accounts) != len(got.Records) {
		t.Errorf("%s: got %d accounts for %d records", name, len(got.Accounts), len(got.Records))
	}
	for i, u := range got.Unusable {
		switch {
		case !bytes.Contains(d.Body, u.Data) || !json.Valid(u.Data):
			t.Errorf("%s: unusable part %d: Data is no JSON of the body, byte for byte (I8)", name, i)
		case u.Reason == "" || strings.Contains(u.Reason, receiverCanary):
			t.Errorf("%s: unusable part %d has no reason, or one that quotes it (I7): %s", name, i, u.Reason)
		case !s.Definition.AppWide && u.Account != "":
			t.Errorf("%s: unusable part %d names an account on a URL of one installation", name, i)
		}
	}
	for i, r := range got.Records {
		if !bytes.Contains(d.Body, r.Data) {
			t.Errorf("%s: record %d: Data is no part of the body, byte for byte (I8)", name, i)
		}
		if !json.Valid(r.Data) {
			t.Errorf("%s: record %d: Data is not JSON", name, i)
		}
		if r.ID == "" {
			t.Errorf("%s: record %d has no ID", name, i)
		}
		for what, text := range map[string]string{"ID": r.ID, "Key": r.Key, "Stream": r.Stream} {
			if len(text) > connectors.MaxIDBytes || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%s: record %d: %s %q is too long, not UTF-8 or has control characters", name, i, what, text)
			}
		}
		switch {
		case r.Stream == "":
			t.Errorf("%s: record %d has no stream", name, i)
		case r.Op != connectors.Upsert && r.Op != connectors.Delete:
			t.Errorf("%s: record %d: op %q is neither upsert nor delete", name, i, r.Op)
		case !r.ReceivedAt.IsZero() || r.Ordinal != 0:
			t.Errorf("%s: record %d: ReceivedAt and Ordinal are the engine's to set", name, i)
		}
	}
}

// testIdentity: a redelivery has the IDs of the first one, and no two changes share one (I1).
func (s *receiverSuite) testIdentity(t *testing.T) {
	seen := make(map[string]string)
	for _, sample := range s.Samples {
		var ids [2][]string
		for i, at := range []time.Time{receiverNow, receiverNow.Add(3 * time.Hour)} {
			got, err := s.open(t, s.Connect(s.Secret), at).Receive(t.Context(), s.signed(sample.Delivery, s.Secret, at))
			if err != nil {
				t.Fatalf("%s: %v", sample.Name, err)
			}
			for _, r := range got.Records {
				ids[i] = append(ids[i], r.ID)
			}
		}
		if !slices.Equal(ids[0], ids[1]) {
			t.Errorf("%s: the IDs of a redelivery are %v, the first time they were %v", sample.Name, ids[1], ids[0])
		}
		for i, id := range ids[0] {
			here := fmt.Sprintf("%s, record %d", sample.Name, i)
			if there, twice := seen[id]; twice {
				t.Errorf("ID %q is shared by %s and %s", id, there, here)
			}
			seen[id] = here
		}
	}
	if len(seen) < 2 {
		t.Errorf("the samples hold %d changes; want at least 2", len(seen))
	}
}

// testTamperedBody flips, removes and adds bytes below a good signature.
func (s *receiverSuite) testTamperedBody(t *testing.T) {
	r := s.open(t, s.Connect(s.Secret), receiverNow)
	for _, sample := range s.Samples {
		d := s.signed(sample.Delivery, s.Secret, receiverNow)
		body := d.Body
		for i := 0; i < len(body); i += 1 + len(body)/2048 {
			d.Body = bytes.Clone(body)
			d.Body[i] ^= 1
			s.refuses(t, fmt.Sprintf("%s: byte %d flipped", sample.Name, i), r, d, connectors.Unauthorized)
		}
		for name, other := range map[string][]byte{
			"empty": {}, "first byte missing": body[1:], "last byte missing": body[:len(body)-1],
			"space after": append(bytes.Clone(body), ' '), "twice": slices.Concat(body, body),
		} {
			d.Body = other
			s.refuses(t, sample.Name+": body "+name, r, d, connectors.Unauthorized)
		}
	}
}

// testTamperedHeaders takes away, changes and doubles what authenticates.
func (s *receiverSuite) testTamperedHeaders(t *testing.T) {
	r := s.open(t, s.Connect(s.Secret), receiverNow)
	s.refuses(t, "a delivery of nothing", r, connectors.Delivery{}, connectors.Unauthorized)
	for _, sample := range s.Samples {
		good := s.signed(sample.Delivery, s.Secret, receiverNow)
		unsigned := good
		unsigned.Header = sample.Delivery.Header.Clone()
		s.refuses(t, sample.Name+": unsigned", r, unsigned, connectors.Unauthorized)
		for _, name := range s.signatureHeaders(t, sample) {
			value := good.Header.Get(name)
			flipped := func(i int) string {
				b := []byte(value)
				b[i] ^= 1
				return string(b)
			}
			with := func(values ...string) connectors.Delivery {
				d := good
				d.Header = maps.Clone(good.Header)
				d.Header[name] = values
				return d
			}
			here := sample.Name + ": " + name
			s.refuses(t, here+" missing", r, with(), connectors.Unauthorized)
			s.refuses(t, here+" empty", r, with(""), connectors.Unauthorized)
			s.refuses(t, here+" twice, the good one first", r, with(value, flipped(0)), connectors.Unauthorized)
			s.refuses(t, here+" twice, the good one last", r, with(flipped(0), value), connectors.Unauthorized)
			s.refuses(t, here+" of 64 KB", r, with(strings.Repeat(value, 1+65536/len(value))), connectors.Unauthorized)
			for i := range value {
				s.refuses(t, fmt.Sprintf("%s with byte %d flipped", here, i), r, with(flipped(i)), connectors.Unauthorized)
				s.refuses(t, fmt.Sprintf("%s cut to %d bytes", here, i), r, with(value[:i]), connectors.Unauthorized)
			}
		}
	}
}

func (s *receiverSuite) testSecrets(t *testing.T) {
	d := s.Samples[0].Delivery
	r := s.open(t, s.Connect(s.Secret), receiverNow)
	s.refuses(t, "signed with another secret", r, s.signed(d, s.Other, receiverNow), connectors.Unauthorized)
	s.refuses(t, "signed with an empty secret", r, s.signed(d, "", receiverNow), connectors.Unauthorized)
	for name, connection := range map[string]json.RawMessage{"no connection": nil, "an empty secret": s.Connect("")} {
		// Not opening is a refusal too.
		v, err := s.Definition.OpenSource(s.config(connection, receiverNow))
		if err != nil {
			s.checkError(t, name, err, connectors.Unauthorized, connectors.Invalid)
			continue
		}
		r := v.(connectors.Receiver)
		for _, secret := range []string{"", s.Secret} {
			s.refuses(t, name, r, s.signed(d, secret, receiverNow), connectors.Unauthorized)
		}
	}
}

// testOverlap: while a secret is being replaced, both are right; afterwards, the old one is not.
func (s *receiverSuite) testOverlap(t *testing.T) {
	if s.Overlap == nil {
		return
	}
	end := receiverNow.Add(time.Hour)
	connection := s.Overlap(s.Secret, s.Other, end)
	d := s.Samples[0].Delivery
	for _, at := range []time.Time{receiverNow, end.Add(-time.Second), end, end.Add(24 * time.Hour)} {
		r := s.open(t, connection, at)
		if _, err := r.Receive(t.Context(), s.signed(d, s.Secret, at)); err != nil {
			t.Errorf("the new secret at %v: %v", at, err)
		}
		_, err := r.Receive(t.Context(), s.signed(d, s.Other, at))
		switch {
		case at.Before(end) && err != nil:
			t.Errorf("the old secret at %v, in its grace: %v", at, err)
		case !at.Before(end):
			s.checkError(t, fmt.Sprintf("the old secret at %v, after its grace", at), err, connectors.Unauthorized)
		}
	}
}

func (s *receiverSuite) testReplay(t *testing.T) {
	if s.Tolerance == 0 {
		return
	}
	r := s.open(t, s.Connect(s.Secret), receiverNow)
	d := s.Samples[0].Delivery
	const margin = 2 * time.Second
	if _, err := r.Receive(t.Context(), s.signed(d, s.Secret, receiverNow.Add(margin-s.Tolerance))); err != nil {
		t.Errorf("signed within the tolerance: %v", err)
	}
	for name, at := range map[string]time.Time{
		"too old": receiverNow.Add(-s.Tolerance - margin), "in the future": receiverNow.Add(s.Tolerance + margin),
		"in 1970": time.Unix(1, 0), "in 9999": time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		s.refuses(t, "signed "+name, r, s.signed(d, s.Secret, at), connectors.Unauthorized)
	}
}

func (s *receiverSuite) testConcurrency(t *testing.T) {
	r := s.open(t, s.Connect(s.Secret), receiverNow)
	var wg sync.WaitGroup
	for _, sample := range s.Samples {
		d := s.signed(sample.Delivery, s.Secret, receiverNow)
		want, err := r.Receive(t.Context(), d)
		if err != nil {
			t.Fatalf("%s: %v", sample.Name, err)
		}
		for range 8 {
			wg.Go(func() {
				for range 20 {
					if got, err := r.Receive(t.Context(), d); err != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("%s: received beside others: %+v, %v; alone: %+v", sample.Name, got, err, want)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// refuses checks that the delivery is refused with one of the kinds.
func (s *receiverSuite) refuses(t *testing.T, name string, r connectors.Receiver, d connectors.Delivery, kinds ...connectors.Kind) {
	t.Helper()
	got, err := r.Receive(t.Context(), d)
	if err == nil {
		t.Errorf("%s: accepted with %d records", name, len(got.Records))
		return
	}
	if len(got.Records) > 0 || got.Reply != nil {
		t.Errorf("%s: refused, yet it gives records or a reply", name)
	}
	s.checkError(t, name, err, kinds...)
}

// checkError checks that err is an *Error of one of the kinds, says something, and tells nobody's secrets (I7).
func (s *receiverSuite) checkError(t *testing.T, name string, err error, kinds ...connectors.Kind) {
	t.Helper()
	e, ok := err.(*connectors.Error)
	switch {
	case !ok:
		t.Errorf("%s: got %T (%v), want a *connectors.Error", name, err, err)
		return
	case !slices.Contains(kinds, e.Kind):
		t.Errorf("%s: got kind %s (%v), want %v", name, e.Kind, e, kinds)
	case e.Message == "":
		t.Errorf("%s: the error has no message", name)
	}
	s.checkSilence(t, name, fmt.Sprintf("%v %+v", e, e.Err))
}

// checkSilence looks for secrets and pieces of payloads in a text.
func (s *receiverSuite) checkSilence(t *testing.T, name, text string) {
	t.Helper()
	for _, secret := range []string{s.Secret, s.Other} {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds the secret: %s", name, text)
		}
	}
	for _, private := range s.private {
		if strings.Contains(text, private) {
			t.Errorf("%s holds some of the payload: %s", name, text)
		}
	}
}

// receiverTexts collects the texts in a payload that are too long to stand elsewhere by chance.
func receiverTexts(v gjson.Result) []string {
	if v.Type == gjson.String && len(v.Str) >= 16 {
		return []string{v.Str}
	}
	var texts []string
	if v.IsObject() || v.IsArray() {
		v.ForEach(func(_, element gjson.Result) bool {
			texts = append(texts, receiverTexts(element)...)
			return true
		})
	}
	return texts
}
