package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// thin is a connector to an app whose webhooks name the order that changed and say nothing of it.
func thin() connectors.Definition {
	return connectors.Definition{
		Name: "thin", Settings: thinSettings{}, Streams: []connectors.Stream{{Name: "orders", Receives: true}}, Receives: true,
		OpenSource: func(c connectors.Config) (any, error) {
			s, err := connectors.Decode[thinSettings](c.Settings)
			return &thinSource{s.URL}, err
		},
	}
}

type thinSettings struct {
	URL string `json:"url"`
}

type thinSource struct{ url string }

var (
	_ connectors.Receiver  = (*thinSource)(nil)
	_ connectors.Completer = (*thinSource)(nil)
)

const thinKey = "key-of-the-thin-app"

func (*thinSource) Receive(_ context.Context, d connectors.Delivery) (connectors.Received, error) {
	if d.Header.Get("X-Thin") != thinKey {
		return connectors.Received{}, connectors.Errorf(connectors.Unauthorized, "receive", "wrong key")
	}
	id := gjson.GetBytes(d.Body, "changed").Str
	if id == "" {
		return connectors.Received{}, connectors.Errorf(connectors.Invalid, "receive", "names no order")
	}
	return connectors.Received{Records: []connectors.Record{{
		ID: "event-" + id, Stream: "orders", Key: id, Op: connectors.Upsert, OccurredAt: d.ReceivedAt, Data: d.Body,
	}}}, nil
}

func (*thinSource) Completes() bool { return true }

func (*thinSource) CompleteCalls([]connectors.Record) int { return 1 }

func (s *thinSource) Complete(ctx context.Context, records []connectors.Record) ([]connectors.Record, error) {
	var ids []string
	for _, r := range records {
		ids = append(ids, r.Key)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"?ids="+strings.Join(ids, ","), nil)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "read orders", "the url is not valid")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, outbound.AsError("read orders", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, outbound.AsError("read orders", err)
	case res.StatusCode == http.StatusBadRequest:
		return nil, connectors.Errorf(connectors.Invalid, "read orders", "HTTP 400: an ID is none")
	case res.StatusCode != http.StatusOK:
		return nil, connectors.Errorf(connectors.Unavailable, "read orders", "HTTP %d", res.StatusCode)
	}
	var whole []connectors.Record
	for _, order := range gjson.GetBytes(body, "orders").Array() {
		end := order.Index + len(order.Raw)
		data, key, version := body[order.Index:end:end], order.Get("id").Str, order.Get("version").Int()
		whole = append(whole, connectors.Record{
			ID: connectors.RecordID("orders", key, version, data), Stream: "orders", Key: key, Op: connectors.Upsert, Version: version, Data: data,
		})
	}
	return whole, nil
}

// thinApp is that app: it answers for the orders that are there, refuses a list with an ID that is none, and holds its answers when it is told to.
type thinApp struct {
	*httptest.Server
	mu     sync.Mutex
	orders map[string]string
	status int           // instead of an answer, 0 = none
	gate   chan struct{} // closed: answers go out; nil: they do at once
	asked  chan struct{} // gets a word for each answer that is held
	calls  int
}

func startThinApp(t *testing.T) *thinApp {
	a := &thinApp{orders: map[string]string{}, asked: make(chan struct{}, 1000)}
	a.Server = httptest.NewServer(a)
	t.Cleanup(func() { a.release(); a.Server.Close() })
	return a
}

func (a *thinApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.calls++
	gate, status := a.gate, a.status
	a.mu.Unlock()
	if gate != nil {
		a.asked <- struct{}{}
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	found := []string{}
	for id := range strings.SplitSeq(r.URL.Query().Get("ids"), ",") {
		if strings.HasPrefix(id, "bad") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if order, ok := a.orders[id]; ok {
			found = append(found, order)
		}
	}
	fmt.Fprintf(w, `{"orders": [%s]}`, strings.Join(found, ", "))
}

func (a *thinApp) hold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gate = make(chan struct{})
}

func (a *thinApp) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gate != nil {
		close(a.gate)
	}
	a.gate = nil
}

func (a *thinApp) answer(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = status
}

// change changes n orders, delivers a webhook of each until it is acknowledged, and adds what must arrive.
func (a *thinApp) change(t *testing.T, url, name string, n int, expect tally) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("%s-%d", name, i)
		order := fmt.Sprintf(`{"id":%q,  "version":%d, "total":"12.50"}`, id, i+1)
		a.mu.Lock()
		a.orders[id] = order
		a.mu.Unlock()
		deliverThin(t, url, id)
		expect[thingOf(connectors.RecordID("orders", id, int64(i+1), []byte(order)), []byte(order))] = 1
	}
}

