package mysql_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
)

// What the database itself has against a row rejects that row only, and no reason quotes it: in a small batch, whose rows go by INSERT, and in a
// large one, whose rows are loaded, in both modes.
func TestRowsRefusedByTheDatabase(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		for name, n := range map[string]int{"few": 20, "many": 300} {
			for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
				t.Run(name+" "+string(mode), func(t *testing.T) { t.Parallel(); rowsRefused(t, f, mode, n) })
			}
		}
	})
}

func rowsRefused(t *testing.T, f flavour, mode connectors.Mode, n int) {
	rawURL := f.database(t)
	admin := session(t, rawURL)
	d := opened(t, f.define(), connection(t, rawURL), mysql.Settings{}, mode)
	connectortest.Write(t, d, connectortest.Batch(mode, "orders", 0, 1))
	exec(t, admin,
		"ALTER TABLE orders ADD CONSTRAINT `no canary` CHECK (data NOT LIKE '%canary%'), ADD COLUMN a varchar(3) GENERATED ALWAYS AS (substr(data, 8, 4)) STORED, ADD UNIQUE KEY mine (_ordinal)",
		"CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW IF NEW._key = 'key7' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'canary'; END IF")
	b := connectortest.Batch(mode, "orders", 1, n)
	for i := range b.Records {
		b.Records[i].Ordinal++
	}
	b.Next++
	b.Records[3].Data = []byte(`{"canary": 1}`)
	b.Records[4].Data = []byte(`{"a": 1234}`) // longer than the column computed of it
	// An older change of the key whose newest one is refused still counts.
	b.Records[9].Key, b.Records[3].Key = "both", "both"
	b.Records[9].Version, b.Records[3].Version = 1, 2
	want := map[int]string{3: "no canary", 4: "longer than its column", 6: "trigger"}
	// A row of another's that has what must be unique.
	exec(t, admin, "INSERT INTO orders (_scope, _installation, _stream, _id, _key, _op, _version, _ordinal"+seen(mode)+") VALUES ('x', 'x', 'x', 'x', 'x', 'upsert', 0, 13"+strings.Replace(seen(mode), "_version_seen", "0", 1)+")")
	want[11] = "unique index"
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
	if got, want := len(rows(t, rawURL)), n-2; got != want {
		t.Fatalf("%d rows, want %d", got, want)
	}
	if id := one(t, admin, "SELECT _id FROM orders WHERE _ordinal = 13"); id != "x" {
		t.Errorf("the row of another's is now %s", id)
	}

	// What would refuse every row is no fault of the rows.
	exec(t, admin, "ALTER TABLE orders ADD COLUMN needed int NOT NULL DEFAULT 1", "ALTER TABLE orders ALTER COLUMN needed DROP DEFAULT")
	_, err := d.Write(t.Context(), connectortest.Batch(mode, "orders", n+2, 5))
	connectortest.WantError(t, err, connectors.Invalid, "needed", "needs a default")
}

func seen(mode connectors.Mode) string {
	if mode == connectors.ModeUpsert {
		return ", _version_seen"
	}
	return ""
}

func TestConnection(t *testing.T) {
	t.Parallel()
	def := mysql.Definition()
	connectortest.TestConfigs(t, def, func(text string) connectors.Config { return connectors.Config{Connection: []byte(text)} }, map[string]string{
		`{}`:                             "host: want",
		`{"host": "h", "user": "u"}`:     "database is missing",
		`{"host": "h", "database": "d"}`: "user is missing",
		`{"host": "h,i", "database": "d", "user": "u"}`:                                     "host: want",
		`{"host": "/run/mysqld/mysqld.sock", "database": "d", "user": "u"}`:                 "host: want",
		`{"url": "mysql://u:canary@h/d?allowAllFiles=true"}`:                                "the only parameter",
		`{"host": "h", "database": "d", "user": "u", "port": 70000}`:                        "port: want",
		`{"host": "h", "database": "d", "user": "u", "ssl_mode": "sure"}`:                   "ssl_mode: want",
		`{"host": "h", "database": "d", "user": "u", "ssl_ca": "/etc/ca.pem"}`:              "PEM text",
		`{"host": "h", "database": "d", "user": "u", "pasword": "canary"}`:                  "unknown field",
		`{"url": "mysql://u:canary@h/d", "host": "h"}`:                                      "not both",
		`{"url": "postgres://u:canary@h/d"}`:                                                "want mysql://",
		`{"url": "mysql://u:can%zzary@h/d"}`:                                                "want mysql://",
		`{"url": "mysql://u:canary@h/"}`:                                                    "database is missing",
		`{"host": "h", "database": "d", "user": "it's \\ user", "password": "it's canary"}`: "",
		`{"url": "mariadb://u:p%40ss@[::1]:6543/d?ssl-mode=VERIFY_IDENTITY"}`:               "",
	})
	connectortest.TestConfigs(t, def, func(text string) connectors.Config {
		return connectors.Config{Settings: []byte(text), Connection: []byte(`{"host": "h", "database": "d", "user": "u"}`)}
	}, map[string]string{
		`{"table": "{streem}"}`:          "{stream}",
		`{"table": "_Tributary_ledger"}`: "are taken",
		`{"tabel": "x"}`:                 "unknown field",
	})
}

