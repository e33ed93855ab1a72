package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
)

// BenchmarkWrite compares the destination with its floor: the same COPY and INSERT ... ON CONFLICT of 5,000 rows by hand, without a ledger.
func BenchmarkWrite(b *testing.B) {
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode)+"/floor", func(b *testing.B) { benchFloor(b, mode) })
		b.Run(string(mode)+"/destination", func(b *testing.B) { benchDestination(b, mode) })
	}
}

func benchDestination(b *testing.B, mode connectors.Mode) {
	d := open(b, postgres.Definition(), connection(b, pgtest.Database(b)), postgres.Settings{}, mode)
	defer d.Close()
	connectortest.BenchDestination(b, d, mode, 50_000)
}

func benchFloor(b *testing.B, mode connectors.Mode) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, pgtest.Database(b))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	columns := []string{"installation", "stream", "id", "key", "op", "version", "occurred_at", "received_at", "ordinal", "data"}
	key, conflict := "installation, stream, id", "NOTHING"
	if mode == connectors.ModeUpsert {
		key, conflict = "installation, stream, key", "UPDATE SET id = excluded.id, op = excluded.op, version = excluded.version, occurred_at = excluded.occurred_at, received_at = excluded.received_at, ordinal = excluded.ordinal, data = excluded.data WHERE excluded.version >= t.version"
	}
	if _, err := conn.Exec(ctx, `CREATE TABLE t (installation text, stream text, id text, key text, op text, version bigint, occurred_at timestamptz, received_at timestamptz, ordinal bigint, data json);
		CREATE UNIQUE INDEX ON t (`+key+`)`, pgx.QueryExecModeSimpleProtocol); err != nil {
		b.Fatal(err)
	}
	connectortest.BenchProducts(b, mode, 50_000, func(batch connectors.Batch) {
		records := batch.Records
		for len(records) > 0 {
			part := records[:5_000]
			records = records[5_000:]
			err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "CREATE TEMP TABLE s (LIKE t) ON COMMIT DROP"); err != nil {
					return err
				}
				_, err := tx.CopyFrom(ctx, pgx.Identifier{"s"}, columns, pgx.CopyFromSlice(len(part), func(i int) ([]any, error) {
					r := &part[i]
					return []any{"i/ada", r.Stream, r.ID, r.Key, string(r.Op), r.Version, r.OccurredAt, r.ReceivedAt, r.Ordinal, r.Data}, nil
				}))
				if err != nil {
					return err
				}
				_, err = tx.Exec(ctx, "INSERT INTO t SELECT * FROM s ON CONFLICT ("+key+") DO "+conflict)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFew measures small batches, such as those of an installation to which little comes.
func BenchmarkFew(b *testing.B) {
	d := open(b, postgres.Definition(), connection(b, pgtest.Database(b)), postgres.Settings{}, connectors.Append)
	defer d.Close()
	first := 0
	for _, n := range []int{1, 10, 100, 250, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				batch := connectortest.Products(connectors.Append, first, n)
				first += n
				if _, err := d.Write(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
