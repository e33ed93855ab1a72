package snowflake

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"tributary/connectors"
	"tributary/connectors/table"
)

// dialect of the columns. A NUMBER has 38 digits in all, the scale fixed; no column can be changed to another scale or to VARIANT
// (https://docs.snowflake.com/en/sql-reference/sql/alter-table-column), so none is widened.
func (p place) dialect() table.Dialect {
	d := table.Dialect{
		Integer: 20, Fraction: 18, Name: maxName, Columns: 2_000,
		Spell: spell, Widens: func(_, _ table.Type) bool { return false },
	}
	if p.upper {
		d.Spell, d.Fold = func(field string) string { return strings.ToUpper(spell(field)) }, strings.ToUpper
	}
	return d
}

// native is the type of the columns that are made for fields.
func (p place) native(t table.Type) string {
	switch t {
	case table.Boolean:
		return "BOOLEAN"
	case table.Integer:
		return "NUMBER(38,0)"
	case table.Decimal:
		return "NUMBER(38,18)"
	case table.JSON:
		return p.json()
	}
	return "VARCHAR"
}

// json is the type of columns of JSON.
func (p place) json() string {
	if p.variant {
		return "VARIANT"
	}
	return "VARCHAR"
}

// made is what table.Memory calls the types that columns were made with: their own names, but for JSON, which may be text.
func (p place) made(t table.Type) string {
	if t == table.JSON {
		return "json"
	}
	return p.native(t)
}

// typeOf says what a type as DESCRIBE TABLE spells it holds. A type that is narrower than ours, such as NUMBER(10,2) or VARCHAR(20), refuses or rounds by itself.
func typeOf(native string) table.Type {
	switch base(native) {
	case "BOOLEAN":
		return table.Boolean
	case "NUMBER":
		if strings.HasSuffix(native, ",0)") || !strings.Contains(native, ",") {
			return table.Integer
		}
		return table.Decimal
	case "FLOAT", "DECFLOAT":
		return table.Decimal
	case "VARCHAR":
		return table.Text
	case "TIMESTAMP_TZ", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ":
		return table.Timestamp
	case "VARIANT":
		return table.JSON
	}
	return table.Other
}

func base(native string) string {
	before, _, _ := strings.Cut(native, "(")
	return before
}

// described is a column as DESCRIBE TABLE shows it.
type described struct {
	name, kind string
	closed     bool // takes no values
	required   bool
}

// describe lists a table's columns; nil: there is no such table, or the role may not see it. https://docs.snowflake.com/en/sql-reference/sql/desc-table
func (s *store) describe(ctx context.Context, q querier, name string) ([]described, error) {
	rows, err := q.QueryContext(ctx, "DESCRIBE TABLE "+s.place.own(name))
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var columns []described
	err = each(rows, func(row map[string]sql.NullString) {
		columns = append(columns, described{
			name: row["name"].String, kind: row["type"].String, required: row["null?"].String == "N",
			closed: row["expression"].String != "" || strings.HasPrefix(row["default"].String, "IDENTITY"),
		})
	})
	return columns, err
}

// each calls f with the rows of an answer by the names of their columns in lower case.
func each(rows *sql.Rows, f func(row map[string]sql.NullString)) error {
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		row := make(map[string]sql.NullString, len(names))
		for i, name := range names {
			row[strings.ToLower(name)] = values[i]
		}
		f(row)
	}
	return rows.Err()
}

// memory is what table.Memory says of a column.
type memory struct {
	part        table.Part
	field, made string
}

func (s *store) memories(ctx context.Context, q querier, name string) (map[string]memory, error) {
	p := s.place
	rows, err := q.QueryContext(ctx, "SELECT "+p.columns([]string{"column_name", "part", "field", "type"})+" FROM "+p.own(table.Memory)+
		" WHERE "+p.column("table_name")+" = ? ORDER BY 1", p.tableName(name))
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
		if _, again := memories[column]; !again { // two that are noted at once may both be there: the first in order counts, for everybody
			memories[column] = m
		}
	}
	return memories, rows.Err()
}

