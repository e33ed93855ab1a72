package snowflaketest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"

	"tributary/connectors/amazon/amazontest"

	"tributary/connectors/connectortest/fault"
)

// Lake is a bucket outside of Snowflake, and what lies in it by name. A server mounts it as the stage External.
type Lake struct {
	// Endpoint is where the cloud's protocol is spoken, URL where a stage finds the bucket's folder.
	Endpoint, URL string
	names         func() []string
	read          func(name string) ([]byte, bool)
	// deny keeps requests of a method away from it.
	deny func(method string)
	// befall cuts requests off.
	befall func(func() bool)
}

// LakeBucket is the bucket's name and LakeFolder what of it the stage sees.
const (
	LakeBucket = "lake"
	LakeFolder = "loads/"
)

// Names are what lies in the bucket.
func (l *Lake) Names() []string { return l.names() }

// Deny refuses requests of a method, such as DELETE, as where a right is missing.
func (l *Lake) Deny(method string) { l.deny(method) }

// Mount makes the lake what the stage External points to. Calls that reach it befall as "lake".
func (s *Server) Mount(l *Lake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lake = l
	l.befall(func() bool { return s.Befalls("lake") == fault.Lost })
}

// ServeS3 starts a bucket of S3, to which an access key writes.
func ServeS3(t testing.TB, keyID, secret string) *Lake {
	s := amazontest.ServeS3(t, amazontest.NewKeys(keyID, secret, "s3", "sts"), LakeBucket)
	return &Lake{
		Endpoint: s.URL, URL: "s3://" + LakeBucket + "/" + LakeFolder,
		names: func() []string { names, _ := s.Names(LakeBucket); return names },
		read: func(name string) ([]byte, bool) {
			content, code := s.Object(LakeBucket, name)
			return content, code == ""
		},
		deny: func(method string) { s.Deny(method, true) }, befall: func(f func() bool) { s.Befall(func(*http.Request) bool { return f() }) },
	}
}

// gate is before a fake's handler.
type gate struct {
	mu     sync.Mutex
	denied map[string]bool
	lost   func() bool
}

func (g *gate) deny(method string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.denied == nil {
		g.denied = make(map[string]bool)
	}
	g.denied[method] = true
}

func (g *gate) befall(f func() bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost = f
}

// passes says whether a request is allowed, if it arrives at all.
func (g *gate) passes(r *http.Request) bool {
	g.mu.Lock()
	denied, lost := g.denied[r.Method], g.lost
	g.mu.Unlock()
	if lost != nil && lost() {
		panic(http.ErrAbortHandler)
	}
	return !denied
}

