package mongodbtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mongodb"
	"tributary/connectors/mongodb/mongodbtest"
)

func raw(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// open opens a destination at a host.
func open(t *testing.T, host string, mode connectors.Mode) connectors.Destination {
	t.Helper()
	d, err := mongodb.Definition().OpenDestination(connectors.Config{
		Settings: raw(t, mongodb.Settings{Raw: true}), Connection: raw(t, mongodb.Connection{Host: host, TLS: "off", Database: "crm"}), Mode: mode,
		Env: connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}, Log: slog.Default()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestStandInApart serves to the process that measures the largest batch.
func TestStandInApart(t *testing.T) {
	connectortest.ServeApart(t, func(t *testing.T) connectortest.StandIn {
		server := mongodbtest.New(t, nil)
		return connectortest.StandIn{Where: []string{server.Addr}, Rows: func(t *testing.T) []connectortest.Row { return rows(t, server) }}
	})
}

// TestDestination runs the suite that every destination passes where no server can be had that takes minutes to build; connectors/mongodb runs it
// against one that can, and against MongoDB itself.
func TestDestination(t *testing.T) {
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:   []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Once:    connectortest.ByKey,
		Poison:  []byte(`{"a": nonsense}`),
		Records: 2_000,
		Leaves: []goleak.Option{ // a proxy that is stopped while it has bytes in hand never lets go of them
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		},
		Canary: "no secret is there",
		Apart: func(t *testing.T) connectortest.DestinationPlace {
			standIn := connectortest.StartApart(t)
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
					return open(t, standIn.Where[0], mode)
				},
				Rows: standIn.Rows,
			}
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			server := mongodbtest.New(t, nil)
			proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop()), t.Name(), "127.0.0.1:0", server.Addr)
			if err := proxy.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(proxy.Stop)
			return connectortest.DestinationPlace{
				Open:  func(t *testing.T, mode connectors.Mode) connectors.Destination { return open(t, proxy.Listen, mode) },
				Rows:  func(t *testing.T) []connectortest.Row { return rows(t, server) },
				Break: func(*testing.T) { proxy.Stop() },
				Heal: func(t *testing.T) {
					if err := proxy.Start(); err != nil {
						t.Error(err)
					}
				},
			}
		},
	})
}

