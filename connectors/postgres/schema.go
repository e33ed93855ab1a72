package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// column of a table: its type as format_type spells it, and what else its definition says.
type column struct{ name, kind, rest string }

// Keys are compared as bytes: a collation that changes with the system's libraries would break a unique index.
const text = ` COLLATE "C" NOT NULL`

var (
	ledgerColumns = []column{
		{"epoch", "text", text}, {"lane", "text", text}, {"next", "bigint", " NOT NULL"},
		{"updated_at", "timestamp with time zone", " NOT NULL DEFAULT now()"},
	}
	rejectionColumns = []column{
		{"epoch", "text", text}, {"lane", "text", text}, {"ordinal", "bigint", " NOT NULL"}, {"reason", "text", " NOT NULL"},
	}
	memoryColumns = []column{
		{"table_name", "text", text}, {"column_name", "text", text}, {"part", "text", " NOT NULL"}, {"field", "text", " NOT NULL"}, {"type", "text", " NOT NULL"},
	}
	metadataColumns = []column{
		{"_installation", "text", text}, {"_stream", "text", text}, {"_id", "text", text}, {"_key", "text", text},
		{"_op", "text", " NOT NULL"}, {"_version", "bigint", " NOT NULL"},
		{"_occurred_at", "timestamp with time zone", ""}, {"_received_at", "timestamp with time zone", ""},
		{"_ordinal", "bigint", " NOT NULL"},
	}
	dataColumn = column{"data", "json", ""}
	// seenColumn is what an upsert needs besides: see package table.
	seenColumn = column{"_version_seen", "bigint", " NOT NULL"}
)

// The unique keys, as they stand in CREATE UNIQUE INDEX and in ON CONFLICT. A record without a key is an event: its ID keeps it apart
// from the others.
const (
	appendKey = "_installation, _stream, _id"
	upsertKey = "_installation, _stream, _key, (CASE WHEN _key = '' THEN _id ELSE '' END)"
)

// layout is how a table must be.
type layout struct {
	schema, table string
	columns       []column
	key           string
	// parts names the key's columns as inspect finds them, other the parts of a key that must not be there.
	parts, other []string
	// what the table is called in messages
	mode connectors.Mode
	// remembered says that table.Memory knows the columns.
	remembered bool
}

// ledgerLayouts are those of the tables that the engine keeps for itself.
func ledgerLayouts(schema, kind string) []layout {
	layouts := []layout{
		{schema: schema, table: table.Ledger, columns: ledgerColumns, key: "epoch, lane", parts: []string{"epoch", "lane"}},
		{schema: schema, table: table.Rejections, columns: rejectionColumns, key: "epoch, lane, ordinal", parts: []string{"epoch", "lane", "ordinal"}},
	}
	if kind == connectors.LayoutColumns {
		layouts = append(layouts, layout{schema: schema, table: table.Memory, columns: memoryColumns, key: "table_name, column_name", parts: []string{"column_name", "table_name"}})
	}
	return layouts
}

// recordLayout is that of a table of records.
func recordLayout(schema, name string, mode connectors.Mode, kind string) layout {
	columns := slices.Clone(metadataColumns)
	if kind == connectors.LayoutRaw {
		columns = append(columns, dataColumn)
	}
	byID, byKey := []string{"_id", "_installation", "_stream"}, []string{"()", "_installation", "_key", "_stream"}
	if mode == connectors.ModeUpsert {
		return layout{schema, name, append(columns, seenColumn), upsertKey, byKey, byID, mode, kind == connectors.LayoutColumns}
	}
	return layout{schema, name, columns, appendKey, byID, byKey, mode, kind == connectors.LayoutColumns}
}

func (l layout) name() string { return pgx.Identifier{l.schema, l.table}.Sanitize() }

func (l layout) create() string {
	lines := make([]string, len(l.columns))
	for i, c := range l.columns {
		lines[i] = "\n\t" + pgx.Identifier{c.name}.Sanitize() + " " + c.kind + c.rest
	}
	return "CREATE TABLE " + l.name() + " (" + strings.Join(lines, ",") + "\n)"
}

// createIndex finds rows by time. Rows of mode append lie in about that order, for which a block range index costs next to nothing; a partition by
// time would need the time in the unique key, and a record that comes again at another time would be there twice (I3).
func (l layout) createIndex() string {
	return "CREATE INDEX ON " + l.name() + " USING brin (_received_at)"
}

