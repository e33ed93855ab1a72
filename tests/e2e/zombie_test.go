package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/connectors/postgres"
	"tributary/connectors/webhook"
	"tributary/internal/engine"
	"tributary/internal/pgtest"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// A zombie is the first attempt of a write, given up because its worker was silent, that still reaches the destination after the
// second attempt began. Whatever the two do, each record takes effect once (I3), and an older one never comes back over a newer one (I5):
// versions are unknown here, so that only the ledger can tell.
func TestZombies(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	for _, c := range []struct {
		name string
		// word is where the first attempt is held back.
		word string
		// meanwhile waits until the second attempt is as far as it is to be before the first goes on.
		meanwhile func(z *zombie)
		frozen    bool // the first worker is stopped and goes on later; else it is killed
	}{
		{"dead worker's commit arrives while the second attempt waits", "COMMIT\x00", (*zombie).secondWaits, false},
		{"frozen worker's commit arrives while the second attempt waits", "COMMIT\x00", (*zombie).secondWaits, true},
		{"frozen worker's transaction begins after the second attempt", "BEGIN ISOLATION", (*zombie).secondIsDone, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			z := newZombie(t, server)
			z.send("one", 1)
			z.settled("the first record")
			z.countEffects()

			held := z.gate.hold(c.word, "COMMIT\x00", "ROLLBACK\x00")
			z.send("two", 2)
			within(t, time.Minute, "first attempt", held.caught)
			if c.frozen {
				z.first.signal(syscall.SIGSTOP)
			} else {
				z.first.kill()
			}
			spawn(t, z.role)
			c.meanwhile(z)
			close(held.released)
			z.first.signal(syscall.SIGCONT)
			within(t, time.Minute, "the zombie's last word", held.ended)
			z.settled("both attempts")

			z.send("last", 4)
			z.settled("the last record")
			if n := count(t, z.dsn, `SELECT count(*) FROM (SELECT id FROM effects GROUP BY id HAVING count(*) > 1) again`); n != 0 {
				t.Errorf("%d records took effect more than once", n)
			}
			if n := count(t, z.dsn, `SELECT count(DISTINCT id) FROM effects WHERE id IN ('two', 'last')`); n != 2 {
				t.Errorf("%d of 2 records took effect", n)
			}
			if n := count(t, z.dsn, `SELECT (data->>'n')::int FROM orders`); n != 4 {
				t.Errorf("record %d stands, not the last one", n)
			}
		})
	}
}

type zombie struct {
	t     *testing.T
	s     *stack.Stack
	in    engine.Installed
	role  role
	first *child
	gate  *gate
	dsn   string
	sent  int64
}

// newZombie installs a lane in upsert mode that writes through a gate. The receiver is the test's, the workers are children.
func newZombie(t *testing.T, server *pgtest.Server) *zombie {
	t.Helper()
	z := &zombie{t: t, dsn: server.Database(t)}
	pg, err := pgx.ParseConfig(z.dsn)
	if err != nil {
		t.Fatal(err)
	}
	z.gate = newGate(t, net.JoinHostPort(pg.Host, strconv.Itoa(int(pg.Port))))
	host, port, _ := net.SplitHostPort(z.gate.address)
	number, _ := strconv.Atoi(port)

	z.s = stack.OpenStores(t, func(s *stack.Setup) { s.TaskTime = time.Second })
	if z.s.Receiver, err = z.s.StartReceiver(context.Background(), z.s.Client); err != nil {
		t.Fatal(err)
	}
	z.s.Connect(vault.User(z.s.User), "webhook", webhook.Connection{Secret: hookSecret})
	z.s.Connect(vault.Operator, "postgres", postgres.Connection{Host: host, Port: number, Database: pg.Database, User: pg.User, Password: pg.Password, SSLMode: "disable"})
	z.s.Define(`
name: hooks
source:
  connector: webhook
  settings: {preset: github, key: {body: .key}}
  trigger: realtime
  streams: [orders]
destinations:
  - {name: latest, connector: postgres, hidden: true, mode: upsert}
`)
	z.role = role{Worker: true, Config: z.s.Config, Temporal: z.s.Temporal}
	z.first = spawn(t, z.role)
	z.in = z.s.Install("hooks", z.s.User, workflows.Timing{Heartbeat: time.Second, Backoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond})
	return z
}

// send delivers a webhook about the one object there is.
func (z *zombie) send(id string, n int) {
	z.t.Helper()
	status, err := post(context.Background(), z.in.HookURL, id, "orders", fmt.Appendf(nil, `{"key":"k","n":%d}`, n))
	if err != nil || status != http.StatusOK {
		z.t.Fatalf("%s: %d %v", id, status, err)
	}
	z.sent++
}

// settled waits until all that was sent is delivered.
func (z *zombie) settled(what string) {
	z.t.Helper()
	z.s.Await(z.in.ID, time.Minute, what, stack.Settled(z.sent))
}

// countEffects has the database note each time that a record changes the table from now on.
func (z *zombie) countEffects() {
	z.t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, z.dsn)
	if err != nil {
		z.t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, `CREATE TABLE effects (id text);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO effects VALUES (NEW._id); RETURN NULL; END $$;
		CREATE TRIGGER note AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION note()`); err != nil {
		z.t.Fatal(err)
	}
}

// secondWaits returns when the second attempt waits for what the first has locked.
func (z *zombie) secondWaits() {
	z.t.Helper()
	eventually(z.t, time.Minute, "the second attempt", func() bool {
		return count(z.t, z.dsn, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
	})
}

// secondIsDone returns when the second attempt has written, and a newer record after it.
func (z *zombie) secondIsDone() {
	z.t.Helper()
	z.settled("the second attempt")
	z.send("three", 3)
	z.settled("a newer record")
}
