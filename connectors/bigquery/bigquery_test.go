package bigquery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

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

// loopback is where the test's servers are.
var loopback = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}

// direct is a connection to a server, without a proxy between.
func direct(s *bigquerytest.Server) bigquery.Connection {
	return bigquery.Connection{Key: s.Key(s.REST), Endpoint: "http://" + s.REST, WriteEndpoint: "http://" + s.Write}
}

// warehouse keeps JSON byte for byte.
var warehouse = bigquery.Settings{Dataset: bigquerytest.Dataset, JSON: "string"}

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, def connectors.Definition, c bigquery.Connection, s bigquery.Settings, config connectors.Config) connectors.Destination {
	t.Helper()
	config.Settings, config.Connection, config.Env = raw(t, s), raw(t, c), loopback
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
				text = string(raw(t, text))
			}
			fields = append(fields, string(raw(t, name))+":"+text)
		}
		slices.Sort(fields)
		all = append(all, rowOf(t, f.row, "{"+strings.Join(fields, ",")+"}"))
	}
	return all
}

var notOfPayload = map[string]bool{"_installation": true, "_stream": true, "_id": true, "_key": true, "_op": true, "_version": true, "_version_seen": true,
	"_occurred_at": true, "_received_at": true, "_ordinal": true, "_epoch": true, "_lane": true}

// breakable puts a proxy before an address, which can cut connections and refuse new ones.
func breakable(t *testing.T, address string) *toxiproxy.Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", address)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	return proxy
}

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
		Leaves: []goleak.Option{ // a proxy that is stopped while it has bytes in hand never lets go of them
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			if connection := os.Getenv(liveVariable); connection != "" {
				return livePlace(t, connection)
			}
			s := bigquerytest.New(t, returned)
			web, write := breakable(t, s.REST), breakable(t, s.Write)
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
				Break: func(*testing.T) { web.Stop(); write.Stop() },
				Heal: func(t *testing.T) {
					if err := errors.Join(web.Start(), write.Start()); err != nil {
						t.Error(err)
					}
				},
			}
		},
	})
}

// What a lane has appended stays once; what comes by another epoch is there again, under the same ID.
func TestAppend(t *testing.T) { suite(t, connectors.Append, connectortest.ByName, failing()) }

func TestUpsert(t *testing.T) { suite(t, connectors.ModeUpsert, connectortest.ByLedger, nil) }

// batch makes a batch of n records of a stream.
func batch(mode connectors.Mode, stream string, first, n int) connectors.Batch {
	b := connectors.Batch{Installation: "i/ada", Integration: "i", User: "ada", Epoch: "epoch", Lane: "warehouse", First: int64(first), Next: int64(first + n), Mode: mode}
	for i := first; i < first+n; i++ {
		b.Records = append(b.Records, connectors.Record{ID: fmt.Sprint("id", i), Key: fmt.Sprint("key", i), Stream: stream, Op: connectors.Upsert, Version: int64(i + 1), Ordinal: int64(i), Data: []byte(`{"a": 1}`)})
	}
	return b
}

func wantError(t *testing.T, err error, kind connectors.Kind, parts ...string) {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v, want an error of kind %s", err, kind)
	}
	for _, part := range parts {
		if !strings.Contains(e.Error(), part) {
			t.Fatalf("%q does not say %q", e.Error(), part)
		}
	}
}

func write(t *testing.T, d connectors.Destination, b connectors.Batch) {
	t.Helper()
	r, err := d.Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range r.Outcomes {
		if o != connectors.Durable {
			t.Fatalf("record %d: outcome %d, %s", i, o, r.Reasons[i])
		}
	}
}
