package postgres_test

import (
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
)

// What the database itself has against a row rejects that row only, and no reason quotes it: in a small batch, whose rows go as arrays, and in a
// large one, whose rows are copied.
func TestRowsRefusedByTheDatabase(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"few": 20, "many": 600} {
		t.Run(name, func(t *testing.T) { t.Parallel(); rowsRefused(t, n) })
	}
}

func rowsRefused(t *testing.T, n int) {
	dsn := pgtest.Database(t)
	d := opened(t, connection(t, dsn), postgres.Settings{}, connectors.ModeUpsert)
	connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1))
	exec(t, session(t, dsn),
		`ALTER TABLE orders ADD CONSTRAINT "no canary" CHECK (data::text NOT LIKE '%canary%')`,
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW._key = 'key7' THEN RAISE 'not % canary', NEW.data; END IF; RETURN NEW; END $$`,
		`CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse()`,
		`CREATE FUNCTION regret() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW._key = 'key13' THEN RAISE 'not % canary', NEW.data; END IF; RETURN NEW; END $$`,
		`CREATE CONSTRAINT TRIGGER regret AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION regret()`)
	b := connectortest.Batch(connectors.ModeUpsert, "orders", 1, n)
	b.Records[3].Data = []byte(`{"canary": 1}`)
	b.Records[4].Data = []byte(`nonsense canary`)
	b.Records[5].Data = []byte(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)) // deeper than the server's stack
	// An older change of the key whose newest one is refused still counts.
	b.Records[9].Key, b.Records[3].Key = "both", "both"
	b.Records[9].Version, b.Records[3].Version = 1, 2
	want := map[int]string{3: "no canary", 4: "json", 5: "54001", 6: "trigger", 12: "trigger"}
	for range 2 {
		r, err := d.Write(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range r.Outcomes {
			reason, rejected := want[i]
			if rejected != (o == connectors.Rejected) || !strings.Contains(r.Reasons[i], reason) {
				t.Fatalf("record %d: outcome %d, reason %q, want %q", i, o, r.Reasons[i], reason)
			}
			if strings.Contains(strings.ReplaceAll(r.Reasons[i], "no canary", ""), "canary") {
				t.Fatalf("the reason quotes the row: %q", r.Reasons[i])
			}
		}
	}
	if got, want := len(rows(t, dsn)), n-4; got != want {
		t.Fatalf("%d rows, want %d", got, want)
	}

	// What would refuse every row is no fault of the rows.
	exec(t, session(t, dsn), `ALTER TABLE orders ADD COLUMN needed int`, `UPDATE orders SET needed = 1`, `ALTER TABLE orders ALTER needed SET NOT NULL`)
	_, err := d.Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "orders", n+1, 5))
	connectortest.WantError(t, err, connectors.Invalid, `"needed"`)
}

func TestConnection(t *testing.T) {
	t.Parallel()
	def := postgres.Definition()
	connectortest.TestConfigs(t, def, func(text string) connectors.Config { return connectors.Config{Connection: []byte(text)} }, map[string]string{
		`{}`:                             "host: want",
		`{"host": "h", "user": "u"}`:     "database is missing",
		`{"host": "h", "database": "d"}`: "user is missing",
		`{"host": "h,i", "database": "d", "user": "u"}`:                                     "host: want",
		`{"host": "/var/run/postgresql", "database": "d", "user": "u"}`:                     "host: want",
		`{"url": "postgres://u:canary@h/d?host=/var/run"}`:                                  "the only parameter",
		`{"host": "h", "database": "d", "user": "u", "port": 70000}`:                        "port: want",
		`{"host": "h", "database": "d", "user": "u", "sslmode": "sure"}`:                    "sslmode: want",
		`{"host": "h", "database": "d", "user": "u", "sslrootcert": "/etc/ca.pem"}`:         "PEM text",
		`{"host": "h", "database": "d", "user": "u", "pasword": "canary"}`:                  "unknown field",
		`{"url": "postgres://u:canary@h/d", "host": "h"}`:                                   "not both",
		`{"url": "mysql://u:canary@h/d"}`:                                                   "want postgres://",
		`{"url": "postgres://u:can%zzary@h/d"}`:                                             "want postgres://",
		`{"url": "postgres://u:canary@h/d?sslrootcert=/etc/passwd"}`:                        "the only parameter",
		`{"url": "postgres://u:canary@h/d?service=x"}`:                                      "the only parameter",
		`{"url": "postgres://u:canary@h/"}`:                                                 "database is missing",
		`{"host": "h", "database": "d", "user": "it's \\ user", "password": "it's canary"}`: "",
		`{"url": "postgresql://u:p%40ss@[::1]:6543/d?sslmode=verify-full"}`:                 "",
	})
	connectortest.TestConfigs(t, def, func(text string) connectors.Config {
		return connectors.Config{Settings: []byte(text), Connection: []byte(`{"host": "h", "database": "d", "user": "u"}`)}
	}, map[string]string{
		`{"table": "{streem}"}`:          "{stream}",
		`{"table": "a}"}`:                "without a {",
		`{"table": "_Tributary_ledger"}`: "are taken",
		`{"tabel": "x"}`:                 "unknown field",
	})
}

// The worker's own environment goes to no server that a user named.
func TestEnvironmentStaysOut(t *testing.T) {
	dsn := pgtest.Database(t)
	c := connection(t, dsn)
	t.Setenv("PGPASSWORD", c.Password)
	c.Password = ""
	connectortest.WantError(t, connectortest.Check(t, opened(t, c, postgres.Settings{}, connectors.Append)), connectors.Unauthorized)
}

// A first attempt that was given up commits while the second waits: the second writes nothing, even if no key would tell.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	d := opened(t, connection(t, dsn), postgres.Settings{}, connectors.Append)
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 3))
	first := session(t, dsn)
	exec(t, first, "BEGIN", "UPDATE _tributary_ledger SET next = 6")
	type answer struct {
		result connectors.Result
		err    error
	}
	second := make(chan answer, 1)
	go func() {
		r, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 3, 3))
		second <- answer{r, err}
	}()
	watch := session(t, dsn)
	for waiting := false; !waiting; {
		if t.Context().Err() != nil {
			t.Fatal("the second attempt never waited")
		}
		select {
		case a := <-second:
			t.Fatalf("the second attempt did not wait: %v", a.err)
		default:
		}
		query := "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
		if err := watch.QueryRow(t.Context(), query).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, first, "COMMIT")
	a := <-second
	if a.err != nil || len(a.result.Outcomes) != 3 || a.result.Outcomes[0] != connectors.Durable {
		t.Fatalf("got %v, %v", a.result, a.err)
	}
	if n := len(rows(t, dsn)); n != 3 {
		t.Fatalf("%d rows, want 3", n)
	}
}
