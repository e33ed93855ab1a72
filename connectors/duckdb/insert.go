package duckdb

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Rows are appended to a table of the connection and from there go into their own. JSON comes as text: appended to a JSON column it
// would be encoded anew, cast by the statement it is checked and kept as it is (I8). An appender that runs the statement itself would save the
// table, and loses what kind of error there was.
const (
	incoming         = "_tributary_incoming"
	incomingMetadata = `_stream VARCHAR, _id VARCHAR, _key VARCHAR, _op VARCHAR, _version BIGINT, _version_seen BIGINT,
		_occurred_at TIMESTAMPTZ, _received_at TIMESTAMPTZ, _ordinal BIGINT`
	metadataValues = 9
)

func createIncoming(columns []table.Column) string {
	var values strings.Builder
	for i, c := range columns {
		fmt.Fprintf(&values, ", v%d %s", i, incomingType(c))
	}
	return "CREATE OR REPLACE TEMP TABLE " + incoming + " (" + incomingMetadata + values.String() + ")"
}

// incomingType is the type in which values come that Rows.Values makes for a column.
func incomingType(c table.Column) string {
	switch c.Type {
	case table.Boolean, table.Integer:
		return natives[c.Type]
	case table.Timestamp:
		return cmp.Or(c.Native, natives[c.Type])
	}
	return natives[table.Text]
}

// cast makes value i one of its column.
func cast(i int, c table.Column) string {
	switch c.Type {
	case table.Decimal, table.JSON, table.Other:
		return fmt.Sprintf("v%d::%s", i, cmp.Or(c.Native, natives[c.Type]))
	}
	return fmt.Sprintf("v%d", i)
}

func (t *ledgerTx) Insert(ctx context.Context, b *connectors.Batch, rows *table.Rows) error {
	columns := rows.Columns()
	if _, err := t.conn.ExecContext(ctx, createIncoming(columns)); err != nil {
		return t.failed("make room for rows", err)
	}
	if err := t.conn.Raw(func(conn any) error { return appendRows(ctx, conn.(driver.Conn), rows, len(columns)) }); err != nil {
		return t.failed("append rows", err)
	}
	if _, err := t.conn.ExecContext(ctx, insert(rows, columns, b)); err != nil {
		return t.refused("insert into "+identifier(rows.Table), err)
	}
	if _, err := t.conn.ExecContext(ctx, "DROP TABLE temp."+incoming); err != nil {
		return t.failed("make room for rows", err)
	}
	return nil
}

func appendRows(ctx context.Context, conn driver.Conn, rows *table.Rows, columns int) error {
	a, err := duckdb.NewAppender(conn, "temp", "main", incoming)
	if err != nil {
		return err
	}
	values, row := make([]any, columns), make([]driver.Value, metadataValues+columns)
	for i, r := range rows.List {
		copy(row, []driver.Value{r.Stream, r.ID, r.Key, string(r.Op), r.Version, r.Seen, timestamp(r.OccurredAt), timestamp(r.ReceivedAt), r.Ordinal})
		rows.Values(i, values)
		for j, v := range values {
			row[metadataValues+j] = v
		}
		if err = a.AppendRow(row...); err != nil {
			break
		}
	}
	if err != nil {
		_ = a.Clear()
	}
	return errors.Join(err, a.CloseWithCancel(ctx))
}

// insert is the statement that takes rows in. Append leaves out the IDs that are there, upsert keeps the record that package table says (I5).
func insert(rows *table.Rows, columns []table.Column, b *connectors.Batch) string {
	installation := literal(b.Installation)
	// One batch is of one installation and mostly of one stream: as constants they let DuckDB pass over what belongs to others.
	match := "t._installation = " + installation + " AND t._stream = r._stream"
	if one(rows.List) {
		match = "t._installation = " + installation + " AND t._stream = " + literal(rows.List[0].Stream)
	}
	var names, values, casts, set strings.Builder
	for i, c := range columns {
		name := identifier(c.Name)
		names.WriteString(", " + name)
		fmt.Fprintf(&values, ", r.v%d", i)
		fmt.Fprintf(&casts, ", %s AS v%d", cast(i, c), i)
		fmt.Fprintf(&set, ", %s = r.v%d", name, i)
	}
	into := qualified(rows.Table) + " AS t"
	from := "(SELECT _stream, _id, _key, _op, _version, _version_seen, _occurred_at, _received_at, _ordinal" + casts.String() + " FROM temp." + incoming + ") AS r"
	if b.Mode == connectors.Append {
		return "INSERT INTO " + qualified(rows.Table) + " (_installation, _stream, _id, _key, _op, _version, _occurred_at, _received_at, _ordinal" + names.String() + ")" +
			" SELECT " + installation + ", r._stream, r._id, r._key, r._op, r._version, r._occurred_at, r._received_at, r._ordinal" + values.String() + " FROM " + from +
			" WHERE NOT EXISTS (FROM " + into + " WHERE " + match + " AND t._id = r._id)"
	}
	return "MERGE INTO " + into + " USING " + from + " ON " + match + ` AND t._key = r._key
			AND (CASE WHEN t._key = '' THEN t._id ELSE '' END) = (CASE WHEN r._key = '' THEN r._id ELSE '' END)
		WHEN MATCHED AND (r._version = 0 OR r._version > t._version_seen OR (r._version = t._version_seen AND t._version = t._version_seen)) THEN UPDATE SET
			_id = r._id, _op = r._op, _version = r._version, _version_seen = greatest(t._version_seen, r._version_seen),
			_occurred_at = r._occurred_at, _received_at = r._received_at, _ordinal = r._ordinal` + set.String() + `
		WHEN NOT MATCHED THEN INSERT (_installation, _stream, _id, _key, _op, _version, _version_seen, _occurred_at, _received_at, _ordinal` + names.String() + `)
			VALUES (` + installation + `, r._stream, r._id, r._key, r._op, r._version, r._version_seen, r._occurred_at, r._received_at, r._ordinal` + values.String() + `)`
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

// timestamp returns an untyped nil for NULL.
func timestamp(t time.Time) driver.Value {
	if t, ok := table.Time(t); ok {
		return t
	}
	return nil
}
