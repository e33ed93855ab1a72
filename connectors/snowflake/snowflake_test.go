package snowflake_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

// returned are the errors that the tests' servers have answered with.
var returned snowflaketest.Returned

// TestMain fails when an error that the test server documents was never returned: a test of all is a test of each.
func TestMain(m *testing.M) {
	code := m.Run()
	if missing := returned.Missing(); code == 0 && wholeRun() && missing != nil {
		fmt.Fprintf(os.Stderr, "no test makes the server return %q\n", missing)
		code = 1
	}
	os.Exit(code)
}

func wholeRun() bool {
	for _, arg := range os.Args {
		for _, part := range []string{"-test.run", "-test.bench", "-test.skip", "-test.list"} {
			if strings.HasPrefix(arg, part) {
				return false
			}
		}
	}
	return true
}

// direct is a connection to a server, without a proxy between.
func direct(s *snowflaketest.Server) snowflake.Connection {
	return snowflake.Connection{Account: snowflaketest.Account, User: snowflaketest.User, Password: snowflaketest.Password, Warehouse: snowflaketest.Warehouse, Host: s.URL}
}

// warehouse keeps names as they are and JSON byte for byte.
var warehouse = snowflake.Settings{Database: snowflaketest.Database, Schema: snowflaketest.Schema, Names: "exact", JSON: "string"}

