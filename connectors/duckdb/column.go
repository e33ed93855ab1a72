package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"tributary/connectors/table"
)

// natives are the types of the columns that are made for fields.
var natives = map[table.Type]string{
	table.Boolean: "BOOLEAN", table.Integer: "BIGINT", table.Decimal: "DECIMAL(38,18)", table.Text: "VARCHAR",
	table.Timestamp: "TIMESTAMP WITH TIME ZONE", table.JSON: "JSON",
}

// typeOf says what a type of DuckDB holds. A type that is narrower than ours, such as INTEGER or DECIMAL(10,2), refuses or rounds by itself.
func typeOf(native string) table.Type {
	switch base, _, _ := strings.Cut(native, "("); base {
	case "BOOLEAN":
		return table.Boolean
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT":
		return table.Integer
	case "DECIMAL", "FLOAT", "DOUBLE":
		return table.Decimal
	case "VARCHAR":
		return table.Text
	case "TIMESTAMP WITH TIME ZONE", "TIMESTAMP":
		return table.Timestamp
	case "JSON":
		return table.JSON
	}
	return table.Other
}

// Columns reads in the transaction, which has the file for itself.
func (t *ledgerTx) Columns(ctx context.Context, name string) ([]table.Column, error) {
	columns, err := columnsOf(ctx, t.conn, name)
	if err != nil {
		return nil, t.failed("read columns", err)
	}
	return columns, nil
}

func columnsOf(ctx context.Context, q querier, name string) ([]table.Column, error) {
	rows, err := q.QueryContext(ctx, `SELECT c.column_name, c.data_type, coalesce(m.part, ''), coalesce(m.field, ''), coalesce(m.type, '')
		FROM duckdb_columns() c LEFT JOIN main.`+table.Memory+` m ON lower(m.table_name) = lower(c.table_name) AND m.column_name = c.column_name
		WHERE c.database_name = current_database() AND c.schema_name = 'main' AND lower(c.table_name) = lower(?) ORDER BY c.column_index`, name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var columns []table.Column
	for rows.Next() {
		var c table.Column
		var made string
		if err := rows.Scan(&c.Name, &c.Native, &c.Part, &c.Field, &made); err != nil {
			return nil, err
		}
		if lower := strings.ToLower(c.Name); lower == seenColumn.name || slices.ContainsFunc(metadataColumns, func(m column) bool { return m.name == lower }) {
			continue
		}
		c.Type, c.Made = typeOf(c.Native), made == c.Native
		columns = append(columns, c)
	}
	return columns, rows.Err()
}

// Change has the file for itself.
func (s *store) Change(ctx context.Context, name string, changes []table.Change) error {
	db, err := s.file.database()
	if err != nil {
		return err
	}
	if err := s.file.lock(ctx); err != nil {
		return err
	}
	defer s.file.unlock()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return s.failed("change columns", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := change(ctx, tx, name, changes); err != nil {
		var kept *table.KeptError
		if errors.As(err, &kept) {
			return err
		}
		return s.failed("change columns of "+identifier(name), err)
	}
	if err := tx.Commit(); err != nil {
		return s.failed("change columns of "+identifier(name), err)
	}
	return nil
}

func change(ctx context.Context, tx *sql.Tx, name string, changes []table.Change) error {
	now, err := columnsOf(ctx, tx, name)
	if err != nil {
		return err
	}
	for _, c := range dialect.Pending(changes, now) {
		made := natives[c.Column.Type]
		if c.Op == table.AdoptColumn {
			made = ""
		} else if _, err := tx.ExecContext(ctx, alter(name, c)); err != nil {
			var d *duckdb.Error
			if c.Op == table.WidenColumn && errors.As(err, &d) && d.Type == duckdb.ErrorTypeDependency { // an index uses it
				return &table.KeptError{Column: c.Column.Name, Err: err}
			}
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM main."+table.Memory+" WHERE lower(table_name) = lower(?) AND column_name = ?", name, c.Column.Name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO main."+table.Memory+" (table_name, column_name, part, field, type) VALUES (?, ?, ?, ?, ?)",
			name, c.Column.Name, string(c.Column.Part), c.Column.Field, made); err != nil {
			return err
		}
	}
	return nil
}

func alter(name string, c table.Change) string {
	column, native := identifier(c.Column.Name), natives[c.Column.Type]
	if c.Op == table.AddColumn {
		return "ALTER TABLE " + qualified(name) + " ADD COLUMN " + column + " " + native
	}
	using := column + "::" + native
	switch {
	case c.Column.Type == table.JSON && c.From == table.Decimal: // to_json makes a float of it
		using = "rtrim(rtrim(" + column + "::VARCHAR, '0'), '.')::JSON"
	case c.Column.Type == table.JSON:
		using = "to_json(" + column + ")"
	}
	return "ALTER TABLE " + qualified(name) + " ALTER COLUMN " + column + " SET DATA TYPE " + native + " USING " + using
}
