package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"tributary/connectors"
	"tributary/connectors/table"
)

type column struct{ name, kind, rest string }

const required = " NOT NULL"

var (
	metadataColumns = []column{
		{"_installation", "VARCHAR", required}, {"_stream", "VARCHAR", required}, {"_id", "VARCHAR", required}, {"_key", "VARCHAR", required},
		{"_op", "VARCHAR", required}, {"_version", "BIGINT", required},
		{"_occurred_at", "TIMESTAMP WITH TIME ZONE", ""}, {"_received_at", "TIMESTAMP WITH TIME ZONE", ""},
		{"_ordinal", "BIGINT", required},
	}
	dataColumn = column{"data", "JSON", ""}
	// seenColumn is what an upsert needs besides: see package table. Its presence tells the two modes' tables apart.
	seenColumn = column{"_version_seen", "BIGINT", required}

	ledgerColumns = []column{
		{"epoch", "VARCHAR", required}, {"lane", "VARCHAR", required}, {"next", "BIGINT", required},
		{"updated_at", "TIMESTAMP WITH TIME ZONE", required},
	}
	memoryColumns = []column{
		{"table_name", "VARCHAR", required}, {"column_name", "VARCHAR", required}, {"part", "VARCHAR", required}, {"field", "VARCHAR", required}, {"type", "VARCHAR", required},
	}
	rejectionColumns = []column{
		{"epoch", "VARCHAR", required}, {"lane", "VARCHAR", required}, {"ordinal", "BIGINT", required}, {"reason", "VARCHAR", required},
	}
)

// layout is how a table must be. Tables have no unique index: DuckDB keeps one in memory whole, and who writes looks first.
type layout struct {
	table   string
	columns []column
	mode    connectors.Mode
	// kind is the block's layout.
	kind string
}

func recordLayout(name string, mode connectors.Mode, kind string) layout {
	columns := slices.Clone(metadataColumns)
	if kind == connectors.LayoutRaw {
		columns = append(columns, dataColumn)
	}
	if mode == connectors.ModeUpsert {
		columns = append(columns, seenColumn)
	}
	return layout{name, columns, mode, kind}
}

func (l layout) create() string {
	lines := make([]string, len(l.columns))
	for i, c := range l.columns {
		lines[i] = identifier(c.name) + " " + c.kind + c.rest
	}
	return "CREATE TABLE IF NOT EXISTS " + qualified(l.table) + " (" + strings.Join(lines, ", ") + ")"
}

// identifier quotes a name; qualified says where the table is, so that its name may be that of a schema or a type.
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
func qualified(s string) string  { return "main." + identifier(s) }

// literal quotes a text.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// inspect tells whether the table exists; one that does not fit is an Invalid error that lists what is wrong.
func (l layout) inspect(ctx context.Context, q querier) (exists bool, err error) {
	rows, err := q.QueryContext(ctx, `SELECT column_name, data_type FROM duckdb_columns()
		WHERE database_name = current_database() AND schema_name = 'main' AND lower(table_name) = lower(?)`, l.table)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	kinds := make(map[string]string)
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return false, err
		}
		kinds[strings.ToLower(name)] = kind
	}
	if err := rows.Err(); err != nil || len(kinds) == 0 {
		return false, err
	}
	var wrong []string
	for _, c := range l.columns {
		switch kind, ok := kinds[c.name]; {
		case !ok && c == seenColumn:
			return true, connectors.Errorf(connectors.Invalid, "table "+identifier(l.table), "it was made for mode append and can't serve mode upsert too: set another table")
		case !ok:
			wrong = append(wrong, fmt.Sprintf("column %s %s is missing", c.name, c.kind))
		case kind != c.kind:
			wrong = append(wrong, fmt.Sprintf("column %s is %s instead of %s", c.name, kind, c.kind))
		}
	}
	if wrong != nil {
		return true, connectors.Errorf(connectors.Invalid, "table "+identifier(l.table), "it exists and does not fit: %s. Change it, or set another table", strings.Join(wrong, "; "))
	}
	if _, upsert := kinds[seenColumn.name]; upsert && l.mode == connectors.Append {
		return true, connectors.Errorf(connectors.Invalid, "table "+identifier(l.table), "it was made for mode upsert and can't serve mode append too: set another table")
	}
	return true, nil
}

// Prepare makes what is missing and never drops or rewrites anything.
func (s *store) Prepare(ctx context.Context, tables []string) error {
	var layouts []layout
	if !s.file.isReady(readiness{table.Ledger, "", s.layout}) {
		layouts = append(layouts, layout{table.Ledger, ledgerColumns, "", s.layout}, layout{table.Rejections, rejectionColumns, "", s.layout})
		if s.layout == connectors.LayoutColumns {
			layouts = append(layouts, layout{table.Memory, memoryColumns, "", s.layout})
		}
	}
	for _, name := range tables {
		if !s.file.isReady(readiness{name, s.mode, s.layout}) {
			layouts = append(layouts, recordLayout(name, s.mode, s.layout))
		}
	}
	if layouts == nil {
		return nil
	}
	db, err := s.file.database()
	if err != nil {
		return err
	}
	if err := s.file.lock(ctx); err != nil {
		return err
	}
	defer s.file.unlock()
	for _, l := range layouts {
		exists, err := l.inspect(ctx, db)
		if err == nil && !exists {
			_, err = db.ExecContext(ctx, l.create())
			if err == nil && l.mode != "" && l.kind == connectors.LayoutColumns { // of a table that was dropped
				_, err = db.ExecContext(ctx, "DELETE FROM main."+table.Memory+" WHERE lower(table_name) = lower(?)", l.table)
			}
		}
		if err != nil {
			return s.failed("create table "+identifier(l.table), err)
		}
		s.file.setReady(readiness{l.table, l.mode, l.kind})
	}
	return nil
}
