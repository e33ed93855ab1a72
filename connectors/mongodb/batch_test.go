package mongodb_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"tributary/connectors"
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