// The wrong one of the two connectors says so, and touches nothing.
func TestOtherDialect(t *testing.T) {
	t.Parallel()
	rawURL := mariadb.database(t)
	d := opened(t, mysql.Definition(), connection(t, rawURL), mysql.Settings{}, connectors.Append)
	_, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 1))
	// The variables that a session sets have other names, so connecting fails before the version is asked for.
	connectortest.WantError(t, err, connectors.Invalid, "connector for it: mysql or mariadb")
	connectortest.WantError(t, connectortest.Check(t, d), connectors.Invalid, "connector for it: mysql or mariadb")
	if there := query(t, session(t, rawURL), "SHOW TABLES"); len(there) > 0 {
		t.Errorf("there is %v", there)
	}
}

// A first attempt that was given up commits while the second waits: the second writes nothing, even if no key would tell.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		d := opened(t, f.define(), connection(t, rawURL), mysql.Settings{}, connectors.Append)
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 3))
		admin := session(t, rawURL)
		first, err := admin.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := first.ExecContext(t.Context(), "UPDATE _tributary_ledger SET `next` = 6"); err != nil {
			t.Fatal(err)
		}
		type answer struct {
			result connectors.Result
			err    error
		}
		second := make(chan answer, 1)
		go func() {
			r, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 3, 3))
			second <- answer{r, err}
		}()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for waits := "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND info LIKE 'SELECT `next`%'"; one(t, admin, waits) == "0"; <-tick.C {
			select {
			case a := <-second:
				t.Fatalf("the second attempt did not wait: %v", a.err)
			default:
			}
		}
		if err := first.Commit(); err != nil {
			t.Fatal(err)
		}
		a := <-second
		if a.err != nil || len(a.result.Outcomes) != 3 || a.result.Outcomes[0] != connectors.Durable {
			t.Fatalf("got %v, %v", a.result, a.err)
		}
		if n := len(rows(t, rawURL)); n != 3 {
			t.Fatalf("%d rows, want 3", n)
		}
	})
}

// Modes of TLS, against a server that has none.
func TestWithoutTLS(t *testing.T) {
	t.Parallel()
	rawURL := mariadb.database(t)
	for mode, kind := range map[string]connectors.Kind{"disabled": "", "preferred": "", "required": connectors.Invalid, "verify_ca": connectors.Invalid, "verify_identity": connectors.Invalid} {
		c := connection(t, rawURL)
		c.SSLMode = mode
		err := connectortest.Check(t, opened(t, mysql.MariaDB(), c, mysql.Settings{}, connectors.Append))
		if kind == "" && err != nil {
			t.Errorf("%s: %v", mode, err)
		} else if kind != "" {
			connectortest.WantError(t, err, kind, "does not speak TLS")
		}
	}
}

// A server that lets itself be called and says nothing holds nobody up for longer than connecting may take, and a write that ends sooner not even that.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := mysql.Connection{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Database: "d", User: "u"}
	began := time.Now()
	_, err = opened(t, mysql.MariaDB(), c, mysql.Settings{}, connectors.Append).Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 1))
	connectortest.WantError(t, err, connectors.Unavailable, "timed out")
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("it took %v", took)
	}
}
