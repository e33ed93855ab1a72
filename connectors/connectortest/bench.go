package connectortest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// Products makes a batch of n records with payloads of 495 bytes and keys in no order, as benchmarks write them.
func Products(mode connectors.Mode, first, n int) connectors.Batch {
	b := Batch(mode, "products", first, n)
	payload := []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	for i := range b.Records {
		r := &b.Records[i]
		r.Key = fmt.Sprintf("gid://shop/Product/%016x", uint64(r.Ordinal)*11400714819323198485)
		r.ID, r.Version, r.Data, r.OccurredAt, r.ReceivedAt = r.Key, r.Ordinal, payload, time.Unix(1793534400, 0), time.Unix(1793534401, 0)
	}
	return b
}

// BenchProducts gives load batches of n records, which it makes while the clock stands, and reports records/s.
func BenchProducts(b *testing.B, mode connectors.Mode, n int, load func(connectors.Batch)) {
	first := 0
	for b.Loop() {
		b.StopTimer()
		batch := Products(mode, first, n)
		b.StartTimer()
		load(batch)
		first += n
	}
	b.ReportMetric(float64(first)/b.Elapsed().Seconds(), "records/s")
}

// BenchDestination measures a destination by batches of n records.
func BenchDestination(b *testing.B, d connectors.Destination, mode connectors.Mode, n int) {
	BenchProducts(b, mode, n, func(batch connectors.Batch) {
		if _, err := d.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	})
}
