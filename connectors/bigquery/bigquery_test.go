package bigquery_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/bigquery"
	"tributary/connectors/bigquery/bigquerytest"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/documented"
)

// returned are the errors that the tests' servers have answered with.
var returned = bigquerytest.Documented()

// TestMain fails when an error that the test server documents was never returned: a test of all is a test of each.
func TestMain(m *testing.M) { os.Exit(documented.Run(m, returned)) }

// direct is a connection to a server, without a proxy between.
func direct(s *bigquerytest.Server) bigquery.Connection {
	return bigquery.Connection{Key: s.Key(s.REST), Endpoint: "http://" + s.REST, WriteEndpoint: "http://" + s.Write}
}

// warehouse keeps JSON byte for byte.
var warehouse = bigquery.Settings{Dataset: bigquerytest.Dataset, JSON: "string"}

func open(t testing.TB, def connectors.Definition, c bigquery.Connection, s bigquery.Settings, config connectors.Config) connectors.Destination {
	t.Helper()
	config.Settings, config.Connection, config.Env = connectortest.JSON(t, s), connectortest.JSON(t, c), connectortest.Loopback()
	d, err := def.OpenDestination(config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opened is open, as a process of its own, with a Close at the end of the test.
func opened(t testing.TB, s *bigquerytest.Server, mode connectors.Mode) connectors.Destination {
	t.Helper()
	d := open(t, bigquery.Definition(), direct(s), warehouse, connectors.Config{Mode: mode})
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

// rows reads all tables that have rows of ours.
func rows(t testing.TB, s *bigquerytest.Server) []connectortest.Row {
	t.Helper()
	var all []connectortest.Row
	s.Read(t, "_installation", func(_ string, row map[string]*string) { all = append(all, rowOf(t, row, text(row["data"]))) })
	return all
}

// columnRows is rows for tables of layout columns.
func columnRows(t testing.TB, s *bigquerytest.Server) []connectortest.Row {
	t.Helper()
	var all []connectortest.Row
	schemas := make(map[string]map[string][2]string)
	type found struct {
		id  string
		row map[string]*string
	}
	var list []found
	s.Read(t, "_installation", func(id string, row map[string]*string) { list = append(list, found{id, row}) })
	for _, f := range list {
		if schemas[f.id] == nil {
			schemas[f.id] = make(map[string][2]string)
			for _, c := range s.Table(t, f.id).Schema.Fields {
				schemas[f.id][c.Name] = [2]string{c.Type, c.Description}
			}
		}
		var fields []string
		for name, value := range f.row {
			if value == nil || notOfPayload[name] {
				continue
			}
			c := schemas[f.id][name]
			text := *value
			// What a column of text holds as JSON is said where the connector remembers it: its type is 6 there.
			if c[0] == "TIMESTAMP" || c[0] == "STRING" && !strings.Contains(c[1], `"type":6`) {
				text = string(connectortest.JSON(t, text))
			}
			fields = append(fields, string(connectortest.JSON(t, name))+":"+text)
		}
		slices.Sort(fields)
		all = append(all, rowOf(t, f.row, "{"+strings.Join(fields, ",")+"}"))
	}
	return all
}

var notOfPayload = map[string]bool{"_installation": true, "_stream": true, "_id": true, "_key": true, "_op": true, "_version": true, "_version_seen": true,
	"_occurred_at": true, "_received_at": true, "_ordinal": true, "_epoch": true, "_lane": true}

const canary = "canary-7f3a"

func failing() map[string]connectortest.FailingDestination {
	with := func(change func(t *testing.T, s *bigquerytest.Server, c *bigquery.Connection, settings *bigquery.Settings)) func(t *testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			s := bigquerytest.New(t, returned)
			c, settings := direct(s), warehouse
			c.Key = strings.Replace(c.Key, `"private_key_id":"1"`, `"private_key_id":"`+canary+`"`, 1)
			change(t, s, &c, &settings)
			return open(t, bigquery.Definition(), c, settings, connectors.Config{})
		}
	}
	deny := func(permission string) func(t *testing.T) connectors.Destination {
		return with(func(_ *testing.T, s *bigquerytest.Server, _ *bigquery.Connection, _ *bigquery.Settings) {
			s.Deny(permission)
		})
	}
	return map[string]connectortest.FailingDestination{
		"a key that was deleted": {Kind: connectors.Unauthorized, Open: with(func(t *testing.T, s *bigquerytest.Server, c *bigquery.Connection, _ *bigquery.Settings) {
			c.Key = strings.Replace(s.OtherKey(t, s.REST), `"private_key_id":"1"`, `"private_key_id":"`+canary+`"`, 1)
		})},
		"no dataset": {Kind: connectors.NotFound, Open: with(func(_ *testing.T, _ *bigquerytest.Server, _ *bigquery.Connection, s *bigquery.Settings) {
			s.Dataset = "nowhere"
		})},
		"no project": {Kind: connectors.NotFound, Open: with(func(_ *testing.T, _ *bigquerytest.Server, _ *bigquery.Connection, s *bigquery.Settings) {
			s.Project = "no-such-project"
		})},
		"no server": {Kind: connectors.Unavailable, Open: with(func(_ *testing.T, _ *bigquerytest.Server, c *bigquery.Connection, _ *bigquery.Settings) {
			c.Endpoint, c.WriteEndpoint = "http://127.0.0.1:1", "http://127.0.0.1:1"
		})},
		"no right to the dataset":    {Kind: connectors.Forbidden, Open: deny("bigquery.datasets.get")},
		"no right to run jobs":       {Kind: connectors.Forbidden, Open: deny("bigquery.jobs.create")},
		"no right to write":          {Kind: connectors.Forbidden, Open: deny("bigquery.tables.updateData")},
		"no right to look at tables": {Kind: connectors.Forbidden, Open: deny("bigquery.tables.get")},
	}
}

// TestStandInApart serves a project to the process that measures the largest batch.
func TestStandInApart(t *testing.T) {
	connectortest.ServeApart(t, func(t *testing.T) connectortest.StandIn {
		s := bigquerytest.New(t, returned)
		return connectortest.StandIn{
			Where:   []string{s.REST, s.Write, s.Key(s.REST)},
			Rows:    func(t *testing.T) []connectortest.Row { return rows(t, s) },
			Columns: func(t *testing.T) []connectortest.Row { return columnRows(t, s) },
		}
	})
}

// placeApart is that project.
func placeApart(t *testing.T) connectortest.DestinationPlace {
	standIn := connectortest.StartApart(t)
	c := bigquery.Connection{Endpoint: "http://" + standIn.Where[0], WriteEndpoint: "http://" + standIn.Where[1], Key: standIn.Where[2]}
	def := bigquery.Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
			return open(t, def, c, warehouse, connectors.Config{Mode: mode})
		},
		Rows: standIn.Rows,
		Columns: &connectortest.ColumnsPlace{
			Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
				return open(t, def, c, warehouse, connectors.Config{Mode: mode, Layout: connectors.LayoutColumns, Schema: rule})
			},
			Rows: standIn.Columns,
		},
	}
}

