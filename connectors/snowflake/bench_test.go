package snowflake_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"tributary/connectors"
	"tributary/connectors/snowflake/snowflaketest"
)

// benchBatch makes a batch of 20,000 records with payloads of 495 bytes and keys in no order.
func benchBatch(mode connectors.Mode, first int) connectors.Batch {
	b := batch(mode, "products", first, 20_000)
	payload := []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	for i := range b.Records {
		r := &b.Records[i]
		r.Key = fmt.Sprintf("gid://shop/Product/%016x", uint64(r.Ordinal)*11400714819323198485)
		r.ID, r.Version, r.Data, r.OccurredAt, r.ReceivedAt = r.Key, r.Ordinal, payload, time.Unix(1793534400, 0), time.Unix(1793534401, 0)
	}
	return b
}

// BenchmarkWrite measures the worker's part and the test server's together; its floor is the compression of the same payloads, which is most of the worker's part.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		n := 0
		for b.Loop() {
			records := benchBatch(connectors.Append, n).Records
			var packed bytes.Buffer
			w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range records {
				if _, err := w.Write(r.Data); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			n += len(records)
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
	})
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode), func(b *testing.B) {
			d := opened(b, snowflaketest.New(b, &returned), mode)
			n := 0
			for b.Loop() {
				b.StopTimer()
				batch := benchBatch(mode, n)
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
