package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// PublishMarks says for each origin of an epoch's segments which sequence is the first still needed, and how long
// segments are kept beyond that; ErrNotFound. A mark only grows (I12): a workflow that was reset may not take back
// what the janitor has acted on.
func (c *Catalog) PublishMarks(ctx context.Context, epoch string, marks map[string]uint64, retention time.Duration) error {
	err := c.transact(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE installations SET retention = $2 WHERE epoch = $1`, epoch, retention.Microseconds())
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrNotFound)
		}
		for _, origin := range slices.Sorted(maps.Keys(marks)) {
			if marks[origin] > math.MaxInt64 {
				return fmt.Errorf("origin %s: mark %d is out of range", origin, marks[origin])
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO marks (epoch, origin, mark) VALUES ($1, $2, $3)
				ON CONFLICT (epoch, origin) DO UPDATE SET mark = excluded.mark WHERE excluded.mark > marks.mark`,
				epoch, origin, int64(marks[origin])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("publish marks of epoch %s: %w", epoch, err)
	}
	return nil
}

// Marks returns what PublishMarks said; ErrNotFound.
func (c *Catalog) Marks(ctx context.Context, epoch string) (map[string]uint64, time.Duration, error) {
	marks, retention, _, err := c.SweepInfo(ctx, epoch)
	return marks, retention, err
}

// SweepInfo returns what the janitor goes by: the marks, the retention, and whether the epoch has ended; ErrNotFound.
func (c *Catalog) SweepInfo(ctx context.Context, epoch string) (marks map[string]uint64, retention time.Duration, ended bool, err error) {
	marks = make(map[string]uint64)
	var us int64
	rows, err := c.read.QueryContext(ctx, `SELECT i.retention, i.state = 'ended', m.origin, m.mark
		FROM installations i LEFT JOIN marks m ON m.epoch = i.epoch WHERE i.epoch = $1`, epoch)
	found, err := collect(rows, err, func(r row) (struct{}, error) {
		var (
			origin sql.NullString
			mark   sql.NullInt64
		)
		err := r.Scan(&us, &ended, &origin, &mark)
		if origin.Valid {
			marks[origin.String] = uint64(mark.Int64)
		}
		return struct{}{}, err
	})
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, 0, false, fmt.Errorf("marks of epoch %s: %w", epoch, err)
	}
	return marks, time.Duration(us) * time.Microsecond, ended, nil
}
