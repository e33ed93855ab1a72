package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"tributary/connectors/builtin"
	"tributary/connectors/postgres"
	"tributary/connectors/webhook"
	"tributary/internal/catalog"
	"tributary/internal/engine"
	"tributary/internal/pgtest"
	"tributary/internal/sandbox"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// The kill test. A child process with worker and receiver is killed by SIGKILL at random moments under load, while its
// destinations fail, stall and lose answers, while workflows continue as new every few dozen events, are reset and installed
// anew, and PostgreSQL restarts. In the end every record that was acknowledged or fetched has taken effect once.
//
// TRIBUTARY_CHAOS_SEED repeats a run's choices, TRIBUTARY_CHAOS_FOR=1h goes on that long.

const childVariable = "TRIBUTARY_CHAOS_CHILD"

func TestMain(m *testing.M) {
	if raw := os.Getenv(childVariable); raw != "" {
		if err := child(raw); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child runs worker and receiver until it is killed.
func child(raw string) error {
	var cfg engine.Config
	if err := json.Unmarshal([]byte(raw), &cfg); err != nil {
		return err
	}
	cfg.AllowNetworks = engine.DevNetworks()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	registry, _, err := builtin.New()
	if err != nil {
		return err
	}
	e, err := engine.Open(ctx, cfg, registry, logger)
	if err != nil {
		return err
	}
	c, err := engine.Dial(ctx, os.Getenv("TRIBUTARY_CHAOS_TEMPORAL"), logger)
	if err != nil {
		return err
	}
	if _, err := e.StartWorker(ctx, c); err != nil {
		return err
	}
	if _, err := e.StartReceiver(ctx, c); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}

// victim is the child process.
type victim struct {
	cmd  *exec.Cmd
	logs *bytes.Buffer
}

func spawn(t *testing.T, cfg engine.Config) *victim {
	t.Helper()
	cfg.AllowNetworks = nil
	raw, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{cmd: exec.Command(os.Args[0]), logs: &bytes.Buffer{}}
	v.cmd.Env = append(os.Environ(), childVariable+"="+string(raw), "TRIBUTARY_CHAOS_TEMPORAL="+stack.Temporal(t))
	v.cmd.Stderr = v.logs
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 6)
	if _, err := out.Read(ready); err != nil {
		_ = v.cmd.Wait()
		t.Fatalf("the child did not start: %s", v.logs)
	}
	return v
}

func (v *victim) kill() {
	_ = v.cmd.Process.Signal(syscall.SIGKILL)
	_ = v.cmd.Wait()
}

// sender delivers webhooks until they are acknowledged, as an app does, and now and then delivers one again.
type sender struct {
	mu    sync.Mutex
	url   string
	acked tally
	ids   map[string]bool
	n     int
}

func (s *sender) setURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = url
}

func (s *sender) run(ctx context.Context, rng *rand.Rand, name string) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		body := fmt.Appendf(nil, `{"id":%q,"n":%d,"pad":"%0*d"}`, id, i, 50+rng.IntN(900), i)
		again := rng.IntN(20) == 0
		for ctx.Err() == nil {
			s.mu.Lock()
			url := s.url
			s.mu.Unlock()
			status, err := post(ctx, url, id, "orders", body)
			if err == nil && status == http.StatusOK {
				s.mu.Lock()
				if !s.ids[id] {
					s.ids[id] = true
					s.acked[sha256.Sum256(body)]++
					s.n++
				}
				s.mu.Unlock()
				if !again {
					break
				}
				again = false
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(5+rng.IntN(30)) * time.Millisecond):
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
		}
	}
}

// proxyTo puts a proxy that can break connections before an address.
func proxyTo(t *testing.T, upstream string) *toxiproxy.Proxy {
	t.Helper()
	nop := zerolog.Nop()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), nop)
	p := toxiproxy.NewProxy(server, "postgres", "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func toxic(p *toxiproxy.Proxy, kind, stream string, attributes map[string]any) {
	raw, _ := json.Marshal(map[string]any{"name": kind + stream, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes})
	_, _ = p.Toxics.AddToxicJson(bytes.NewReader(raw))
}

func TestKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TRIBUTARY_CHAOS_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed: TRIBUTARY_CHAOS_SEED=%d", seed)
	fmt.Printf("TestKills: TRIBUTARY_CHAOS_SEED=%d\n", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	kills, until := 50, time.Now()
	if s := os.Getenv("TRIBUTARY_CHAOS_FOR"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		until = until.Add(d)
	}

	server := pgtest.StartServer(t)
	direct := server.DSN("postgres")
	pg, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	proxy := proxyTo(t, net.JoinHostPort(pg.Host, strconv.Itoa(int(pg.Port))))
	host, port, _ := net.SplitHostPort(proxy.Listen)
	portNumber, _ := strconv.Atoi(port)

	// The parent has the stores but neither worker nor receiver: those are the child's.
	s := stack.OpenStores(t)
	s.Connect(vault.User("u1"), "webhook", webhook.Connection{Secret: hookSecret})
	s.Connect(vault.Operator, "postgres", postgres.Connection{Host: host, Port: portNumber, Database: "postgres", User: pg.User, Password: pg.Password, SSLMode: "disable"})
	sh, conn := shop(t, sandbox.Options{Products: 400, Seed: seed})
	s.Connect(vault.User("u1"), "shopify", conn)
	e := connectEndpoint(t, s)
	moods := rand.New(rand.NewPCG(seed, 2))
	var moodMu sync.Mutex
	calm := false
	e.mood = func() (int, bool) {
		moodMu.Lock()
		defer moodMu.Unlock()
		if calm {
			return 0, false
		}
		switch moods.IntN(40) {
		case 0, 1:
			return http.StatusInternalServerError, false
		case 2:
			return 0, true
		}
		return 0, false
	}
	s.Define(fmt.Sprintf(`
name: hooks
source:
  connector: webhook
  settings: {preset: github}
  trigger: realtime
  streams: [orders]
destinations:
  - {name: warehouse, connector: postgres, hidden: true, mode: append, settings: {table: hooks}}
  - {name: company, connector: datastream, hidden: true, settings: {url: %q, timeout: 2s}}
`, e.URL))
	s.Define(`
name: products
source:
  connector: shopify
  settings: {overlap: 1m, page_size: 20}
  trigger: {kind: polling, interval: 1s}
  streams: [products]
destinations:
  - {name: warehouse, connector: postgres, hidden: true, mode: append, settings: {table: products}}
`)
	v := spawn(t, s.Config)
	defer func() { v.kill() }()
	timing := workflows.Timing{Events: 60, Heartbeat: 2 * time.Second, Backoff: 50 * time.Millisecond, MaxBackoff: time.Second,
		ChunkRecords: 60, Publish: time.Second, Roll: 8, Flush: 20 * time.Second}
	in := s.Install("hooks", "u1", timing)
	polled := s.Install("products", "u1", timing)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	load := &sender{url: in.HookURL, acked: tally{}, ids: map[string]bool{}}
	var senders sync.WaitGroup
	for i := range 6 {
		r := rand.New(rand.NewPCG(seed, uint64(10+i)))
		senders.Go(func() { load.run(ctx, r, fmt.Sprintf("w%d", i)) })
	}
	changes := rand.New(rand.NewPCG(seed, 3))
	senders.Go(func() {
		for ctx.Err() == nil {
			sh.Create(sandbox.Products)
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(changes.IntN(200)) * time.Millisecond):
			}
		}
	})

	heal := func() { proxy.Toxics.ResetToxics(context.Background()) }
	killed, resets, reinstalls, restarts := 0, 0, 0, 0
	for ; killed < kills || time.Now().Before(until); killed++ {
		heal()
		switch rng.IntN(6) {
		case 0:
			toxic(proxy, "latency", "upstream", map[string]any{"latency": 100 + rng.IntN(300)})
		case 1:
			toxic(proxy, "timeout", "downstream", map[string]any{"timeout": 0}) // answers are lost
		case 2:
			toxic(proxy, "reset_peer", "downstream", map[string]any{"timeout": rng.IntN(300)})
		}
		time.Sleep(time.Duration(150+rng.IntN(1100)) * time.Millisecond) // the load runs meanwhile
		v.kill()
		switch {
		case killed%17 == 7:
			restarts++
			server.Kill(t)
			server.Start(t)
		case killed%17 == 12:
			if reset(t, s, in.ID) {
				resets++
			}
		}
		v = spawn(t, s.Config)
		if killed == kills/2 {
			heal()
			in = reinstall(t, s, in, timing, load)
			reinstalls++
		}
	}
	heal()
	moodMu.Lock()
	calm = true
	moodMu.Unlock()
	stop()
	senders.Wait()

	quiet := func(st workflows.Status) bool { return st.Lag == 0 && st.Health == workflows.Healthy }
	s.Await(in.ID, 2*time.Minute, "webhooks settle", quiet)
	deadline := time.Now().Add(90 * time.Second)
	for {
		// What an uninstall could not deliver within its bound is in quarantine, which is no loss (I4).
		missing, surplus := load.acked.diff(pgRows(t, direct, "hooks").with(quarantined(t, s, in.ID, "warehouse")))
		missed, extra := load.acked.diff(e.tally().with(quarantined(t, s, in.ID, "company")))
		if missing+missed == 0 || time.Now().After(deadline) {
			if missing+surplus+missed+extra != 0 {
				// What was posted and not acknowledged may have arrived: surplus counts only what was never sent or came twice.
				t.Logf("PostgreSQL: %d missing, %d beyond the acknowledged; Data Stream: %d and %d", missing, surplus, missed, extra)
			}
			if missing+missed != 0 {
				t.Errorf("PostgreSQL: %d acknowledged records missing; Data Stream: %d", missing, missed)
			}
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	for what, n := range map[string]int{
		"doubled webhooks": count(t, direct, `SELECT count(*) - count(DISTINCT data::jsonb->>'id') FROM hooks`),
		"doubled products": count(t, direct, `SELECT count(*) - count(DISTINCT (_key, _version)) FROM products`),
	} {
		if n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	if e.changed != 0 || len(e.bad) != 0 {
		t.Errorf("Data Stream: %d changed, %d bad signatures %q", e.changed, len(e.bad), e.bad)
	}
	want := len(sh.IDs(sandbox.Products))
	s.Await(polled.ID, 2*time.Minute, "products settle", func(st workflows.Status) bool {
		return st.Lag == 0 && count(t, direct, `SELECT count(DISTINCT _key) FROM products`) == want
	})
	st := s.Await(in.ID, time.Minute, "status", quiet)
	t.Logf("in quarantine: %d of warehouse, %d of company", len(quarantined(t, s, in.ID, "warehouse")), len(quarantined(t, s, in.ID, "company")))
	fmt.Printf("TestKills: %d kills, %d PostgreSQL crashes, %d resets, %d reinstalls; %d webhooks acknowledged, %d products; %d runs\n",
		killed, restarts, resets, reinstalls, load.n, want, st.Runs)
	if t.Failed() {
		t.Logf("child: %s", v.logs)
	}
}

// with adds what stands elsewhere and not here.
func (a tally) with(b tally) tally {
	for k, n := range b {
		a[k] = max(a[k], n)
	}
	return a
}

// quarantined are the payloads that an installation has in quarantine for a lane.
func quarantined(t *testing.T, s *stack.Stack, id, lane string) tally {
	t.Helper()
	ctx := context.Background()
	out := tally{}
	for _, l := range []string{lane, ""} {
		rows, err := s.Catalog.Quarantined(ctx, catalog.QuarantineFilter{Installation: id, Limit: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if row.Lane != l {
				continue
			}
			g, err := s.Segments.Load(ctx, row.Segment)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range g.Slice(row.Index, row.Index+1) {
				out[sha256.Sum256(r.Data)] = 1
			}
		}
	}
	return out
}

func count(t *testing.T, dsn, query string) int {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	n := 0
	if err := c.QueryRow(ctx, query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// reset takes an installation's run back to a workflow task in its middle.
func reset(t *testing.T, s *stack.Stack, id string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var tasks []int64
	it := s.Client.GetWorkflowHistory(ctx, id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		ev, err := it.Next()
		if err != nil {
			return false
		}
		if ev.EventType == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			tasks = append(tasks, ev.EventId)
		}
	}
	if len(tasks) < 3 {
		return false
	}
	d, err := s.Client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return false
	}
	_, err = s.Client.ResetWorkflowExecution(ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: d.WorkflowExecutionInfo.Execution, Reason: "chaos",
		WorkflowTaskFinishEventId: tasks[len(tasks)/2], RequestId: fmt.Sprint(tasks),
	})
	if err != nil {
		t.Logf("reset: %v", err)
	}
	return err == nil
}

// reinstall uninstalls, whatever is in flight, and installs anew: the sender learns the new URL.
func reinstall(t *testing.T, s *stack.Stack, old engine.Installed, timing workflows.Timing, load *sender) engine.Installed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := s.Update(ctx, s.Client, old.ID, workflows.UninstallUpdate, "", struct{}{}); err != nil {
		t.Fatal(err)
	}
	var summary workflows.Summary
	if err := s.Client.GetWorkflow(ctx, old.ID, "").Get(ctx, &summary); err != nil {
		t.Fatalf("uninstall: %v", err)
	}
	if len(summary.Left) > 0 {
		t.Logf("uninstall left %q", summary.Left)
	}
	in := s.Install("hooks", "u1", timing)
	load.setURL(in.HookURL)
	return in
}
