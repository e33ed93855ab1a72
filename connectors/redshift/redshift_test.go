package redshift_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/documented"
	"tributary/connectors/redshift"
	"tributary/connectors/redshift/redshifttest"
)

const (
	keyID    = "AKIATRIBUTARYTEST000"
	secret   = "canary-secret-access-key"
	password = "canary-7f3a Password"
	canary   = "canary-"
)

// returned counts the errors that the stand-ins of this package return. Once all tests have run, none that is documented may be left.
var returned = redshifttest.Documented()

func TestMain(m *testing.M) { os.Exit(documented.Run(m, returned)) }

func serve(t testing.TB) *redshifttest.Server {
	return redshifttest.New(t, keyID, secret, password, returned)
}

// connection leads to a server.
func connection(t testing.TB, s *redshifttest.Server) redshift.Connection {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	return redshift.Connection{
		Host: host, Port: n, Database: redshifttest.Database, User: redshifttest.User, Password: password, SSLMode: "disable",
		Bucket: redshifttest.Bucket, Region: redshifttest.Region, IAMRole: redshifttest.Role, Endpoint: s.Endpoint,
		Credentials: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: secret},
	}
}

// block is what a destination is opened with.
func block(t testing.TB, c redshift.Connection, s redshift.Settings, mode connectors.Mode) connectors.Config {
	return connectors.Config{Settings: connectortest.JSON(t, s), Connection: connectortest.JSON(t, c), Mode: mode, Env: connectortest.Loopback()}
}

func open(t testing.TB, def connectors.Definition, c connectors.Config) connectors.Destination {
	t.Helper()
	d, err := def.OpenDestination(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opened is open with a Close at the end of the test.
func opened(t testing.TB, c connectors.Config) connectors.Destination {
	t.Helper()
	d := open(t, redshift.Definition(), c)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// rows reads all tables that have rows of ours.
func rows(t testing.TB, s *redshifttest.Server) []connectortest.Row {
	t.Helper()
	return readRows(t, s, "coalesce(data::text, '')")
}

// columnRows is rows for tables of layout columns.
func columnRows(t testing.TB, s *redshifttest.Server) []connectortest.Row {
	t.Helper()
	metadata := []string{"_identity", "_installation", "_stream", "_id", "_key", "_op", "_version", "_version_seen", "_occurred_at", "_received_at", "_ordinal"}
	asText := make(map[string]bool)
	session(t, s, func(ctx context.Context, conn *pgx.Conn) {
		found, err := conn.Query(ctx, `SELECT column_name FROM _tributary_columns WHERE type LIKE 'json as %'`)
		if err != nil {
			return // there is none yet
		}
		names, _ := pgx.CollectRows(found, pgx.RowTo[string])
		for _, name := range names {
			asText[name] = true
		}
	})
	rows := readRows(t, s, `row_to_json("the row")::text`)
	for i := range rows {
		var fields []string
		gjson.Parse(rows[i].Data).ForEach(func(name, value gjson.Result) bool {
			if value.Type == gjson.Null || slices.Contains(metadata, name.Str) {
				return true
			}
			raw := value.Raw
			if asText[name.Str] {
				raw = value.Str
			}
			if at, ok := strings.CutSuffix(raw, `+00:00"`); ok {
				raw = at + `Z"`
			}
			fields = append(fields, name.Raw+":"+raw)
			return true
		})
		rows[i].Data = "{" + strings.Join(fields, ",") + "}"
	}
	return rows
}

// session is a connection past Redshift.
func session(t testing.TB, s *redshifttest.Server, use func(ctx context.Context, conn *pgx.Conn)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	use(ctx, conn)
}

// readRows takes what stands for the payload from an expression over "the row".
func readRows(t testing.TB, s *redshifttest.Server, data string) []connectortest.Row {
	t.Helper()
	var all []connectortest.Row
	session(t, s, func(ctx context.Context, conn *pgx.Conn) {
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
	})
	return all
}

// TestStandInApart serves a database to the process that measures the largest batch.
func TestStandInApart(t *testing.T) {
	connectortest.ServeApart(t, func(t *testing.T) connectortest.StandIn {
		s := serve(t)
		return connectortest.StandIn{
			Where:   []string{s.Address, s.Endpoint},
			Rows:    func(t *testing.T) []connectortest.Row { return rows(t, s) },
			Columns: func(t *testing.T) []connectortest.Row { return columnRows(t, s) },
		}
	})
}

// placeApart is its database.
func placeApart(t *testing.T, settings redshift.Settings) connectortest.DestinationPlace {
	standIn := connectortest.StartApart(t)
	c := connection(t, &redshifttest.Server{Address: standIn.Where[0], Endpoint: standIn.Where[1]})
	def := redshift.Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
			return open(t, def, block(t, c, settings, mode))
		},
		Rows: standIn.Rows,
		Columns: &connectortest.ColumnsPlace{
			Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
				c := block(t, c, settings, mode)
				c.Layout, c.Schema = connectors.LayoutColumns, rule
				return open(t, def, c)
			},
			Rows: standIn.Columns,
		},
	}
}

