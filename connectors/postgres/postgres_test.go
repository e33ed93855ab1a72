package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
)

// connection is the parts of a URL.
func connection(t testing.TB, dsn string) postgres.Connection {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	c := postgres.Connection{Host: u.Hostname(), Port: port, Database: strings.TrimPrefix(u.Path, "/"), User: u.User.Username(), SSLMode: "disable"}
	c.Password, _ = u.User.Password()
	return c
}

// openColumns opens a destination of layout columns.
func openColumns(t *testing.T, def connectors.Definition, c postgres.Connection, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
	t.Helper()
	d, err := def.OpenDestination(connectors.Config{Connection: connectortest.JSON(t, c), Mode: mode, Layout: connectors.LayoutColumns, Schema: rule, Env: connectortest.Loopback()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t testing.TB, def connectors.Definition, c postgres.Connection, s postgres.Settings, mode connectors.Mode) connectors.Destination {
	t.Helper()
	d, err := def.OpenDestination(connectors.Config{Settings: connectortest.JSON(t, s), Connection: connectortest.JSON(t, c), Mode: mode, Env: connectortest.Loopback()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opened is open with a Close at the end of the test.
func opened(t *testing.T, c postgres.Connection, s postgres.Settings, mode connectors.Mode) connectors.Destination {
	t.Helper()
	d := open(t, postgres.Definition(), c, s, mode)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// session is a connection past the destination.
func session(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// rows reads all tables that have rows of ours.
func rows(t *testing.T, dsn string) []connectortest.Row {
	t.Helper()
	return readRows(t, dsn, "coalesce(data::text, '')")
}

// columnRows is rows for tables of layout columns.
func columnRows(t *testing.T, dsn string) []connectortest.Row {
	t.Helper()
	rows := readRows(t, dsn, `row_to_json("the row")::text`)
	metadata := []string{"_installation", "_stream", "_id", "_key", "_op", "_version", "_version_seen", "_occurred_at", "_received_at", "_ordinal"}
	for i := range rows {
		var fields []string
		gjson.Parse(rows[i].Data).ForEach(func(name, value gjson.Result) bool {
			if value.Type != gjson.Null && !slices.Contains(metadata, name.Str) {
				raw := strings.TrimSuffix(value.Raw, `+00:00"`)
				if raw != value.Raw {
					raw += `Z"`
				}
				fields = append(fields, name.Raw+":"+raw)
			}
			return true
		})
		rows[i].Data = "{" + strings.Join(fields, ",") + "}"
	}
	return rows
}

// readRows takes what stands for the payload from an expression over "the row".
func readRows(t *testing.T, dsn, data string) []connectortest.Row {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SET timezone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	found, err := conn.Query(ctx, `SELECT table_schema, table_name FROM information_schema.columns WHERE column_name = '_installation' AND table_schema !~ '^pg_temp'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(found, func(r pgx.CollectableRow) (id pgx.Identifier, err error) {
		id = make(pgx.Identifier, 2)
		return id, r.Scan(&id[0], &id[1])
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []connectortest.Row
	for _, table := range tables {
		found, err := conn.Query(ctx, `SELECT _installation, _stream, _id, _key, _op, _version, `+data+` FROM `+table.Sanitize()+` AS "the row"`)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := pgx.CollectRows(found, pgx.RowToStructByPos[connectortest.Row])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rows...)
	}
	return all
}

func TestDestination(t *testing.T) {
	const canary = "canary-7f3a"
	failing := func(change func(c *postgres.Connection)) func(t *testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			c := connection(t, pgtest.Database(t))
			change(&c)
			return open(t, postgres.Definition(), c, postgres.Settings{}, connectors.Append)
		}
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:  []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Poison: []byte(`{"a": nonsense}`),
		Canary: canary,
		Failing: map[string]connectortest.FailingDestination{
			"wrong password": {Kind: connectors.Unauthorized, Open: failing(func(c *postgres.Connection) { c.Password = canary })},
			"no password":    {Kind: connectors.Unauthorized, Open: failing(func(c *postgres.Connection) { c.Password = "" })},
			"no database":    {Kind: connectors.NotFound, Open: failing(func(c *postgres.Connection) { c.Database = "nowhere" })},
			"no server":      {Kind: connectors.Unavailable, Open: failing(func(c *postgres.Connection) { c.Port, c.Password = 1, canary })},
			"no such host":   {Kind: connectors.Unavailable, Open: failing(func(c *postgres.Connection) { c.Host, c.Password = "nowhere.invalid", canary })},
			"no TLS":         {Kind: connectors.Invalid, Open: failing(func(c *postgres.Connection) { c.SSLMode, c.Password = "require", canary })},
			"inside the network": {Kind: connectors.Invalid, Open: func(t *testing.T) connectors.Destination {
				c := connection(t, pgtest.Database(t))
				c.Password = canary
				d, err := postgres.Definition().OpenDestination(connectors.Config{Connection: connectortest.JSON(t, c)})
				if err != nil {
					t.Fatal(err)
				}
				return d
			}},
			"by URL": {Kind: connectors.Unauthorized, Open: func(t *testing.T) connectors.Destination {
				u, _ := url.Parse(pgtest.Database(t))
				u.User = url.UserPassword(u.User.Username(), canary)
				return open(t, postgres.Definition(), postgres.Connection{URL: u.String()}, postgres.Settings{}, connectors.Append)
			}},
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			dsn := pgtest.Database(t)
			def := postgres.Definition()
			through := connection(t, dsn)
			proxy := connectortest.ProxyServer(t, &through.Host, &through.Port)
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
					return open(t, def, through, postgres.Settings{}, mode)
				},
				Rows: func(t *testing.T) []connectortest.Row { return rows(t, dsn) },
				Columns: &connectortest.ColumnsPlace{
					Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
						return openColumns(t, def, through, mode, rule)
					},
					Rows: func(t *testing.T) []connectortest.Row { return columnRows(t, dsn) },
					AddColumn: func(t *testing.T, name, column, kind string) {
						exec(t, session(t, dsn), "ALTER TABLE "+name+" ADD COLUMN "+column+" "+strings.Replace(kind, "timestamp", "timestamptz", 1))
					},
				},
			}.Behind(proxy)
		},
	})
}

// Rows arrive as they were whichever way they go: a few as arrays in the statement, many by COPY.
func TestFewAndManyRowsArriveAlike(t *testing.T) {
	t.Parallel()
	const n = 300 // more than go as arrays
	dsn := pgtest.Database(t)
	odd := []connectors.Record{
		{ID: `a"b\c`, Key: `{x,"y"}`, Data: []byte(`{"quote": "\"", "path": "\\", "space":  [1 ,2]}`), Version: -1},
		{ID: "NULL", Key: "", Data: []byte("\n[\t\"NULL\", null]  "), Version: 1 << 62},
		{ID: "empty", Key: "k", Op: connectors.Delete, OccurredAt: time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), ReceivedAt: time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)},
		{ID: "é\u2028💥", Key: "'; --", Data: []byte(`"💥"`), OccurredAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", 3600))},
	}
	for name, size := range map[string]int{"few": len(odd), "many": n} {
		b := connectortest.Batch(connectors.Append, "orders", 0, size)
		for i, r := range odd {
			r.Stream, r.Ordinal = "orders", int64(i)
			if r.Op == "" {
				r.Op = connectors.Upsert
			}
			b.Records[i] = r
		}
		b.Lane = name
		connectortest.Write(t, opened(t, connection(t, dsn), postgres.Settings{Table: name}, connectors.Append), b)
	}
	var same int
	const columns = `_installation, _stream, _id, _key, _op, _version, _occurred_at, _received_at, _ordinal, data::text`
	err := session(t, dsn).QueryRow(t.Context(), `SELECT count(*) FROM (SELECT `+columns+` FROM few INTERSECT SELECT `+columns+` FROM many) t`).Scan(&same)
	if err != nil || same != len(odd) {
		t.Fatalf("%d rows of %d are the same, %v", same, len(odd), err)
	}
	for _, r := range odd {
		var data string
		if err := session(t, dsn).QueryRow(t.Context(), `SELECT coalesce(data::text, '') FROM few WHERE _id = $1`, r.ID).Scan(&data); err != nil || data != string(r.Data) {
			t.Errorf("%q became %q, %v", r.Data, data, err)
		}
	}
}

// A pooler in transaction mode gives each transaction whichever session is free, with what others left in it: blocks of every layout and mode write through
// two sessions at the same time, few rows and many, and write each batch twice.
func TestThroughAPooler(t *testing.T) {
	t.Parallel()
	const lanes, batches = 2, 6
	dsn := pgtest.Database(t)
	through := connection(t, pgtest.Pooler(t, dsn, 2))
	var want atomic.Int64
	t.Run("blocks", func(t *testing.T) {
		for _, layout := range []string{connectors.LayoutRaw, connectors.LayoutColumns} {
			for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
				name := layout + "_" + string(mode)
				d, err := postgres.Definition().OpenDestination(connectors.Config{
					Settings: connectortest.JSON(t, postgres.Settings{Table: name}), Connection: connectortest.JSON(t, through), Mode: mode, Layout: layout, Env: connectortest.Loopback(),
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = d.Close() })
				if err := connectortest.Check(t, d); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				for lane := range lanes {
					t.Run(fmt.Sprint(name, lane), func(t *testing.T) {
						t.Parallel()
						for first := 0; first < batches*1000; first += 500 {
							b := connectortest.Batch(mode, name, first, 3+397*(first/500%2))
							b.Lane = fmt.Sprint(name, lane)
							for i := range b.Records {
								b.Records[i].ID += b.Lane
								b.Records[i].Key += b.Lane
							}
							connectortest.Write(t, d, b)
							connectortest.Write(t, d, b)
							want.Add(int64(len(b.Records)))
						}
					})
				}
			}
		}
	})
	if got := int64(len(readRows(t, dsn, "''"))); got != want.Load() {
		t.Errorf("%d rows, want %d", got, want.Load())
	}
}
