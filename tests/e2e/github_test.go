package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tributary/connectors"
	"tributary/connectors/datastream"
	"tributary/connectors/postgres"
	"tributary/connectors/webhook"
	"tributary/internal/pgtest"
	"tributary/internal/vault"
	"tributary/tests/stack"
)

const hookSecret = "it's a secret to everybody"

// sign signs a body as GitHub does.
func sign(secret string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// post delivers a webhook as GitHub does and returns the status.
func post(ctx context.Context, url, id, event string, body []byte) (int, error) {
	status, _, err := postSigned(ctx, url, id, event, body, sign(hookSecret, body))
	return status, err
}

// postSigned delivers a webhook with that signature and returns the whole answer.
func postSigned(ctx context.Context, url, id, event string, body []byte, signature string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Delivery", id)
	req.Header.Set("X-GitHub-Event", event)
	req.Header.Set("X-Hub-Signature-256", signature)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, string(answer), err
}

// endpoint is a company's server: it verifies every signature as its developers would.
type endpoint struct {
	*httptest.Server
	public  string
	hook    *standardwebhooks.Webhook
	mu      sync.Mutex
	got     map[string]thing // webhook-id -> what came with it
	changed int
	bad     []string
	// mood decides how a request fares before it is recorded: 0 = as it should.
	mood func() (status int, drop bool)
}

func newEndpoint(t *testing.T, conn datastream.Connection, public string) *endpoint {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(conn.Secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{public: public, hook: hook, got: map[string]thing{}}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	status, drop := 0, false
	if e.mood != nil {
		status, drop = e.mood()
	}
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := datastream.Verify(e.public, r.Method, "http://"+r.Host+r.URL.RequestURI(), body, r.Header.Get("X-Alloy-Signature")); err != nil {
		e.bad = append(e.bad, err.Error())
	}
	if err := e.hook.Verify(body, r.Header); err != nil {
		e.bad = append(e.bad, err.Error())
	}
	id, came := r.Header.Get("webhook-id"), thingOf(r.Header.Get("ce-id"), body)
	if before, ok := e.got[id]; ok && before != came {
		e.changed++
	}
	e.got[id] = came
	if drop {
		panic(http.ErrAbortHandler) // taken, and the answer is lost
	}
}

// tally is what arrived, once per webhook-id.
func (e *endpoint) tally() tally {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := tally{}
	for _, came := range e.got {
		out[came]++
	}
	return out
}

// connectEndpoint stores the operator's signing keys and starts an endpoint that knows the public ones.
func connectEndpoint(t *testing.T, s *stack.Stack) *endpoint {
	t.Helper()
	e, raw := newSigner(t)
	s.Connect(vault.Operator, "datastream", raw)
	return e
}

// newSigner generates signing keys and starts an endpoint that knows the public ones.
func newSigner(t *testing.T) (*endpoint, json.RawMessage) {
	t.Helper()
	raw, err := datastream.GenerateConnection()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connectors.Decode[datastream.Connection](raw)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := datastream.PublicKeys(raw)
	if err != nil {
		t.Fatal(err)
	}
	return newEndpoint(t, conn, keys[0].PEM), raw
}

// Each of the 180 real payloads travels from a signed POST to PostgreSQL and to Data Stream byte for byte.
func TestGitHubPayloadsTravelByteForByte(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/github-webhooks/*.json")
	if err != nil || len(files) != 180 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	s := stack.Start(t)
	dsn := pgtest.Database(t)
	s.Connect(vault.User("u1"), "webhook", webhook.Connection{Secret: hookSecret})
	s.Connect(vault.Operator, "postgres", postgres.Connection{URL: dsn})
	e := connectEndpoint(t, s)
	var events []string
	for _, f := range files {
		event, _, _ := strings.Cut(filepath.Base(f), ".")
		if !slices.Contains(events, event) {
			events = append(events, event)
		}
	}
	s.Define(fmt.Sprintf(`
name: github
source:
  connector: webhook
  settings: {preset: github}
  trigger: realtime
  streams: [%s]
destinations:
  - name: warehouse
    connector: postgres
    hidden: true
    settings: {table: events}
    mode: append
  - name: company
    connector: datastream
    hidden: true
    settings: {url: "%s/hooks?source=github"}
`, strings.Join(events, ", "), e.URL))
	in := s.Install("github", "u1")
	sent := tally{}
	for i, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		event, _, _ := strings.Cut(filepath.Base(f), ".")
		id := fmt.Sprintf("delivery-%d", i)
		status, err := post(context.Background(), in.HookURL, id, event, body)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v", f, status, err)
		}
		sent[thingOf(id, body)]++
	}
	st := s.Await(in.ID, 2*time.Minute, "delivery", stack.Settled(180))
	if st.Quarantined != 0 {
		t.Errorf("%d quarantined", st.Quarantined)
	}
	if missing, surplus := sent.diff(rowsOf(t, dsn, "events", "_id")); missing+surplus != 0 {
		t.Errorf("PostgreSQL: %d missing, %d surplus or changed", missing, surplus)
	}
	if missing, surplus := sent.diff(e.tally()); missing+surplus != 0 {
		t.Errorf("Data Stream: %d missing, %d surplus or changed", missing, surplus)
	}
	if len(e.bad) > 0 {
		t.Errorf("%d bad signatures, such as %s", len(e.bad), e.bad[0])
	}
}