// TestDestination runs the suite with json: text, which holds any payload as it is, up to the length of a VARCHAR.
func TestDestination(t *testing.T) {
	failing := func(change func(c *redshift.Connection)) func(t *testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			c := connection(t, serve(t))
			change(&c)
			return open(t, redshift.Definition(), block(t, c, redshift.Settings{}, connectors.Append))
		}
	}
	text := redshift.Settings{JSON: "text"}
	apart := func(t *testing.T) connectortest.DestinationPlace { return placeApart(t, text) }
	if os.Getenv(liveVariable) != "" {
		apart = nil
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:   []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Records: 4_000,
		Apart:   apart,
		Refuses: func(data []byte) bool { return len(data) > 65_535 },
		Canary:  canary,
		Failing: map[string]connectortest.FailingDestination{
			"wrong password": {Kind: connectors.Unauthorized, Open: failing(func(c *redshift.Connection) { c.Password = canary })},
			"no database":    {Kind: connectors.NotFound, Open: failing(func(c *redshift.Connection) { c.Database = "nowhere" })},
			"no server":      {Kind: connectors.Unavailable, Open: failing(func(c *redshift.Connection) { c.Port = 1 })},
			"no such host":   {Kind: connectors.Unavailable, Open: failing(func(c *redshift.Connection) { c.Host = "nowhere.invalid" })},
			"no TLS":         {Kind: connectors.Invalid, Open: failing(func(c *redshift.Connection) { c.SSLMode = "require" })},
			"inside the network": {Kind: connectors.Invalid, Open: func(t *testing.T) connectors.Destination {
				c := connection(t, serve(t))
				c.Endpoint = ""
				return open(t, redshift.Definition(), connectors.Config{Connection: connectortest.JSON(t, c)})
			}},
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			if place, ok := live(t, text); ok {
				return place
			}
			s := serve(t)
			def := redshift.Definition()
			through := connection(t, s)
			proxy := connectortest.ProxyServer(t, &through.Host, &through.Port)
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
					return open(t, def, block(t, through, text, mode))
				},
				Rows: func(t *testing.T) []connectortest.Row { return rows(t, s) },
				Columns: &connectortest.ColumnsPlace{
					Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
						c := block(t, through, text, mode)
						c.Layout, c.Schema = connectors.LayoutColumns, rule
						return open(t, def, c)
					},
					Rows: func(t *testing.T) []connectortest.Row { return columnRows(t, s) },
					AddColumn: func(t *testing.T, name, column, kind string) {
						native := map[string]string{"integer": "integer", "text": "varchar(256)", "timestamp": "timestamptz"}[kind]
						s.Exec(t, "ALTER TABLE "+name+" ADD COLUMN "+column+" "+native)
					},
				},
			}.Behind(proxy)
		},
	})
}

func wantError(t *testing.T, err error, kind connectors.Kind, parts ...string) {
	t.Helper()
	connectortest.WantError(t, err, kind, parts...)
	if strings.Contains(fmt.Sprint(err), canary) {
		t.Fatalf("%q tells a secret", err)
	}
}
