package mongodb_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"tributary/connectors"
	"tributary/connectors/mongodb"
	"tributary/connectors/mongodb/mongodbtest"
)

// benchBatch makes a batch of 20,000 records with payloads of 495 bytes and keys in no order.
func benchBatch(mode connectors.Mode, first int) connectors.Batch {
	b := batch(mode, first, 20_000)
	payload := []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	for i := range b.Records {
		r := &b.Records[i]
		r.Key = fmt.Sprintf("gid://shop/Product/%016x", uint64(r.Ordinal)*11400714819323198485)
		r.ID, r.Version, r.Data, r.OccurredAt = r.Key, r.Ordinal, payload, r.ReceivedAt
	}
	return b
}

// BenchmarkWrite compares the destination with its floor on the same server: the same documents ready-made, handed to the official client's unordered
// InsertMany with the same write concern.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", benchFloor)
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode), func(b *testing.B) { benchDestination(b, mode) })
	}
}

// benchLoop gives load batches, which it makes while the clock stands.
func benchLoop(b *testing.B, mode connectors.Mode, load func(connectors.Batch)) {
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch := benchBatch(mode, n)
		b.StartTimer()
		load(batch)
		n += len(batch.Records)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// stored sees to it that all is there.
func stored(b *testing.B, server *mongodbtest.Server, records int) {
	if n := len(server.Documents("crm", "orders")); n != records {
		b.Fatalf("there are %d documents of %d", n, records)
	}
}

func benchDestination(b *testing.B, mode connectors.Mode) {
	server := mongodbtest.New(b, nil)
	connection, err := json.Marshal(mongodb.Connection{Host: server.Addr, TLS: "off", Database: "crm"})
	if err != nil {
		b.Fatal(err)
	}
	local := connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}
	d, err := mongodb.Definition().OpenDestination(connectors.Config{Connection: connection, Mode: mode, Env: local})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	benchLoop(b, mode, func(batch connectors.Batch) {
		if _, err := d.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	})
	stored(b, server, b.N*20_000)
}

func benchFloor(b *testing.B) {
	server := mongodbtest.New(b, nil)
	journal := true
	client, err := mongo.Connect(options.Client().SetHosts([]string{server.Addr}).SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal}))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Disconnect(context.Background())
	collection := client.Database("crm").Collection("orders")
	benchLoop(b, connectors.Append, func(batch connectors.Batch) {
		b.StopTimer()
		documents := mongodb.Documents(batch, mongodb.Settings{})
		b.StartTimer()
		for statement := range slices.Chunk(documents, 2_000) { // faster than all at once
			if _, err := collection.InsertMany(context.Background(), statement, options.InsertMany().SetOrdered(false)); err != nil {
				b.Fatal(err)
			}
		}
	})
	stored(b, server, b.N*20_000)
}