// suite runs the conformance suite.
func suite(t *testing.T, mode connectors.Mode, once connectortest.Once, failing map[string]connectortest.FailingDestination) {
	apart := placeApart
	if os.Getenv(liveVariable) != "" {
		apart = nil
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes: []connectors.Mode{mode}, Once: once, Canary: canary, Failing: failing,
		Apart: apart,
		New: func(t *testing.T) connectortest.DestinationPlace {
			if connection := os.Getenv(liveVariable); connection != "" {
				return livePlace(t, connection)
			}
			s := bigquerytest.New(t, returned)
			web, write := connectortest.Proxy(t, s.REST), connectortest.Proxy(t, s.Write)
			c := bigquery.Connection{Key: s.Key(web.Listen), Endpoint: "http://" + web.Listen, WriteEndpoint: "http://" + write.Listen}
			def := bigquery.Definition()
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
					return open(t, def, c, warehouse, connectors.Config{Mode: mode})
				},
				Rows: func(t *testing.T) []connectortest.Row { return rows(t, s) },
				Columns: &connectortest.ColumnsPlace{
					Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
						return open(t, def, c, warehouse, connectors.Config{Mode: mode, Layout: connectors.LayoutColumns, Schema: rule})
					},
					Rows: func(t *testing.T) []connectortest.Row { return columnRows(t, s) },
					AddColumn: func(t *testing.T, table, column, kind string) {
						s.AddColumn(t, table, column, map[string]string{"integer": "INTEGER", "text": "STRING", "timestamp": "TIMESTAMP"}[kind])
					},
				},
			}.Behind(web, write)
		},
	})
}

// What a lane has appended stays once; what comes by another epoch is there again, under the same ID.
func TestAppend(t *testing.T) { suite(t, connectors.Append, connectortest.ByName, failing()) }

func TestUpsert(t *testing.T) { suite(t, connectors.ModeUpsert, connectortest.ByLedger, nil) }