func open(t testing.TB, def connectors.Definition, c snowflake.Connection, s snowflake.Settings, config connectors.Config) connectors.Destination {
	t.Helper()
	config.Settings, config.Connection, config.Env, config.Operator = connectortest.JSON(t, s), connectortest.JSON(t, c), connectortest.Loopback(), true
	d, err := def.OpenDestination(config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opened is open, as a process of its own, with a Close at the end of the test.
func opened(t testing.TB, s *snowflaketest.Server, mode connectors.Mode) connectors.Destination {
	return openedWith(t, direct(s), warehouse, connectors.Config{Mode: mode})
}

func openedWith(t testing.TB, c snowflake.Connection, settings snowflake.Settings, config connectors.Config) connectors.Destination {
	t.Helper()
	d := open(t, snowflake.Definition(), c, settings, config)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func text(v *string) string {
	if v == nil {
		return ""
	}
	return *v
}

func rowOf(t testing.TB, row map[string]*string, data string) connectortest.Row {
	t.Helper()
	r := connectortest.Row{Installation: text(row["_installation"]), Stream: text(row["_stream"]), ID: text(row["_id"]), Key: text(row["_key"]), Op: connectors.Op(text(row["_op"])), Data: data}
	if _, err := fmt.Sscan(text(row["_version"]), &r.Version); err != nil {
		t.Fatal(err)
	}
	return r
}

// each reads the rows of the tables that have a column, whatever case its name is in; names are in lower case.
func each(t testing.TB, s *snowflaketest.Server, having string, f func(table string, row map[string]*string)) {
	t.Helper()
	for _, having := range []string{having, strings.ToUpper(having)} {
		s.Read(t, having, func(table string, row map[string]*string) {
			if having == strings.ToUpper(having) {
				lower := make(map[string]*string, len(row))
				for name, value := range row {
					lower[strings.ToLower(name)] = value
				}
				row = lower
			}
			f(table, row)
		})
	}
}

// rows reads all tables that have rows of ours.
func rows(t testing.TB, s *snowflaketest.Server) []connectortest.Row {
	t.Helper()
	var all []connectortest.Row
	each(t, s, "_installation", func(_ string, row map[string]*string) { all = append(all, rowOf(t, row, text(row["data"]))) })
	return all
}

// columnRows is rows for tables of layout columns.
func columnRows(t testing.TB, s *snowflaketest.Server) []connectortest.Row {
	t.Helper()
	asJSON := make(map[string]bool) // columns of text that hold JSON
	each(t, s, "column_name", func(_ string, row map[string]*string) {
		if text(row["type"]) == "json" {
			asJSON[strings.ToLower(text(row["table_name"])+"\x00"+text(row["column_name"]))] = true
		}
	})
	types := make(map[string]map[string]string)
	var all []connectortest.Row
	each(t, s, "_installation", func(table string, row map[string]*string) {
		if types[table] == nil {
			types[table] = make(map[string]string)
			columns, _ := s.Table(t, table)
			for _, c := range columns {
				types[table][strings.ToLower(c.Name)] = c.Type
			}
		}
		var fields []string
		for name, value := range row {
			if value == nil || notOfPayload[name] {
				continue
			}
			text := *value
			lower := strings.ToLower(name)
			if kind := types[table][lower]; (strings.HasPrefix(kind, "VARCHAR") || strings.HasPrefix(kind, "TIMESTAMP")) && !asJSON[strings.ToLower(table)+"\x00"+lower] {
				text = string(connectortest.JSON(t, text))
			}
			fields = append(fields, string(connectortest.JSON(t, name))+":"+text)
		}
		slices.Sort(fields)
		all = append(all, rowOf(t, row, "{"+strings.Join(fields, ",")+"}"))
	})
	return all
}

var notOfPayload = map[string]bool{"_installation": true, "_stream": true, "_id": true, "_key": true, "_op": true, "_version": true, "_version_seen": true,
	"_occurred_at": true, "_received_at": true, "_ordinal": true}

const canary = "canary-7f3a"

func failing() map[string]connectortest.FailingDestination {
	with := func(change func(t *testing.T, s *snowflaketest.Server, c *snowflake.Connection, settings *snowflake.Settings)) func(t *testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			s := snowflaketest.New(t, &returned)
			s.SetPassword(canary)
			c, settings := direct(s), warehouse
			c.Password = canary
			change(t, s, &c, &settings)
			return open(t, snowflake.Definition(), c, settings, connectors.Config{})
		}
	}
	deny := func(privilege string) func(t *testing.T) connectors.Destination {
		return with(func(_ *testing.T, s *snowflaketest.Server, _ *snowflake.Connection, _ *snowflake.Settings) {
			s.Deny(privilege)
		})
	}
	return map[string]connectortest.FailingDestination{
		"a wrong password": {Kind: connectors.Unauthorized, Open: with(func(_ *testing.T, _ *snowflaketest.Server, c *snowflake.Connection, _ *snowflake.Settings) {
			c.Password = canary + "x"
		})},
		"no account": {Kind: connectors.NotFound, Open: with(func(_ *testing.T, _ *snowflaketest.Server, c *snowflake.Connection, _ *snowflake.Settings) {
			c.Account = "MYORG-OTHER"
		})},
		"no role": {Kind: connectors.NotFound, Open: with(func(_ *testing.T, _ *snowflaketest.Server, c *snowflake.Connection, _ *snowflake.Settings) {
			c.Role = "NOBODY"
		})},
		"no such warehouse": {Kind: connectors.NotFound, Open: with(func(_ *testing.T, _ *snowflaketest.Server, _ *snowflake.Connection, s *snowflake.Settings) {
			s.Warehouse = "OTHER"
		})},
		"no warehouse": {Kind: connectors.NotFound, Open: with(func(_ *testing.T, _ *snowflaketest.Server, c *snowflake.Connection, _ *snowflake.Settings) {
			c.Warehouse = ""
		})},
		"no database": {Kind: connectors.NotFound, Open: with(func(_ *testing.T, _ *snowflaketest.Server, _ *snowflake.Connection, s *snowflake.Settings) {
			s.Database = "NOWHERE"
		})},
		"no server": {Kind: connectors.Unavailable, Open: with(func(_ *testing.T, _ *snowflaketest.Server, c *snowflake.Connection, _ *snowflake.Settings) {
			c.Host = "http://127.0.0.1:1"
		})},
		"no stage": {Kind: connectors.NotFound, Open: with(func(_ *testing.T, _ *snowflaketest.Server, _ *snowflake.Connection, s *snowflake.Settings) {
			s.Stage = "NOTHING"
		})},
		"no right to the stage": {Kind: connectors.Forbidden, Open: with(func(_ *testing.T, server *snowflaketest.Server, _ *snowflake.Connection, s *snowflake.Settings) {
			s.Stage = snowflaketest.Stage
			server.Deny("WRITE ON STAGE")
		})},
		"no right to make tables": {Kind: connectors.Forbidden, Open: deny("CREATE TABLE")},
		"no schema, no right to make it": {Kind: connectors.Forbidden, Open: with(func(_ *testing.T, server *snowflaketest.Server, _ *snowflake.Connection, _ *snowflake.Settings) {
			server.DropSchema()
			server.Deny("CREATE SCHEMA")
		})},
	}
}

func suite(t *testing.T, settings snowflake.Settings, failing map[string]connectortest.FailingDestination) {
	h := connectortest.DestinationHarness{
		Modes: []connectors.Mode{connectors.Append, connectors.ModeUpsert}, Once: connectortest.ByLedger, Canary: canary, Failing: failing,
		Apart: func(t *testing.T) connectortest.DestinationPlace { return placeApart(t, settings) },
		New: func(t *testing.T) connectortest.DestinationPlace {
			if place, ok := live(t, settings); ok && settings.JSON != "" { // how VARIANT spells is known of the stand-in alone
				return place
			}
			s := snowflaketest.New(t, &returned)
			proxy := connectortest.Proxy(t, strings.TrimPrefix(s.URL, "http://"))
			c := direct(s)
			c.Host = "http://" + proxy.Listen
			def := snowflake.Definition()
			place := connectortest.DestinationPlace{
				Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
					return open(t, def, c, settings, connectors.Config{Mode: mode})
				},
				Rows: func(t *testing.T) []connectortest.Row { return rows(t, s) },
			}.Behind(proxy)
			place.Columns = &connectortest.ColumnsPlace{
				Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
					return open(t, def, c, settings, connectors.Config{Mode: mode, Layout: connectors.LayoutColumns, Schema: rule})
				},
				Rows: func(t *testing.T) []connectortest.Row { return columnRows(t, s) },
				AddColumn: func(t *testing.T, table, column, kind string) {
					if settings.Names == "" {
						table, column = strings.ToUpper(table), strings.ToUpper(column)
					}
					s.AddColumn(t, table, column, map[string]string{"integer": "NUMBER(38,0)", "text": "VARCHAR", "timestamp": "TIMESTAMP_NTZ"}[kind])
				},
			}
			return place
		},
	}
	if os.Getenv(liveVariable) != "" {
		h.Apart = nil
	}
	if settings.JSON == "" { // VARIANT
		// Each payload goes through a function of the stand-in's that spells it anew: 100,000 take it a minute of two cores. TestDestination writes them, by the same statements.
		h.Spells, h.Records, h.Bulk = snowflaketest.Variant, 3_000, 10_000
		h.Refuses = func(data []byte) bool {
			return slices.ContainsFunc([]string{"1e400", "1e-400", `"\ud800"`, strings.Repeat("9", 39)}, func(text string) bool { return bytes.Contains(data, []byte(text)) })
		}
	}
	connectortest.TestDestination(t, h)
}

// TestDestination runs the suite with settings that keep everything as it is.
func TestDestination(t *testing.T) { suite(t, warehouse, failing()) }

// TestDestinationDefaults runs it with those that a block has by default: names in upper case, and VARIANT.
func TestDestinationDefaults(t *testing.T) {
	suite(t, snowflake.Settings{Database: snowflaketest.Database, Schema: snowflaketest.Schema}, nil)
}

// newKeyText is a key of nobody's as PEM text.
func newKeyText(t testing.TB) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// keyText is the server's key as PEM text.
func keyText(t testing.TB, s *snowflaketest.Server) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(s.Key())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
