//go:build slow

package mongodb_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mongodb"
)

// connection leads through the relay, or to the real server.
func (p *place) connection() mongodb.Connection {
	if p.live {
		return mongodb.Connection{URL: p.url, Database: p.database}
	}
	return mongodb.Connection{Host: p.relay.address, TLS: "off", Database: p.database}
}

// settings are those that keep payloads as text too, and use no Decimal128 where the server has none.
func (p *place) settings() mongodb.Settings {
	if p.live {
		return mongodb.Settings{Raw: true}
	}
	return mongodb.Settings{Raw: true, Decimals: "text"}
}

// opened is open with a Close at the end of the test.
func (p *place) opened(t testing.TB, mode connectors.Mode) connectors.Destination {
	t.Helper()
	d := open(t, mongodb.Definition(), p.connection(), p.settings(), mode)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// rows are the documents as the suite wants them.
func (p *place) rows(t *testing.T) []connectortest.Row {
	t.Helper()
	var rows []connectortest.Row
	for _, doc := range p.documents(t) {
		var d struct {
			Installation string        `bson:"_installation"`
			Stream       string        `bson:"_stream"`
			ID           string        `bson:"_record_id"`
			Key          string        `bson:"_key"`
			Op           connectors.Op `bson:"_op"`
			Version      int64         `bson:"_version"`
			Raw          string        `bson:"raw"`
		}
		if err := bson.Unmarshal(doc, &d); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, connectortest.Row{Installation: d.Installation, Stream: d.Stream, ID: d.ID, Key: d.Key, Op: d.Op, Version: d.Version, Data: d.Raw})
	}
	return rows
}

// breakable puts a proxy before the place, which can cut connections and refuse new ones.
func (p *place) breakable(t *testing.T) (mongodb.Connection, *toxiproxy.Proxy) {
	t.Helper()
	c := p.connection()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", c.Host)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	c.Host = proxy.Listen
	return c, proxy
}

// refusing is the answer of a server that refuses a command, in a text that shows what must not be.
func refusing(code int, name, canary string) bson.D {
	return bson.D{{Key: "ok", Value: 0}, {Key: "errmsg", Value: "refused: " + canary}, {Key: "code", Value: code}, {Key: "codeName", Value: name}}
}

func TestDestination(t *testing.T) {
	const canary = "canary-7f3a"
	failing := func(change func(p *place, c *mongodb.Connection)) func(t *testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			p := newPlace(t)
			c := p.connection()
			change(p, &c)
			return open(t, mongodb.Definition(), c, mongodb.Settings{}, connectors.Append)
		}
	}
	// The server answers every command but those of the handshake with an error.
	refuses := func(code int, name string) func(t *testing.T) connectors.Destination {
		return failing(func(p *place, c *mongodb.Connection) {
			p.relay.answers(func(command string, _ []byte) bson.D {
				switch command {
				case "hello", "isMaster", "ismaster", "endSessions":
					return nil
				}
				return refusing(code, name, canary)
			})
		})
	}
	harness := connectortest.DestinationHarness{
		Modes:  []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Once:   connectortest.ByKey,
		Poison: []byte(`{"a": nonsense}`),
		Canary: canary,
		Leaves: []goleak.Option{ // a proxy that is stopped while it has bytes in hand never lets go of them
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		},
		Failing: map[string]connectortest.FailingDestination{
			"no server": {Kind: connectors.Unavailable, Open: failing(func(_ *place, c *mongodb.Connection) {
				*c = mongodb.Connection{Host: "127.0.0.1:1", TLS: "off", Database: "x", User: "x", Password: canary}
			})},
			"no such host": {Kind: connectors.Unavailable, Open: failing(func(_ *place, c *mongodb.Connection) {
				*c = mongodb.Connection{Host: "nowhere.invalid", Database: "x", User: "x", Password: canary}
			})},
			"no such name in the DNS": {Kind: connectors.Unavailable, Open: failing(func(_ *place, c *mongodb.Connection) {
				*c = mongodb.Connection{URL: "mongodb+srv://x:" + canary + "@nowhere.example.invalid/x"}
			})},
			"inside the network": {Kind: connectors.Invalid, Open: func(t *testing.T) connectors.Destination {
				d, err := mongodb.Definition().OpenDestination(connectors.Config{Connection: raw(t, mongodb.Connection{Host: "127.0.0.1", Database: "x", User: "x", Password: canary})})
				if err != nil {
					t.Fatal(err)
				}
				return d
			}},
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			p := newPlace(t)
			def := mongodb.Definition()
			if p.live {
				return connectortest.DestinationPlace{
					Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
						return open(t, def, p.connection(), p.settings(), mode)
					},
					Rows: p.rows,
				}
			}
			through, proxy := p.breakable(t)
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
					return open(t, def, through, p.settings(), mode)
				},
				Rows:  p.rows,
				Break: func(*testing.T) { proxy.Stop() },
				Heal: func(t *testing.T) {
					if err := proxy.Start(); err != nil {
						t.Error(err)
					}
				},
			}
		},
	}
	if !newPlace(t).live {
		harness.Records = 1_000 // FerretDB looks at every document for most of what it finds
		harness.Failing["wrong password"] = connectortest.FailingDestination{Kind: connectors.Unauthorized, Open: failing(func(p *place, c *mongodb.Connection) {
			c.User, c.Password = "ada", canary
			p.relay.answers(wrongPassword)
		})}
		harness.Failing["wrong password in a URL"] = connectortest.FailingDestination{Kind: connectors.Unauthorized, Open: failing(func(p *place, c *mongodb.Connection) {
			*c = mongodb.Connection{URL: fmt.Sprintf("mongodb://ada:%s@%s/%s", canary, p.relay.address, p.database)}
			p.relay.answers(wrongPassword)
		})}
		harness.Failing["no rights"] = connectortest.FailingDestination{Kind: connectors.Forbidden, Open: refuses(13, "Unauthorized")}
		harness.Failing["stepping down"] = connectortest.FailingDestination{Kind: connectors.Unavailable, Open: refuses(10107, "NotWritablePrimary")}
		harness.Failing["throughput used up"] = connectortest.FailingDestination{Kind: connectors.RateLimited, Open: refuses(16500, "TooManyRequests")}
		harness.Failing["unheard of"] = connectortest.FailingDestination{Kind: connectors.Unknown, Open: refuses(424242, "Novelty")}
	}
	connectortest.TestDestination(t, harness)
}

