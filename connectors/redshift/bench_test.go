package redshift_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/redshift"
)

// benchBatch makes a batch of n records with payloads of 495 bytes and keys in no order.
func benchBatch(mode connectors.Mode, first, n int) connectors.Batch {
	b := batch(mode, "products", first, n)
	payload := []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	for i := range b.Records {
		r := &b.Records[i]
		r.Key = fmt.Sprintf("gid://shop/Product/%016x", uint64(r.Ordinal)*11400714819323198485)
		r.ID, r.Version, r.Data, r.OccurredAt, r.ReceivedAt = r.Key, r.Ordinal, payload, time.Unix(1793534400, 0), time.Unix(1793534401, 0)
	}
	return b
}

// BenchmarkWrite measures what the worker does for a batch: encoding, compressing, two requests to a bucket. How long Redshift takes it does not tell: the stand-in
// is PostgreSQL, whose tables grow with each batch and have no index.
func BenchmarkWrite(b *testing.B) {
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		for _, json := range []string{"super", "text"} {
			b.Run(string(mode)+"/"+json, func(b *testing.B) {
				s := serve(b)
				d := open(b, redshift.Definition(), block(b, connection(b, s), redshift.Settings{JSON: json}, mode))
				defer d.Close()
				n := 0
				for b.Loop() {
					b.StopTimer()
					batch := benchBatch(mode, n, 50_000)
					b.StartTimer()
					if _, err := d.Write(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
					n += len(batch.Records)
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// BenchmarkFew measures small batches, on both sides of the size where files begin.
func BenchmarkFew(b *testing.B) {
	s := serve(b)
	d := open(b, redshift.Definition(), block(b, connection(b, s), redshift.Settings{}, connectors.Append))
	defer d.Close()
	first := 0
	for _, n := range []int{1, 10, 100, 101, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				batch := benchBatch(connectors.Append, first, n)
				first += n
				if _, err := d.Write(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