func rows(t *testing.T, server *mongodbtest.Server) (rows []connectortest.Row) {
	t.Helper()
	var docs []bson.Raw
	for _, name := range server.Collections("crm") {
		docs = append(docs, server.Documents("crm", name)...)
	}
	for _, doc := range docs {
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

// What MongoDB refuses is refused, and so is what the stand-in does not do, with MongoDB's own codes.
func TestRefusals(t *testing.T) {
	t.Parallel()
	server := mongodbtest.New(t, nil)
	client, err := mongo.Connect(options.Client().SetHosts([]string{server.Addr}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Disconnect(context.Background()); err != nil {
			t.Error(err)
		}
	})
	db := client.Database("crm")
	deep := bson.D{}
	for range 100 {
		deep = bson.D{{Key: "a", Value: deep}}
	}
	one := bson.D{{Key: "_id", Value: "one"}, {Key: "n", Value: int64(1)}}
	insert := func(d any, more ...bson.E) bson.D {
		return append(bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{d}}}, more...)
	}
	find := func(filter bson.D, more ...bson.E) bson.D {
		return append(bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: filter}}, more...)
	}
	update := func(u bson.D) bson.D {
		return bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: "one"}}}, {Key: "u", Value: u}}}}}
	}
	set := func(operator, key string, v any) bson.E {
		return bson.E{Key: operator, Value: bson.D{{Key: key, Value: v}}}
	}
	for _, test := range []struct {
		name    string
		command bson.D
		code    int
	}{
		{"insert", insert(one), 0},
		{"insert again", insert(one), 11000},
		{"insert without _id", insert(bson.D{{Key: "n", Value: 1}}), 2},
		{"insert nothing", bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{}}}, 16},
		{"insert too deep", insert(bson.D{{Key: "_id", Value: "deep"}, {Key: "a", Value: deep}}), 15},
		{"insert too large", insert(bson.D{{Key: "_id", Value: "large"}, {Key: "a", Value: strings.Repeat("x", 16<<20)}}), 10334},
		{"insert with a field of nobody's", insert(one, bson.E{Key: "unordered", Value: true}), 40415},
		{"insert with a concern of nobody's", insert(one, bson.E{Key: "writeConcern", Value: bson.D{{Key: "fsync", Value: true}}}), 40415},
		{"name with a dollar sign", bson.D{{Key: "insert", Value: "a$b"}, {Key: "documents", Value: bson.A{one}}}, 73},
		{"command of nobody's", bson.D{{Key: "upsert", Value: "c"}}, 59},
		{"find", find(bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: 0}}}}), 0},
		{"find what it does not do", find(bson.D{}, bson.E{Key: "sort", Value: bson.D{{Key: "n", Value: 1}}}), 40415},
		{"operator of nobody's", find(bson.D{{Key: "n", Value: bson.D{{Key: "$is", Value: 0}}}}), 2},
		{"top level operator", find(bson.D{{Key: "$where", Value: "true"}}), 2},
		{"$or of nothing", find(bson.D{{Key: "$or", Value: bson.A{}}}), 2},
		{"path", find(bson.D{{Key: "a.b", Value: 1}}), 238},
		{"unique index", bson.D{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: bson.A{bson.D{{Key: "key", Value: bson.D{{Key: "n", Value: 1}}}, {Key: "name", Value: "n"}, {Key: "unique", Value: true}}}}}, 40415},
		{"update", update(bson.D{set("$set", "n", int64(2)), set("$max", "m", int64(3))}), 0},
		{"modifier of nobody's", update(bson.D{set("$put", "n", 1)}), 9},
		{"replacement", update(bson.D{{Key: "n", Value: 1}}), 9},
		{"conflict", update(bson.D{set("$set", "n", 1), set("$unset", "n", "")}), 40},
		{"_id", update(bson.D{set("$set", "_id", "two")}), 66},
		{"cursor of nobody's", bson.D{{Key: "getMore", Value: int64(7)}, {Key: "collection", Value: "c"}}, 43},
	} {
		err := db.RunCommand(t.Context(), test.command).Err()
		code := 0
		var refused mongo.CommandError
		var of mongo.WriteException
		switch {
		case errors.As(err, &refused):
			code = int(refused.Code)
		case errors.As(err, &of) && len(of.WriteErrors) == 1:
			code = of.WriteErrors[0].Code
		case err != nil:
			t.Fatalf("%s: %v", test.name, err)
		}
		if code != test.code {
			t.Errorf("%s: %v, want code %d", test.name, err, test.code)
		}
	}
	if docs := server.Documents("crm", "c"); len(docs) != 1 || docs[0].String() != `{"_id": "one","n": {"$numberLong":"2"},"m": {"$numberLong":"3"}}` {
		t.Errorf("there is %s", docs)
	}
}

// Documents beyond the first batch are had by getMore.
func TestCursors(t *testing.T) {
	t.Parallel()
	server := mongodbtest.New(t, nil)
	client, err := mongo.Connect(options.Client().SetHosts([]string{server.Addr}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	c := client.Database("crm").Collection("c")
	var all []bson.D
	for i := range 1000 {
		all = append(all, bson.D{{Key: "_id", Value: i}})
	}
	if _, err := c.InsertMany(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	cursor, err := c.Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	if n := cursor.RemainingBatchLength(); n != 101 {
		t.Errorf("the first batch has %d documents", n)
	}
	if err := cursor.All(t.Context(), &all); err != nil || len(all) != 1000 {
		t.Errorf("%d documents, %v", len(all), err)
	}
}
