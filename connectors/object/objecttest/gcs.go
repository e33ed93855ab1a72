package objecttest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"

	"tributary/connectors/connectortest/documented"
)

// GCSErrors are the reasons, with their statuses, by which what a writer of objects asks for may fail: list, get, insert and delete.
// https://cloud.google.com/storage/docs/json_api/v1/status-codes
var GCSErrors = map[string]int{
	"accountDisabled": 403, "authError": 401, "backendError": 503, "conditionNotMet": 412, "conflict": 409, "countryBlocked": 403, "dailyLimitExceeded": 403, "forbidden": 403,
	"gone": 410, "insufficientPermissions": 403, "internalError": 500, "invalidArgument": 400, "invalidParameter": 400, "methodNotAllowed": 405, "notFound": 404,
	"objectUnderActiveHold": 403, "orgPolicyConstraintFailed": 412, "parseError": 400, "quotaExceeded": 403, "rateLimitExceeded": 429, "required": 401,
	"retentionPolicyNotMet": 403, "sslRequired": 403, "uploadBrokenConnection": 408, "uploadTooLarge": 413, "usageLimits.accessNotConfigured": 403,
	"userProjectMissing": 400, "userRateLimitExceeded": 403,
}

// DocumentedGCS are the errors that a GCS may return, to be given to NewGCS and looked at when all tests have run.
func DocumentedGCS() *documented.Errors {
	return documented.New(slices.Collect(maps.Keys(GCSErrors))...)
}

// GCS is fake-gcs-server with what it lacks: it gives access tokens for the assertions of a service account, with errors as in RFC 6749, section 5.2, and asks
// for them; and it refuses what refuseGCS says.
type GCS struct {
	*httptest.Server
	store    *fakestorage.Server
	returned *documented.Errors
	mu       sync.Mutex
	before   func(http.ResponseWriter, *http.Request) bool
}

const accessToken = "an-access-token"

// ServiceKey is the key of the one service account that is known, StrangerKey one of nobody's.
var ServiceKey, StrangerKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// NewGCS starts a store that ends with the test. Its clients reach it at the address that front gives for its own; nil: there. It counts the errors that
// it returns, unless returned is nil.
func NewGCS(t testing.TB, front func(upstream string) string, returned *documented.Errors) *GCS {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	public := listener.Addr().String()
	if front != nil {
		public = front(public)
	}
	s := &GCS{returned: returned}
	s.store, err = fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: public, ExternalURL: "http://" + public, Scheme: "http"})
	if err != nil {
		t.Fatal(err)
	}
	s.store.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: Bucket})
	store := s.store.HTTPHandler()
	s.Server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before := s.before
		s.mu.Unlock()
		switch {
		case before != nil && before(w, r):
		case r.URL.Path == "/token":
			giveToken(w, r)
		case r.Header.Get("Authorization") != "Bearer "+accessToken:
			s.Fail(w, "authError")
		default:
			if reason := refuseGCS(r); reason != "" {
				s.Fail(w, reason)
				return
			}
			store.ServeHTTP(counted{w, s}, r)
		}
	})}}
	s.Start()
	t.Cleanup(func() {
		s.Close()
		s.store.Stop()
	})
	return s
}

// Intercept has before answer a request in the place of the store, when it returns that it did. It may be nil.
func (s *GCS) Intercept(before func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// giveToken answers as https://developers.google.com/identity/protocols/oauth2/service-account#httprest says.
func giveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || !asserted(r.PostFormValue("assertion")) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}`)
		return
	}
	fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": 3600}`, accessToken)
}

// asserted verifies a JWT of the service account (RFC 7515, RS256) that asks for the right to write.
func asserted(assertion string) bool {
	dot := strings.LastIndexByte(assertion, '.')
	if dot < 0 {
		return false
	}
	signed, encoded := assertion[:dot], assertion[dot+1:]
	_, payload, _ := strings.Cut(signed, ".")
	signature, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(signed))
	if rsa.VerifyPKCS1v15(&ServiceKey().PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return false
	}
	var claims struct{ Iss, Scope string }
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return false
	}
	return claims.Iss == "writer@project.iam.gserviceaccount.com" && strings.Contains(claims.Scope, "devstorage.read_write")
}

// Fail answers with an error of GCSErrors.
func (s *GCS) Fail(w http.ResponseWriter, reason string) { s.FailAs(w, GCSErrors[reason], reason) }

// FailAs answers with an error that is not documented, or with another status.
func (s *GCS) FailAs(w http.ResponseWriter, status int, reason string) {
	s.returned.Return(reason)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error": {"code": %d, "message": "said by the store, with %s", "errors": [{"reason": %q}]}}`, status, Secret, reason)
}

// KeyFile is the text of a service account's key file.
func KeyFile(key *rsa.PrivateKey, tokenURL string) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project", "private_key_id": "1", "client_email": "writer@project.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokenURL,
	})
	if err != nil {
		panic(err)
	}
	return string(file)
}

// Objects are all objects of the bucket by name.
func (s *GCS) Objects(t testing.TB) map[string][]byte {
	t.Helper()
	list, err := s.store.ListObjectsWithOptionsPaginated(Bucket, fakestorage.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, o := range list.Objects {
		object, err := s.store.GetObject(Bucket, o.Name)
		if err != nil {
			t.Fatal(err)
		}
		all[o.Name] = object.Content
	}
	return all
}
