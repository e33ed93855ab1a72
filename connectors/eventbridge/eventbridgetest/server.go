// Package eventbridgetest serves as much of Amazon EventBridge in this process as puts events: PutEvents and DescribeEventBus in AWS JSON 1.1
// (https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html), AssumeRole of STS, and buckets of S3 by gofakes3. Signatures are verified, unknown
// fields refused, and limits and errors are those that AWS documents.
package eventbridgetest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tributary/connectors/amazon/amazontest"
	"tributary/connectors/connectortest/documented"
)

// Region is where the server is, Account whose it is.
const (
	Region  = amazontest.Region
	Account = amazontest.Account
)

// EntryErrors are the codes by which an entry may fail: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
var EntryErrors = []string{
	"InternalFailure", "ThrottlingException", "AccessDeniedException", "InvalidAccountIdException", "InvalidArgument", "MalformedDetail",
	"RedactionFailure", "NotAuthorizedForSourceException", "NotAuthorizedForDetailTypeException",
}

// RequestErrors are the codes by which a request may fail, with their statuses:
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html, InternalException of
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html, ResourceNotFoundException of
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeEventBus.html, InvalidSignatureException of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html, SerializationException of
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html, and "" of https://github.com/boto/boto3/issues/3411.
var RequestErrors = map[string]int{
	"AccessDeniedException": 403, "ExpiredTokenException": 403, "IncompleteSignature": 403, "InternalFailure": 500, "MalformedHttpRequestException": 400,
	"NotAuthorized": 401, "OptInRequired": 403, "RequestAbortedException": 400, "RequestEntityTooLargeException": 413, "RequestExpired": 400,
	"RequestTimeoutException": 408, "ServiceUnavailable": 503, "ThrottlingException": 400, "UnrecognizedClientException": 403,
	"UnknownOperationException": 404, "ValidationError": 400,
	"InternalException": 500, "ResourceNotFoundException": 400, "InvalidSignatureException": 403, "ValidationException": 400, "SerializationException": 400,
	"": 413,
}

// Documented are the errors that a server may return, to be given to New and looked at when all tests have run: "request" or "entry", and the code.
func Documented() *documented.Errors {
	var names []string
	for code := range RequestErrors {
		names = append(names, "request "+code)
	}
	for _, code := range EntryErrors {
		names = append(names, "entry "+code)
	}
	return documented.New(names...)
}

// Event is an event on a bus.
type Event struct {
	Bus, Source, DetailType, Detail string
	Time                            time.Time // zero: not told
}

// Server is a running server.
type Server struct {
	*amazontest.Keys
	URL      string
	buckets  *s3mem.Backend
	returned *documented.Errors

	mu       sync.Mutex
	buses    map[string]bool
	denied   map[string]bool // actions
	maxBytes int
	entry    func(Entry) string
	request  func() string
	after    func()
	events   []Event
	requests int
}

// New starts a server that ends with the test. It knows one access key, and has the bus default. It counts the errors that it returns, unless returned
// is nil.
func New(t testing.TB, keyID, secret string, returned *documented.Errors) *Server {
	t.Helper()
	s := &Server{
		Keys: amazontest.NewKeys(keyID, secret, "events", "sts", "s3"), returned: returned, buckets: s3mem.New(),
		buses: map[string]bool{"default": true}, denied: make(map[string]bool), maxBytes: 1 << 20,
	}
	store := gofakes3.New(s.buckets, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // who sent it has gone
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		code := s.Verify(r, body)
		switch {
		case r.Header.Get("X-Amz-Target") != "":
			s.serve(w, r, body, code)
		case amazontest.IsSTS(r):
			s.AssumeRole(w, r, code)
		case code != "" || s.isDenied("s3"):
			amazontest.AnswerXML(w, http.StatusForbidden, "Error", "AccessDenied")
		default:
			store.ServeHTTP(w, r)
		}
	}))
	s.URL = server.URL
	t.Cleanup(server.Close)
	return s
}

// CreateBus makes an event bus.
func (s *Server) CreateBus(name string) { s.set(func() { s.buses[name] = true }) }

// DeleteBus deletes it.
func (s *Server) DeleteBus(name string) { s.set(func() { delete(s.buses, name) }) }

// CreateBucket makes a bucket.
func (s *Server) CreateBucket(t testing.TB, name string) {
	t.Helper()
	if err := s.buckets.CreateBucket(name); err != nil {
		t.Fatal(err)
	}
}

// Object reads an object.
func (s *Server) Object(t testing.TB, bucket, name string) []byte {
	t.Helper()
	o, err := s.buckets.GetObject(bucket, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Contents.Close()
	b, err := io.ReadAll(o.Contents)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// PutObject writes an object over what is there.
func (s *Server) PutObject(t testing.TB, bucket, name string, data []byte) {
	t.Helper()
	if _, err := s.buckets.PutObject(bucket, name, map[string]string{}, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		t.Fatal(err)
	}
}

// Deny takes a right away: events:PutEvents, events:DescribeEventBus, or s3.
func (s *Server) Deny(action string) { s.set(func() { s.denied[action] = true }) }

// Limit sets the size that all entries of a request must stay below. Accounts that are older have 262,144.
func (s *Server) Limit(bytes int) { s.set(func() { s.maxBytes = bytes }) }

// FailEntries asks f about each entry that is as it should be: what it returns is its error code, "" lets it pass.
func (s *Server) FailEntries(f func(Entry) string) { s.set(func() { s.entry = f }) }

// FailRequests asks f about each PutEvents that is signed right: what it returns is one of RequestErrors, "-" lets it pass.
func (s *Server) FailRequests(f func() string) { s.set(func() { s.request = f }) }

// After calls f when a PutEvents was done, before it is answered.
func (s *Server) After(f func()) { s.set(func() { s.after = f }) }

// Events are those that were put onto buses that are there, in order.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.events...)
}

// Clear forgets the events.
func (s *Server) Clear() { s.set(func() { s.events = nil }) }

// Requests counts the PutEvents that were signed right.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *Server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *Server) isDenied(action string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.denied[action]
}

// failure is a code of RequestErrors with a message.
type failure struct{ code, message string }

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte, code string) {
	if code != "" {
		s.answer(w, nil, &failure{code, "said by the signature's verification"})
		return
	}
	operation, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AWSEvents.")
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		s.answer(w, nil, &failure{"UnknownOperationException", ""})
		return
	}
	if s.isDenied("events:" + operation) {
		s.answer(w, nil, &failure{"AccessDeniedException", "User is not authorized to perform: events:" + operation})
		return
	}
	switch operation {
	case "PutEvents":
		out, failed := s.putEvents(body)
		s.answer(w, out, failed)
	case "DescribeEventBus":
		out, failed := s.describeEventBus(body)
		s.answer(w, out, failed)
	default:
		s.answer(w, nil, &failure{"UnknownOperationException", ""})
	}
}

// answer writes a result or a failure, whose code stands in __type.
func (s *Server) answer(w http.ResponseWriter, out any, failed *failure) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	status := http.StatusOK
	if failed != nil {
		s.returned.Return("request " + failed.code)
		status = RequestErrors[failed.code]
		if failed.code == "" {
			w.WriteHeader(status)
			return
		}
		out = map[string]string{"__type": failed.code, "message": failed.message}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

// decode reads a request strictly.
func decode(body []byte, v any) *failure {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil || d.More() {
		return &failure{"SerializationException", "the request can't be read"}
	}
	return nil
}
