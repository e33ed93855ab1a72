// Package objecttest serves S3 and Cloud Storage in this process: fakes of theirs behind what the services refuse and the fakes let pass.
package objecttest

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tributary/connectors/connectortest/documented"
)

// Bucket is there, and may be written to with KeyID and Secret.
const (
	Bucket = "exports"
	KeyID  = "AKIATRIBUTARYTEST000"
	Secret = "a-secret-access-key"
)

// S3Errors are the codes, with their statuses, by which what a writer of objects asks for may fail: ListObjectsV2, HeadObject, PutObject, DeleteObject and uploads in
// parts. https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var S3Errors = map[string]int{
	"AccessDenied": 403, "AccountProblem": 403, "AllAccessDisabled": 403, "AuthorizationHeaderMalformed": 400, "BadDigest": 400,
	"ConditionalRequestConflict": 409, "EntityTooLarge": 400, "EntityTooSmall": 400, "ExpiredToken": 400, "IncompleteBody": 400, "InternalError": 500,
	"InvalidAccessKeyId": 403, "InvalidArgument": 400, "InvalidBucketName": 400, "InvalidDigest": 400, "InvalidObjectState": 403, "InvalidPart": 400,
	"InvalidPartOrder": 400, "InvalidRequest": 400, "InvalidSecurity": 403, "InvalidToken": 400, "KeyTooLongError": 400, "MalformedXML": 400,
	"MetadataTooLarge": 400, "MethodNotAllowed": 405, "MissingContentLength": 411, "NoSuchBucket": 404, "NoSuchKey": 404, "NoSuchUpload": 404,
	"NotImplemented": 501, "NotSignedUp": 403, "OperationAborted": 409, "PermanentRedirect": 301, "PreconditionFailed": 412, "RequestTimeout": 400,
	"RequestTimeTooSkewed": 403, "ServiceUnavailable": 503, "SignatureDoesNotMatch": 403, "SlowDown": 503, "TemporaryRedirect": 307,
	"TokenRefreshRequired": 400, "XAmzContentSHA256Mismatch": 400,
}

// DocumentedS3 are the errors that an S3 may return, to be given to NewS3 and looked at when all tests have run.
func DocumentedS3() *documented.Errors { return documented.New(slices.Collect(maps.Keys(S3Errors))...) }

// S3 is gofakes3 with what it lacks: it checks signatures, and the condition with which an upload in parts is completed; and it refuses what
// refuseS3 says.
type S3 struct {
	*httptest.Server
	backend  *s3mem.Backend
	returned *documented.Errors
	mu       sync.Mutex
	before   func(http.ResponseWriter, *http.Request) bool
	after    func(*http.Request) bool
	seen     []string // method, operation and key of each request
	once     sync.Mutex
}

// NewS3 starts a store that ends with the test. It counts the errors that it returns, unless returned is nil.
func NewS3(t testing.TB, returned *documented.Errors) *S3 {
	t.Helper()
	s := &S3{backend: s3mem.New(), returned: returned}
	if err := s.backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before, after := s.before, s.after
		s.seen = append(s.seen, fmt.Sprintf("%s %s %s", r.Method, Operation(r), strings.TrimPrefix(r.URL.Path, "/"+Bucket)))
		s.mu.Unlock()
		code := unsigned(r)
		if code == "" {
			code = refuseS3(r)
		}
		if code != "" {
			s.Fail(w, code)
			return
		}
		if before != nil && before(w, r) {
			return
		}
		answer := httptest.NewRecorder()
		if Operation(r) == "uploadId" && r.Method == http.MethodPost && r.Header.Get("If-None-Match") == "*" {
			s.once.Lock()
			defer s.once.Unlock()
			if _, err := s.backend.HeadObject(Bucket, strings.TrimPrefix(r.URL.Path, "/"+Bucket+"/")); err == nil {
				s.Fail(w, "PreconditionFailed")
				return
			}
		}
		store.ServeHTTP(answer, r)
		s.count(answer.Code, answer.Body.Bytes())
		if after != nil && !after(r) {
			panic(http.ErrAbortHandler)
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(s.Close)
	return s
}

// Operation is the query parameter that says what a request is about, or "object".
func Operation(r *http.Request) string {
	for _, name := range []string{"list-type", "uploads", "uploadId"} {
		if r.URL.Query().Has(name) {
			return name
		}
	}
	return "object"
}

// Intercept has before answer a request in the place of the store, when it returns that it did, and after look at one that the store has
// answered, before its answer goes out: false, and the answer is lost. Both may be nil.
func (s *S3) Intercept(before func(http.ResponseWriter, *http.Request) bool, after func(*http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after, s.seen = before, after, nil
}

// Requests are those since the last Intercept that have all parts in their description: method, operation and key.
func (s *S3) Requests(parts ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.seen), func(d string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(d, p) })
	})
}

// Fail answers with an error of S3Errors.
func (s *S3) Fail(w http.ResponseWriter, code string) { s.FailAs(w, S3Errors[code], code) }

// FailAs answers with an error that is not documented, or with another status.
func (s *S3) FailAs(w http.ResponseWriter, status int, code string) {
	s.returned.Return(code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	xml.NewEncoder(w).Encode(struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: code, Message: "said by the store, with " + Secret})
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/s3/aws4_request, SignedHeaders=([^,]+), Signature=`)

// unsigned signs a request again and returns the code of the error if its signature is not right.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
func unsigned(r *http.Request) string {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return "AccessDenied"
	}
	if m[1] != KeyID {
		return "InvalidAccessKeyId"
	}
	again, _ := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), http.NoBody)
	for name := range strings.SplitSeq(m[3], ";") {
		again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
	}
	again.Header.Del("Host")
	again.ContentLength = r.ContentLength
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return "AccessDenied"
	}
	err = v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: KeyID, SecretAccessKey: Secret}, again,
		r.Header.Get("X-Amz-Content-Sha256"), "s3", m[2], at, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil || again.Header.Get("Authorization") != r.Header.Get("Authorization") {
		return "SignatureDoesNotMatch"
	}
	return ""
}

// Put makes an object past all conditions. Metadata have the names of headers.
func (s *S3) Put(t testing.TB, key, content string, metadata map[string]string) {
	t.Helper()
	if _, err := s.backend.PutObject(Bucket, key, metadata, strings.NewReader(content), int64(len(content)), nil); err != nil {
		t.Fatal(err)
	}
}

// Objects are all objects of the bucket by name.
func (s *S3) Objects(t testing.TB) map[string][]byte {
	t.Helper()
	list, err := s.backend.ListBucket(Bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, o := range list.Contents {
		object, err := s.backend.GetObject(Bucket, o.Key, nil)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := io.Copy(&b, object.Contents); err != nil {
			t.Fatal(err)
		}
		object.Contents.Close()
		all[o.Key] = b.Bytes()
	}
	return all
}
