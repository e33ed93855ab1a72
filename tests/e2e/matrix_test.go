package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"

	"tributary/connectors"
	"tributary/connectors/webhook"
	"tributary/internal/catalog"
	"tributary/internal/engine"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

const matrixKills = 8

// TestEveryDestinationAtOnce has one installation write to every destination there is. Its worker is killed and frozen again and again, its receiver
// killed, its workflow reset, and it is installed anew; every destination is unruly, one is down for the whole time and one answers
// slowly. The others are complete, each record once, by the means that its page in docs/destinations says (I3, I4, I11).
func TestEveryDestinationAtOnce(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	wasReset := false
	for killed := range matrixKills {
		m.busy(300, 1500)
		switch killed % 3 {
		case 0:
			m.worker.kill()
		case 1:
			m.worker.kill()
			m.receiver.kill()
			m.receiver = m.spawn(role{Receiver: true})
		case 2:
			m.freeze()
		}
		if killed >= matrixKills/4 && !wasReset {
			wasReset = reset(t, m.Stack, m.in.ID)
		}
		if killed%3 != 2 {
			m.worker = m.spawn(role{Worker: true})
		}
		if killed == matrixKills/2 {
			m.reinstall()
		}
	}
	eventually(t, settleTime, "a reset of the workflow", func() bool {
		wasReset = wasReset || reset(t, m.Stack, m.in.ID)
		return wasReset
	})
	eventually(t, settleTime, "every fault of every destination", func() bool { return len(m.unseen()) == 0 })
	defer m.load.still(t, settleTime)()
	m.complete("all but the one that is down", "down")
	if l := m.lane("down"); l.Delivered != 0 || l.Lag == 0 {
		t.Errorf("the destination that is down got %d, %d wait", l.Delivered, l.Lag)
	}
	if err := m.wire.Start(); err != nil {
		t.Fatal(err)
	}
	m.complete("the one that was down", "")
	m.worker.kill() // it has the DuckDB file open
	m.compare()
}

// matrix is one installation that writes to every destination. Worker and receiver are processes of their own.
type matrix struct {
	*stack.Stack
	t                *testing.T
	rng              *rand.Rand
	places           []place
	wire             *toxiproxy.Proxy // to the destination that is down
	timing           workflows.Timing
	worker, receiver *child
	seed             uint64
	in               engine.Installed
	load             *sender
}

func newMatrix(t *testing.T) *matrix {
	m := &matrix{t: t, rng: rand.New(rand.NewPCG(7, 7))}
	m.Stack = stack.OpenStores(t, func(s *stack.Setup) {
		s.TaskTime = time.Second
		s.Connectors = unruly(0)
	})
	m.Connect(vault.User(m.User), "webhook", webhook.Connection{Secret: hookSecret})
	down, wire := fragilePlace(t)
	wire.Stop()
	m.wire = wire
	m.places = append(everyPlace(t, m.Stack), down)
	for _, d := range unruly(0) {
		name := strings.TrimPrefix(d.Name, unrulyName(""))
		// MySQL is had by make test-slow alone; MariaDB's connector is the same code.
		absent := name == "mysql" && os.Getenv(mysqlVariable) == ""
		if !absent && !slices.ContainsFunc(m.places, func(p place) bool { return p.connector == name }) {
			t.Errorf("%s is nowhere", name)
		}
	}
	var blocks strings.Builder
	for _, p := range m.places {
		connection := ""
		if p.connection != nil {
			m.ConnectAs(vault.Operator, unrulyName(p.connector), p.name, p.connection)
			connection = "connection: " + p.name + ", "
		}
		block := func(name string, mode connectors.Mode, table string) {
			settings := maps.Clone(p.settings)
			if p.table != "" {
				settings = map[string]any{p.table: table}
				maps.Copy(settings, p.settings)
			}
			raw, err := json.Marshal(settings)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&blocks, "  - {name: %s, %sconnector: %s, hidden: true, mode: %s, settings: %s}\n", name, connection, unrulyName(p.connector), mode, raw)
		}
		block(p.name, connectors.Append, changes)
		if p.table != "" && p.name != down.name {
			block(latestOf(p), connectors.ModeUpsert, latest)
		}
	}
	m.Define(`
name: everywhere
source:
  connector: webhook
  settings: {preset: github, key: {body: .key}}
  trigger: realtime
  streams: [orders]
destinations:
` + blocks.String())
	m.worker, m.receiver = m.spawn(role{Worker: true}), m.spawn(role{Receiver: true})
	m.timing = workflows.Timing{Events: 200, Heartbeat: time.Second, Backoff: 50 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, Flush: 3 * time.Second}
	m.install()
	m.load = startSending(t, m.in.HookURL, 7, 4, 40*time.Millisecond, 300)
	return m
}

