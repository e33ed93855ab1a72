package duckdb_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	driverpkg "github.com/duckdb/duckdb-go/v2"

	"tributary/connectors"
	"tributary/connectors/duckdb"
)

// benchBatch makes a batch of 50,000 records with payloads of 495 bytes, half of them such as no other has, and keys in no order. DuckDB would keep a
// payload that all share but once.
func benchBatch(mode connectors.Mode, first int) connectors.Batch {
	b := batch(mode, "products", first, 50_000)
	for i := range b.Records {
		r := &b.Records[i]
		seed := sha256.Sum256(strconv.AppendInt(nil, r.Ordinal, 10))
		var own [120]byte
		rand.NewChaCha8(seed).Read(own[:])
		payload := fmt.Appendf(nil, `{"p": "%s%x"}`, strings.Repeat("abcdefgh", 30)+"xxxxxx", own)
		r.Key = fmt.Sprintf("gid://shop/Product/%016x", uint64(r.Ordinal)*11400714819323198485)
		r.ID, r.Version, r.Data, r.OccurredAt, r.ReceivedAt = r.Key, r.Ordinal, payload, time.Unix(1793534400, 0), time.Unix(1793534401, 0)
	}
	return b
}

// BenchmarkWrite compares the destination with its floor: the same rows in the same columns of a file with the same options, a transaction a batch, with
// nothing that would notice a second time. They come by a table of the connection there too: the client encodes JSON that it appends to
// a column of that type again, which is another payload and takes longer.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", benchFloor)
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode), func(b *testing.B) {
			d, err := duckdb.NewFiles().Definition().OpenDestination(connectors.Config{Settings: fmt.Appendf(nil, `{"path": %q}`, filepath.Join(b.TempDir(), "w.duckdb")), Mode: mode})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
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

func benchFloor(b *testing.B) {
	ctx := context.Background()
	db, err := sql.Open("duckdb", filepath.Join(b.TempDir(), "floor.duckdb")+duckdb.FileOptions)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	exec := func(query string) {
		if _, err := conn.ExecContext(ctx, query); err != nil {
			b.Fatal(err)
		}
	}
	exec(`CREATE TABLE t (installation VARCHAR NOT NULL, stream VARCHAR NOT NULL, id VARCHAR NOT NULL, key VARCHAR NOT NULL, op VARCHAR NOT NULL, version BIGINT NOT NULL,
		occurred_at TIMESTAMPTZ, received_at TIMESTAMPTZ, ordinal BIGINT NOT NULL, data JSON)`)
	n := 0
	for b.Loop() {
		b.StopTimer()
		records := benchBatch(connectors.Append, n).Records
		b.StartTimer()
		exec("BEGIN")
		exec(`CREATE TEMP TABLE incoming (installation VARCHAR, stream VARCHAR, id VARCHAR, key VARCHAR, op VARCHAR, version BIGINT,
			occurred_at TIMESTAMPTZ, received_at TIMESTAMPTZ, ordinal BIGINT, data VARCHAR)`)
		err := conn.Raw(func(c any) error {
			a, err := driverpkg.NewAppender(c.(driver.Conn), "temp", "main", "incoming")
			if err != nil {
				return err
			}
			for _, r := range records {
				if err := a.AppendRow("i/ada", r.Stream, r.ID, r.Key, string(r.Op), r.Version, r.OccurredAt, r.ReceivedAt, r.Ordinal, []byte(r.Data)); err != nil {
					return err
				}
			}
			return a.Close()
		})
		if err != nil {
			b.Fatal(err)
		}
		exec("INSERT INTO t FROM temp.incoming")
		exec("DROP TABLE temp.incoming")
		exec("COMMIT")
		n += len(records)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}
