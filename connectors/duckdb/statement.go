package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tributary/connectors"
	"tributary/connectors/table"
)

// store writes into one file.
type store struct {
	file *file
	mode connectors.Mode
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

// Rows are appended to a table of the connection and from there go into their own. The payload comes as text: appended to a JSON column it
// would be encoded anew, cast by the statement it is checked and kept as it is (I8). An appender that runs the statement itself would save the
// table, and loses what kind of error there was.
const (
	incoming       = "_tributary_incoming"
	createIncoming = `CREATE OR REPLACE TEMP TABLE ` + incoming + ` (
		_stream VARCHAR, _id VARCHAR, _key VARCHAR, _op VARCHAR, _version BIGINT, _version_seen BIGINT,
		_occurred_at TIMESTAMPTZ, _received_at TIMESTAMPTZ, _ordinal BIGINT, data VARCHAR)`
)

func (t *ledgerTx) Insert(ctx context.Context, name string, b *connectors.Batch, rows []table.Row) error {
	if _, err := t.conn.ExecContext(ctx, createIncoming); err != nil {
		return t.failed("make room for rows", err)
	}
	if err := t.conn.Raw(func(conn any) error { return appendRows(ctx, conn.(driver.Conn), rows) }); err != nil {
		return t.failed("append rows", err)
	}
	if _, err := t.conn.ExecContext(ctx, insert(name, b, rows)); err != nil {
		return t.refused("insert into "+identifier(name), err)
	}
	if _, err := t.conn.ExecContext(ctx, "DROP TABLE temp."+incoming); err != nil {
		return t.failed("make room for rows", err)
	}
	return nil
}

func appendRows(ctx context.Context, conn driver.Conn, rows []table.Row) error {
	a, err := duckdb.NewAppender(conn, "temp", "main", incoming)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err = a.AppendRow(r.Stream, r.ID, r.Key, string(r.Op), r.Version, r.Seen, timestamp(r.OccurredAt), timestamp(r.ReceivedAt), r.Ordinal, payload(r.Data)); err != nil {
			break
		}
	}
	if err != nil {
		_ = a.Clear()
	}
	return errors.Join(err, a.CloseWithCancel(ctx))
}

// insert is the statement that takes rows in. Append leaves out the IDs that are there, upsert keeps the record that package table says (I5).
func insert(name string, b *connectors.Batch, rows []table.Row) string {
	installation := literal(b.Installation)
	// One batch is of one installation and mostly of one stream: as constants they let DuckDB pass over what belongs to others.
	match := "t._installation = " + installation + " AND t._stream = r._stream"
	if one(rows) {
		match = "t._installation = " + installation + " AND t._stream = " + literal(rows[0].Stream)
	}
	into := "main." + identifier(name) + " AS t"
	if b.Mode == connectors.Append {
		const columns = "_stream, _id, _key, _op, _version, _occurred_at, _received_at, _ordinal, data"
		return "INSERT INTO main." + identifier(name) + " (_installation, " + columns + ") SELECT " + installation + ", " +
			strings.Replace(columns, "data", "data::JSON", 1) + " FROM temp." + incoming + " AS r" +
			" WHERE NOT EXISTS (FROM " + into + " WHERE " + match + " AND t._id = r._id)"
	}
	return "MERGE INTO " + into + " USING (SELECT * REPLACE (data::JSON AS data) FROM temp." + incoming + ") AS r ON " + match + ` AND t._key = r._key
			AND (CASE WHEN t._key = '' THEN t._id ELSE '' END) = (CASE WHEN r._key = '' THEN r._id ELSE '' END)
		WHEN MATCHED AND (r._version = 0 OR r._version > t._version_seen OR (r._version = t._version_seen AND t._version = t._version_seen)) THEN UPDATE SET
			_id = r._id, _op = r._op, _version = r._version, _version_seen = greatest(t._version_seen, r._version_seen),
			_occurred_at = r._occurred_at, _received_at = r._received_at, _ordinal = r._ordinal, data = r.data
		WHEN NOT MATCHED THEN INSERT (_installation, _stream, _id, _key, _op, _version, _version_seen, _occurred_at, _received_at, _ordinal, data)
			VALUES (` + installation + `, r._stream, r._id, r._key, r._op, r._version, r._version_seen, r._occurred_at, r._received_at, r._ordinal, r.data)`
}

// one says that all rows are of the same stream.
func one(rows []table.Row) bool {
	for _, r := range rows {
		if r.Stream != rows[0].Stream {
			return false
		}
	}
	return true
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

// timestamp and payload return an untyped nil for NULL.
func timestamp(t time.Time) driver.Value {
	if t, ok := table.Time(t); ok {
		return t
	}
	return nil
}

func payload(data []byte) driver.Value {
	if len(data) == 0 {
		return nil
	}
	return data
}
