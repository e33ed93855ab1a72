package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"tributary/connectors"
)

// Query runs one reading statement (SELECT, WITH, SHOW, DESCRIBE, EXPLAIN) on the file and returns at most limit rows, while
// destinations of the same Files write to it. JSON columns come as text, as they are stored. It changes nothing and reaches no other file.
func (f *Files) Query(ctx context.Context, path, query string, limit int) (columns []string, rows [][]any, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, nil, connectors.Errorf(connectors.Invalid, "query", "the path can't be made absolute")
	}
	if _, err := os.Stat(path); err != nil {
		return nil, nil, connectors.Errorf(connectors.NotFound, "query", "there is no file %s", path)
	}
	held, release, err := f.hold(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if failure := release(); err == nil {
			err = failure
		}
	}()
	db, err := held.database()
	if err != nil {
		return nil, nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, failed("query", err)
	}
	defer conn.Close()
	if err := reading(conn, query); err != nil {
		return nil, nil, err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN TRANSACTION READ ONLY"); err != nil {
		return nil, nil, failed("query", err)
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") }()
	columns, rows, err = read(ctx, conn, query, limit)
	if err != nil {
		return nil, nil, explain(err)
	}
	return columns, rows, nil
}

// reading refuses what is not one statement that reads. The statement is prepared for that, not run.
func reading(conn *sql.Conn, query string) error {
	return conn.Raw(func(c any) error {
		s, err := c.(driver.Conn).Prepare(query)
		if err != nil {
			if d := (*duckdb.Error)(nil); errors.As(err, &d) {
				return explain(err)
			}
			return connectors.Errorf(connectors.Invalid, "query", "want one statement")
		}
		defer s.Close()
		kind, err := s.(*duckdb.Stmt).StatementType()
		if err != nil || kind != duckdb.STATEMENT_TYPE_SELECT && kind != duckdb.STATEMENT_TYPE_EXPLAIN {
			return connectors.Errorf(connectors.Invalid, "query", "only statements that read are allowed: SELECT, WITH, SHOW, DESCRIBE, EXPLAIN")
		}
		return nil
	})
}

func read(ctx context.Context, conn *sql.Conn, query string, limit int) ([]string, [][]any, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	defer func() { rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, nil, err
	}
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, nil, err
	}
	if slices.ContainsFunc(types, func(t *sql.ColumnType) bool { return t.DatabaseTypeName() == "JSON" }) {
		rows.Close()
		if rows, err = conn.QueryContext(ctx, asText(query, types)); err != nil {
			return nil, nil, err
		}
	}
	var all [][]any
	for len(all) < limit && rows.Next() {
		row, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			to[i] = &row[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, nil, err
		}
		all = append(all, row)
	}
	return columns, all, rows.Err()
}

// asText wraps a query so that its JSON columns come as they are stored: the driver would decode them.
func asText(query string, types []*sql.ColumnType) string {
	var names, list []string
	for i, t := range types {
		name := "c" + strconv.Itoa(i)
		names = append(names, name)
		if t.DatabaseTypeName() == "JSON" {
			name += "::VARCHAR"
		}
		list = append(list, name)
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM (\n" + strings.TrimRight(query, "; \t\r\n") + "\n) AS q(" + strings.Join(names, ", ") + ")"
}

// explain repeats DuckDB's message: it goes to who asked.
func explain(err error) error {
	var d *duckdb.Error
	if !errors.As(err, &d) {
		return failed("query", err)
	}
	return &connectors.Error{Kind: connectors.Invalid, Op: "query", Message: connectors.Clip(d.Msg, 1000), Err: err}
}
