package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/integration"
	"tributary/internal/segment"
	"tributary/internal/vault"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// app is a source that does what a test says.
type app struct {
	fetch func(context.Context, connectors.FetchRequest) (connectors.Page, error)
	check func() error
	// budget, of a paced app, names the budget of a request.
	budget func(connectors.FetchRequest) connectors.Budget
	// complete is what a thin app does; off says that it does not complete.
	complete func(context.Context, []connectors.Record) ([]connectors.Record, error)
	// calls is how many calls that takes; nil = one.
	calls func([]connectors.Record) int
	off   bool

	mu       sync.Mutex
	requests []connectors.FetchRequest
	// hooks are the streams whose webhooks are registered, by URL.
	hooks map[string]map[string]bool
	// before, when set, runs before the app does what its webhooks are asked for; an error ends it.
	before func(call string) error
}

// polled is the app as a Source, paced as a Pacer and hooked as a Subscriber too, thinly as a Completer besides; pushed is none of them.
type (
	polled struct{ *app }
	paced  struct{ polled }
	thinly struct{ hooked }
	hooked struct{ polled }
	pushed struct{ *app }
)

var (
	_ connectors.Source     = polled{}
	_ connectors.Checker    = polled{}
	_ connectors.Pacer      = paced{}
	_ connectors.Completer  = thinly{}
	_ connectors.Subscriber = hooked{}
)

func (p polled) Fetch(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
	p.mu.Lock()
	p.requests = append(p.requests, req)
	fetch := p.fetch
	p.mu.Unlock()
	return fetch(ctx, req)
}

func (p polled) Check(context.Context) error { return p.check() }

func (p paced) Budget(req connectors.FetchRequest) connectors.Budget { return p.budget(req) }

func (h thinly) Completes() bool { return !h.off }

func (h thinly) Complete(ctx context.Context, rs []connectors.Record) ([]connectors.Record, error) {
	return h.complete(ctx, rs)
}

func (h thinly) CompleteCalls(rs []connectors.Record) int {
	if h.calls == nil {
		return 1
	}
	return h.calls(rs)
}

func (h hooked) ask(call string) error {
	if h.before != nil {
		return h.before(call)
	}
	return nil
}

func (h hooked) list(url string) []connectors.Subscription {
	var out []connectors.Subscription
	for stream := range h.hooks[url] {
		out = append(out, connectors.Subscription{ID: url + "#" + stream, Stream: stream})
	}
	return out
}

func (h hooked) Subscribe(_ context.Context, req connectors.SubscribeRequest) ([]connectors.Subscription, error) {
	if err := h.ask("subscribe"); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hooks[req.URL] = make(map[string]bool)
	for _, s := range req.Streams {
		h.hooks[req.URL][s] = true
	}
	return h.list(req.URL), nil
}

func (h hooked) Subscriptions(_ context.Context, req connectors.SubscribeRequest) ([]connectors.Subscription, error) {
	if err := h.ask("subscriptions"); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.list(req.URL), nil
}

func (h hooked) Unsubscribe(_ context.Context, req connectors.SubscribeRequest) error {
	if err := h.ask("unsubscribe"); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.hooks, req.URL)
	return nil
}

// sink is a destination that keeps what it is given.
type sink struct {
	mu      sync.Mutex
	batches []connectors.Batch
	write   func(connectors.Batch) (connectors.Result, error) // nil: all durable
	check   func() error
	closing func() error
}

var (
	_ connectors.Destination = (*sink)(nil)
	_ connectors.Checker     = (*sink)(nil)
)

func (s *sink) Write(_ context.Context, b connectors.Batch) (connectors.Result, error) {
	s.mu.Lock()
	s.batches = append(s.batches, b)
	s.mu.Unlock()
	if s.write != nil {
		return s.write(b)
	}
	return connectors.AllDurable(len(b.Records)), nil
}

func (s *sink) Check(context.Context) error { return s.check() }
func (s *sink) Close() error                { return s.closing() }

// rig is Activities with a real catalog, vault and segment store, and connectors that the test steers.
type rig struct {
	*Activities
	app    *app
	sink   *sink
	target Target
	folder string
	log    lockedBuffer
	// open, when set, is what opening a connector does first.
	open func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type credentials struct {
	Token string `json:"token" jsonschema:"format=password"`
}

const (
	user  = "ada"
	token = "secret-token"
)

// day is the rig's time: it stands still.
var day = time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)

