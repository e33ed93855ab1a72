package mysql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
	"tributary/internal/mariadbtest"
)

// flavour is a dialect and a server that speaks it.
type flavour struct {
	name     string
	define   func() connectors.Definition
	database func(t testing.TB) string
}

var mariadb = flavour{"mariadb", mysql.MariaDB, mariadbtest.Database}

// flavours are MariaDB and, where the variable has the URL of a server, such as mysql://root:password@127.0.0.1:3306/mysql, MySQL.
func flavours() []flavour {
	all := []flavour{mariadb}
	if admin := os.Getenv("TRIBUTARY_TEST_MYSQL"); admin != "" {
		all = append(all, flavour{"mysql", mysql.Definition, func(t testing.TB) string { return mariadbtest.On(t, admin) }})
	}
	return all
}

// eachFlavour runs a test on each of them.
func eachFlavour(t *testing.T, test func(t *testing.T, f flavour)) {
	for _, f := range flavours() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, f)
		})
	}
}

// connection is the parts of a URL.
func connection(t testing.TB, rawURL string) mysql.Connection {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	c := mysql.Connection{Host: u.Hostname(), Port: port, Database: strings.TrimPrefix(u.Path, "/"), User: u.User.Username()}
	c.Password, _ = u.User.Password()
	return c
}

