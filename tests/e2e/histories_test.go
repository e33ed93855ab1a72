package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/datastream"
	"tributary/connectors/webhook"
	"tributary/internal/engine"
	"tributary/internal/sandbox"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// recorder keeps histories of real runs. Each is replayed at once; with TRIBUTARY_HISTORIES=DIR it is also written
// there, which is what `make histories` does.
type recorder struct {
	t *testing.T
	s *stack.Stack
}

func (r recorder) record(shape string, in engine.Installed, runID string) {
	r.t.Helper()
	h, err := replayed(r.s, in.ID, runID)
	if err != nil {
		r.t.Errorf("%s, %d events: %v", shape, len(h.Events), err)
	}
	dir := os.Getenv("TRIBUTARY_HISTORIES")
	if dir == "" {
		return
	}
	raw, err := temporalproto.CustomJSONMarshalOptions{Indent: " "}.Marshal(h)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 1; ; i++ { // a recorded history is never replaced
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%s.%d.json", shape, i)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		_, err = f.Write(anonymous(raw))
		if err = errorsJoin(err, f.Close()); err != nil {
			r.t.Fatal(err)
		}
		return
	}
}

// replayed reads the history of a run, and has today's code go through it again.
func replayed(s *stack.Stack, id, runID string) (*history.History, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h := &history.History{}
	it := s.Client.GetWorkflowHistory(ctx, id, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		e, err := it.Next()
		if err != nil {
			return h, err
		}
		h.Events = append(h.Events, e)
	}
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DisableRegistrationAliasing: true})
	if err != nil {
		return h, err
	}
	replayer.RegisterWorkflowWithOptions(workflows.Installation, workflow.RegisterOptions{Name: workflows.InstallationName})
	return h, replayer.ReplayWorkflowHistory(nil, h)
}

// replayAll replays an installation's latest run and all that it was continued from, and returns how many they are.
func replayAll(t *testing.T, s *stack.Stack, id string) (runs int) {
	t.Helper()
	for runID := ""; runs == 0 || runID != ""; runs++ {
		h, err := replayed(s, id, runID)
		if err != nil {
			t.Errorf("%s, run %q, %d events: %v", id, runID, len(h.Events), err)
		}
		if len(h.Events) == 0 {
			return runs
		}
		runID = h.Events[0].GetWorkflowExecutionStartedEventAttributes().GetContinuedExecutionRunId()
	}
	return runs
}

func errorsJoin(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

var processes = regexp.MustCompile(`"[0-9]+@[^"]*"`)

// anonymous leaves out which machine and process it was.
func anonymous(raw []byte) []byte {
	raw = processes.ReplaceAll(raw, []byte(`"recorder"`))
	if host, err := os.Hostname(); err == nil {
		raw = regexp.MustCompile(regexp.QuoteMeta(host)+`:[0-9a-f-]+`).ReplaceAll(raw, []byte("recorder"))
	}
	return raw
}

// send delivers n webhooks and waits until they are acknowledged.
func send(t *testing.T, in engine.Installed, name string, n int) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("%s-%d", name, i)
		if status, err := post(context.Background(), in.HookURL, id, "orders", fmt.Appendf(nil, `{"id":%q}`, id)); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v", id, status, err)
		}
	}
}

// narrow is Data Stream behind something that leaves the last of several records, which it calls too large together with the others.
func narrow(times *atomic.Int32) connectors.Definition {
	d := datastream.Definition()
	d.Name = "narrow"
	open := d.OpenDestination
	d.OpenDestination = func(c connectors.Config) (connectors.Destination, error) {
		inner, err := open(c)
		return &narrowed{inner, times}, err
	}
	return d
}

type narrowed struct {
	connectors.Destination
	times *atomic.Int32
}

func (d *narrowed) Check(ctx context.Context) error {
	return d.Destination.(connectors.Checker).Check(ctx)
}

