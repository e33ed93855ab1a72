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

// app is the stand-in of a source in the kill test. Its methods are for one goroutine at a time. What it has is named by stream and key: contacts/101.
type app interface {
	// change makes a change, and tells of it until that is acknowledged, where the app itself tells of changes.
	change(ctx context.Context, rng *rand.Rand)
	// quiet returns when nothing that the app sends is under way.
	quiet(ctx context.Context) error
	// live is each object that there is.
	live() map[string]state
	// acked is what webhooks brought that were answered with 200: by name, and as often as it must be there.
	acked() tally
	// served is what was read from the app, by name.
	served() tally
}

// state is an object as it is: its version, and the SHA-256 of its payload; zero = it is not known.
type state struct {
	version int64
	sum     [32]byte
}

// sourceCase is a way to get the changes of an app.
type sourceCase struct {
	name     string
	source   string // the block
	https    bool   // the app calls no other URLs
	start    func(t *testing.T, s *stack.Stack, hooks bool) app
	hooks    bool // the app tells of its changes
	receives bool // webhooks arrive as they come
	polls    bool
	versions bool // of webhooks and polls are those of the objects
	returns  bool // an object may be again what it was, when it is restored or a quantity is
}

var sourceCases = []sourceCase{
	{name: "hubspot realtime", start: startHubspot, https: true, hooks: true, receives: true,
		source: `{connector: hubspot, trigger: realtime, streams: [contacts]}`},
	{name: "hubspot realtime whole", start: startHubspot, https: true, hooks: true, versions: true, returns: true,
		source: `{connector: hubspot, settings: {receive: object}, trigger: realtime, streams: [contacts]}`},
	{name: "hubspot polling", start: startHubspot, polls: true, versions: true,
		source: `{connector: hubspot, settings: {overlap: 10s, deletions: 1s}, trigger: {kind: polling, interval: 1s}, streams: [contacts]}`},
	{name: "hubspot both", start: startHubspot, https: true, hooks: true, polls: true, versions: true, returns: true,
		source: `{connector: hubspot, settings: {receive: object, overlap: 10s, deletions: 1s}, trigger: {kind: both, interval: 1s}, streams: [contacts]}`},
	{name: "shopify realtime", start: startShopify, hooks: true, receives: true, versions: true,
		source: `{connector: shopify, trigger: realtime, streams: [customers, products]}`},
	{name: "shopify polling", start: startShopify, polls: true, versions: true,
		source: `{connector: shopify, settings: {overlap: 10s, page_size: 20}, trigger: {kind: polling, interval: 1s}, streams: [customers, products]}`},
	{name: "shopify both", start: startShopify, hooks: true, receives: true, polls: true, versions: true,
		source: `{connector: shopify, settings: {overlap: 10s, page_size: 20}, trigger: {kind: both, interval: 1s}, streams: [customers, products]}`},
	{name: "shopify bulk", start: startBulkShopify, polls: true, versions: true,
		source: `{connector: shopify, settings: {overlap: 10s, bulk: always}, trigger: {kind: polling, interval: 1s}, streams: [customers, products]}`},
	{name: "magento polling", start: startMagento, polls: true, versions: true, returns: true,
		source: `{connector: magento, settings: {overlap: 10s, page_size: 20}, trigger: {kind: polling, interval: 1s}, streams: [orders, customers, products, stock]}`},
	{name: "netsuite polling", start: startNetsuite, polls: true, versions: true,
		source: `{connector: netsuite, settings: {overlap: 10s, page_size: 50}, trigger: {kind: polling, interval: 1s}, streams: [customer]}`},
}

// TestKillsOfSources kills worker and receiver of each source while its app's objects are made, changed and deleted. Then what a webhook brought
// that was acknowledged stands in an appended table as often as it happened, byte for byte; what polls and bulk operations bring is there once, as the app
// gave it, also when it is again what it was before; and a table of the newest versions is the app (I1, I2, I3, I5).
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
	a := c.start(t, s, c.hooks)
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

// named is what an app calls a row's object, and firstAttempt its payload as it was delivered first: HubSpot numbers its attempts inside the body.
const (
	named        = `_stream || '/' || _key`
	firstAttempt = `regexp_replace(data::text, '"attemptNumber":[0-9]+', '"attemptNumber":0')`
)

// compare says what is wrong in the tables.
func (c sourceCase) compare(t *testing.T, a app, dsn string) (problems []string) {
	t.Helper()
	log, acked := rowsAs(t, dsn, "log", named, firstAttempt), a.acked()
	if len(log) == 0 {
		return []string{"nothing has arrived"}
	}
	if c.receives && !c.polls {
		if missing, surplus := acked.diff(log); missing+surplus != 0 {
			problems = append(problems, fmt.Sprintf("%d of %d webhooks missing, %d never acknowledged, changed or doubled", missing, len(acked), surplus))
		}
	} else {
		rows := log
		if c.returns {
			rows = tally{}
			for row := range log {
				rows[row] = 1
			}
		}
		// What was served to a worker that was killed may have changed until it was read again, so that only the newest version must be there.
		if _, surplus := a.served().with(acked).diff(rows); surplus != 0 {
			problems = append(problems, fmt.Sprintf("%d are not as they were given, or doubled", surplus))
		}
	}
	if n := count(t, dsn, "SELECT count(*) - count(DISTINCT _id) FROM log"); n != 0 {
		problems = append(problems, fmt.Sprintf("%d IDs are there again", n))
	}
	if !c.receives && c.polls {
		// An object that was restored is a change with the bytes of the one before it and a version of its own. It may follow that one at once: what the
		// object became before it was archived can be read only when it is back.
		if n := count(t, dsn, `SELECT count(*) FROM (SELECT (data::text, _version) AS now, lag((data::text, _version)) OVER (PARTITION BY _stream, _key ORDER BY _ordinal)
			AS before FROM log) AS row WHERE now = before`); n != 0 {
			problems = append(problems, fmt.Sprintf("%d are changes to what was there already", n))
		}
	}
	if !c.versions {
		return problems
	}
	live, rows := a.live(), statesOf(t, dsn, "latest", "WHERE _op = 'upsert'")
	logged := statesOf(t, dsn, "log", "ORDER BY _version, _ordinal")
	for name, is := range live {
		row, there := rows[name]
		if delete(rows, name); !there || !is.fits(row) {
			problems = append(problems, fmt.Sprintf("%s is not there as of %d but of %d, or as something else", name, is.version, row.version))
		}
		if newest, there := logged[name]; !there || !is.fits(newest) {
			problems = append(problems, fmt.Sprintf("the newest of %s in the log is not what it is", name))
		}
	}
	for name := range rows {
		problems = append(problems, name+" is there and deleted")
	}
	return problems[:min(len(problems), 10)]
}

// fits says that a row is the object.
func (is state) fits(row state) bool {
	return is.version == row.version && (is.sum == [32]byte{} || is.sum == row.sum)
}

// statesOf reads a table's rows by name: of several of one name, the last one in that order.
func statesOf(t *testing.T, dsn, table, clauses string) map[string]state {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	out := map[string]state{}
	if count(t, dsn, "SELECT count(*) FROM pg_tables WHERE tablename = $1", table) == 0 {
		return out // the table is made by the first write
	}
	rows, err := conn.Query(ctx, "SELECT "+named+", _version, sha256(convert_to(data::text, 'UTF8')) FROM "+table+" "+clauses)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var version int64
	var sum []byte
	if _, err := pgx.ForEachRow(rows, []any{&name, &version, &sum}, func() error { out[name] = state{version, [32]byte(sum)}; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}
