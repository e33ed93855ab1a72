package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
)

// database looks at what arrived.
type database struct {
	*pgx.Conn
	dsn string
}

// settings of the server: the time of each commit tells when a row was there, without anybody having to look for it all
// the time. PostgreSQL takes it when it writes the commit, a flush before others see the rows, for the floor as for the engine.
var settings = []string{"track_commit_timestamp=on"}

// floorTable makes an empty table of the engine's shape.
func (d *database) floorTable(ctx context.Context, name string, mode connectors.Mode) error {
	like := "shape_" + string(mode)
	if err := shape(ctx, d.dsn, mode, like); err != nil {
		return err
	}
	_, err := d.Exec(ctx, fmt.Sprintf(`CREATE TABLE %s (LIKE %s INCLUDING ALL)`, name, like))
	return err
}

// settled is how many records the engine's ledgers have passed, of all installations but those of shape.
func (d *database) settled(ctx context.Context) (n int64, err error) {
	err = d.QueryRow(ctx, `SELECT coalesce(sum(next), 0)::bigint FROM _tributary_ledger WHERE epoch <> 'shape'`).Scan(&n)
	return n, err
}

// clear removes all tables, so that the next part counts from 0, and settles the server.
func (d *database) clear(ctx context.Context) error {
	if _, err := d.Exec(ctx, `DROP SCHEMA public CASCADE; CREATE SCHEMA public`); err != nil {
		return err
	}
	_, err := d.Exec(ctx, `CHECKPOINT`)
	return err
}

// drop removes a table and settles the server: what it owed for the floor's table would slow the engine.
func (d *database) drop(ctx context.Context, table string) error {
	if _, err := d.Exec(ctx, `DROP TABLE `+table); err != nil {
		return err
	}
	_, err := d.Exec(ctx, `CHECKPOINT`)
	return err
}

// outcome is what a table holds.
type outcome struct {
	rows        int
	first, last time.Time // the first record was received, the last row was committed
}

// outcome counts rows; a record that is there twice, or another number than wanted, is an error: what loses or doubles is not fast.
func (d *database) outcome(ctx context.Context, table string, want int) (o outcome, err error) {
	var distinct int
	if err = d.QueryRow(ctx, `SELECT count(*), count(DISTINCT _id), min(_received_at) FROM `+table).Scan(&o.rows, &distinct, &o.first); err != nil {
		return o, err
	}
	if o.rows != want || distinct != want {
		return o, fmt.Errorf("%s has %d rows of %d records, not %d", table, o.rows, distinct, want)
	}
	err = d.QueryRow(ctx, `SELECT max(pg_xact_commit_timestamp(x)) FROM (SELECT xmin AS x FROM `+table+` GROUP BY xmin) t`).Scan(&o.last)
	return o, err
}

// commits tells for each webhook, by its number, when its row was committed.
func (d *database) commits(ctx context.Context, table string, count int) ([]time.Time, error) {
	rows, err := d.Query(ctx, `SELECT _id::int, pg_xact_commit_timestamp(xmin) FROM `+table)
	if err != nil {
		return nil, err
	}
	out := make([]time.Time, count)
	var id int
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		if id < 0 || id >= count {
			return fmt.Errorf("%s: nobody sent %d", table, id)
		}
		out[id] = at
		return nil
	})
	return out, err
}

// await waits until count says want.
func await(ctx context.Context, want int64, within time.Duration, count func(context.Context) (int64, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not delivered within %s", within))
	defer cancel()
	for {
		n, err := count(ctx)
		if err == nil && n >= want {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d records: %w", n, want, context.Cause(ctx))
		}
	}
}
