package devserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
)

// A workflow and the server's choice of ports outlive a restart on the same directory.
func TestRestart(t *testing.T) {
	t.Parallel()
	options := Options{Dir: filepath.Join(t.TempDir(), "a new%20 one? #1"), UIPort: NoUI, SyncFull: true}
	began := time.Now()
	first := start(t, options)
	quickest := time.Since(began)
	c := dial(t, first)
	stop := work(t, c, "queue", func(r worker.Registry) { r.RegisterWorkflow(greet) })
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "greeting", TaskQueue: "queue"}, greet)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}

	_, options.Port = hostPort(t, first.FrontendAddress())
	began = time.Now()
	second := start(t, options)
	quickest = min(quickest, time.Since(began))
	if second.FrontendAddress() != first.FrontendAddress() {
		t.Errorf("restarted on %s, want %s", second.FrontendAddress(), first.FrontendAddress())
	}
	c = dial(t, second)
	work(t, c, "queue", func(r worker.Registry) { r.RegisterWorkflow(greet) })
	if err := c.SignalWorkflow(t.Context(), run.GetID(), run.GetRunID(), "name", "Ada"); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := c.GetWorkflow(t.Context(), run.GetID(), run.GetRunID()).Get(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	if want := "hello Ada"; got != want {
		t.Errorf("result %q, want %q", got, want)
	}
	t.Logf("the quicker of two starts took %v", quickest)
	if quickest > 5*time.Second {
		t.Errorf("the quicker of two starts took %v, want 5s at most", quickest)
	}
}

func greet(ctx workflow.Context) (string, error) {
	var name string
	workflow.GetSignalChannel(ctx, "name").Receive(ctx, &name)
	return "hello " + name, nil
}

// The UI serves its page, and reaches the server behind it.
func TestUI(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Namespace: "shops"})
	for path, want := range map[string]string{"/": "<html", "/api/v1/namespaces/shops": `"shops"`} {
		response, err := http.Get(s.UIURL() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %s without %s: %.200s", path, response.Status, want, body)
		}
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if response, err := http.Get(s.UIURL()); err == nil {
		response.Body.Close()
		t.Error("the UI still answers after Stop")
	}
	if without := start(t, Options{UIPort: NoUI}); without.UIURL() != "" {
		t.Errorf("a server without a UI gives %q as its URL", without.UIURL())
	}
}