func (l layout) createKey() string { return "CREATE UNIQUE INDEX ON " + l.name() + " (" + l.key + ")" }

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// found is what there is of a table.
type found struct {
	table, key bool
}

// inspect looks at a table; what can't be made right without changing it is an Invalid error that lists what is wrong. It reads the catalog as
// tables: to_regclass and its like may answer from before another session's commit.
func (l layout) inspect(ctx context.Context, q querier) (found, error) {
	var oid uint32
	err := q.QueryRow(ctx, `SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`, l.schema, l.table).Scan(&oid)
	if errors.Is(err, pgx.ErrNoRows) {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}
	kinds := make(map[string]string)
	rows, err := q.Query(ctx, `SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped`, oid)
	if err != nil {
		return found{}, err
	}
	var name, kind string
	if _, err := pgx.ForEachRow(rows, []any{&name, &kind}, func() error { kinds[name] = kind; return nil }); err != nil {
		return found{}, err
	}
	var wrong []string
	for _, c := range l.columns {
		switch kind, ok := kinds[c.name]; {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("column %s %s is missing", c.name, c.kind))
		case kind != c.kind:
			wrong = append(wrong, fmt.Sprintf("column %s is %s instead of %s", c.name, kind, c.kind))
		}
	}
	if wrong != nil {
		return found{}, connectors.Errorf(connectors.Invalid, "table "+l.name(), "it exists and does not fit: %s. Change it, or set another table or schema", strings.Join(wrong, "; "))
	}
	keys, err := uniqueKeys(ctx, q, oid)
	if err != nil {
		return found{}, err
	}
	has := func(parts []string) bool {
		return slices.ContainsFunc(keys, func(k []string) bool { return slices.Equal(k, parts) })
	}
	if l.other != nil && has(l.other) {
		return found{}, connectors.Errorf(connectors.Invalid, "table "+l.name(), "it was made for the other mode and can't serve mode %s too: set another table or schema", l.mode)
	}
	return found{table: true, key: has(l.parts)}, nil
}

// uniqueKeys lists the columns of each unique index of a table, sorted, "()" for an expression.
func uniqueKeys(ctx context.Context, q querier, oid uint32) ([][]string, error) {
	rows, err := q.Query(ctx, `SELECT array_agg(coalesce(a.attname::text, '()') ORDER BY coalesce(a.attname::text, '()') COLLATE "C")
		FROM pg_index i
		CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
		LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum <> 0
		WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND k.place <= i.indnkeyatts
		GROUP BY i.indexrelid`, oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]string])
}

// ensure makes what is missing of the layouts and never drops or rewrites anything. It asks for no right to create where nothing is
// missing.
func (p *pool) ensure(ctx context.Context, schema string, layouts []layout) error {
	missing := false
	for _, l := range layouts {
		f, err := l.inspect(ctx, p)
		if err != nil {
			return p.explain(schema, "look at table "+l.name(), err)
		}
		missing = missing || !f.table || !f.key
	}
	if !missing {
		return nil
	}
	tx, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// IF NOT EXISTS does not help two that create at once, and needs rights even where there is nothing to do.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('tributary ' || $1, 0))`, schema); err != nil {
		return p.explain(schema, pgwire.CreatingTable, err)
	}
	var exists bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, schema).Scan(&exists); err != nil {
		return p.explain(schema, pgwire.CreatingSchema, err)
	}
	if !exists {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{schema}.Sanitize()); err != nil {
			return p.explain(schema, pgwire.CreatingSchema, err)
		}
	}
	for _, l := range layouts {
		f, err := l.inspect(ctx, tx)
		if err == nil && !f.table {
			_, err = tx.Exec(ctx, l.create())
			if err == nil && l.mode == connectors.Append {
				_, err = tx.Exec(ctx, l.createIndex())
			}
			if err == nil && l.remembered {
				_, err = tx.Exec(ctx, "DELETE FROM "+pgx.Identifier{schema, table.Memory}.Sanitize()+" WHERE table_name = $1", l.table) // of a table that was dropped
			}
		}
		if err == nil && !f.key {
			_, err = tx.Exec(ctx, l.createKey())
		}
		if err != nil {
			return p.explain(schema, pgwire.CreatingTable, err)
		}
	}
	if err := tx.commit(ctx); err != nil {
		return p.explain(schema, pgwire.CreatingTable, err)
	}
	return nil
}
