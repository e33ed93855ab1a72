package snowflake

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"tributary/connectors"
	"tributary/connectors/table"
)

// column of a table: its type without what DESCRIBE TABLE adds to it, and what else its definition says.
type column struct{ name, kind, rest string }

const notNull = " NOT NULL"

var (
	recordColumns = []column{
		{"_installation", "VARCHAR", notNull}, {"_stream", "VARCHAR", notNull}, {"_id", "VARCHAR", notNull}, {"_key", "VARCHAR", notNull},
		{"_op", "VARCHAR", notNull}, {"_version", "NUMBER(38,0)", notNull},
		{"_occurred_at", "TIMESTAMP_TZ", ""}, {"_received_at", "TIMESTAMP_TZ", ""},
		{"_ordinal", "NUMBER(38,0)", notNull},
	}
	// seenColumn is what an upsert needs besides: see package table. Its presence tells the two modes' tables apart.
	seenColumn = column{"_version_seen", "NUMBER(38,0)", notNull}

	ledgerColumns    = []column{{"epoch", "VARCHAR", notNull}, {"lane", "VARCHAR", notNull}, {"next", "NUMBER(38,0)", notNull}, {"updated_at", "TIMESTAMP_TZ", ""}}
	rejectionColumns = []column{{"epoch", "VARCHAR", notNull}, {"lane", "VARCHAR", notNull}, {"ordinal", "NUMBER(38,0)", notNull}, {"reason", "VARCHAR", notNull}}
	memoryColumns    = []column{
		{"table_name", "VARCHAR", notNull}, {"column_name", "VARCHAR", notNull}, {"part", "VARCHAR", notNull}, {"field", "VARCHAR", notNull}, {"type", "VARCHAR", notNull},
	}
)

const dataColumn = "data"

// layout is how a table must be.
type layout struct {
	table   string
	columns []column
	// mode of a table of records, and the block's layout.
	mode connectors.Mode
	kind string
}

// ownLayouts are those of the tables that the engine keeps for itself.
func ownLayouts(kind string) []layout {
	layouts := []layout{{table: table.Ledger, columns: ledgerColumns}, {table: table.Rejections, columns: rejectionColumns}}
	if kind == connectors.LayoutColumns {
		layouts = append(layouts, layout{table: table.Memory, columns: memoryColumns})
	}
	return layouts
}

// recordLayout is that of a table of records.
func (s *store) recordLayout(name string) layout {
	l := layout{table: name, columns: slices.Clone(recordColumns), mode: s.mode, kind: s.layout}
	if s.layout == connectors.LayoutRaw {
		l.columns = append(l.columns, column{dataColumn, s.place.json(), ""})
	}
	if s.mode == connectors.ModeUpsert {
		l.columns = append(l.columns, seenColumn)
	}
	return l
}

// create is the statement that makes the table. Rows of mode append lie in the order of time already, so clustering by it costs little; those of mode upsert
// are found by key, and MERGE reads that of all.
func (p place) create(l layout) string {
	lines := make([]string, len(l.columns))
	for i, c := range l.columns {
		lines[i] = p.column(c.name) + " " + c.kind + c.rest
	}
	statement := "CREATE TABLE IF NOT EXISTS " + p.own(l.table) + " (" + strings.Join(lines, ", ") + ")"
	if l.mode == connectors.Append && p.clustered {
		statement += " CLUSTER BY (TO_DATE(" + p.column("_received_at") + "))"
	}
	return statement
}

// inspect looks at a table and says whether it is there; what can't be made right without changing it is an Invalid error that lists what is wrong.
func (s *store) inspect(ctx context.Context, q querier, l layout) (bool, error) {
	there, err := s.describe(ctx, q, l.table)
	if err != nil || there == nil {
		return false, err
	}
	refuse := func(format string, args ...any) (bool, error) {
		return true, connectors.Errorf(connectors.Invalid, "table "+s.place.own(l.table), format, args...)
	}
	byName := make(map[string]described, len(there))
	for _, c := range there {
		byName[c.name] = c
	}
	_, upsert := byName[s.place.named(seenColumn.name)]
	if _, records := byName[s.place.named("_installation")]; l.mode != "" && records && upsert != (l.mode == connectors.ModeUpsert) {
		return refuse("it was made for the other mode and can't serve mode %s too: set another table or schema", l.mode)
	}
	var wrong []string
	for _, c := range l.columns {
		switch is, ok := byName[s.place.named(c.name)]; {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("column %s %s is missing", s.place.column(c.name), c.kind))
		case base(is.kind) != base(c.kind) || base(c.kind) == "NUMBER" && is.kind != c.kind:
			wrong = append(wrong, fmt.Sprintf("column %s is %s instead of %s", s.place.column(c.name), is.kind, c.kind))
		case c.rest == notNull && collated(is.kind):
			return refuse("its column %s is %s, which takes different texts for one: run ALTER SCHEMA %s SET DEFAULT_DDL_COLLATION = '', and remove the table or set another one",
				s.place.column(c.name), is.kind, s.place.schemaName())
		}
	}
	if wrong != nil {
		return refuse("it exists and does not fit: %s. Change it, set another table or schema, or set names and json as they were when it was made", strings.Join(wrong, "; "))
	}
	return true, nil
}

