package object

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
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
)

const (
	keyID  = "AKIATRIBUTARYTEST000"
	secret = "a-secret-access-key"
	bucket = "exports"
)

// s3Server is gofakes3 with what it lacks: it checks signatures, and the condition with which an upload in parts is completed. Answers
// are those of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
type s3Server struct {
	*httptest.Server
	backend *s3mem.Backend
	mu      sync.Mutex
	// before may answer a request in the place of the store; it returns whether it did.
	before func(http.ResponseWriter, *http.Request) bool
	// after looks at a request that the store has answered, before its answer goes out; false: the answer is lost.
	after func(*http.Request) bool
	seen  []string // method, operation and key of each request
	once  sync.Mutex
}

func serveS3(t testing.TB) *s3Server {
	t.Helper()
	s := &s3Server{backend: s3mem.New()}
	if err := s.backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before, after := s.before, s.after
		s.seen = append(s.seen, fmt.Sprintf("%s %s %s", r.Method, operation(r), strings.TrimPrefix(r.URL.Path, "/"+bucket)))
		s.mu.Unlock()
		if code := refuse(r); code != "" {
			s3Error(w, http.StatusForbidden, code)
			return
		}
		if before != nil && before(w, r) {
			return
		}
		answer := httptest.NewRecorder()
		if operation(r) == "uploadId" && r.Method == http.MethodPost && r.Header.Get("If-None-Match") == "*" {
			s.once.Lock()
			defer s.once.Unlock()
			if _, err := s.backend.HeadObject(bucket, strings.TrimPrefix(r.URL.Path, "/"+bucket+"/")); err == nil {
				s3Error(w, http.StatusPreconditionFailed, "PreconditionFailed")
				return
			}
		}
		store.ServeHTTP(answer, r)
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

// operation is the query parameter that says what a request is about.
func operation(r *http.Request) string {
	for _, name := range []string{"list-type", "uploads", "uploadId"} {
		if r.URL.Query().Has(name) {
			return name
		}
	}
	return "object"
}

func (s *s3Server) intercept(before func(http.ResponseWriter, *http.Request) bool, after func(*http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after, s.seen = before, after, nil
}

// requests are those since the last intercept that have all parts in their description.
func (s *s3Server) requests(parts ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.seen), func(d string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(d, p) })
	})
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	xml.NewEncoder(w).Encode(struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: code, Message: "said by the store, with " + secret})
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/s3/aws4_request, SignedHeaders=([^,]+), Signature=`)

// refuse signs a request again and returns the code of the error if its signature is not right.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
func refuse(r *http.Request) string {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return "AccessDenied"
	}
	if m[1] != keyID {
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
	err = v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, again,
		r.Header.Get("X-Amz-Content-Sha256"), "s3", m[2], at, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil || again.Header.Get("Authorization") != r.Header.Get("Authorization") {
		return "SignatureDoesNotMatch"
	}
	return ""
}

// objects are all objects of the bucket by name.
func (s *s3Server) objects(t testing.TB) map[string][]byte {
	t.Helper()
	list, err := s.backend.ListBucket(bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, o := range list.Contents {
		object, err := s.backend.GetObject(bucket, o.Key, nil)
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