func open(t testing.TB, def connectors.Definition, c mysql.Connection, s mysql.Settings, mode connectors.Mode) connectors.Destination {
	t.Helper()
	d, err := def.OpenDestination(connectors.Config{Settings: connectortest.JSON(t, s), Connection: connectortest.JSON(t, c), Mode: mode, Env: connectortest.Loopback()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opened is open with a Close at the end of the test.
func opened(t *testing.T, def connectors.Definition, c mysql.Connection, s mysql.Settings, mode connectors.Mode) connectors.Destination {
	t.Helper()
	d := open(t, def, c, s, mode)
	t.Cleanup(func() { closed(t, d) })
	return d
}

// openColumns opens a destination of layout columns.
func openColumns(t *testing.T, def connectors.Definition, c mysql.Connection, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
	t.Helper()
	d, err := def.OpenDestination(connectors.Config{Connection: connectortest.JSON(t, c), Mode: mode, Layout: connectors.LayoutColumns, Schema: rule, Env: connectortest.Loopback()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closed(t *testing.T, d connectors.Destination) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// session is connections past the destination.
func session(t testing.TB, rawURL string) *sql.DB {
	t.Helper()
	db, err := mariadbtest.Open(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// query reads an answer as texts, each null as nil.
func query(t testing.TB, db *sql.DB, statement string) []map[string]*string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]*string
	for rows.Next() {
		values, into := make([]*string, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make(map[string]*string)
		for i, n := range names {
			row[n] = values[i]
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func one(t testing.TB, db *sql.DB, statement string) string {
	t.Helper()
	var s string
	if err := db.QueryRowContext(t.Context(), statement).Scan(&s); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return s
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// read makes a row of each row in tables of ours; data makes what stands for the payload.
func read(t *testing.T, rawURL string, data func(row map[string]*string, kinds map[string]string) string) []connectortest.Row {
	t.Helper()
	db, err := mariadbtest.Open(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all []connectortest.Row
	for _, found := range query(t, db, "SHOW TABLES") {
		var name string
		for _, v := range found {
			name = *v
		}
		kinds := make(map[string]string)
		for _, c := range query(t, db, "SHOW COLUMNS FROM "+quote(name)) {
			kinds[*c["Field"]] = *c["Type"]
		}
		if kinds["_installation"] == "" {
			continue
		}
		if len(query(t, db, "SHOW TABLES LIKE '\\_tributary\\_columns'")) > 0 {
			for _, m := range query(t, db, "SELECT column_name, type FROM _tributary_columns WHERE type = 'json' AND table_name = '"+strings.ReplaceAll(name, "'", "''")+"'") {
				kinds[*m["column_name"]] = "json"
			}
		}
		for _, row := range query(t, db, "SELECT * FROM "+quote(name)) {
			version, err := strconv.ParseInt(*row["_version"], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, connectortest.Row{
				Installation: *row["_installation"], Stream: *row["_stream"], ID: *row["_id"], Key: *row["_key"],
				Op: connectors.Op(*row["_op"]), Version: version, Data: data(row, kinds),
			})
		}
	}
	return all
}

// rows reads all tables of layout raw.
func rows(t *testing.T, rawURL string) []connectortest.Row {
	t.Helper()
	return read(t, rawURL, func(row map[string]*string, _ map[string]string) string {
		if row["data"] == nil {
			return ""
		}
		return *row["data"]
	})
}

var metadata = []string{"_row", "_scope", "_installation", "_stream", "_id", "_key", "_op", "_version", "_version_seen", "_occurred_at", "_received_at", "_ordinal"}

// columnRows is rows for tables of layout columns.
func columnRows(t *testing.T, rawURL string) []connectortest.Row {
	t.Helper()
	return read(t, rawURL, func(row map[string]*string, kinds map[string]string) string {
		fields := make(map[string]json.RawMessage)
		for name, v := range row {
			if v == nil || slices.Contains(metadata, name) {
				continue
			}
			switch base, _, _ := strings.Cut(kinds[name], "("); {
			case kinds[name] == "tinyint(1)":
				fields[name] = connectortest.JSON(t, *v == "1")
			case base == "json" || base == "decimal" || strings.HasSuffix(strings.TrimSuffix(base, " unsigned"), "int"):
				fields[name] = json.RawMessage(*v)
			case base == "datetime" || base == "timestamp":
				fields[name] = connectortest.JSON(t, strings.Replace(strings.TrimSuffix(*v, ".000000"), " ", "T", 1)+"Z")
			default:
				fields[name] = connectortest.JSON(t, *v)
			}
		}
		// Put together by hand: json.Marshal would compact what a column holds.
		var object []string
		for name, v := range fields {
			object = append(object, string(connectortest.JSON(t, name))+":"+string(v))
		}
		return "{" + strings.Join(object, ",") + "}"
	})
}

func TestDestination(t *testing.T) {
	for _, f := range flavours() {
		t.Run(f.name, func(t *testing.T) { connectortest.TestDestination(t, harness(f)) })
	}
}

func harness(f flavour) connectortest.DestinationHarness {
	const canary = "canary-7f3a"
	failing := func(change func(c *mysql.Connection)) func(t *testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			c := connection(t, f.database(t))
			change(&c)
			return open(t, f.define(), c, mysql.Settings{}, connectors.Append)
		}
	}
	return connectortest.DestinationHarness{
		Modes:  []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Canary: canary,
		Failing: map[string]connectortest.FailingDestination{
			"wrong password": {Kind: connectors.Unauthorized, Open: failing(func(c *mysql.Connection) { c.Password = canary })},
			"no password":    {Kind: connectors.Unauthorized, Open: failing(func(c *mysql.Connection) { c.Password = "" })},
			"no database":    {Kind: connectors.NotFound, Open: failing(func(c *mysql.Connection) { c.Database = "nowhere" })},
			"no server":      {Kind: connectors.Unavailable, Open: failing(func(c *mysql.Connection) { c.Port, c.Password = 1, canary })},
			"no such host":   {Kind: connectors.Unavailable, Open: failing(func(c *mysql.Connection) { c.Host, c.Password = "nowhere.invalid", canary })},
			"inside the network": {Kind: connectors.Invalid, Open: func(t *testing.T) connectors.Destination {
				c := connection(t, f.database(t))
				c.Password = canary
				d, err := f.define().OpenDestination(connectors.Config{Connection: connectortest.JSON(t, c)})
				if err != nil {
					t.Fatal(err)
				}
				return d
			}},
			"by URL": {Kind: connectors.Unauthorized, Open: func(t *testing.T) connectors.Destination {
				u, _ := url.Parse(f.database(t))
				u.User = url.UserPassword(u.User.Username(), canary)
				return open(t, f.define(), mysql.Connection{URL: u.String()}, mysql.Settings{}, connectors.Append)
			}},
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			rawURL := f.database(t)
			def := f.define()
			through := connection(t, rawURL)
			proxy := connectortest.ProxyServer(t, &through.Host, &through.Port)
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
					return open(t, def, through, mysql.Settings{}, mode)
				},
				Rows: func(t *testing.T) []connectortest.Row { return rows(t, rawURL) },
				Columns: &connectortest.ColumnsPlace{
					Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
						return openColumns(t, def, through, mode, rule)
					},
					Rows: func(t *testing.T) []connectortest.Row { return columnRows(t, rawURL) },
					AddColumn: func(t *testing.T, name, column, kind string) {
						exec(t, session(t, rawURL), "ALTER TABLE "+quote(name)+" ADD COLUMN "+quote(column)+" "+strings.Replace(kind, "timestamp", "datetime(6)", 1))
					},
				},
			}.Behind(proxy)
		},
	}
}