func (d *narrowed) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	n := len(b.Records)
	if n < 2 {
		return d.Destination.Write(ctx, b)
	}
	d.times.Add(1)
	all := connectors.NewResult(n)
	b.Next, b.Records = b.Records[n-1].Ordinal, b.Records[:n-1]
	written, err := d.Destination.Write(ctx, b)
	copy(all.Outcomes, written.Outcomes)
	if err != nil {
		return all, err
	}
	return all, connectors.Errorf(connectors.TooLarge, "write", "%d records are more than fit", n)
}

func TestHistoriesOfRealRunsReplay(t *testing.T) {
	t.Parallel()
	var tooLarge atomic.Int32
	s := stack.Start(t, func(o *stack.Setup) { o.Connectors = []connectors.Definition{narrow(&tooLarge)} })
	r := recorder{t, s}
	ctx := context.Background()
	s.Connect(vault.User("u1"), "webhook", webhook.Connection{Secret: hookSecret})
	e, signer := newSigner(t)
	s.Connect(vault.Operator, "datastream", signer)
	s.Connect(vault.Operator, "narrow", signer)
	var failing atomic.Int32
	e.mood = func() (int, bool) { return int(failing.Load()), false }
	defineTo := func(connector, url, name, more string) {
		s.Define(fmt.Sprintf(`
name: %s
source:
  connector: webhook
  settings: {preset: github}
  trigger: realtime
  streams: [orders]
destinations:
  - {name: company, connector: %s, hidden: true, settings: {url: %q}}
%s`, name, connector, url, more))
	}
	define := func(name, more string) { defineTo("datastream", e.URL, name, more) }
	timing := workflows.Timing{Backoff: 50 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, Events: 80, Flush: 5 * time.Second, Publish: time.Second}
	ask := func(in engine.Installed, name string, arg any) {
		t.Helper()
		if _, err := s.Update(ctx, s.Client, in.ID, name, "", arg); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}

	define("idle", "")
	idle := s.Install("idle", "u1")
	define("busy", "")
	long := timing
	long.Events = 0
	busy := s.Install("busy", "u1", long)
	send(t, busy, "busy", 60)
	s.Await(busy.ID, time.Minute, "busy", stack.Settled(60))
	r.record("busy", busy, "")
	if reset(t, s, busy.ID) {
		send(t, busy, "reset", 20)
		s.Await(busy.ID, time.Minute, "reset", func(st workflows.Status) bool { return st.Resets == 1 && st.Lag == 0 })
		r.record("reset", busy, "")
	} else {
		t.Error("no reset")
	}

	define("continued", "")
	short := timing
	short.Events = 30
	continued := s.Install("continued", "u1", short)
	send(t, continued, "continued", 150)
	st := s.Await(continued.ID, time.Minute, "continued", stack.Settled(150))
	if st.Runs < 2 {
		t.Errorf("%d runs", st.Runs)
	}
	r.record("continued", continued, continued.RunID)
	r.record("continued", continued, "")

	define("failing", "")
	bad := s.Install("failing", "u1", timing)
	failing.Store(503)
	send(t, bad, "failing", 5)
	s.Await(bad.ID, time.Minute, "failures", func(st workflows.Status) bool { return st.Lanes[0].Failures > 3 })
	failing.Store(410)
	s.Await(bad.ID, time.Minute, "gone", func(st workflows.Status) bool { return st.Health == workflows.Stopped })
	failing.Store(0)
	ask(bad, workflows.ResumeUpdate, workflows.ResumeRequest{})
	s.Await(bad.ID, time.Minute, "healed", stack.Settled(5))
	failing.Store(422)
	send(t, bad, "refused", 3)
	s.Await(bad.ID, time.Minute, "quarantine", func(st workflows.Status) bool { return st.Quarantined == 3 })
	failing.Store(0)
	ask(bad, workflows.RedeliverUpdate, workflows.RedeliverRequest{Lane: "company"})
	s.Await(bad.ID, time.Minute, "redelivered", func(st workflows.Status) bool { return st.Delivered == 8 })
	r.record("failing", bad, bad.RunID)
	r.record("failing", bad, "")

	define("paused", "")
	paused := s.Install("paused", "u1", timing)
	ask(paused, workflows.PauseUpdate, workflows.PauseRequest{Reason: "maintenance"})
	send(t, paused, "paused", 10)
	s.Await(paused.ID, time.Minute, "received while paused", func(st workflows.Status) bool { return st.Received == 10 && st.Lag == 10 })
	ask(paused, workflows.ResumeUpdate, workflows.ResumeRequest{})
	s.Await(paused.ID, time.Minute, "resumed", stack.Settled(10))
	ask(paused, workflows.FlushUpdate, workflows.FlushRequest{})
	r.record("paused", paused, "")

	defineTo("narrow", e.URL, "split", "")
	split := s.Install("split", "u1", timing)
	ask(split, workflows.PauseUpdate, workflows.PauseRequest{})
	send(t, split, "split", 9)
	s.Await(split.ID, time.Minute, "received while paused", func(st workflows.Status) bool { return st.Received == 9 })
	ask(split, workflows.ResumeUpdate, workflows.ResumeRequest{})
	s.Await(split.ID, time.Minute, "delivered in parts", stack.Settled(9))
	if tooLarge.Load() == 0 {
		t.Error("no batch was too large")
	}
	r.record("split", split, "")

	address, err := url.Parse(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	wire := connectortest.Proxy(t, address.Host)
	address.Host = wire.Listen
	wire.Stop()
	defineTo("datastream", address.String(), "waiting", "")
	waiting, installed := engine.Installed{ID: "waiting/u1"}, make(chan error, 1)
	go func() {
		_, err := s.Engine.Install(ctx, s.Client, engine.InstallRequest{Integration: "waiting", User: "u1", Timing: timing})
		installed <- err
	}()
	s.Await(waiting.ID, time.Minute, "an install that waits", func(st workflows.Status) bool { return st.Problem != "" })
	if err := wire.Start(); err != nil {
		t.Fatal(err)
	}
	if err := <-installed; err != nil {
		t.Fatal(err)
	}
	s.Await(waiting.ID, time.Minute, "installed", func(st workflows.Status) bool { return st.Health == workflows.Healthy })
	r.record("waiting", waiting, "")

	define("reconfigured", "")
	changed := s.Install("reconfigured", "u1", timing)
	send(t, changed, "before", 5)
	define("reconfigured", "  - {name: warehouse, connector: duckdb, hidden: true, settings: {path: changed.duckdb}}\n")
	stored, err := s.Catalog.Integration(ctx, "reconfigured", 0)
	if err != nil {
		t.Fatal(err)
	}
	ask(changed, workflows.ReconfigureUpdate, workflows.PlanOf(stored.Spec, stored.Revision))
	send(t, changed, "after", 5)
	s.Await(changed.ID, time.Minute, "reconfigured", func(st workflows.Status) bool { return len(st.Lanes) == 2 && st.Received == 10 && st.Lag == 0 })
	r.record("reconfigured", changed, changed.RunID)

	_, conn := shop(t, sandbox.Options{Products: 300})
	s.Connect(vault.User("u1"), "shopify", conn)
	s.Define(`
name: polling
source:
  connector: shopify
  settings: {page_size: 50}
  trigger: {kind: polling, interval: 1s}
  streams: [products]
destinations:
  - {name: warehouse, connector: duckdb, hidden: true, settings: {path: polling.duckdb}}
`)
	chunked := timing
	chunked.ChunkRecords = 100
	polling := s.Install("polling", "u1", chunked)
	s.Await(polling.ID, time.Minute, "polls", func(st workflows.Status) bool { return st.Streams[0].Polls >= 2 && st.Lag == 0 })
	ask(polling, workflows.BackfillUpdate, workflows.StreamsRequest{})
	s.Await(polling.ID, time.Minute, "backfill", func(st workflows.Status) bool { return st.Streams[0].Records >= 600 && st.Lag == 0 })
	r.record("polling", polling, polling.RunID)
	ask(polling, workflows.UninstallUpdate, struct{}{})
	if err := s.Client.GetWorkflow(ctx, polling.ID, "").Get(ctx, nil); err != nil {
		t.Errorf("uninstall: %v", err)
	}
	r.record("uninstalled", polling, "")
	r.record("idle", idle, "")
}