// ServeGoogle starts a bucket of Cloud Storage, to which a service account writes. Answers are those of https://cloud.google.com/storage/docs/json_api/v1/status-codes,
// tokens those of https://developers.google.com/identity/protocols/oauth2/service-account#httprest.
func ServeGoogle(t testing.TB) (l *Lake, key string) {
	t.Helper()
	private, err := sharedKey()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	store, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: address, ExternalURL: "http://" + address, Scheme: "http"})
	if err != nil {
		t.Fatal(err)
	}
	store.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: LakeBucket})
	const accessToken = "an access token"
	var g gate
	refuse := func(w http.ResponseWriter, status int, reason string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error": {"code": %d, "message": "said by the server", "errors": [{"reason": %q}]}}`, status, reason)
	}
	serve := store.HTTPHandler()
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allowed := g.passes(r)
		switch {
		case r.URL.Path == "/token" && isSigned(r.PostFormValue("assertion"), &private.PublicKey):
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": 3600}`, accessToken)
		case r.URL.Path == "/token":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}`)
		case r.Header.Get("Authorization") != "Bearer "+accessToken:
			refuse(w, http.StatusUnauthorized, "authError")
		case !allowed:
			refuse(w, http.StatusForbidden, "forbidden")
		default:
			serve.ServeHTTP(w, r)
		}
	})}}
	server.Start()
	t.Cleanup(func() {
		server.Close()
		store.Stop()
	})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "writer@example.iam.gserviceaccount.com", "token_uri": server.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Lake{
		Endpoint: server.URL, URL: "gcs://" + LakeBucket + "/" + LakeFolder,
		names: func() (names []string) {
			list, _ := store.ListObjectsWithOptionsPaginated(LakeBucket, fakestorage.ListOptions{})
			for _, o := range list.Objects {
				names = append(names, o.Name)
			}
			return names
		},
		read: func(name string) ([]byte, bool) {
			o, err := store.GetObject(LakeBucket, name)
			return o.Content, err == nil
		},
		deny: g.deny, befall: g.befall,
	}, string(file)
}

// isSigned verifies a JWT (RFC 7515, RS256).
func isSigned(token string, key *rsa.PublicKey) bool {
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	sum := sha256.Sum256([]byte(token[:dot]))
	return err == nil && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
}

// LakeAccount is the storage account of Azure's container.
const LakeAccount = "acmelake"

// ServeAzure starts a container of Azure, to which a shared access signature writes:
// https://learn.microsoft.com/en-us/rest/api/storageservices/put-blob, put-block, put-block-list, list-blobs, delete-blob, status-and-error-codes2. An
// account's host stands for the endpoint, so that the container comes first in paths.
func ServeAzure(t testing.TB, sas string) *Lake {
	t.Helper()
	a := &azure{blobs: make(map[string][]byte), blocks: make(map[string][]byte)}
	var err error
	if a.sas, err = url.ParseQuery(sas); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return &Lake{
		Endpoint: server.URL, URL: "azure://" + LakeAccount + ".blob.core.windows.net/" + LakeBucket + "/" + LakeFolder,
		names: a.names,
		read: func(name string) ([]byte, bool) {
			a.mu.Lock()
			defer a.mu.Unlock()
			content, ok := a.blobs[name]
			return content, ok
		},
		deny: a.gate.deny, befall: a.gate.befall,
	}
}

type azure struct {
	gate gate
	sas  url.Values

	mu            sync.Mutex
	blobs, blocks map[string][]byte
}

func (a *azure) names() (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.blobs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (a *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code><Message>said by the server</Message></Error>", code)
	}
	allowed := a.gate.passes(r)
	query := r.URL.Query()
	for name, values := range a.sas {
		if !slices.Equal(query[name], values) {
			refuse(http.StatusForbidden, "AuthenticationFailed")
			return
		}
	}
	container, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return // who sent it has gone
	case !allowed:
		refuse(http.StatusForbidden, "AuthorizationPermissionMismatch")
		return
	case container != LakeBucket:
		refuse(http.StatusNotFound, "ContainerNotFound")
		return
	case r.Header.Get("x-ms-version") == "":
		refuse(http.StatusBadRequest, "MissingRequiredHeader")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch what := r.Method + " " + query.Get("comp"); what {
	case "PUT ":
		if r.Header.Get("x-ms-blob-type") != "BlockBlob" {
			refuse(http.StatusBadRequest, "InvalidHeaderValue")
			return
		}
		a.blobs[name] = body
		w.WriteHeader(http.StatusCreated)
	case "PUT block":
		a.blocks[name+" "+query.Get("blockid")] = body
		w.WriteHeader(http.StatusCreated)
	case "PUT blocklist":
		var list struct {
			Latest []string
		}
		if err := xml.Unmarshal(body, &list); err != nil {
			refuse(http.StatusBadRequest, "InvalidXmlDocument")
			return
		}
		var whole []byte
		for _, id := range list.Latest {
			block, ok := a.blocks[name+" "+id]
			if !ok {
				refuse(http.StatusBadRequest, "InvalidBlockList")
				return
			}
			whole = append(whole, block...)
		}
		a.blobs[name] = whole
		w.WriteHeader(http.StatusCreated)
	case "DELETE ":
		if _, ok := a.blobs[name]; !ok {
			refuse(http.StatusNotFound, "BlobNotFound")
			return
		}
		delete(a.blobs, name)
		w.WriteHeader(http.StatusAccepted)
	case "GET list":
		type blob struct {
			Name       string
			Properties struct {
				Modified string `xml:"Last-Modified"`
				Length   int    `xml:"Content-Length"`
			}
		}
		var answer struct {
			XMLName xml.Name `xml:"EnumerationResults"`
			Blobs   []blob   `xml:"Blobs>Blob"`
		}
		for name, content := range a.blobs {
			if strings.HasPrefix(name, query.Get("prefix")) {
				b := blob{Name: name}
				b.Properties.Modified, b.Properties.Length = time.Now().UTC().Format(http.TimeFormat), len(content)
				answer.Blobs = append(answer.Blobs, b)
			}
		}
		w.Header().Set("Content-Type", "application/xml")
		_ = xml.NewEncoder(w).Encode(answer)
	default:
		refuse(http.StatusMethodNotAllowed, "UnsupportedHttpVerb")
	}
}
