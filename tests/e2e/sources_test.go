package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// sourceKills is how often each source's worker and receiver are killed.
const sourceKills = 6

// app is the stand-in of a source in the kill test. Its methods are for one goroutine at a time.
type app interface {
	// change makes a change, and tells of it until that is acknowledged, where the app itself tells of changes.
	change(ctx context.Context, rng *rand.Rand)
	// quiet returns when nothing that the app sends is under way.
	quiet(ctx context.Context) error
	// live is the version of each object that there is.
	live() map[string]int64
	// acked is what webhooks brought that were answered with 200: by key, and as often as it must be there.
	acked() tally
	// served is what was read from the app, by key; nil = it is not known.
	served() tally
}

// sourceCase is a way to get the changes of an app.
type sourceCase struct {
	name, stream string
	source       string // the block
	https        bool   // the app calls no other URLs
	start        func(t *testing.T, s *stack.Stack) app
	receives     bool // webhooks arrive as they come
	polls        bool
	versions     bool // of webhooks and polls are those of the objects
}

var sourceCases = []sourceCase{
	{name: "hubspot realtime", stream: "contacts", start: startHubspot, https: true, receives: true,
		source: `{connector: hubspot, trigger: realtime, streams: [contacts]}`},
	{name: "hubspot realtime whole", stream: "contacts", start: startHubspot, https: true, versions: true,
		source: `{connector: hubspot, settings: {receive: object}, trigger: realtime, streams: [contacts]}`},
	{name: "hubspot polling", stream: "contacts", start: startHubspot, polls: true, versions: true,
		source: `{connector: hubspot, settings: {overlap: 10s, deletions: 1s}, trigger: {kind: polling, interval: 1s}, streams: [contacts]}`},
	{name: "hubspot both", stream: "contacts", start: startHubspot, https: true, polls: true, versions: true,
		source: `{connector: hubspot, settings: {receive: object, overlap: 10s, deletions: 1s}, trigger: {kind: both, interval: 1s}, streams: [contacts]}`},
	{name: "shopify realtime", stream: "customers", start: startShopify, receives: true, versions: true,
		source: `{connector: shopify, trigger: realtime, streams: [customers]}`},
	{name: "shopify polling", stream: "customers", start: startShopify, polls: true, versions: true,
		source: `{connector: shopify, settings: {overlap: 10s, page_size: 20}, trigger: {kind: polling, interval: 1s}, streams: [customers]}`},
	{name: "shopify both", stream: "customers", start: startShopify, receives: true, polls: true, versions: true,
		source: `{connector: shopify, settings: {overlap: 10s, page_size: 20}, trigger: {kind: both, interval: 1s}, streams: [customers]}`},
	{name: "shopify bulk", stream: "customers", start: startBulkShopify, polls: true, versions: true,
		source: `{connector: shopify, settings: {overlap: 10s, bulk: always}, trigger: {kind: polling, interval: 1s}, streams: [customers]}`},
	{name: "netsuite polling", stream: "customer", start: startNetsuite, polls: true, versions: true,
		source: `{connector: netsuite, settings: {overlap: 10s, page_size: 50}, trigger: {kind: polling, interval: 1s}, streams: [customer]}`},
}

// TestKillsOfSources kills worker and receiver of each source while its app's objects are made, changed and deleted. Then what a webhook brought
// that was acknowledged stands in an appended table as often as it happened, byte for byte; what polls bring is there once, as the app gave it; and a
// table of the newest versions is the app (I1, I2, I3, I5).
//
// TRIBUTARY_CHAOS_SEED repeats a run's choices.
func TestKillsOfSources(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("TRIBUTARY_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("TestKillsOfSources: TRIBUTARY_CHAOS_SEED=%d\n", seed)
	for i, c := range sourceCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, rand.New(rand.NewPCG(seed, uint64(i))), rand.New(rand.NewPCG(seed, uint64(100+i))))
		})
	}
}