// newRig installs the integration "flow" for a user: from the source connector named to the lanes named by blocks, by default
// "out" into the sink.
func newRig(t *testing.T, source string, blocks ...integration.Destination) *rig {
	t.Helper()
	r := &rig{app: &app{hooks: make(map[string]map[string]bool)}, sink: &sink{}, folder: t.TempDir()}
	ok := func() error { return nil }
	r.app.check, r.sink.check, r.sink.closing = ok, ok, ok
	opens := func(v any) func(connectors.Config) (any, error) {
		return func(connectors.Config) (any, error) {
			if r.open != nil {
				if err := r.open(); err != nil {
					return nil, err
				}
			}
			return v, nil
		}
	}
	account := func(json.RawMessage) string { return "shop-1" }
	define := func(name string, v any) connectors.Definition {
		return connectors.Definition{Name: name, Connection: credentials{}, AnyStream: true, OpenSource: opens(v), AccountOf: account}
	}
	metered, shared, pacedApp := define("metered", polled{r.app}), define("shared", hooked{polled{r.app}}), define("paced", paced{polled{r.app}})
	thin := define("thin", thinly{hooked{polled{r.app}}})
	thin.Budget = connectors.Budget{Calls: 40, Per: time.Hour, Concurrent: 1}
	pacedApp.Budget = connectors.Budget{Calls: 100, Per: time.Hour}
	metered.Budget = connectors.Budget{Calls: 2, Per: time.Hour}
	alone := define("alone", polled{r.app})
	alone.Budget = connectors.Budget{Concurrent: 1}
	shared.AppWide = true
	registry, err := connectors.NewRegistry(
		define("app", hooked{polled{r.app}}), metered, alone, shared, pacedApp, thin, define("pushed", pushed{r.app}),
		connectors.Definition{
			Name: "sink", Connection: credentials{}, Modes: []connectors.Mode{connectors.ModeUpsert},
			OpenDestination: func(cfg connectors.Config) (connectors.Destination, error) {
				v, err := opens(r.sink)(cfg)
				if err != nil {
					return nil, err
				}
				return v.(connectors.Destination), nil
			},
		},
	)
	must(t, err)
	c, err := catalog.Open(t.Context(), filepath.Join(r.folder, "catalog.db"))
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	key := filepath.Join(r.folder, "key.json")
	must(t, vault.GenerateKeyFile(key))
	v, err := vault.Open(c, key)
	must(t, err)
	store, err := segment.Open(t.Context(), "file://"+filepath.Join(r.folder, "segments"))
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	env := connectors.Env{Log: slog.New(slog.NewTextHandler(&r.log, nil)), Now: func() time.Time { return day }}
	opener := block.New(registry, c, v, env)
	t.Cleanup(opener.Close)
	r.Activities = &Activities{Blocks: opener, Catalog: c, Vault: v, Segments: store, PublicURL: "https://in.example", Env: env}

	if len(blocks) == 0 {
		blocks = []integration.Destination{{Name: "out", Connector: "sink"}}
	}
	for _, connector := range []string{source, "sink"} {
		_, err := v.Put(t.Context(), vault.User(user), connector, "default", json.RawMessage(`{"token":"`+token+`"}`), "")
		must(t, err)
	}
	revision, err := c.SaveIntegration(t.Context(), integration.Spec{
		Name: "flow", Source: integration.Source{Connector: source, Streams: []string{"orders", "people"}}, Destinations: blocks,
	})
	must(t, err)
	r.target = Target{Installation: "flow/" + user, Integration: "flow", User: user, Epoch: "e1", Ledger: "e1", Revision: revision}
	r.install(t, r.target)
	return r
}

// install puts an installation into the catalog.
func (r *rig) install(t *testing.T, target Target) {
	t.Helper()
	sealed, err := r.Vault.Seal(TokenPurpose, []byte("token-of-"+target.Epoch))
	must(t, err)
	must(t, r.Catalog.CreateInstallation(t.Context(), catalog.Installation{
		ID: target.Installation, Integration: target.Integration, User: target.User, Epoch: target.Epoch, Connector: "app",
		TokenHash: [32]byte([]byte(fmt.Sprintf("%-32s", target.Epoch))), SealedToken: sealed, Revision: target.Revision, State: catalog.Installing,
	}))
}

// breakStore makes the segment store fail: its folder becomes a file.
func (r *rig) breakStore(t *testing.T) {
	t.Helper()
	folder := filepath.Join(r.folder, "segments")
	must(t, os.RemoveAll(folder))
	must(t, os.WriteFile(folder, nil, 0o600))
}

