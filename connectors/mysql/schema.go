package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"tributary/connectors"
	"tributary/connectors/table"
)

// column of a table: its type as the servers spell it, without what they call the display width, and what else its definition says.
type column struct{ name, kind, rest string }

// scopeLength is how many characters of a hash tell installations and streams apart: 132 bits.
const scopeLength = 22

const (
	notNull = " NOT NULL"
	// rowColumn is the primary key: in the order of arrival, so that rows are added at the end, whatever their keys.
	rowColumn = "_row"
)

var (
	scopeColumn = column{"_scope", "char(22)", " CHARACTER SET ascii COLLATE ascii_bin NOT NULL"}
	// IDs and keys have at most connectors.MaxIDBytes.
	metadataColumns = []column{
		scopeColumn,
		{"_installation", "varchar(1000)", notNull}, {"_stream", "varchar(1000)", notNull}, {"_id", "varchar(512)", notNull}, {"_key", "varchar(512)", notNull},
		{"_op", "varchar(16)", notNull}, {"_version", "bigint", notNull},
		{"_occurred_at", "datetime(6)", ""}, {"_received_at", "datetime(6)", ""},
		{"_ordinal", "bigint", notNull},
	}
	// dataColumn is text: JSON of MySQL is decoded and encoded anew, which loses digits, spaces and keys that stand twice (I8), JSON of MariaDB is text with a
	// check that refuses what nests deeper than 32 levels.
	dataColumn = column{"data", "longtext", ""}
	// seenColumn is what an upsert needs besides: see package table. Its presence tells the two modes' tables apart.
	seenColumn = column{"_version_seen", "bigint", notNull}

	ledgerColumns    = []column{{"epoch", "varchar(255)", notNull}, {"lane", "varchar(255)", notNull}, {"next", "bigint", notNull}, {"updated_at", "datetime(6)", ""}}
	rejectionColumns = []column{{"epoch", "varchar(255)", notNull}, {"lane", "varchar(255)", notNull}, {"ordinal", "bigint", notNull}, {"reason", "text", notNull}}
	memoryColumns    = []column{
		{"table_name", "varchar(64)", notNull}, {"column_name", "varchar(64)", notNull}, {"part", "varchar(16)", notNull}, {"field", "varchar(512)", notNull},
		{"type", "varchar(200)", notNull},
	}
)

// The unique keys. The texts come first, so that they are found by them.
var (
	appendKey = []string{"_id", scopeColumn.name}
	upsertKey = []string{"_key", scopeColumn.name}
)

// layout is how a table must be.
type layout struct {
	table   string // as it is called in the database
	columns []column
	key     []string // unique
	// mode of a table of records, and the block's layout.
	mode connectors.Mode
	kind string
}

func (s *store) ledgerLayouts() []layout {
	layouts := []layout{
		{table: table.Ledger, columns: ledgerColumns, key: []string{"epoch", "lane"}},
		{table: table.Rejections, columns: rejectionColumns, key: []string{"epoch", "lane", "ordinal"}},
	}
	if s.layout == connectors.LayoutColumns {
		layouts = append(layouts, layout{table: table.Memory, columns: memoryColumns, key: []string{"table_name", "column_name"}})
	}
	return layouts
}

func (s *store) recordLayout(name string) layout {
	l := layout{table: s.tableName(name), columns: slices.Clone(metadataColumns), key: appendKey, mode: s.mode, kind: s.layout}
	if s.layout == connectors.LayoutRaw {
		l.columns = append(l.columns, dataColumn)
	}
	if s.mode == connectors.ModeUpsert {
		l.columns, l.key = append(l.columns, seenColumn), upsertKey
	}
	return l
}

func (l layout) create(d *dialect) string {
	var lines []string
	key := "PRIMARY KEY"
	if l.mode != "" {
		lines = append(lines, rowColumn+" bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY")
		key = "UNIQUE KEY _tributary_key"
	}
	for _, c := range l.columns {
		lines = append(lines, quote(c.name)+" "+c.kind+c.rest)
	}
	lines = append(lines, key+" ("+strings.Join(l.key, ", ")+")")
	if l.mode == connectors.Append {
		lines = append(lines, "KEY _tributary_time (_received_at)") // rows come in about that order
	}
	return "CREATE TABLE IF NOT EXISTS " + quote(l.table) + " (\n\t" + strings.Join(lines, ",\n\t") +
		"\n) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE " + d.collation
}