// collated says that texts of a type, as DESCRIBE TABLE spells it, are compared otherwise than by their characters. A new table has the collation that the account,
// the database or the schema says: https://docs.snowflake.com/en/sql-reference/collation
func collated(kind string) bool {
	_, collation, found := strings.Cut(kind, " COLLATE ")
	collation = strings.Trim(collation, "'")
	return found && collation != "" && collation != "utf8"
}

// querier is a pool or a session.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (s *store) Prepare(ctx context.Context, tables []string) error {
	if err := s.checkStage(ctx); err != nil {
		return err
	}
	var layouts []layout
	var names []readiness
	if r := (readiness{s.place.own(table.Ledger), "", s.layout}); !s.pool.ready.Is(r) {
		layouts, names = append(layouts, ownLayouts(s.layout)...), append(names, r)
	}
	for _, name := range tables {
		if r := (readiness{s.place.own(name), s.mode, s.layout + s.place.json()}); !s.pool.ready.Is(r) {
			layouts, names = append(layouts, s.recordLayout(name)), append(names, r)
		}
	}
	for _, l := range layouts {
		if err := s.ensure(ctx, l); err != nil {
			return err
		}
	}
	for _, r := range names {
		s.pool.ready.Set(r)
	}
	return nil
}

// ensure makes the table if it is not there, and the schema before it. It never drops or changes anything, and asks for no right to create where nothing is missing.
func (s *store) ensure(ctx context.Context, l layout) error {
	there, err := s.inspect(ctx, s.pool, l)
	if err != nil {
		return s.failed("look at table "+s.place.own(l.table), err)
	}
	if there {
		return nil
	}
	if exists, err := s.schemaExists(ctx); err != nil {
		return err
	} else if !exists {
		if _, err := s.pool.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+s.place.schemaName()); err != nil {
			return s.failed("create schema", err)
		}
	}
	if l.mode != "" && l.kind == connectors.LayoutColumns { // of a table that was dropped
		p := s.place
		if _, err := s.pool.ExecContext(ctx, "DELETE FROM "+p.own(table.Memory)+" WHERE "+p.column("table_name")+" = ?", p.tableName(l.table)); err != nil {
			return s.failed("forget columns", err)
		}
	}
	if _, err := s.pool.ExecContext(ctx, s.place.create(l)); err != nil {
		return s.failed("create table "+s.place.own(l.table), err)
	}
	if there, err = s.inspect(ctx, s.pool, l); err != nil { // somebody else may have made it, otherwise
		return s.failed("look at table "+s.place.own(l.table), err)
	}
	if !there {
		return connectors.Errorf(connectors.Forbidden, "create table", "table %s is there, and the role can't see it; %s", s.place.own(l.table), s.grants())
	}
	return nil
}

// schemaExists looks for the schema, and fails where there is no such database.
func (s *store) schemaExists(ctx context.Context) (bool, error) {
	rows, err := s.pool.QueryContext(ctx, "SHOW SCHEMAS IN DATABASE "+quote(s.place.database))
	if isMissing(err) {
		return false, connectors.Errorf(connectors.NotFound, "find database", "database %s does not exist, or the role may not use it; %s", quote(s.place.database), s.grants())
	}
	if err != nil {
		return false, s.failed("find schema", err)
	}
	exists := false
	err = each(rows, func(row map[string]sql.NullString) { exists = exists || row["name"].String == s.place.schema })
	if err != nil {
		return false, s.failed("find schema", err)
	}
	return exists, nil
}
