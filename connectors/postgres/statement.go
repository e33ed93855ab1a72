package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/table"
)

// store writes into one schema.
type store struct {
	pool   *pool
	schema string
	mode   connectors.Mode
}

var (
	_ table.Store = (*store)(nil)
	_ table.Tx    = (*ledgerTx)(nil)
)

// Rows go by COPY into a table of the session, then from there into their own. It stays with the session, so that a statement costs no
// change of the catalog, and is emptied by each commit. Its name changes with its columns: a pooler may keep sessions over an upgrade.
const (
	stage       = "_tributary_stage_1"
	createStage = `CREATE TEMP TABLE IF NOT EXISTS ` + stage + ` (
		lot int, _stream text, _id text, _key text, _op text, _version bigint, _version_seen bigint,
		_occurred_at timestamptz, _received_at timestamptz, _ordinal bigint, data json
	) ON COMMIT DELETE ROWS`
)

var stageColumns = []string{"lot", "_stream", "_id", "_key", "_op", "_version", "_version_seen", "_occurred_at", "_received_at", "_ordinal", "data"}

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
	if r := (readiness{s.schema, table.Ledger, ""}); !s.pool.isReady(r) {
		layouts, names = append(layouts, ledgerLayouts(s.schema)...), append(names, r)
	}
	for _, name := range tables {
		if r := (readiness{s.schema, name, s.mode}); !s.pool.isReady(r) {
			layouts, names = append(layouts, rawLayout(s.schema, name, s.mode)), append(names, r)
		}
	}
	if layouts == nil {
		return nil
	}
	if err := s.pool.ensure(ctx, s.schema, layouts); err != nil {
		return err
	}
	for _, r := range names {
		s.pool.setReady(r)
	}
	return nil
}

// ledgerTx is a transaction that holds a ledger row.
type ledgerTx struct {
	*tx
	*store
	lots int
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

func (t *ledgerTx) Insert(ctx context.Context, name string, b *connectors.Batch, rows []table.Row) error {
	if few(rows) {
		if _, err := t.Exec(ctx, insert(t.schema, name, b.Mode, fromArrays), append([]any{b.Installation}, arrays(rows)...)...); err != nil {
			return t.refused("insert into "+t.own(name), err)
		}
		return nil
	}
	if t.lots == 0 {
		if _, err := t.Exec(ctx, createStage); err != nil {
			return t.failed(creatingStage, err)
		}
	}
	t.lots++
	_, err := t.Conn.Conn().CopyFrom(ctx, pgx.Identifier{"pg_temp", stage}, stageColumns, &copySource{rows: rows, values: make([]any, len(stageColumns)), lot: int32(t.lots)})
	if err != nil {
		return t.refused("copy rows", err)
	}
	if _, err := t.Exec(ctx, insert(t.schema, name, b.Mode, fromStage), b.Installation, int32(t.lots)); err != nil {
		return t.refused("insert into "+t.own(name), err)
	}
	return nil
}

// fromStage names a lot's rows by the parameter behind the installation.
const fromStage = "pg_temp." + stage + " WHERE lot = $2::int"

// insert is the statement that takes rows from somewhere into their table. Upsert keeps the record that package table says (I5).
func insert(schema, name string, mode connectors.Mode, from string) string {
	var columns []string
	for _, c := range rawLayout(schema, name, mode).columns[1:] {
		columns = append(columns, c.name)
	}
	list := strings.Join(columns, ", ")
	head := "INSERT INTO " + pgx.Identifier{schema, name}.Sanitize() + " AS t (_installation, " + list + ") SELECT $1::text, " + list + " FROM " + from
	if mode == connectors.Append {
		return head + " ON CONFLICT (" + appendKey + ") DO NOTHING"
	}
	return head + " ON CONFLICT (" + upsertKey + `) DO UPDATE SET _id = excluded._id, _op = excluded._op, _version = excluded._version,
		_occurred_at = excluded._occurred_at, _received_at = excluded._received_at, _ordinal = excluded._ordinal, data = excluded.data,
		_version_seen = greatest(t._version_seen, excluded._version_seen)
		WHERE excluded._version = 0 OR excluded._version > t._version_seen
			OR (excluded._version = t._version_seen AND t._version = t._version_seen)`
}

func (t *ledgerTx) Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error {
	if len(rejected) > 0 {
		// What lies below the batch has long been reported.
		if _, err := t.Exec(ctx, "DELETE FROM "+t.own(table.Rejections)+" WHERE epoch = $1 AND lane = $2 AND ordinal < $3", b.Epoch, b.Lane, b.First); err != nil {
			return t.failed("forget rejections", err)
		}
	}
	for ordinal, reason := range rejected {
		if _, err := t.Exec(ctx, "INSERT INTO "+t.own(table.Rejections)+" (epoch, lane, ordinal, reason) VALUES ($1, $2, $3, $4)", b.Epoch, b.Lane, ordinal, reason); err != nil {
			return t.failed("note rejection", err)
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

// copySource feeds rows to COPY.
type copySource struct {
	rows   []table.Row
	at     int
	lot    int32
	values []any
}

func (s *copySource) Next() bool {
	s.at++
	return s.at <= len(s.rows)
}

func (s *copySource) Values() ([]any, error) {
	r := s.rows[s.at-1]
	s.values = append(s.values[:0], s.lot, r.Stream, r.ID, r.Key, string(r.Op), r.Version, r.Seen, timestamp(r.OccurredAt), timestamp(r.ReceivedAt), r.Ordinal, payload(r.Data))
	return s.values, nil
}

func (s *copySource) Err() error { return nil }

// timestamp and payload return an untyped nil for NULL.
func timestamp(t time.Time) any {
	if t, ok := table.Time(t); ok {
		return t
	}
	return nil
}

func payload(data []byte) any {
	if len(data) == 0 {
		return nil
	}
	return data
}
