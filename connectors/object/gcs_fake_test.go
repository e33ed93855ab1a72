package object

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
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// gcsServer is fake-gcs-server with what it lacks: it gives access tokens for the assertions of a service account, and asks for them.
// Answers are those of https://cloud.google.com/storage/docs/json_api/v1/status-codes and, for tokens, of RFC 6749, section 5.2.
type gcsServer struct {
	*httptest.Server
	store *fakestorage.Server
	mu    sync.Mutex
	// before may answer a request in the place of the store; it returns whether it did.
	before func(http.ResponseWriter, *http.Request) bool
}

const accessToken = "an-access-token"

// serviceKey is the key of the one service account that is known, strangerKey one of nobody's.
var serviceKey, strangerKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// serveGCS starts a store whose clients reach it at the address that front gives for its own.
func serveGCS(t testing.TB, front func(upstream string) string) *gcsServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	public := front(listener.Addr().String())
	s := &gcsServer{}
	s.store, err = fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: public, ExternalURL: "http://" + public, Scheme: "http"})
	if err != nil {
		t.Fatal(err)
	}
	s.store.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
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
			gcsError(w, http.StatusUnauthorized, "authError")
		default:
			store.ServeHTTP(w, r)
		}
	})}}
	s.Start()
	t.Cleanup(func() {
		s.Close()
		s.store.Stop()
	})
	return s
}

func (s *gcsServer) intercept(before func(http.ResponseWriter, *http.Request) bool) {
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
	if rsa.VerifyPKCS1v15(&serviceKey().PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return false
	}
	var claims struct{ Iss, Scope string }
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return false
	}
	return claims.Iss == "writer@project.iam.gserviceaccount.com" && strings.Contains(claims.Scope, "devstorage.read_write")
}

func gcsError(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error": {"code": %d, "message": "said by the store, with %s", "errors": [{"reason": %q}]}}`, status, secret, reason)
}

// keyFile is the text of a service account's key file.
func keyFile(key *rsa.PrivateKey, tokenURL string) string {
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

// objects are all objects of the bucket by name.
func (s *gcsServer) objects(t testing.TB) map[string][]byte {
	t.Helper()
	list, err := s.store.ListObjectsWithOptionsPaginated(bucket, fakestorage.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, o := range list.Objects {
		object, err := s.store.GetObject(bucket, o.Name)
		if err != nil {
			t.Fatal(err)
		}
		all[o.Name] = object.Content
	}
	return all
}

func hostOf(t testing.TB, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