// Installations are found by the attributes that they set; a namespace that lacks one gets it at the next start.
func TestSearchAttributes(t *testing.T) {
	t.Parallel()
	options := Options{Dir: t.TempDir(), UIPort: NoUI}
	s := start(t, options)
	c := dial(t, s)
	if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: "a/b", TaskQueue: "none",
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword("TributaryIntegration").ValueSet("a"),
			temporal.NewSearchAttributeKeyKeyword("TributaryUser").ValueSet("b"),
			temporal.NewSearchAttributeKeyKeyword("TributaryHealth").ValueSet("ok"),
		),
	}, "none"); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int64{
		"TributaryIntegration = 'a' AND TributaryUser = 'b' AND TributaryHealth = 'ok'": 1,
		"TributaryUser = 'a'": 0,
	} {
		eventually(t, func() error {
			got, err := c.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: query})
			if err == nil && got.Count != want {
				err = fmt.Errorf("%s: %d workflows, want %d", query, got.Count, want)
			}
			return err
		})
	}

	if _, err := c.OperatorService().RemoveSearchAttributes(t.Context(), &operatorservice.RemoveSearchAttributesRequest{
		Namespace: "default", SearchAttributes: []string{"TributaryHealth"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	known, err := dial(t, start(t, options)).OperatorService().ListSearchAttributes(t.Context(),
		&operatorservice.ListSearchAttributesRequest{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := known.CustomAttributes["TributaryHealth"]; !ok {
		t.Errorf("after the restart the namespace has %v, without TributaryHealth", known.CustomAttributes)
	}
}

// A user with few tasks doesn't wait for one with many: fairness keys count.
func TestFairness(t *testing.T) {
	t.Parallel()
	s := start(t, Options{UIPort: NoUI})
	c := dial(t, s)
	const many, few = 150, 2 // so many that the server's own buffers do not decide
	for i := range many + few {
		key := "many"
		if i >= many {
			key = "few"
		}
		if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID: fmt.Sprint(key, i), TaskQueue: "queue", Priority: temporal.Priority{FairnessKey: key},
		}, "visit"); err != nil {
			t.Fatal(err)
		}
	}
	var (
		mu    sync.Mutex
		order []string
	)
	all := make(chan struct{})
	w := worker.New(c, "queue", worker.Options{MaxConcurrentWorkflowTaskPollers: 2, MaxConcurrentWorkflowTaskExecutionSize: 2})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if order = append(order, workflow.GetInfo(ctx).WorkflowExecution.ID); len(order) == many+few {
			close(all)
		}
		return nil
	}, workflow.RegisterOptions{Name: "visit"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	select {
	case <-all:
	case <-t.Context().Done():
		t.Fatal("not all workflows ran")
	case <-time.After(time.Minute):
		t.Fatal("not all workflows ran within a minute")
	}
	last := slices.IndexFunc(order, func(id string) bool { return id == fmt.Sprint("few", many+few-1) })
	if last > many/2 {
		t.Errorf("the last of %d tasks with a key of their own was number %d of %d, behind most of %d others: %v", few, last+1, len(order), many, order)
	}
}

// Closed workflows stay to be looked at for a week.
func TestRetention(t *testing.T) {
	t.Parallel()
	got, err := dial(t, start(t, Options{UIPort: NoUI})).WorkflowService().DescribeNamespace(t.Context(),
		&workflowservice.DescribeNamespaceRequest{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	if ttl := got.Config.WorkflowExecutionRetentionTtl.AsDuration(); ttl != 7*24*time.Hour {
		t.Errorf("retention %v, want 7 days", ttl)
	}
}

// What would make two servers fight, or end the process, is refused with what to do about it.
func TestRefusal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir, UIPort: NoUI})
	_, port := hostPort(t, s.FrontendAddress())
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"directory in use": {Options{Dir: dir, UIPort: NoUI}, "another Temporal Server uses " + dir},
		"port taken":       {Options{Port: port, UIPort: NoUI}, fmt.Sprintf("port %d can't be used", port)},
		"UI's port taken":  {Options{UIPort: port}, fmt.Sprintf("port %d can't be used", port)},
		"no address":       {Options{IP: "here", UIPort: NoUI}, `"here" is no IP address`},
	} {
		if second, err := Start(t.Context(), test.options); err == nil {
			second.Stop()
			t.Errorf("%s: started", name)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, Options{Dir: dir, Port: port, UIPort: NoUI})
}

// Starting and stopping say nothing that a user would have to ignore; the level asked for is kept.
func TestQuiet(t *testing.T) {
	t.Parallel()
	var said recorder
	s := start(t, Options{Logger: slog.New(&said)})
	for _, r := range said.records() {
		t.Errorf("while starting: %v: %s", r.Level, r.Message)
	}
	before := len(said.records())
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, r := range said.records()[before:] {
		t.Errorf("while running or stopping: %v: %s", r.Level, r.Message)
	}

	var all recorder
	start(t, Options{Logger: slog.New(&all), LogLevel: slog.LevelInfo, UIPort: NoUI})
	var levels []slog.Level
	for _, r := range all.records() {
		levels = append(levels, r.Level)
	}
	if !slices.Contains(levels, slog.LevelInfo) || slices.Contains(levels, slog.LevelDebug) {
		t.Errorf("levels %v, want INFO and above", levels)
	}
}

// SyncFull reaches SQLite as its synchronous pragma.
func TestSyncFull(t *testing.T) {
	t.Parallel()
	for full, want := range map[bool]string{false: "normal", true: "full"} {
		database, err := prepare(Options{Dir: t.TempDir(), Namespace: "default", SyncFull: full})
		if err != nil {
			t.Fatal(err)
		}
		if database.PluginName != sqlite.PluginName || database.ConnectAttributes["synchronous"] != want {
			t.Errorf("SyncFull %v: %+v, want synchronous %s", full, database, want)
		}
	}
}

func start(t *testing.T, o Options) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

func dial(t *testing.T, s *Server) client.Client {
	t.Helper()
	c, err := client.DialContext(t.Context(), client.Options{HostPort: s.FrontendAddress(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// work runs a worker until the test ends or the returned function is called.
func work(t *testing.T, c client.Client, queue string, register func(worker.Registry)) (stop func()) {
	t.Helper()
	w := worker.New(c, queue, worker.Options{Identity: uuid.NewString()})
	register(w)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(w.Stop)
	t.Cleanup(stop)
	return stop
}

func hostPort(t *testing.T, address string) (string, int) {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.IP.String(), a.Port
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := until(ctx, "condition", try); err != nil {
		t.Fatal(err)
	}
}

// recorder keeps every record.
type recorder struct {
	mu   sync.Mutex
	kept []slog.Record
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }

func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, record)
	return nil
}

func (r *recorder) WithAttrs([]slog.Attr) slog.Handler { return r }
func (r *recorder) WithGroup(string) slog.Handler      { return r }

func (r *recorder) records() []slog.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.kept)
}

// A port that is taken between its choice and its use is an error, on which others are chosen: it must not end the process.
func TestPortTakenMeanwhile(t *testing.T) {
	t.Parallel()
	o := Options{IP: "127.0.0.1", Namespace: "default", UIPort: NoUI}
	a, err := addresses(o)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	a.ports[primitives.HistoryService] = taken.Addr().(*net.TCPAddr).Port
	database, err := prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	var level slog.LevelVar
	level.Set(silent)
	if _, err := build(a, database, newLogger(slog.Default(), &level)); !errors.As(err, new(fatal)) {
		t.Errorf("got %v, want a fatal", err)
	}
}
