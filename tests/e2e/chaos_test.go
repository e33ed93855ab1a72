package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/connectors/webhook"
	"tributary/internal/engine"
	"tributary/internal/pgtest"
	"tributary/internal/sandbox"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// The kill test. A child process with worker and receiver is killed by SIGKILL at random moments under load, while its
// destinations fail, stall, lose answers and take only part of a batch, while workflows continue as new every few dozen events,
// are reset and installed anew, and PostgreSQL restarts. After every kill the load rests until all is settled, and then
// what was acknowledged with 200 or fetched stands in the destinations, each once, byte for byte: the multisets of (record ID, SHA-256 of
// the payload) are equal.
//
// TRIBUTARY_CHAOS_SEED repeats a run's choices, TRIBUTARY_CHAOS_FOR=1h goes on that long.

const kills = 50

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
	until := time.Now()
	if s := os.Getenv("TRIBUTARY_CHAOS_FOR"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		until = until.Add(d)
	}
	c := newChaos(t, seed)
	killed, resets, reinstalls, restarts := 0, 0, 0, 0
	resetDue := false // until a run has a middle to go back to
	for ; killed < kills || time.Now().Before(until); killed++ {
		c.trouble()
		time.Sleep(time.Duration(100+c.rng.IntN(900)) * time.Millisecond) // the load runs meanwhile
		c.child.kill()
		if killed%17 == 7 {
			restarts++
			c.server.Kill(t)
			c.server.Start(t)
		}
		if resetDue = resetDue || killed%17 == 12; resetDue && reset(t, c.Stack, c.hooks.ID) {
			resets++
			resetDue = false
		}
		c.spawn()
		if killed == kills/2 {
			c.calm()
			c.reinstall()
			reinstalls++
		}
		c.settled(fmt.Sprintf("after kill %d", killed+1))
	}
	fmt.Printf("TestKills: %d kills, %d PostgreSQL crashes, %d resets, %d reinstalls; %d webhooks acknowledged, %d products\n",
		killed, restarts, resets, reinstalls, len(c.load.acked), len(c.shop.IDs(sandbox.Products)))
	if unseen := unseen(c.Config.Dir, "postgres"); len(unseen) != 0 || resets == 0 || restarts == 0 || reinstalls == 0 {
		t.Errorf("something that the test is to cover did not happen; faults: %q", unseen)
	}
	fmt.Printf("TestKills: %d runs of workflows replay\n", replayAll(t, c.Stack, c.hooks.ID)+replayAll(t, c.Stack, c.products.ID))
	if c.endpoint.changed != 0 || len(c.endpoint.bad) != 0 {
		t.Errorf("Data Stream: %d changed, %d bad signatures %q", c.endpoint.changed, len(c.endpoint.bad), c.endpoint.bad)
	}
}

