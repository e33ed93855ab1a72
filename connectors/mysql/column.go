package mysql

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"tributary/connectors"
	"tributary/connectors/table"
)

// natives are the types of the columns that are made for fields. JSON is text: see dataColumn.
var natives = map[table.Type]string{
	table.Boolean: "tinyint(1)", table.Integer: "bigint", table.Decimal: "decimal(65,30)", table.Text: "longtext", table.JSON: "longtext",
}

// made is what table.Memory calls the types that columns were made with: their own names, but for JSON, which would be taken for text.
func made(t table.Type) string {
	if t == table.JSON {
		return "json"
	}
	return natives[t]
}

// maxWidened bounds the tables, in bytes, of which a column is widened: they are written anew, and nobody can write meanwhile.
const maxWidened = 256 << 20

// typeOf says what a type holds. A type that is narrower than ours, such as int or decimal(10,2), refuses or rounds by itself.
func typeOf(kind string) table.Type {
	if kind == natives[table.Boolean] {
		return table.Boolean
	}
	base, _, _ := strings.Cut(kind, "(")
	base, _, _ = strings.Cut(base, " ")
	switch base {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		return table.Integer
	case "decimal", "float", "double":
		return table.Decimal
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return table.Text
	case "datetime", "timestamp":
		return table.Timestamp
	case "json":
		return table.JSON
	}
	return table.Other
}

// Columns keeps the table's definition as it is by using the table, and lets nobody take a column of the operator's in use by sharing the table's
// own row in table.Memory.
func (t *ledgerTx) Columns(ctx context.Context, name string) ([]table.Column, error) {
	if err := drain(t.conn.QueryContext(ctx, "SELECT 1 FROM "+t.own(name)+" LIMIT 0 FOR UPDATE")); err != nil {
		return nil, t.pool.failed("lock columns", err)
	}
	columns, err := t.columns(ctx, t.conn, name, " LOCK IN SHARE MODE")
	if err != nil {
		return nil, t.pool.failed("read columns", err)
	}
	return columns, nil
}

// drain reads an answer that has nothing of interest.
func drain(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

// memory is what table.Memory says of a column.
type memory struct {
	part        table.Part
	field, made string
}

func (s *store) columns(ctx context.Context, q querier, name, lock string) ([]table.Column, error) {
	there, err := showColumns(ctx, q, s.tableName(name))
	if err != nil {
		return nil, err
	}
	if there == nil {
		s.pool.forget()
		return nil, connectors.Errorf(connectors.Unavailable, "read columns", "table %s does not exist: it is made again", s.own(name))
	}
	memories, err := s.memories(ctx, q, name, lock)
	if err != nil {
		return nil, err
	}
	var definition string // is asked for where it can tell more
	var columns []table.Column
	for _, c := range there {
		lower := strings.ToLower(c.name)
		if lower == seenColumn.name || lower == rowColumn || slices.ContainsFunc(metadataColumns, func(m column) bool { return m.name == lower }) {
			continue
		}
		m := memories[c.name]
		column := table.Column{Name: c.name, Native: c.kind, Type: typeOf(c.kind), Part: m.part, Field: m.field}
		for of := range natives {
			// A column that was widened may have either type: see Store.Change.
			if natives[of] == c.kind && slices.Contains(strings.Fields(m.made), made(of)) {
				column.Type, column.Made = of, true
			}
		}
		if c.kind == natives[table.JSON] && !column.Made && s.pool.dialect == &mariadbDialect {
			if definition == "" {
				if definition, err = define(ctx, q, s.own(name)); err != nil {
					return nil, err
				}
			}
			if strings.Contains(definition, "(json_valid("+quote(c.name)+"))") { // its JSON is text with this check
				column.Type = table.JSON
			}
		}
		if extra := strings.ToLower(c.extra); strings.Contains(extra, "auto_increment") || strings.Contains(extra, "generated") && !strings.HasPrefix(extra, "default_generated") {
			column.Type = table.Closed
		}
		columns = append(columns, column)
	}
	return columns, nil
}

func (s *store) memories(ctx context.Context, q querier, name, lock string) (map[string]memory, error) {
	rows, err := q.QueryContext(ctx, "SELECT column_name, part, field, type FROM "+table.Memory+" WHERE table_name = ?"+lock, s.tableName(name))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	memories := make(map[string]memory)
	for rows.Next() {
		var column string
		var m memory
		if err := rows.Scan(&column, &m.part, &m.field, &m.made); err != nil {
			return nil, err
		}
		memories[column] = m
	}
	return memories, rows.Err()
}

func define(ctx context.Context, q querier, name string) (definition string, err error) {
	rows, err := q.QueryContext(ctx, "SHOW CREATE TABLE "+name)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var of string
		if err := rows.Scan(&of, &definition); err != nil {
			return "", err
		}
	}
	return definition, rows.Err()
}