func (s *store) columns(ctx context.Context, q querier, name string) ([]table.Column, error) {
	there, err := s.describe(ctx, q, name)
	if err != nil {
		return nil, err
	}
	if there == nil {
		s.pool.forget()
		return nil, connectors.Errorf(connectors.Unavailable, "read columns", "table %s does not exist: it is made again", s.place.own(name))
	}
	memories, err := s.memories(ctx, q, name)
	if err != nil {
		return nil, err
	}
	var own []string
	for _, c := range append(slices.Clone(recordColumns), seenColumn) {
		own = append(own, s.place.named(c.name))
	}
	var columns []table.Column
	for _, c := range there {
		if slices.Contains(own, c.name) {
			continue
		}
		m := memories[c.name]
		column := table.Column{Name: c.name, Native: c.kind, Type: typeOf(c.kind), Part: m.part, Field: m.field}
		switch {
		case m.made == "json" && slices.Contains([]string{"VARIANT", "VARCHAR"}, base(c.kind)):
			column.Type, column.Made = table.JSON, true
		case m.made != "" && base(m.made) == base(c.kind) && typeOf(m.made) == column.Type:
			column.Made = true
		}
		if c.closed {
			column.Type = table.Closed
		}
		columns = append(columns, column)
	}
	return columns, nil
}

// Columns remembers what it found: no lock keeps the columns as they are, so Commit looks whether they still are.
func (t *transaction) Columns(ctx context.Context, name string) ([]table.Column, error) {
	columns, err := t.columns(ctx, t.conn, name)
	if err != nil {
		return nil, t.failed("read columns of "+name, err)
	}
	t.found[name] = columns
	return columns, nil
}

// unchanged looks for columns that came while rows were on their way: who brought one may have filled it in a row that is now replaced. It is asked behind MERGE, whose lock
// keeps everybody else from writing to the table until the end, and a column is noted before anybody fills it.
func (t *transaction) unchanged(ctx context.Context) error {
	for name, before := range t.found {
		now, err := t.columns(ctx, t.conn, name)
		if err != nil {
			return err
		}
		if !slices.Equal(before, now) {
			return connectors.Errorf(connectors.Unavailable, "write", "the columns of table %s were changed meanwhile", t.place.own(name))
		}
	}
	return nil
}

// Change adds columns. A change of a table commits, so what a column is for is noted before, in a way that is true before and after: a column that is not there yet is passed
// over. Of two who note one column the first counts for both.
func (s *store) Change(ctx context.Context, name string, changes []table.Change) error {
	op := "change columns of " + name
	dialect := s.place.dialect()
	for range 20 {
		now, err := s.columns(ctx, s.pool, name)
		if err != nil {
			return s.failed(op, err)
		}
		pending := dialect.Pending(changes, now)
		if len(pending) == 0 {
			return nil
		}
		if err := s.note(ctx, name, pending); err != nil {
			return s.failed(op, err)
		}
		noted, err := s.memories(ctx, s.pool, name)
		if err != nil {
			return s.failed(op, err)
		}
		var add []string
		for _, c := range pending {
			if c.Op == table.AddColumn {
				kind := noted[c.Column.Name].made
				if kind == "json" {
					kind = s.place.json()
				}
				if kind == "" {
					kind = s.place.native(c.Column.Type)
				}
				add = append(add, quote(c.Column.Name)+" "+kind)
			}
		}
		if add == nil {
			return nil
		}
		_, err = s.pool.ExecContext(ctx, "ALTER TABLE "+s.place.own(name)+" ADD COLUMN "+strings.Join(add, ", "))
		if err == nil {
			return nil
		}
		if !isTaken(err) { // else somebody else has added one of them: the others remain
			return s.failed(op, err)
		}
	}
	return connectors.Errorf(connectors.Unavailable, op, "others keep changing them")
}

// note writes what columns are for, unless it is known.
func (s *store) note(ctx context.Context, name string, changes []table.Change) error {
	const atOnce = 200
	p := s.place
	fields := []string{"table_name", "column_name", "part", "field", "type"}
	for chunk := range slices.Chunk(changes, atOnce) {
		var selects []string
		var values []any
		for _, c := range chunk {
			made := p.made(c.Column.Type)
			if c.Op == table.AdoptColumn {
				made = ""
			}
			selects = append(selects, "SELECT ? AS "+p.column("table_name")+", ? AS "+p.column("column_name")+", ? AS "+p.column("part")+", ? AS "+p.column("field")+", ? AS "+p.column("type"))
			values = append(values, p.tableName(name), c.Column.Name, string(c.Column.Part), c.Column.Field, made)
		}
		var from []string
		for _, f := range fields {
			from = append(from, "r."+p.column(f))
		}
		_, err := s.pool.ExecContext(ctx, "MERGE INTO "+p.own(table.Memory)+" AS t USING ("+strings.Join(selects, " UNION ALL ")+") AS r ON t."+p.column("table_name")+" = r."+p.column("table_name")+
			" AND t."+p.column("column_name")+" = r."+p.column("column_name")+" WHEN NOT MATCHED THEN INSERT ("+p.columns(fields)+") VALUES ("+strings.Join(from, ", ")+")", values...)
		if err != nil {
			return err
		}
	}
	return nil
}