// wrongPassword answers as MongoDB does. https://www.mongodb.com/docs/manual/reference/error-codes/
func wrongPassword(command string, _ []byte) bson.D {
	if command == "saslStart" || command == "saslContinue" {
		return refusing(18, "AuthenticationFailed", "")
	}
	return nil
}

func write(t testing.TB, d connectors.Destination, b connectors.Batch) {
	t.Helper()
	r, err := d.Write(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range r.Outcomes {
		if o != connectors.Durable {
			t.Fatalf("record %d: outcome %d, %s", i, o, r.Reasons[i])
		}
	}
}

// one is the only document.
func (p *place) one(t *testing.T) bson.Raw {
	t.Helper()
	docs := p.documents(t)
	if len(docs) != 1 {
		t.Fatalf("%d documents, want 1", len(docs))
	}
	return docs[0]
}

// A document has the payload as such, what is known of the record, and nothing else; an update replaces the payload whole and leaves alone what others have added.
func TestDocument(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	d := open(t, mongodb.Definition(), p.connection(), mongodb.Settings{Decimals: "text", Dates: []string{"at"}}, connectors.ModeUpsert)
	t.Cleanup(func() { d.Close() })
	b := batch(connectors.ModeUpsert, 0, 1)
	b.Records[0].Data = []byte(`{"at": "2026-11-01T10:00:00.5Z", "n": 9007199254740993, "a.b": {"$set": [1.5, null, true]}}`)
	b.Records[0].Version = 7
	write(t, d, b)
	want := `{"_id":"i/ada:orders:key0","_version_seen":{"$numberLong":"7"},"_installation":"i/ada","_stream":"orders","_record_id":"id0","_key":"key0","_op":"upsert","_version":{"$numberLong":"7"},` +
		`"_occurred_at":null,"_received_at":{"$date":{"$numberLong":"1793534400000"}},"_epoch":"epoch","_ordinal":{"$numberLong":"0"},` +
		`"data":{"at":{"$date":{"$numberLong":"1793527200500"}},"n":{"$numberLong":"9007199254740993"},"a．b":{"＄set":[{"$numberDouble":"1.5"},null,true]}}}`
	if got := extended(t, p.one(t)); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	collection := p.db().Collection("orders")
	if _, err := collection.UpdateOne(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "mine", Value: "kept"}}}}); err != nil {
		t.Fatal(err)
	}
	after := batch(connectors.ModeUpsert, 1, 1)
	after.Records[0].Key, after.Records[0].Data = "key0", []byte(`{"b": 1}`)
	write(t, d, after)
	got := extended(t, p.one(t))
	for _, part := range []string{`"mine":"kept"`, `"data":{"b":{"$numberLong":"1"}}`, `"_version":{"$numberLong":"0"}`, `"_version_seen":{"$numberLong":"7"}`, `"_record_id":"id1"`} {
		if !strings.Contains(got, part) {
			t.Fatalf("%s does not have %s", got, part)
		}
	}
	gone := batch(connectors.ModeUpsert, 2, 1)
	gone.Records[0].Key, gone.Records[0].Op, gone.Records[0].Data = "key0", connectors.Delete, nil
	write(t, d, gone)
	if got := extended(t, p.one(t)); strings.Contains(got, `"data"`) || !strings.Contains(got, `"_op":"delete"`) || !strings.Contains(got, `"mine":"kept"`) {
		t.Fatalf("after the deletion there is %s", got)
	}
}