// remember makes the row of table.Memory that stands for the table itself.
func (s *store) remember(ctx context.Context, name string) error {
	_, err := s.pool.ExecContext(ctx, "INSERT IGNORE INTO "+table.Memory+" (table_name, column_name, part, field, type) VALUES (?, '', '', '', '')", s.tableName(name))
	if err != nil {
		return s.pool.failed("remember table", err)
	}
	return nil
}

// Change waits for those who write to the table. A change of a table commits, so what it is for is noted before it, in a way that is
// true before and after: a column that is not there yet is passed over, one to be widened was made with either of two types.
func (s *store) Change(ctx context.Context, name string, changes []table.Change) error {
	return s.pool.locked(ctx, s.tableName(name), func(conn *sql.Conn) error {
		now, err := s.columns(ctx, conn, name, "")
		if err == nil {
			changes = columnsDialect.Pending(changes, now)
			err = s.change(ctx, conn, name, changes)
		}
		var kept *table.KeptError
		if err == nil || errors.As(err, &kept) {
			return err
		}
		return s.pool.failed("change columns of "+s.own(name), err)
	})
}

// change widens column by column, to know which one can't be, then adds the others at once. Each step stands by itself: when a later one fails, the next
// attempt finds what is done.
func (s *store) change(ctx context.Context, conn *sql.Conn, name string, changes []table.Change) error {
	if len(changes) == 0 {
		return nil
	}
	if err := s.note(ctx, conn, name, changes); err != nil {
		return err
	}
	alter := "ALTER TABLE " + s.own(name) + " "
	var add []string
	for _, c := range changes {
		column := quote(c.Column.Name) + " " + natives[c.Column.Type]
		switch c.Op {
		case table.AddColumn:
			add = append(add, "ADD COLUMN "+column)
		case table.WidenColumn:
			if err := s.widen(ctx, conn, name, alter+"MODIFY COLUMN "+column); err != nil {
				return keptBy(c.Column.Name, err)
			}
		}
	}
	if add == nil {
		return nil
	}
	_, err := conn.ExecContext(ctx, alter+strings.Join(add, ", "))
	return err
}

var errTooLarge = errors.New("the table is too large to be written anew")

func (s *store) widen(ctx context.Context, conn *sql.Conn, name, statement string) error {
	is, err := statusOf(ctx, conn, s.tableName(name))
	if err != nil {
		return err
	}
	if is.bytes > s.pool.widens {
		return errTooLarge
	}
	_, err = conn.ExecContext(ctx, statement)
	return err
}

// keptBy finds out whether an error says that a column can't be widened: the table is too large, or the server refuses, for a computed column, a
// partition or a foreign key.
func keptBy(column string, err error) error {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		if k := kindOf(e); k != connectors.Invalid && k != connectors.Unknown {
			return err
		}
	} else if err != errTooLarge {
		return err
	}
	return &table.KeptError{Column: column, Err: err}
}

func (s *store) note(ctx context.Context, conn *sql.Conn, name string, changes []table.Change) (err error) {
	if _, err := conn.ExecContext(ctx, "START TRANSACTION"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			discard(conn)
		}
	}()
	if slices.ContainsFunc(changes, func(c table.Change) bool { return c.Op == table.AdoptColumn }) {
		if err := drain(conn.QueryContext(ctx, "SELECT 1 FROM "+table.Memory+" WHERE table_name = ? AND column_name = '' FOR UPDATE", s.tableName(name))); err != nil {
			return err
		}
	}
	for _, c := range changes {
		query, kind := "REPLACE INTO "+table.Memory+" (part, field, type, table_name, column_name) VALUES (?, ?, ?, ?, ?)", made(c.Column.Type)
		switch c.Op {
		case table.WidenColumn:
			query, kind = "UPDATE "+table.Memory+" SET part = ?, field = ?, type = ? WHERE table_name = ? AND column_name = ?", made(c.From)+" "+kind
		case table.AdoptColumn:
			kind = ""
		}
		if _, err := conn.ExecContext(ctx, query, string(c.Column.Part), c.Column.Field, kind, s.tableName(name), c.Column.Name); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}
