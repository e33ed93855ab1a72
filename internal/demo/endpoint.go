package demo

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tributary/connectors/datastream"
	"tributary/internal/block"
	"tributary/internal/engine"
)

// endpoint is what a software company would write to receive a Data Stream: it verifies both signatures of every request and knows
// a message that comes again by its webhook-id.
type endpoint struct {
	server *http.Server
	url    string
	keys   map[string]string // X-Tributary-Key-Id -> PEM
	secret *standardwebhooks.Webhook

	mu       sync.Mutex
	messages map[string]change // by webhook-id
	repeats  int
	altered  int // came again with another body
	refused  int
}

// openEndpoint takes the public keys from where the receiver publishes them, and the secret that the operator shares.
func openEndpoint(ctx context.Context, dev *engine.Dev) (*endpoint, error) {
	e := &endpoint{keys: make(map[string]string), messages: make(map[string]change)}
	if err := e.fetchKeys(ctx, dev.Addresses.PublicURL+"/.well-known/tributary/keys"); err != nil {
		return nil, err
	}
	stored, err := dev.Engine.Vault.Get(ctx, engine.Operator, datastream.Definition().Name, block.DefaultConnection)
	if err != nil {
		return nil, err
	}
	var shared struct {
		Secrets []string `json:"secrets"`
	}
	if err := json.Unmarshal(stored.Secret, &shared); err != nil || len(shared.Secrets) == 0 {
		return nil, fmt.Errorf("endpoint: the operator's Data Stream connection holds no secret")
	}
	if e.secret, err = standardwebhooks.NewWebhook(shared.Secrets[0]); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	var base string
	if e.server, base, err = listen(e); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	e.url = base + "/stream"
	return e, nil
}

func (e *endpoint) fetchKeys(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("endpoint: fetch public keys: %w", err)
	}
	defer res.Body.Close()
	var published struct {
		Keys []datastream.PublicKey `json:"keys"`
	}
	if err := json.NewDecoder(res.Body).Decode(&published); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("endpoint: %s answered %s", url, res.Status)
	}
	for _, k := range published.Keys {
		e.keys[k.ID] = k.PEM
	}
	return nil
}

// ServeHTTP takes one record a request.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 10<<20))
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	pem := e.keys[r.Header.Get("X-Tributary-Key-Id")]
	if datastream.Verify(pem, r.Method, e.url, body, r.Header.Get("X-Alloy-Signature")) != nil || e.secret.Verify(body, r.Header) != nil {
		e.mu.Lock()
		e.refused++
		e.mu.Unlock()
		http.Error(w, "the signature does not fit", http.StatusUnauthorized)
		return
	}
	c := change{stream: streamOf(r.Header.Get("Ce-Type")), key: r.Header.Get("Ce-Subject"), sum: sha256.Sum256(body)}
	id := r.Header.Get("Webhook-Id")
	e.mu.Lock()
	defer e.mu.Unlock()
	if before, again := e.messages[id]; again {
		e.repeats++
		if before != c {
			e.altered++
		}
	} else {
		e.messages[id] = c
	}
	w.WriteHeader(http.StatusNoContent)
}

// streamOf reads tributary.<stream>.<op>.
func streamOf(ceType string) string {
	rest, _ := strings.CutPrefix(ceType, "tributary.")
	if i := strings.LastIndexByte(rest, '.'); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

func (e *endpoint) arrived() []change {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]change, 0, len(e.messages))
	for _, c := range e.messages {
		out = append(out, c)
	}
	return out
}

func (e *endpoint) counts() (repeats, altered, refused int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.repeats, e.altered, e.refused
}

func (e *endpoint) close() error { return e.server.Close() }
