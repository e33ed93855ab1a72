package mongodb_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"tributary/connectors"
	"tributary/connectors/mongodb"
)

// batch makes a batch of n records of a stream.
func batch(mode connectors.Mode, first, n int) connectors.Batch {
	b := connectors.Batch{Installation: "i/ada", Integration: "i", User: "ada", Epoch: "epoch", Lane: "store", First: int64(first), Next: int64(first + n), Mode: mode}
	for i := first; i < first+n; i++ {
		b.Records = append(b.Records, connectors.Record{
			ID: fmt.Sprint("id", i), Key: fmt.Sprint("key", i), Stream: "orders", Op: connectors.Upsert, Ordinal: int64(i), Data: fmt.Appendf(nil, `{"a": %d}`, i),
			ReceivedAt: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		})
	}
	return b
}

func extended(t testing.TB, doc bson.Raw) string {
	t.Helper()
	out, err := bson.MarshalExtJSON(doc, true, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(out))
}

// loopback is where the test's servers are.
var loopback = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, def connectors.Definition, c mongodb.Connection, s mongodb.Settings, mode connectors.Mode) connectors.Destination {
	t.Helper()
	env := loopback
	env.Log = slog.Default()
	d, err := def.OpenDestination(connectors.Config{Settings: raw(t, s), Connection: raw(t, c), Mode: mode, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return d
}
