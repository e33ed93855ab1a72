package duckdb

import (
	"context"
	"database/sql"
	"errors"

	"tributary/connectors"
	"tributary/connectors/table"
)

// store writes into one file. It keeps I3 and I5 by the ledger and, because nobody else can have the file open, by looking for what is there before it
// inserts; see table.Write.
type store struct {
	file   *file
	mode   connectors.Mode
	layout string
}

var (
	_ table.Store = (*store)(nil)
	_ table.Tx    = (*ledgerTx)(nil)
)

// ledgerTx is a transaction that holds the file for writing, and with it the ledger row.
type ledgerTx struct {
	*store
	conn *sql.Conn
	over bool
}

func (s *store) Begin(ctx context.Context, b *connectors.Batch) (table.Tx, int64, error) {
	db, err := s.file.database()
	if err != nil {
		return nil, 0, err
	}
	if err := s.file.lock(ctx); err != nil {
		return nil, 0, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		s.file.unlock()
		return nil, 0, s.failed("connect", err)
	}
	t := &ledgerTx{store: s, conn: conn}
	next, err := t.begin(ctx, b)
	if err != nil {
		t.Rollback()
		return nil, 0, s.failed("lock ledger", err)
	}
	return t, next, nil
}

func (t *ledgerTx) begin(ctx context.Context, b *connectors.Batch) (next int64, err error) {
	if _, err := t.conn.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		return 0, err
	}
	err = t.conn.QueryRowContext(ctx, "SELECT next FROM main."+table.Ledger+" WHERE epoch = ? AND lane = ?", b.Epoch, b.Lane).Scan(&next)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = t.conn.ExecContext(ctx, "INSERT INTO main."+table.Ledger+" (epoch, lane, next, updated_at) VALUES (?, ?, 0, now())", b.Epoch, b.Lane)
	}
	return next, err
}

func (t *ledgerTx) Rejected(ctx context.Context, b *connectors.Batch) (map[int64]string, error) {
	rows, err := t.conn.QueryContext(ctx, "SELECT ordinal, reason FROM main."+table.Rejections+" WHERE epoch = ? AND lane = ? AND ordinal >= ? AND ordinal < ?",
		b.Epoch, b.Lane, b.First, b.Next)
	if err != nil {
		return nil, t.failed("read rejections", err)
	}
	defer rows.Close()
	rejected := make(map[int64]string)
	for rows.Next() {
		var ordinal int64
		var reason string
		if err := rows.Scan(&ordinal, &reason); err != nil {
			return nil, t.failed("read rejections", err)
		}
		rejected[ordinal] = reason
	}
	if err := rows.Err(); err != nil {
		return nil, t.failed("read rejections", err)
	}
	return rejected, nil
}

func (t *ledgerTx) Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error {
	exec := func(op, query string, args ...any) error {
		if _, err := t.conn.ExecContext(ctx, query, args...); err != nil {
			return t.failed(op, err)
		}
		return nil
	}
	if len(rejected) > 0 {
		// What lies below the batch has long been reported.
		if err := exec("forget rejections", "DELETE FROM main."+table.Rejections+" WHERE epoch = ? AND lane = ? AND ordinal < ?", b.Epoch, b.Lane, b.First); err != nil {
			return err
		}
	}
	for ordinal, reason := range rejected {
		if err := exec("note rejection", "INSERT INTO main."+table.Rejections+" (epoch, lane, ordinal, reason) VALUES (?, ?, ?, ?)", b.Epoch, b.Lane, ordinal, reason); err != nil {
			return err
		}
	}
	if err := exec("advance ledger", "UPDATE main."+table.Ledger+" SET next = ?, updated_at = now() WHERE epoch = ? AND lane = ?", next, b.Epoch, b.Lane); err != nil {
		return err
	}
	if err := exec("commit", "COMMIT"); err != nil {
		return err
	}
	t.end()
	return nil
}

func (t *ledgerTx) Rollback() {
	if t.over {
		return
	}
	_, _ = t.conn.ExecContext(context.Background(), "ROLLBACK") // fails where nothing was begun
	t.end()
}

func (t *ledgerTx) end() {
	t.over = true
	_ = t.conn.Close()
	t.file.unlock()
}