func (c sourceCase) run(t *testing.T, kills, changes *rand.Rand) {
	s := stack.OpenStores(t, func(s *stack.Setup) {
		s.TaskTime = time.Second
		s.StickyWorkflows = 0
		if c.https {
			s.PublicURL = "https://hooks.example.com"
		}
	})
	dsn := pgtest.Database(t)
	s.Connect(vault.Operator, "postgres", postgres.Connection{URL: dsn})
	a := c.start(t, s)
	s.Define(fmt.Sprintf(`
name: changes
source: %s
destinations:
  - {name: log, connector: postgres, hidden: true, mode: append, settings: {table: log}}
  - {name: latest, connector: postgres, hidden: true, mode: upsert, settings: {table: latest}}
`, c.source))
	play := role{Worker: true, Receiver: true, Config: s.Config, Temporal: s.Temporal}
	victim := spawn(t, play)
	in := s.Install("changes", s.User, workflows.Timing{Events: 150, Heartbeat: time.Second, Backoff: 50 * time.Millisecond,
		MaxBackoff: 500 * time.Millisecond, ChunkRecords: 60, Publish: time.Second, Roll: 8, Flush: 20 * time.Second})

	ctx, stop := context.WithCancel(context.Background())
	var load sync.WaitGroup
	t.Cleanup(func() { stop(); load.Wait() })
	enough := make(chan struct{})
	made := 0
	load.Go(func() {
		for ; ctx.Err() == nil; made++ {
			select {
			case <-enough:
				return
			default:
			}
			a.change(ctx, changes)
			rest(ctx, time.Duration(20+changes.IntN(60))*time.Millisecond)
		}
	})
	for range sourceKills {
		time.Sleep(time.Duration(300+kills.IntN(1200)) * time.Millisecond) // the load runs meanwhile
		victim.kill()
		victim = spawn(t, play)
	}
	close(enough)
	load.Wait()
	quiet, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := a.quiet(quiet); err != nil {
		t.Fatal(err)
	}
	var problems []string
	for deadline := time.Now().Add(settleTime); ; time.Sleep(100 * time.Millisecond) {
		if problems = c.compare(t, a, dsn); len(problems) == 0 && c.atRest(s, in.ID) {
			break
		}
		if time.Now().After(deadline) {
			st, err := s.Status(ctx, s.Client, in.ID, "")
			t.Fatalf("not right within %s: %q; status %+v (%v)", settleTime, problems, st, err)
		}
	}
	if q := held(t, s, in.ID, "log"); len(q) != 0 {
		t.Errorf("%d records are in quarantine", len(q))
	}
	t.Logf("%d changes, %d webhooks acknowledged, %d objects live, over %d kills", made, len(a.acked()), len(a.live()), sourceKills)
}

func (c sourceCase) atRest(s *stack.Stack, id string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, err := s.Status(ctx, s.Client, id, "")
	return err == nil && st.Lag == 0
}

// firstAttempt is a payload as it was delivered first: HubSpot numbers its attempts inside the body.
const firstAttempt = `regexp_replace(data::text, '"attemptNumber":[0-9]+', '"attemptNumber":0')`

// compare says what is wrong in the tables.
func (c sourceCase) compare(t *testing.T, a app, dsn string) (problems []string) {
	t.Helper()
	log, acked, served := rowsAs(t, dsn, "log", "_key", firstAttempt), a.acked(), a.served()
	if len(log) == 0 {
		return []string{"nothing has arrived"}
	}
	if c.receives && !c.polls {
		if missing, surplus := acked.diff(log); missing+surplus != 0 {
			problems = append(problems, fmt.Sprintf("%d of %d webhooks missing, %d never acknowledged, changed or doubled", missing, len(acked), surplus))
		}
	} else if served != nil {
		// What was served to a worker that was killed may have changed until it was read again, so that only the newest version must be there.
		if _, surplus := served.with(acked).diff(log); surplus != 0 {
			problems = append(problems, fmt.Sprintf("%d are not as they were given, or doubled", surplus))
		}
	}
	if n := count(t, dsn, "SELECT count(*) - count(DISTINCT _id) FROM log"); n != 0 {
		problems = append(problems, fmt.Sprintf("%d IDs are there again", n))
	}
	if !c.versions {
		return problems
	}
	live, rows := a.live(), versionsOf(t, dsn, "SELECT _key, _version FROM latest WHERE _op = 'upsert'")
	for key, version := range live {
		switch rows[key] {
		case version:
			delete(rows, key)
		default:
			problems = append(problems, fmt.Sprintf("%s is not there as of %d but of %d", key, version, rows[key]))
			delete(rows, key)
		}
	}
	for key := range rows {
		problems = append(problems, key+" is there and deleted")
	}
	logged := versionsOf(t, dsn, "SELECT _key, max(_version) FROM log GROUP BY _key")
	for key, version := range live {
		if logged[key] != version {
			problems = append(problems, fmt.Sprintf("the log has not the newest version of %s", key))
		}
	}
	return problems[:min(len(problems), 10)]
}

func versionsOf(t *testing.T, dsn, query string) map[string]int64 {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	out := map[string]int64{}
	if count(t, dsn, "SELECT count(*) FROM pg_tables WHERE tablename = 'latest'") == 0 {
		return out // the table is made by the first write
	}
	rows, err := conn.Query(ctx, query)
	if err != nil {
		t.Fatal(err)
	}
	var key string
	var version int64
	if _, err := pgx.ForEachRow(rows, []any{&key, &version}, func() error { out[key] = version; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}