// latestOf is the lane to a place that has of each object the latest change.
func latestOf(p place) string { return p.name + "-latest" }

func (m *matrix) spawn(r role) *child {
	m.t.Helper()
	m.seed++
	r.Config, r.Temporal, r.Seed = m.Config, m.Temporal, m.seed
	return spawn(m.t, r)
}

// busy lets the load run for a while, in milliseconds.
func (m *matrix) busy(from, to int) {
	time.Sleep(time.Duration(from+m.rng.IntN(to-from)) * time.Millisecond)
}

// freeze has a second worker take over from one that is only asleep: what that one has begun goes on after the second's attempts at it.
func (m *matrix) freeze() {
	m.t.Helper()
	first := m.worker
	first.signal(syscall.SIGSTOP)
	m.worker = m.spawn(role{Worker: true})
	m.busy(1000, 2500) // more than a heartbeat
	first.signal(syscall.SIGCONT)
	m.busy(300, 800)
	first.kill()
}

func (m *matrix) reinstall() {
	m.t.Helper()
	goOn := m.load.still(m.t, settleTime)
	m.complete("all but the one that is down, before the uninstall", "down")
	goOn()
	m.busy(100, 500)
	uninstall(m.t, m.Stack, m.in.ID)
	m.install()
	m.load.setURL(m.in.HookURL)
}

// install installs while everything is up, as it is checked, and before anything can be sent.
func (m *matrix) install() {
	m.t.Helper()
	if err := m.wire.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.in = m.Install("everywhere", m.User, m.timing)
	m.wire.Stop()
}

// unseen are the faults that a destination has not had, by its connector.
func (m *matrix) unseen() map[string][]fault {
	all := make(map[string][]fault)
	for _, p := range m.places {
		if f := unseen(m.Config.Dir, p.connector); len(f) > 0 {
			all[p.connector] = f
		}
	}
	return all
}

// complete waits until all that was acknowledged is in the destinations, but for one.
func (m *matrix) complete(what, but string) {
	m.t.Helper()
	acked, _ := m.load.acknowledged()
	m.Await(m.in.ID, settleTime, what, func(st workflows.Status) bool {
		for _, l := range st.Lanes {
			if l.Name != but && l.Lag != 0 {
				return false
			}
		}
		// One destination has been told of all of them, and so have the others.
		first := m.places[0]
		missing, _ := acked.diff(first.arrived(m.t, changes).with(held(m.t, m.Stack, m.in.ID, first.name)))
		return missing == 0
	})
}

func (m *matrix) lane(name string) workflows.LaneStatus {
	m.t.Helper()
	st := m.Await(m.in.ID, settleTime, "the status", func(workflows.Status) bool { return true })
	i := slices.IndexFunc(st.Lanes, func(l workflows.LaneStatus) bool { return l.Name == name })
	return st.Lanes[i]
}

// compare looks for what was acknowledged in each destination. What an uninstall could not deliver within its bound is in quarantine, which is no
// loss (I4); nothing else is there.
func (m *matrix) compare() {
	m.t.Helper()
	rows, err := m.Catalog.Quarantined(context.Background(), catalog.QuarantineFilter{Installation: m.in.ID, Limit: 100_000})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, row := range rows {
		if row.Kind != connectors.Gone {
			m.t.Fatalf("record %s is in quarantine for %s: %s", row.RecordID, row.Lane, row.Reason)
		}
	}
	acked, last := m.load.acknowledged()
	for _, p := range m.places {
		got := p.arrived(m.t, changes)
		there := len(got)
		_, surplus := acked.diff(got)
		if p.again != nil {
			surplus = p.again(m.t)
			for thing := range got {
				if acked[thing] == 0 {
					surplus++
				}
			}
		}
		missing, _ := acked.diff(got.with(held(m.t, m.Stack, m.in.ID, p.name)))
		old := 0
		if p.table != "" && p.name != "down" {
			// Versions are unknown, so of each key the last one sent stays: a batch that took effect again would bring back an older one (I5).
			stands, quarantined := p.arrived(m.t, latest), held(m.t, m.Stack, m.in.ID, latestOf(p))
			for _, thing := range last {
				if stands[thing] != 1 && quarantined[thing] == 0 {
					old++
				}
			}
		}
		if missing+surplus+old != 0 {
			m.t.Errorf("%s: %d of %d missing, %d never acknowledged, changed or doubled; of %d objects %d are not the latest", p.name, missing, len(acked), surplus, len(last), old)
		}
		m.t.Logf("%s: %d of %d records, the others were uninstalled", p.name, there, len(acked))
	}
}
