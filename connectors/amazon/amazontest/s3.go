package amazontest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// S3 is the buckets of an account, by gofakes3, whose clients must sign what they ask; its STS answers at the same URL.
type S3 struct {
	*Keys
	URL     string
	backend *s3mem.Backend

	mu     sync.Mutex
	denied map[string]bool
	before func(r *http.Request) bool
	other  func(w http.ResponseWriter, r *http.Request, body []byte, code string) bool
}

// ServeS3 starts a server with buckets, which ends with the test. The keys are for s3 and sts.
func ServeS3(t testing.TB, keys *Keys, buckets ...string) *S3 {
	t.Helper()
	s := &S3{Keys: keys, backend: s3mem.New(), denied: make(map[string]bool)}
	for _, name := range buckets {
		if err := s.backend.CreateBucket(name); err != nil {
			t.Fatal(err)
		}
	}
	store := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, store) }))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Deny keeps those who sign from requests of a method, "" for all, or lets them again.
func (s *S3) Deny(method string, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[method] = denied
}

// Befall lets requests be cut off for which f says so.
func (s *S3) Befall(f func(r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Serve lets other services answer at the same URL: f returns whether it did. The code is that of Verify.
func (s *S3) Serve(f func(w http.ResponseWriter, r *http.Request, body []byte, code string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.other = f
}

// Object is what stands in a bucket; code is that of the error where it does not: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func (s *S3) Object(bucket, key string) (content []byte, code string) {
	if there, err := s.backend.BucketExists(bucket); err != nil || !there {
		return nil, "NoSuchBucket"
	}
	o, err := s.backend.GetObject(bucket, key, nil)
	if err != nil {
		return nil, "NoSuchKey"
	}
	defer o.Contents.Close()
	if content, err = io.ReadAll(o.Contents); err != nil {
		return nil, "InternalError"
	}
	return content, ""
}

// Names are those of what is in a bucket.
func (s *S3) Names(bucket string) ([]string, error) {
	list, err := s.backend.ListBucket(bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		return nil, errors.New("there is no such bucket")
	}
	var names []string
	for _, o := range list.Contents {
		names = append(names, o.Key)
	}
	return names, nil
}

func (s *S3) serve(w http.ResponseWriter, r *http.Request, store http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who sent it has gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	code := s.Verify(r, body)
	s.mu.Lock()
	denied, before, other := s.denied[""] || s.denied[r.Method], s.before, s.other
	s.mu.Unlock()
	status := http.StatusForbidden
	switch {
	case before != nil && before(r):
		panic(http.ErrAbortHandler)
	case other != nil && other(w, r, body, code):
		return
	case IsSTS(r):
		s.AssumeRole(w, r, code)
		return
	case code == "UnrecognizedClientException": // S3 has codes of its own: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
		code = "InvalidAccessKeyId"
	case code == "InvalidSignatureException":
		code = "SignatureDoesNotMatch"
	case code != "", denied:
		code = "AccessDenied"
	case r.Method == http.MethodPut && r.Header.Get("If-Match") != "": // gofakes3 does not know it
		bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		code, status = "PreconditionFailed", http.StatusPreconditionFailed
		if _, missing := s.Object(bucket, key); missing != "" {
			code, status = missing, http.StatusNotFound
		}
	default:
		store.ServeHTTP(w, r)
		return
	}
	AnswerXML(w, status, "Error", code)
}
