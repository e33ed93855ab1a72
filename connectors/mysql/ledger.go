package mysql

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/connectors/table"
)

// store writes into one database. It keeps I3 and I5 by the ledger and the unique key of each table; see table.Write.
type store struct {
	pool   *pool
	mode   connectors.Mode
	layout string
	// server is known from Prepare on.
	*server
}

// ledgerTx is a transaction that holds a ledger row. Nothing in it may change a table: that would commit. A temporary table may come and go:
// https://dev.mysql.com/doc/refman/8.0/en/implicit-commit.html
type ledgerTx struct {
	*store
	conn *sql.Conn
	over bool
}

var (
	_ table.Store = (*store)(nil)
	_ table.Tx    = (*ledgerTx)(nil)
)

func (s *store) own(name string) string { return quote(s.tableName(name)) }

func (s *store) Begin(ctx context.Context, b *connectors.Batch) (table.Tx, int64, error) {
	conn, err := s.pool.Conn(ctx)
	if err != nil {
		return nil, 0, s.pool.failed("connect", err)
	}
	t := &ledgerTx{store: s, conn: conn}
	next, err := t.lock(ctx, b)
	if err != nil {
		t.Rollback()
		return nil, 0, s.pool.failed("lock ledger", err)
	}
	return t, next, nil
}

func (t *ledgerTx) lock(ctx context.Context, b *connectors.Batch) (next int64, err error) {
	if _, err := t.conn.ExecContext(ctx, "START TRANSACTION"); err != nil {
		return 0, err
	}
	const query = "SELECT `next` FROM " + table.Ledger + " WHERE epoch = ? AND lane = ? FOR UPDATE"
	err = t.conn.QueryRowContext(ctx, query, b.Epoch, b.Lane).Scan(&next)
	if !errors.Is(err, sql.ErrNoRows) {
		return next, err
	}
	// Who inserts the same row at the same time makes this wait.
	if _, err := t.conn.ExecContext(ctx, "INSERT INTO "+table.Ledger+" (epoch, lane, `next`) VALUES (?, ?, 0) ON DUPLICATE KEY UPDATE epoch = epoch", b.Epoch, b.Lane); err != nil {
		return 0, err
	}
	err = t.conn.QueryRowContext(ctx, query, b.Epoch, b.Lane).Scan(&next)
	return next, err
}

func (t *ledgerTx) Rejected(ctx context.Context, b *connectors.Batch) (map[int64]string, error) {
	rows, err := t.conn.QueryContext(ctx, "SELECT ordinal, reason FROM "+table.Rejections+" WHERE epoch = ? AND lane = ? AND ordinal >= ? AND ordinal < ?",
		b.Epoch, b.Lane, b.First, b.Next)
	if err != nil {
		return nil, t.pool.failed("read rejections", err)
	}
	defer rows.Close()
	rejected := make(map[int64]string)
	for rows.Next() {
		var ordinal int64
		var reason string
		if err := rows.Scan(&ordinal, &reason); err != nil {
			return nil, t.pool.failed("read rejections", err)
		}
		rejected[ordinal] = reason
	}
	if err := rows.Err(); err != nil {
		return nil, t.pool.failed("read rejections", err)
	}
	return rejected, nil
}

func (t *ledgerTx) Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error {
	if len(rejected) > 0 {
		// What lies below the batch has long been reported.
		if _, err := t.conn.ExecContext(ctx, "DELETE FROM "+table.Rejections+" WHERE epoch = ? AND lane = ? AND ordinal < ?", b.Epoch, b.Lane, b.First); err != nil {
			return t.pool.failed("forget rejections", err)
		}
		if err := t.reject(ctx, b, rejected); err != nil {
			return t.pool.failed("note rejections", err)
		}
	}
	done, err := t.conn.ExecContext(ctx, "UPDATE "+table.Ledger+" SET `next` = ?, updated_at = UTC_TIMESTAMP(6) WHERE epoch = ? AND lane = ?", next, b.Epoch, b.Lane)
	if err != nil {
		return t.pool.failed("advance ledger", err)
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		return connectors.Errorf(connectors.Unavailable, "advance ledger", "somebody removed the row from %s", table.Ledger)
	}
	if _, err := t.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return t.pool.failed("commit", err)
	}
	t.over = true
	_ = t.conn.Close() // gives it back to the pool
	return nil
}

// reject notes reasons, of at most 500 bytes each, as many in a statement as surely fit.
func (t *ledgerTx) reject(ctx context.Context, b *connectors.Batch, rejected map[int64]string) error {
	const most = 500
	var tuples []string
	var values []any
	insert := func() error {
		_, err := t.conn.ExecContext(ctx, "INSERT INTO "+table.Rejections+" (epoch, lane, ordinal, reason) VALUES "+strings.Join(tuples, ", "), values...)
		tuples, values = tuples[:0], values[:0]
		return err
	}
	for ordinal, reason := range rejected {
		tuples, values = append(tuples, "(?, ?, ?, ?)"), append(values, b.Epoch, b.Lane, ordinal, reason)
		if len(tuples) == most {
			if err := insert(); err != nil {
				return err
			}
		}
	}
	if len(tuples) == 0 {
		return nil
	}
	return insert()
}

// Rollback gives the connection back. Without a word from the server in time the connection is closed, which ends the transaction as well.
func (t *ledgerTx) Rollback() {
	if t.over {
		return
	}
	t.over = true
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := t.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		discard(t.conn)
	}
	_ = t.conn.Close() // gives it back to the pool
}
