package redshift

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tributary/connectors"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// Native types, as format_type spells them.
const (
	superType = "super"
	textType  = "character varying(65535)"
)

// maxWho is how long the name of an installation, of a lane and of a stream may be, in bytes.
const maxWho = 1024

// column of a table: its type as format_type spells it, and what else its definition says.
type column struct{ name, kind, rest string }

var (
	identityColumn = column{"_identity", "character varying(40)", " NOT NULL"}
	ledgerColumns  = []column{
		{"lane_id", "character varying(40)", " NOT NULL"}, {"epoch", "character varying(1024)", " NOT NULL"}, {"lane", "character varying(1024)", " NOT NULL"},
		{"next", "bigint", " NOT NULL"}, {"updated_at", pgwire.Timestamp, " NOT NULL"},
	}
	rejectionColumns = []column{
		{"lane_id", "character varying(40)", " NOT NULL"}, {"epoch", "character varying(1024)", " NOT NULL"}, {"lane", "character varying(1024)", " NOT NULL"},
		{"ordinal", "bigint", " NOT NULL"}, {"reason", "character varying(1024)", " NOT NULL"},
	}
	memoryColumns = []column{
		{"table_name", "character varying(256)", " NOT NULL"}, {"column_name", "character varying(256)", " NOT NULL"}, {"part", "character varying(16)", " NOT NULL"},
		{"field", "character varying(512)", " NOT NULL"}, {"type", "character varying(64)", " NOT NULL"},
	}
	metadataColumns = []column{
		identityColumn,
		{"_installation", "character varying(1024)", " NOT NULL"}, {"_stream", "character varying(1024)", " NOT NULL"},
		{"_id", "character varying(512)", " NOT NULL"}, {"_key", "character varying(512)", " NOT NULL"}, {"_op", "character varying(16)", " NOT NULL"},
		{"_version", "bigint", " NOT NULL"}, {"_occurred_at", pgwire.Timestamp, ""}, {"_received_at", pgwire.Timestamp, ""}, {"_ordinal", "bigint", " NOT NULL"},
	}
	// seenColumn is what an upsert needs besides: see package table.
	seenColumn = column{"_version_seen", "bigint", " NOT NULL"}
)

// layout is how a table must be.
type layout struct {
	schema, table string
	columns       []column
	// how is where the rows of a new table lie.
	how  string
	mode connectors.Mode // "" for the tables that the engine keeps for itself
	// remembered says that table.Memory knows the columns.
	remembered bool
}

// ledgerLayouts are those of the tables that the engine keeps for itself, the ledger first. They are small, and each node has all of them.
func ledgerLayouts(schema, kind string) []layout {
	const how = " DISTSTYLE ALL"
	layouts := []layout{
		{schema: schema, table: table.Ledger, columns: ledgerColumns, how: how},
		{schema: schema, table: table.Rejections, columns: rejectionColumns, how: how},
	}
	if kind == connectors.LayoutColumns {
		layouts = append(layouts, layout{schema: schema, table: table.Memory, columns: memoryColumns, how: how})
	}
	return layouts
}

// recordLayout is that of a table of records. Rows are spread by their identity, which is even, and by which every statement of ours joins: so a join moves
// no row from node to node. They are sorted by the time of their arrival, which is the order in which they come and what queries mostly ask for.
func (s *store) recordLayout(name string) layout {
	l := layout{
		schema: s.schema, table: name, columns: slices.Clone(metadataColumns), mode: s.mode, remembered: s.layout == connectors.LayoutColumns,
		how: " DISTSTYLE KEY DISTKEY (_identity) COMPOUND SORTKEY (_received_at)",
	}
	if s.mode == connectors.ModeUpsert {
		l.columns = append(l.columns, seenColumn)
	}
	if s.layout == connectors.LayoutRaw {
		l.columns = append(l.columns, column{"data", s.json, ""})
	}
	return l
}

func (l layout) name() string { return quote(l.schema) + "." + quote(l.table) }

func (l layout) create() string {
	lines := make([]string, len(l.columns))
	for i, c := range l.columns {
		lines[i] = "\n\t" + quote(c.name) + " " + c.kind + c.rest
	}
	return "CREATE TABLE IF NOT EXISTS " + l.name() + " (" + strings.Join(lines, ",") + "\n)" + l.how
}

// querier is a pool, or a connection of it.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// native is a column as the catalog has it.
type native struct{ name, kind string }

