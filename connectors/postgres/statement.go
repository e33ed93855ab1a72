package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/table"
)

// store writes into one schema. It keeps I3 and I5 by the ledger and the unique key of each table; see table.Write.
type store struct {
	pool   *pool
	schema string
	mode   connectors.Mode
	layout string
}

var (
	_ table.Store = (*store)(nil)
	_ table.Tx    = (*ledgerTx)(nil)
)

// beginning is sent as one message. The limits end an attempt that nobody waits for any more, so that it can't hold the ledger's row for
// ever; a commit must be on disk whatever the role's default is.
const beginning = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
	SET LOCAL client_min_messages = warning;
	SET LOCAL statement_timeout = '5min';
	SET LOCAL lock_timeout = '30s';
	SET LOCAL idle_in_transaction_session_timeout = '1min';
	SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'`

// tx is a transaction on a connection of the pool.
type tx struct {
	*pgxpool.Conn
	pool *pool
	over bool
}

func (p *pool) begin(ctx context.Context) (*tx, error) {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return nil, p.failed("connect", err)
	}
	t := &tx{Conn: conn, pool: p}
	if err := conn.Conn().PgConn().Exec(ctx, beginning).Close(); err != nil {
		t.Rollback()
		return nil, p.failed("begin", err)
	}
	return t, nil
}

func (t *tx) commit(ctx context.Context) error {
	tag, err := t.Exec(ctx, "COMMIT")
	if err != nil {
		return err
	}
	if tag.String() != "COMMIT" {
		return connectors.Errorf(connectors.Unavailable, "commit", "the server rolled the transaction back")
	}
	t.over = true
	t.Release()
	return nil
}

// Rollback gives the connection back. Without a word from the server in time the connection is closed, which ends the transaction as well.
func (t *tx) Rollback() {
	if t.over {
		return
	}
	t.over = true
	if !t.Conn.Conn().IsClosed() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, _ = t.Exec(ctx, "ROLLBACK") // a connection still in a transaction is not used again
	}
	t.Release()
}

func (s *store) Prepare(ctx context.Context, tables []string) error {
	var layouts []layout
	var names []readiness
	if r := (readiness{s.schema, table.Ledger, "", s.layout}); !s.pool.ready.Is(r) {
		layouts, names = append(layouts, ledgerLayouts(s.schema, s.layout)...), append(names, r)
	}
	for _, name := range tables {
		if r := (readiness{s.schema, name, s.mode, s.layout}); !s.pool.ready.Is(r) {
			layouts, names = append(layouts, recordLayout(s.schema, name, s.mode, s.layout)), append(names, r)
		}
	}
	if layouts == nil {
		return nil
	}
	if err := s.pool.ensure(ctx, s.schema, layouts); err != nil {
		return err
	}
	for _, r := range names {
		s.pool.ready.Set(r)
	}
	return nil
}

// ledgerTx is a transaction that holds a ledger row.
type ledgerTx struct {
	*tx
	*store
	lots   int  // rows of tables that were taken in
	staged bool // the stage of layout raw is there
}

func (s *store) failed(op string, err error) error { return s.pool.explain(s.schema, op, err) }

func (s *store) own(name string) string { return pgx.Identifier{s.schema, name}.Sanitize() }

func (s *store) Begin(ctx context.Context, b *connectors.Batch) (table.Tx, int64, error) {
	t, err := s.pool.begin(ctx)
	if err != nil {
		return nil, 0, err
	}
	next, err := s.lock(ctx, t, b)
	if err != nil {
		t.Rollback()
		return nil, 0, s.failed("lock ledger", err)
	}
	return &ledgerTx{tx: t, store: s}, next, nil
}

func (s *store) lock(ctx context.Context, t *tx, b *connectors.Batch) (next int64, err error) {
	query := "SELECT next FROM " + s.own(table.Ledger) + " WHERE epoch = $1 AND lane = $2 FOR UPDATE"
	err = t.QueryRow(ctx, query, b.Epoch, b.Lane).Scan(&next)
	if !errors.Is(err, pgx.ErrNoRows) {
		return next, err
	}
	// Who inserts the same row at the same time makes this wait.
	_, err = t.Exec(ctx, "INSERT INTO "+s.own(table.Ledger)+" (epoch, lane, next) VALUES ($1, $2, 0) ON CONFLICT (epoch, lane) DO NOTHING", b.Epoch, b.Lane)
	if err != nil {
		return 0, err
	}
	err = t.QueryRow(ctx, query, b.Epoch, b.Lane).Scan(&next)
	return next, err
}

func (t *ledgerTx) Rejected(ctx context.Context, b *connectors.Batch) (map[int64]string, error) {
	rows, err := t.Query(ctx, "SELECT ordinal, reason FROM "+t.own(table.Rejections)+" WHERE epoch = $1 AND lane = $2 AND ordinal >= $3 AND ordinal < $4",
		b.Epoch, b.Lane, b.First, b.Next)
	if err != nil {
		return nil, t.failed("read rejections", err)
	}
	rejected := make(map[int64]string)
	var ordinal int64
	var reason string
	if _, err := pgx.ForEachRow(rows, []any{&ordinal, &reason}, func() error { rejected[ordinal] = reason; return nil }); err != nil {
		return nil, t.failed("read rejections", err)
	}
	return rejected, nil
}

func (t *ledgerTx) Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error {
	if len(rejected) > 0 {
		// What lies below the batch has long been reported.
		if _, err := t.Exec(ctx, "DELETE FROM "+t.own(table.Rejections)+" WHERE epoch = $1 AND lane = $2 AND ordinal < $3", b.Epoch, b.Lane, b.First); err != nil {
			return t.failed("forget rejections", err)
		}
		var ordinals []int64
		var reasons []string
		for ordinal, reason := range rejected {
			ordinals, reasons = append(ordinals, ordinal), append(reasons, reason)
		}
		if _, err := t.Exec(ctx, "INSERT INTO "+t.own(table.Rejections)+" (epoch, lane, ordinal, reason) SELECT $1, $2, * FROM unnest($3::bigint[], $4::text[])", b.Epoch, b.Lane, ordinals, reasons); err != nil {
			return t.failed("note rejections", err)
		}
	}
	tag, err := t.Exec(ctx, "UPDATE "+t.own(table.Ledger)+" SET next = $3, updated_at = now() WHERE epoch = $1 AND lane = $2", b.Epoch, b.Lane, next)
	if err != nil {
		return t.failed("advance ledger", err)
	}
	if tag.RowsAffected() != 1 {
		return connectors.Errorf(connectors.Unavailable, "advance ledger", "somebody removed the row from %s", t.own(table.Ledger))
	}
	if err := t.commit(ctx); err != nil {
		return t.refused("commit", err) // constraints may be deferred to here
	}
	return nil
}
