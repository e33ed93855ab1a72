package receiver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/integration"
	"tributary/internal/segment"
)

// tiny is a connector as small as one can be: the body is {"events": [{id, stream, key, op, version, account}...], "challenge": ...},
// signed with HMAC-SHA256 in hex. An event may tell it to panic, or to be "broken": to forget the stream.
type tiny struct {
	secret   string
	accounts bool // app-wide
	receive  func(connectors.Delivery)
}

var _ connectors.Receiver = (*tiny)(nil)

func (c *tiny) Receive(_ context.Context, d connectors.Delivery) (connectors.Received, error) {
	if c.receive != nil {
		c.receive(d)
	}
	if d.Method == http.MethodGet {
		_, challenge, ok := strings.Cut(d.URL, "challenge=")
		if !ok {
			return connectors.Received{}, connectors.Errorf(connectors.Invalid, "receive", "no challenge")
		}
		return connectors.Received{Reply: &connectors.Reply{Status: 200, ContentType: "text/plain", Body: []byte(challenge)}}, nil
	}
	if !hmac.Equal([]byte(sign(c.secret, d.Body)), []byte(d.Header.Get("X-Signature"))) {
		return connectors.Received{}, connectors.Errorf(connectors.Unauthorized, "receive", "wrong signature")
	}
	body := gjson.ParseBytes(d.Body)
	events := body.Get("events")
	if !events.IsArray() || !gjson.ValidBytes(d.Body) {
		return connectors.Received{}, connectors.Errorf(connectors.Invalid, "receive", "no events")
	}
	var got connectors.Received
	if c.accounts {
		got.Accounts = []string{}
	}
	for _, e := range events.Array() {
		if e.Get("panic").Bool() {
			panic("payload: " + e.Raw)
		}
		if e.Get("stream").Str == "" && !e.Get("broken").Bool() {
			return connectors.Received{}, connectors.Errorf(connectors.Invalid, "receive", "an event without a stream")
		}
		op := connectors.Upsert
		if e.Get("op").Str == "delete" {
			op = connectors.Delete
		}
		got.Records = append(got.Records, connectors.Record{
			ID: e.Get("id").Str, Stream: e.Get("stream").Str, Key: e.Get("key").Str, Op: op, Version: e.Get("version").Int(),
			Data: d.Body[e.Index : e.Index+len(e.Raw)],
		})
		if c.accounts {
			got.Accounts = append(got.Accounts, e.Get("account").Str)
		}
	}
	if challenge := body.Get("challenge"); challenge.Exists() {
		got.Reply = &connectors.Reply{Status: 202, ContentType: "application/json", Body: []byte(challenge.Raw)}
	}
	return got, nil
}

func sign(secret string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

// directory is a catalog in memory that can be down.
type directory struct {
	mu            sync.Mutex
	down          error
	installations []catalog.Installation
	active        bool
	asked         int
	quarantined   []catalog.Quarantined
	// quarantineDown, when set, is what listing in quarantine answers.
	quarantineDown error
}

func (d *directory) AddQuarantined(_ context.Context, records []catalog.Quarantined) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.quarantineDown != nil {
		return d.quarantineDown
	}
	for _, r := range records {
		if !slices.ContainsFunc(d.quarantined, func(q catalog.Quarantined) bool {
			return q.Epoch == r.Epoch && q.Segment == r.Segment && q.Index == r.Index
		}) {
			d.quarantined = append(d.quarantined, r)
		}
	}
	return nil
}

func (d *directory) set(change func(*directory)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *directory) Ping(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down
}

func (d *directory) Integration(_ context.Context, name string, revision int) (catalog.Integration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return catalog.Integration{Spec: integration.Spec{Name: name, Source: integration.Source{Streams: streams}}, Revision: revision, Active: d.active}, d.down
}

func (d *directory) InstallationByToken(_ context.Context, hash [32]byte) (catalog.Installation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.down != nil {
		return catalog.Installation{}, d.down
	}
	for _, in := range d.installations {
		if in.TokenHash == hash {
			return in, nil
		}
	}
	return catalog.Installation{}, catalog.ErrNotFound
}

func (d *directory) InstallationsByAccount(_ context.Context, connector, account string) ([]catalog.Installation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []catalog.Installation
	for _, in := range d.installations {
		if in.Connector == connector && in.Account == account {
			all = append(all, in)
		}
	}
	return all, d.down
}

var streams = []string{"orders", "customers"}

// opener opens tiny with a secret that may change.
type opener struct {
	secret atomic.Value // string
	fail   atomic.Bool
	opened atomic.Int64
	hook   func(connectors.Delivery)
}

func (o *opener) Receiver(context.Context, catalog.Installation) (connectors.Receiver, []string, error) {
	o.opened.Add(1)
	if o.fail.Load() {
		return nil, nil, errors.New("vault is locked")
	}
	return &tiny{secret: o.secret.Load().(string), receive: o.hook}, streams, nil
}