// querier is a pool or a connection.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// shown is a row of SHOW FULL COLUMNS, the type without display width.
type shown struct{ name, kind, collation, extra string }

// showColumns lists a table's columns, nil where there is none. It reads no information_schema, whose names are compared otherwise than the tables' own.
func showColumns(ctx context.Context, q querier, name string) ([]shown, error) {
	rows, err := q.QueryContext(ctx, "SHOW FULL COLUMNS FROM "+quote(name))
	var e *mysql.MySQLError
	if errors.As(err, &e) && e.Number == noSuchTable {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var columns []shown
	for rows.Next() {
		var c shown
		var collation, fallback sql.NullString
		var null, key, rights, comment string
		if err := rows.Scan(&c.name, &c.kind, &collation, &null, &key, &fallback, &c.extra, &rights, &comment); err != nil {
			return nil, err
		}
		c.kind, c.collation = withoutWidth(c.kind), collation.String
		columns = append(columns, c)
	}
	return columns, rows.Err()
}

// withoutWidth makes bigint of bigint(20), as newer servers show it, but keeps tinyint(1), which means a boolean.
func withoutWidth(kind string) string {
	kind = strings.ToLower(kind)
	before, rest, found := strings.Cut(kind, "(")
	if !found || !strings.HasSuffix(before, "int") || kind == natives[table.Boolean] {
		return kind
	}
	_, after, _ := strings.Cut(rest, ")")
	return before + after
}

// found is what there is of a table.
type found struct{ table, key bool }

// inspect looks at a table; what can't be made right without changing it is an Invalid error that lists what is wrong.
func (l layout) inspect(ctx context.Context, q querier, d *dialect) (found, error) {
	columns, err := showColumns(ctx, q, l.table)
	if err != nil || columns == nil {
		return found{}, err
	}
	refuse := func(format string, args ...any) (found, error) {
		return found{}, connectors.Errorf(connectors.Invalid, "table "+quote(l.table), format, args...)
	}
	there := make(map[string]shown, len(columns))
	for _, c := range columns {
		there[strings.ToLower(c.name)] = c
	}
	_, upsert := there[seenColumn.name]
	if _, records := there[scopeColumn.name]; l.mode != "" && records && upsert != (l.mode == connectors.ModeUpsert) {
		return refuse("it was made for the other mode and can't serve mode %s too: set another table", l.mode)
	}
	var wrong []string
	for _, c := range l.columns {
		is, ok := there[c.name]
		collation := d.collation
		if c == scopeColumn {
			collation = "ascii_bin"
		}
		switch {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("column %s %s is missing", c.name, c.kind))
		case is.kind != c.kind:
			wrong = append(wrong, fmt.Sprintf("column %s is %s instead of %s", c.name, is.kind, c.kind))
		case slices.Contains(l.key, c.name) && is.collation != "" && is.collation != collation:
			wrong = append(wrong, fmt.Sprintf("column %s has the collation %s instead of %s", c.name, is.collation, collation))
		}
	}
	if wrong != nil {
		return refuse("it exists and does not fit: %s. Change it, or set another table", strings.Join(wrong, "; "))
	}
	s, err := statusOf(ctx, q, l.table)
	if err != nil {
		return found{}, err
	}
	if !strings.EqualFold(s.engine, "InnoDB") {
		return refuse("its engine is %q: want InnoDB, whose transactions keep the ledger and the rows together", s.engine)
	}
	key, err := hasKey(ctx, q, l.table, l.key)
	return found{table: true, key: key}, err
}

// status is what the server knows of a table, which may be some time ago.
type status struct {
	engine string
	bytes  int64
}