func deliverThin(t *testing.T, url, id string) {
	t.Helper()
	body, _ := json.Marshal(map[string]string{"changed": id})
	eventually(t, time.Minute, "acknowledgement of "+id, func() bool {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Thin", thinKey)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

func defineThin(s *stack.Stack, app *thinApp, dsn string) {
	s.Connect(vault.Operator, "postgres", postgres.Connection{URL: dsn})
	s.Define(fmt.Sprintf(`
name: thin
source:
  connector: thin
  settings: {url: %q}
  trigger: realtime
  streams: [orders]
destinations:
  - {name: warehouse, connector: postgres, hidden: true, mode: append, settings: {table: orders}}
`, app.URL))
}

// A worker that is killed while the app is being asked for what webhooks named loses and doubles nothing: whole orders arrive, each once, byte
// for byte, and what the app can't complete is in quarantine as it came.
func TestKillWhileCompleting(t *testing.T) {
	t.Parallel()
	s := stack.OpenStores(t, func(s *stack.Setup) {
		s.Connectors = append(s.Connectors, thin())
		s.TaskTime = time.Second
	})
	r := role{Worker: true, Receiver: true, Config: s.Config, Temporal: s.Temporal}
	child := spawn(t, r)
	app, dsn := startThinApp(t), pgtest.Database(t)
	defineThin(s, app, dsn)
	in := s.Install("thin", s.User, workflows.Timing{Backoff: 50 * time.Millisecond, MaxBackoff: 300 * time.Millisecond, Heartbeat: time.Second, Events: 150})
	expect := tally{}
	for round := range 4 {
		app.hold()
		app.change(t, in.HookURL, fmt.Sprintf("round%d", round), 30, expect)
		select {
		case <-app.asked:
		case <-time.After(time.Minute):
			t.Fatal("the app was not asked")
		}
		child.kill()
		app.release()
		if round == 1 {
			app.answer(http.StatusBadGateway)
		}
		child = spawn(t, r)
		app.change(t, in.HookURL, fmt.Sprintf("after%d", round), 10, expect)
		app.answer(0)
	}
	deliverThin(t, in.HookURL, "bad-1")
	app.change(t, in.HookURL, "last", 5, expect)
	st := s.Await(in.ID, 2*time.Minute, "settled", func(st workflows.Status) bool {
		return st.Received == int64(len(expect))+1 && st.Lag == 0 && st.Quarantined == 1
	})
	if c := st.Completing; c == nil || c.Waiting != 0 || c.Taken != st.Received || c.Made != int64(len(expect)) || c.Refused != 1 {
		t.Errorf("completing: %+v", c)
	}
	if missing, surplus := expect.diff(rowsOf(t, dsn, "orders", "_id")); missing+surplus != 0 {
		t.Errorf("%d of %d are missing, %d are doubled or changed", missing, len(expect), surplus)
	}
	if q := held(t, s, in.ID, "warehouse"); q[thingOf("event-bad-1", []byte(`{"changed":"bad-1"}`))] != 1 {
		t.Errorf("in quarantine: %v", q)
	}
}

// The history of a run that completes webhooks, fails at it and goes on is one that replays.
func TestHistoryOfCompleting(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, func(s *stack.Setup) { s.Connectors = append(s.Connectors, thin()) })
	app, dsn := startThinApp(t), pgtest.Database(t)
	defineThin(s, app, dsn)
	in := s.Install("thin", s.User, workflows.Timing{Backoff: 50 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, Flush: 5 * time.Second})
	expect := tally{}
	app.change(t, in.HookURL, "first", 20, expect)
	s.Await(in.ID, time.Minute, "completed", stack.Settled(20))
	app.answer(http.StatusServiceUnavailable)
	app.change(t, in.HookURL, "second", 10, expect)
	s.Await(in.ID, time.Minute, "failures", func(st workflows.Status) bool {
		return st.Completing != nil && len(st.Completing.Streams) == 1 && st.Completing.Streams[0].Failures > 2
	})
	if _, err := s.Update(context.Background(), s.Client, in.ID, workflows.UninstallUpdate, "", struct{}{}); err != nil {
		t.Fatal(err)
	}
	app.answer(0)
	if err := s.Client.GetWorkflow(context.Background(), in.ID, "").Get(context.Background(), nil); err != nil {
		t.Errorf("uninstall: %v", err)
	}
	if missing, surplus := expect.diff(rowsOf(t, dsn, "orders", "_id")); missing+surplus != 0 {
		t.Errorf("%d of %d are missing, %d are doubled or changed", missing, len(expect), surplus)
	}
	recorder{t, s}.record("completed", in, "")
}