func (o *opener) AppReceiver(_ context.Context, connector, connection string) (connectors.Receiver, error) {
	if connector != "tiny" || connection != "default" {
		return nil, connectors.Errorf(connectors.NotFound, "open", "no connector %q", connector)
	}
	return &tiny{secret: o.secret.Load().(string), accounts: true, receive: o.hook}, nil
}

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fixture is a running server with one installation.
type fixture struct {
	t        testing.TB
	server   *Server
	url, ops string
	token    string
	journal  *memoryLog
	store    *segment.Store
	catalog  *directory
	opener   *opener
	metrics  *Metrics
	logs     *logs
	temporal atomic.Bool // down
	stop     context.CancelFunc
	done     chan error
	client   *http.Client
}

const secret = "a canary that nobody may see"

func start(t testing.TB, l Limits, configure ...func(*fixture, *Config)) *fixture {
	t.Helper()
	token, hash := NewToken()
	store, err := segment.Open(context.Background(), "file://"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	f := &fixture{
		t: t, token: token, journal: newMemoryLog(), store: store, opener: &opener{}, metrics: NewMetrics(), logs: &logs{}, done: make(chan error, 1),
		catalog: &directory{active: true, installations: []catalog.Installation{
			{ID: "shop/ada", Integration: "shop", Epoch: "epoch-ada", Connector: "tiny", Account: "1", TokenHash: hash, Revision: 1, State: catalog.Active},
			{ID: "shop/bob", Integration: "shop", Epoch: "epoch-bob", Connector: "tiny", Account: "2", Revision: 1, State: catalog.Active},
		}},
		client: &http.Client{Transport: &http.Transport{}},
	}
	f.opener.secret.Store(secret)
	cfg := Config{
		Public: listen(t), Ops: listen(t), PublicURL: "https://hooks.example.com/", Journal: f.journal, Store: f.store, Catalog: f.catalog, Opener: f.opener,
		Keys: func(context.Context) ([]byte, error) { return []byte(`{"keys":[]}`), nil },
		Temporal: func(context.Context) error {
			if f.temporal.Load() {
				return errors.New("unreachable")
			}
			return nil
		},
		Limits: l, Metrics: f.metrics, Log: slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range configure {
		c(f, &cfg)
	}
	f.url, f.ops = "http://"+cfg.Public.Addr().String(), "http://"+cfg.Ops.Addr().String()
	server, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.server = server
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	go func() { f.done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-f.done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("the server did not stop")
		}
		f.client.CloseIdleConnections()
	})
	return f
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (f *fixture) send(method, path string, body []byte, signature string) answer {
	f.t.Helper()
	r, err := http.NewRequest(method, f.url+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("X-Signature", signature)
	return f.do(r)
}

func (f *fixture) do(r *http.Request) answer {
	f.t.Helper()
	resp, err := f.client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// hook sends a well-signed webhook to the installation.
func (f *fixture) hook(body string) answer {
	f.t.Helper()
	return f.send(http.MethodPost, "/hooks/"+f.token, []byte(body), sign(secret, []byte(body)))
}

func (f *fixture) get(url string) answer {
	f.t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.do(r)
}

// kept returns all records in the journal by epoch.
func (f *fixture) kept() map[string][]connectors.Record {
	f.t.Helper()
	return recordsIn(f.t, f.journal)
}

func recordsIn(t testing.TB, l Log) map[string][]connectors.Record {
	t.Helper()
	first, next := l.Bounds()
	all := map[string][]connectors.Record{}
	for at := first; at < next; {
		entries, err := l.Read(at, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			at = e.Index + 1
			if e.Data[0] != entryRecords {
				continue
			}
			h, err := decodeHeader(e.Data[1:])
			if err != nil {
				t.Fatal(err)
			}
			records, err := h.decode(nil)
			if err != nil {
				t.Fatal(err)
			}
			all[h.epoch] = append(all[h.epoch], records...)
		}
	}
	return all
}

func (f *fixture) want(what string, got answer, status int) {
	f.t.Helper()
	if got.status != status {
		f.t.Fatalf("%s: got %d %q, want %d", what, got.status, got.body, status)
	}
}

func (f *fixture) wantRetry(what string, got answer, status int) {
	f.t.Helper()
	f.want(what, got, status)
	if got.header.Get("Retry-After") == "" {
		f.t.Fatalf("%s: no Retry-After", what)
	}
}

// eventually waits until is says so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func event(id string) string {
	return fmt.Sprintf(`{"id":%q,"stream":"orders","key":"k","version":3}`, id)
}

func events(list ...string) string { return `{"events":[` + strings.Join(list, ",") + `]}` }