// chaos is what the kill test works with. The parent has the stores, but neither worker nor receiver: those are the child's.
type chaos struct {
	*stack.Stack
	t        *testing.T
	rng      *rand.Rand
	role     role
	child    *child
	server   *pgtest.Server
	proxy    *toxiproxy.Proxy
	direct   string // DSN around the proxy
	shop     *sandbox.Shop
	endpoint *endpoint
	timing   workflows.Timing

	hooks, products engine.Installed
	load            *sender
	creating        sync.Mutex // held while a product is made

	mu   sync.Mutex
	ease bool
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{t: t, rng: rand.New(rand.NewPCG(seed, 1)), server: pgtest.StartServer(t)}
	c.direct = c.server.DSN("postgres")
	pg, err := pgx.ParseConfig(c.direct)
	if err != nil {
		t.Fatal(err)
	}
	c.proxy = connectortest.Proxy(t, net.JoinHostPort(pg.Host, strconv.Itoa(int(pg.Port))))
	host, port, _ := net.SplitHostPort(c.proxy.Listen)
	number, _ := strconv.Atoi(port)

	c.Stack = stack.OpenStores(t, func(s *stack.Setup) {
		s.Connectors = unruly(seed)
		s.TaskTime = time.Second // the dead are waited for after every kill
	})
	c.role = role{Worker: true, Receiver: true, Config: c.Config, Temporal: c.Temporal, Seed: seed}
	c.Connect(vault.User(c.User), "webhook", webhook.Connection{Secret: hookSecret})
	c.Connect(vault.Operator, unrulyName("postgres"), postgres.Connection{Host: host, Port: number, Database: "postgres", User: pg.User, Password: pg.Password, SSLMode: "disable"})
	sh, conn := shop(t, sandbox.Options{Products: 400, Seed: seed})
	c.shop = sh
	c.Connect(vault.User(c.User), "shopify", conn)
	c.endpoint = connectEndpoint(t, c.Stack)
	moods := rand.New(rand.NewPCG(seed, 2))
	c.endpoint.mood = func() (int, bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ease {
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
	c.Define(fmt.Sprintf(`
name: hooks
source:
  connector: webhook
  settings: {preset: github, key: {body: .key}}
  trigger: realtime
  streams: [orders]
destinations:
  - {name: warehouse, connector: unruly-postgres, hidden: true, mode: append, settings: {table: hooks}}
  - {name: latest, connector: unruly-postgres, hidden: true, mode: upsert, settings: {table: latest}}
  - {name: company, connector: datastream, hidden: true, settings: {url: %q, timeout: 2s}}
`, c.endpoint.URL))
	c.Define(`
name: products
source:
  connector: shopify
  settings: {overlap: 1m, page_size: 20}
  trigger: {kind: polling, interval: 1s}
  streams: [products]
destinations:
  - {name: warehouse, connector: unruly-postgres, hidden: true, mode: append, settings: {table: products}}
`)
	c.spawn()
	c.timing = workflows.Timing{Events: 60, Heartbeat: time.Second, Backoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond,
		ChunkRecords: 60, Publish: time.Second, Roll: 8, Flush: 20 * time.Second}
	c.hooks = c.Install("hooks", c.User, c.timing)
	c.products = c.Install("products", c.User, c.timing)
	c.begin(seed)
	return c
}

// spawn starts the next victim. Most keep no workflows in memory: tasks for those that a dead worker kept wait for it for seconds.
func (c *chaos) spawn() {
	c.t.Helper()
	c.role.Config.StickyWorkflows = 0
	if c.rng.IntN(10) == 0 {
		c.role.Config.StickyWorkflows = c.Config.StickyWorkflows
	}
	c.role.Seed++
	c.child = spawn(c.t, c.role)
}

// begin begins the load; it ends with the test.
func (c *chaos) begin(seed uint64) {
	ctx, stop := context.WithCancel(context.Background())
	c.load = startSending(c.t, c.hooks.HookURL, seed, 6, 20*time.Millisecond, 900)
	var busy sync.WaitGroup
	c.t.Cleanup(func() { stop(); busy.Wait() })
	rng := rand.New(rand.NewPCG(seed, 3))
	busy.Go(func() {
		for ctx.Err() == nil {
			c.creating.Lock()
			c.shop.Create(sandbox.Products)
			c.creating.Unlock()
			rest(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
		}
	})
}

// trouble breaks something, or nothing, until calm.
func (c *chaos) trouble() {
	c.setEase(false)
	switch c.rng.IntN(6) {
	case 0:
		toxic(c.proxy, "latency", "upstream", map[string]any{"latency": 100 + c.rng.IntN(300)})
	case 1:
		toxic(c.proxy, "timeout", "downstream", map[string]any{"timeout": 0}) // answers are lost
	case 2:
		toxic(c.proxy, "reset_peer", "downstream", map[string]any{"timeout": c.rng.IntN(300)})
	}
}

func (c *chaos) calm() {
	c.proxy.Toxics.ResetToxics(context.Background())
	c.setEase(true)
}

func (c *chaos) setEase(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ease = on
}

// settleTime bounds how long after a kill all must have arrived; heartbeats and the ledger's locks of dead writers are in it. It is longer
// than an activity's StartToCloseTimeout, by which a dead worker's work comes again at the latest: late is not lost.
const settleTime = 3 * time.Minute

// slowTime is after how long a settling says what it waits for.
const slowTime = 15 * time.Second

// portrait is what is to be known of an installation that does not come to rest.
func (c *chaos) portrait(id string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, err := c.Status(ctx, c.Client, id, "")
	raw, _ := json.Marshal(st)
	text := fmt.Sprintf("%s: status %s (%v)", id, raw, err)
	d, err := c.Client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return text + fmt.Sprintf("; describe: %v", err)
	}
	if task := d.PendingWorkflowTask; task != nil {
		text += fmt.Sprintf("\npending workflow task %s", task)
	}
	for _, a := range d.PendingActivities {
		text += fmt.Sprintf("\npending activity %s", a)
	}
	return text
}

// settled lets the load and the faults rest until all has arrived, and ends the test where that does not come.
func (c *chaos) settled(when string) {
	c.t.Helper()
	begun := time.Now()
	c.calm()
	defer c.load.still(c.t, settleTime)()
	c.creating.Lock()
	defer c.creating.Unlock()
	acked, last := c.load.acknowledged()
	var problems []string
	slow := begun.Add(slowTime)
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(slow) {
			c.t.Logf("%s: not settled after %s: %q\n%s\n%s", when, time.Since(begun).Round(time.Second), problems, c.portrait(c.hooks.ID), c.portrait(c.products.ID))
			slow = slow.Add(slowTime)
		}
		if c.behind(c.hooks.ID) || c.behind(c.products.ID) {
			problems = []string{"something is still to be delivered"}
			continue
		}
		if problems = c.compare(acked, last); len(problems) == 0 {
			c.t.Logf("%s: %d webhooks and %d products settled within %s", when, len(acked), len(c.shop.IDs(sandbox.Products)), time.Since(begun).Round(time.Millisecond))
			return
		}
	}
	c.t.Fatalf("%s: not right within %s: %q", when, settleTime, problems)
}

// behind asks an installation whether it owes something.
func (c *chaos) behind(id string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, err := c.Status(ctx, c.Client, id, "")
	return err != nil || st.Lag != 0
}

// compare says in which destinations there is something else than what was acknowledged or fetched. What an uninstall could not
// deliver within its bound is in quarantine, which is no loss (I4).
func (c *chaos) compare(acked tally, last map[string]thing) (problems []string) {
	c.t.Helper()
	wrong := func(where string, want, got, quarantined tally) {
		_, surplus := want.diff(got)
		missing, _ := want.diff(got.with(quarantined))
		if missing+surplus != 0 {
			problems = append(problems, fmt.Sprintf("%s: %d of %d missing, %d never acknowledged, changed or doubled", where, missing, len(want), surplus))
		}
	}
	wrong("PostgreSQL", acked, rowsOf(c.t, c.direct, "hooks", "_id"), held(c.t, c.Stack, c.hooks.ID, "warehouse"))
	wrong("Data Stream", acked, c.endpoint.tally(), held(c.t, c.Stack, c.hooks.ID, "company"))

	// Versions are unknown, so of each key the last one sent stays: a batch that took effect again would bring back an older one (I5).
	latest, quarantined := rowsOf(c.t, c.direct, "latest", "_id"), held(c.t, c.Stack, c.hooks.ID, "latest")
	for key, thing := range last {
		if latest[thing] != 1 && quarantined[thing] == 0 {
			problems = append(problems, fmt.Sprintf("latest: %s is not %s", key, thing.id))
		}
	}

	served := tally{}
	for _, node := range c.shop.Served() {
		served[thing{strconv.FormatInt(node.ID, 10), node.SHA256}] = 1
	}
	if made := len(c.shop.IDs(sandbox.Products)); len(served) != made {
		problems = append(problems, fmt.Sprintf("products: %d of %d fetched", len(served), made))
	}
	wrong("products", served, rowsOf(c.t, c.direct, "products", "_key"), held(c.t, c.Stack, c.products.ID, "warehouse"))
	return problems
}

// reinstall uninstalls, whatever is in flight, and installs anew: the senders learn the new URL.
func (c *chaos) reinstall() {
	c.t.Helper()
	uninstall(c.t, c.Stack, c.hooks.ID)
	c.hooks = c.Install("hooks", c.User, c.timing)
	c.load.setURL(c.hooks.HookURL)
}

// uninstall uninstalls, whatever is in flight, and returns when the workflow has ended.
func uninstall(t *testing.T, s *stack.Stack, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := s.Update(ctx, s.Client, id, workflows.UninstallUpdate, "", struct{}{}); err != nil {
		t.Fatal(err)
	}
	var summary workflows.Summary
	if err := s.Client.GetWorkflow(ctx, id, "").Get(ctx, &summary); err != nil {
		t.Fatalf("uninstall: %v", err)
	}
	if len(summary.Left) > 0 {
		t.Logf("uninstall left %q", summary.Left)
	}
}

func toxic(p *toxiproxy.Proxy, kind, stream string, attributes map[string]any) {
	raw, _ := json.Marshal(map[string]any{"name": kind + stream, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes})
	_, _ = p.Toxics.AddToxicJson(bytes.NewReader(raw))
}

// reset takes an installation's run back to a workflow task in its middle, and says whether it could: a run that has just begun has none.
func reset(t *testing.T, s *stack.Stack, id string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var tasks []int64
	it := s.Client.GetWorkflowHistory(ctx, id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		ev, err := it.Next()
		if err != nil {
			t.Logf("reset: %v", err)
			return false
		}
		if ev.EventType == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			tasks = append(tasks, ev.EventId)
		}
	}
	if len(tasks) == 0 {
		return false
	}
	d, err := s.Client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		t.Logf("reset: %v", err)
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