func statusOf(ctx context.Context, q querier, name string) (s status, err error) {
	rows, err := q.QueryContext(ctx, "SELECT table_name, IF(table_type = 'VIEW', 'VIEW', COALESCE(engine, '')), COALESCE(data_length, 0) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?", name)
	if err != nil {
		return s, err
	}
	defer rows.Close()
	for rows.Next() {
		var is string
		var one status
		if err := rows.Scan(&is, &one.engine, &one.bytes); err != nil {
			return s, err
		}
		if is == name || s.engine == "" { // names may be compared without their case
			s = one
		}
	}
	if err := rows.Err(); err != nil {
		return s, err
	}
	if s.engine == "" { // says nothing of a table that another session is changing
		return s, connectors.Errorf(connectors.Unavailable, "look at table "+quote(name), "the server does not tell its engine at the moment")
	}
	return s, nil
}

// hasKey looks for a unique index of exactly these columns, in any order and whole.
func hasKey(ctx context.Context, q querier, name string, want []string) (bool, error) {
	rows, err := q.QueryContext(ctx, "SHOW INDEX FROM "+quote(name)+" WHERE Non_unique = 0")
	if err != nil {
		return false, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return false, err
	}
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	keys := make(map[string][]string)
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return false, err
		}
		row := make(map[string]sql.NullString)
		for i, n := range names {
			row[strings.ToLower(n)] = values[i]
		}
		part := strings.ToLower(row["column_name"].String) // null for an expression
		if row["sub_part"].Valid {
			part += "(" + row["sub_part"].String + ")"
		}
		keys[row["key_name"].String] = append(keys[row["key_name"].String], part)
	}
	for _, parts := range keys {
		slices.Sort(parts)
		if slices.Equal(parts, slices.Sorted(slices.Values(want))) {
			return true, rows.Err()
		}
	}
	return false, rows.Err()
}

func (s *store) Prepare(ctx context.Context, tables []string) error {
	server, err := s.pool.server(ctx)
	if err != nil {
		return err
	}
	s.server = server
	var layouts []layout
	var names []readiness
	if r := (readiness{table.Ledger, "", s.layout}); !s.pool.isReady(r) {
		layouts, names = append(layouts, s.ledgerLayouts()...), append(names, r)
	}
	for _, name := range tables {
		if r := (readiness{name, s.mode, s.layout}); !s.pool.isReady(r) {
			layouts, names = append(layouts, s.recordLayout(name)), append(names, r)
		}
	}
	if layouts == nil {
		return nil
	}
	if err := s.pool.ensure(ctx, layouts); err != nil {
		return err
	}
	for _, r := range names {
		if r.mode != "" && s.layout == connectors.LayoutColumns {
			if err := s.remember(ctx, r.table); err != nil {
				return err
			}
		}
		s.pool.setReady(r)
	}
	return nil
}

// ensure makes what is missing of the layouts and never drops or rewrites anything. It asks for no right to create where nothing is
// missing.
func (p *pool) ensure(ctx context.Context, layouts []layout) error {
	missing := false
	for _, l := range layouts {
		f, err := l.inspect(ctx, p, p.dialect)
		if err != nil {
			return p.failed("look at table "+quote(l.table), err)
		}
		missing = missing || !f.table || !f.key
	}
	if !missing {
		return nil
	}
	return p.locked(ctx, "", func(conn *sql.Conn) error {
		for _, l := range layouts {
			if err := l.make(ctx, conn, p.dialect); err != nil {
				return p.failed("create table "+quote(l.table), err)
			}
		}
		return nil
	})
}

func (l layout) make(ctx context.Context, conn *sql.Conn, d *dialect) error {
	f, err := l.inspect(ctx, conn, d)
	if err != nil {
		return err
	}
	if !f.table {
		if l.mode != "" && l.kind == connectors.LayoutColumns { // of a table that was dropped
			if _, err := conn.ExecContext(ctx, "DELETE FROM "+table.Memory+" WHERE table_name = ?", l.table); err != nil {
				return err
			}
		}
		_, err = conn.ExecContext(ctx, l.create(d))
	} else if !f.key {
		_, err = conn.ExecContext(ctx, "ALTER TABLE "+quote(l.table)+" ADD UNIQUE KEY _tributary_key ("+strings.Join(l.key, ", ")+")")
		var e *mysql.MySQLError
		if errors.As(err, &e) && e.Number == duplicateEntry {
			return connectors.Errorf(connectors.Invalid, "table "+quote(l.table), "it has several rows of one key, so it can't serve this mode: set another table")
		}
	}
	return err
}