// nativesOf are the columns of a table, nil where there is no such table. The catalog's own tables can't be joined with a user's.
func nativesOf(ctx context.Context, q querier, schema, name string) ([]native, error) {
	rows, err := q.Query(ctx, `SELECT a.attname, format_type(a.atttypid, a.atttypmod)
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, schema, name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (n native, err error) {
		err = r.Scan(&n.name, &n.kind)
		return native{fold(n.name), n.kind}, err
	})
}

// inspect looks whether a table is there; what can't be made right without changing it is an Invalid error that lists what is wrong.
func (l layout) inspect(ctx context.Context, q querier) (there bool, err error) {
	columns, err := nativesOf(ctx, q, l.schema, l.table)
	if err != nil || len(columns) == 0 {
		return false, err
	}
	kinds := make(map[string]string, len(columns))
	for _, c := range columns {
		kinds[c.name] = c.kind
	}
	invalid := func(format string, args ...any) error {
		return connectors.Errorf(connectors.Invalid, "table "+l.name(), format, args...)
	}
	_, seen := kinds[seenColumn.name]
	if l.mode != "" && kinds[identityColumn.name] != "" && seen != (l.mode == connectors.ModeUpsert) {
		return false, invalid("it was made for the other mode and can't serve mode %s too: set another table or schema", l.mode)
	}
	var wrong []string
	for _, c := range l.columns {
		kind, ok := kinds[c.name]
		switch {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("column %s %s is missing", c.name, c.kind))
		case c.name == "data" && kind != c.kind && (kind == superType || isVarchar(kind)):
			return false, invalid("its column data is %s: set json: %s, or another table or schema", kind, map[bool]string{true: "super", false: "text"}[kind == superType])
		case kind != c.kind && !(isVarchar(kind) && isVarchar(c.kind)): // the operator may have made it shorter or longer
			wrong = append(wrong, fmt.Sprintf("column %s is %s instead of %s", c.name, kind, c.kind))
		}
	}
	if wrong != nil {
		return false, invalid("it exists and does not fit: %s. Change it, or set another table or schema", strings.Join(wrong, "; "))
	}
	return true, nil
}

func isVarchar(kind string) bool { return strings.HasPrefix(kind, "character varying") }

// Prepare makes what is missing of the tables and never drops or rewrites anything. It asks for no right to create where nothing is missing.
func (s *store) Prepare(ctx context.Context, tables []string) error {
	var layouts []layout
	var names []readiness
	if r := (readiness{s.schema, table.Ledger, "", s.layout, ""}); !s.pool.ready.Is(r) {
		layouts, names = append(layouts, ledgerLayouts(s.schema, s.layout)...), append(names, r)
	}
	for _, name := range tables {
		name = spell(name)
		if r := (readiness{s.schema, name, s.mode, s.layout, s.json}); !s.pool.ready.Is(r) && !slices.Contains(names, r) {
			layouts, names = append(layouts, s.recordLayout(name)), append(names, r)
		}
	}
	if layouts == nil {
		return nil
	}
	if err := s.ensure(ctx, layouts); err != nil {
		return err
	}
	for _, r := range names {
		s.pool.ready.Set(r)
	}
	return nil
}

func (s *store) ensure(ctx context.Context, layouts []layout) error {
	missing := false
	for _, l := range layouts {
		there, err := l.inspect(ctx, s.pool)
		if err != nil {
			return s.failed("look at table "+l.name(), err)
		}
		missing = missing || !there
	}
	if !missing {
		return nil
	}
	var schemas int
	if err := s.pool.QueryRow(ctx, "SELECT count(*) FROM pg_namespace WHERE nspname = $1", s.schema).Scan(&schemas); err != nil {
		return s.failed(pgwire.CreatingSchema, err)
	}
	if schemas == 0 {
		if _, err := s.pool.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+quote(s.schema)); err != nil && !isThere(err) {
			return s.failed(pgwire.CreatingSchema, err)
		}
	}
	// The ledger is what others are kept off by while the rest is made.
	ledger := ledgerLayouts(s.schema, s.layout)[0]
	if there, err := ledger.inspect(ctx, s.pool); err != nil {
		return s.failed("look at table "+ledger.name(), err)
	} else if !there {
		if _, err := s.pool.Exec(ctx, ledger.create()); err != nil && !isThere(err) {
			return s.failed(pgwire.CreatingTable, err)
		}
	}
	conn, err := s.pool.session(ctx)
	if err != nil {
		return err
	}
	defer conn.end()
	if err := s.lock(ctx, conn); err != nil {
		return s.failed(pgwire.CreatingTable, err)
	}
	for _, l := range layouts {
		there, err := l.inspect(ctx, conn)
		if err == nil && !there {
			_, err = conn.Exec(ctx, l.create())
			if err == nil && l.remembered {
				_, err = conn.Exec(ctx, "DELETE FROM "+s.own(table.Memory)+" WHERE table_name = $1", l.table) // of a table that was dropped
			}
		}
		if err != nil {
			return s.failed(pgwire.CreatingTable, err)
		}
	}
	if err := conn.commit(ctx); err != nil {
		return s.failed(pgwire.CreatingTable, err)
	}
	return nil
}

// isThere says that somebody else has made it meanwhile.
func isThere(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && slices.Contains([]string{"42P06", "42P07", "42710", "23505"}, pg.Code)
}