// attemptOf is an activity's attempt as a worker makes it.
type attemptOf struct {
	// details are what the attempt before heartbeated, nil = it is the first.
	details any
	// beat is the heartbeat time-out; 0 = none.
	beat time.Duration
	// heard, when set, gets what is heartbeated.
	heard func(details []any)
}

// call runs an activity under its registered name.
func (r *rig) call(t *testing.T, name string, in, out any) error {
	t.Helper()
	return r.attempt(attemptOf{}, name, in, out)
}

func (r *rig) attempt(a attemptOf, name string, in, out any) error {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.NewTextHandler(&r.log, nil))))
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&listener{attempt: a}}})
	r.Register(registrar{env: env})
	if a.details != nil {
		env.SetHeartbeatDetails(a.details)
	}
	value, err := env.ExecuteActivity(name, in)
	if err != nil || out == nil {
		return err
	}
	return value.Get(out)
}

// registrar lets Register fill a test environment.
type registrar struct {
	worker.Registry
	env *testsuite.TestActivityEnvironment
}

func (r registrar) RegisterActivityWithOptions(f any, o activity.RegisterOptions) {
	r.env.RegisterActivityWithOptions(f, o)
}

// listener gives an activity its heartbeat time-out and hears its heartbeats.
type listener struct {
	interceptor.WorkerInterceptorBase
	attempt attemptOf
}

func (l *listener) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &inbound{interceptor.ActivityInboundInterceptorBase{Next: next}, l}
}

type inbound struct {
	interceptor.ActivityInboundInterceptorBase
	listener *listener
}

func (i *inbound) Init(out interceptor.ActivityOutboundInterceptor) error {
	return i.Next.Init(&outbound{interceptor.ActivityOutboundInterceptorBase{Next: out}, i.listener})
}

type outbound struct {
	interceptor.ActivityOutboundInterceptorBase
	listener *listener
}

func (o *outbound) GetInfo(ctx context.Context) activity.Info {
	info := o.Next.GetInfo(ctx)
	info.HeartbeatTimeout = o.listener.attempt.beat
	return info
}

func (o *outbound) RecordHeartbeat(ctx context.Context, details ...any) {
	if o.listener.attempt.heard != nil {
		o.listener.attempt.heard(details)
	}
	o.Next.RecordHeartbeat(ctx, details...)
}

// record makes a record of "orders"; its payload's spacing is its own, so that a change of a byte shows.
func record(id, key string, version int64) connectors.Record {
	return connectors.Record{
		ID: id, Stream: "orders", Key: key, Op: connectors.Upsert, Version: version, OccurredAt: day.Add(-time.Minute), ReceivedAt: day,
		Data: []byte(`{ "id":"` + id + `",  "n": 1.50 }`),
	}
}

func records(n int) []connectors.Record {
	out := make([]connectors.Record, n)
	for i := range out {
		out[i] = record(fmt.Sprintf("r%d", i), fmt.Sprintf("k%d", i), int64(i+1))
	}
	return out
}

// seal puts records into a segment of an origin.
func (r *rig) seal(t *testing.T, n segment.Name, rs ...connectors.Record) segment.Ref {
	t.Helper()
	b := segment.NewBuilder()
	for _, x := range rs {
		b.Add(x)
	}
	ref, err := r.Segments.Seal(t.Context(), n, b)
	must(t, err)
	return ref
}

// sealed reads the records of segments.
func (r *rig) sealed(t *testing.T, refs ...segment.Ref) []connectors.Record {
	t.Helper()
	var out []connectors.Record
	for _, ref := range refs {
		s, err := r.Segments.Load(t.Context(), ref.Name)
		must(t, err)
		if s.Len() != ref.Records {
			t.Errorf("%s has %d records, its reference says %d", ref.Name, s.Len(), ref.Records)
		}
		for _, x := range s.Records() {
			out = append(out, x)
		}
	}
	return out
}

func ids(rs []connectors.Record) string {
	var out []string
	for _, x := range rs {
		out = append(out, x.ID)
	}
	return strings.Join(out, " ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want checks a Failure's kind, "" = none, and what it mentions.
func want(t *testing.T, f *Failure, kind connectors.Kind, mentions ...string) {
	t.Helper()
	if f == nil {
		if kind != "" {
			t.Fatalf("no failure; want one that is %s", kind)
		}
		return
	}
	if f.Kind != kind {
		t.Fatalf("failed as %q (%s); want %q", f.Kind, f.Message, kind)
	}
	for _, m := range mentions {
		if !strings.Contains(f.Message, m) {
			t.Errorf("the failure %q does not mention %q", f.Message, m)
		}
	}
}
