package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tributary/internal/engine"
	"tributary/internal/terminal"
)

const queryHelp = `query reads the local warehouse, a DuckDB file, also while ` + "`starter dev`" + ` writes to it. It takes one statement that reads:
SELECT, WITH, SHOW, DESCRIBE, EXPLAIN. The payload of a record is the column data, as JSON:
data->>'$.email' takes a field out of it.`

func (a *app) query() *cobra.Command {
	var file string
	var limit int
	c := &cobra.Command{
		Use:   "query SQL",
		Short: "Read the local warehouse with SQL",
		Long:  queryHelp,
		Example: `  starter query 'SHOW TABLES'
  starter query "SELECT _key, _op, data->>'$.email' AS email FROM shopify_customers LIMIT 10"
  starter query -o csv 'SELECT * FROM shopify_orders' --limit 100000 > orders.csv
  echo 'SELECT 1' | starter query -`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 {
				return usage("--limit: want a number greater than 0")
			}
			sql := args[0]
			if sql == "-" {
				raw, err := io.ReadAll(io.LimitReader(a.in, 1<<20))
				if err != nil {
					return err
				}
				sql = string(raw)
			}
			return a.runQuery(c.Context(), sql, file, limit)
		},
		Annotations: map[string]string{csvAnnotation: "true"},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the DuckDB file (default: warehouse.duckdb in the directory of local state)")
	c.Flags().IntVar(&limit, "limit", 1000, "most rows")
	return c
}

func (a *app) runQuery(ctx context.Context, sql, file string, limit int) error {
	dir, err := filepath.Abs(a.directory())
	if err != nil {
		return err
	}
	if file == "" {
		file = filepath.Join(dir, "warehouse.duckdb")
	}
	if file, err = filepath.Abs(file); err != nil {
		return err
	}
	q := engine.QueryRequest{Path: file, SQL: sql, Limit: limit + 1}
	rows, err := a.readRows(ctx, dir, q)
	if _, gone := os.Stat(file); err != nil && errors.Is(gone, os.ErrNotExist) {
		return fail(exitNotFound, "there is no warehouse %s: a duckdb destination makes it with its first batch; another file is given with --file", file)
	}
	if err != nil {
		return err
	}
	more := len(rows.Rows) > limit
	if more {
		rows.Rows = rows.Rows[:limit]
	}
	switch a.output {
	case "json":
		err = writeJSON(a.out, records(rows))
	case "csv":
		err = writeCSV(a.out, rows)
	default:
		a.writeRows(a.out, rows, "")
	}
	if more {
		a.note("There are more rows; --limit %d was reached.", limit)
	}
	return err
}

// readRows asks the dev stack, which holds the file while it runs; without one it opens the file itself.
func (a *app) readRows(ctx context.Context, dir string, q engine.QueryRequest) (engine.Rows, error) {
	if dev, err := engine.FindDev(ctx, dir); err == nil {
		return engine.AskQuery(ctx, dev, q)
	} else if !errors.Is(err, engine.ErrNoDev) {
		return engine.Rows{}, err
	}
	_, files, err := a.registry()
	if err != nil {
		return engine.Rows{}, err
	}
	defer files.Close()
	return engine.ReadRows(ctx, files.Query, q)
}

// object keeps the order of columns, which a map would lose.
type object struct {
	columns []string
	values  []any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for i, name := range o.columns {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := e.Encode(o.values[i]); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

func records(rows engine.Rows) []object {
	out := make([]object, len(rows.Rows))
	for i, r := range rows.Rows {
		out[i] = object{rows.Columns, r}
	}
	return out
}

func writeCSV(w io.Writer, rows engine.Rows) error {
	c := csv.NewWriter(w)
	if err := c.Write(rows.Columns); err != nil {
		return err
	}
	for _, r := range rows.Rows {
		line := make([]string, len(r))
		for i, v := range r {
			line[i] = cell(v, "")
		}
		if err := c.Write(line); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// writeRows writes a table; on a terminal it is as wide as that.
func (a *app) writeRows(w io.Writer, rows engine.Rows, by string) {
	headings := make([]string, len(rows.Columns))
	for i, name := range rows.Columns {
		if name == "" {
			name = "?"
		}
		headings[i] = name
		if numeric(rows.Rows, i) {
			headings[i] = ">" + name
		}
	}
	t := a.table(headings...)
	for _, r := range rows.Rows {
		cells := make([]any, len(r))
		for i, v := range r {
			cells[i] = cell(v, "NULL")
		}
		t.Row(cells...)
	}
	t.Write(w, by)
	fmt.Fprintf(w, "%s(%s %s)\n", by, terminal.Count(t.Len()), plural(t.Len(), "row"))
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// cell writes a value as text.
func cell(v any, null string) string {
	switch v := v.(type) {
	case nil:
		return null
	case string:
		return v
	case json.Number:
		return v.String()
	case []any, map[string]any:
		raw, err := json.Marshal(v)
		if err == nil {
			return string(raw)
		}
	}
	return fmt.Sprint(v)
}

// numeric says that a column holds numbers, some.
func numeric(rows [][]any, column int) bool {
	some := false
	for _, r := range rows {
		switch v := r[column].(type) {
		case nil:
		case json.Number, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float64:
			some = true
		case string:
			if _, err := json.Number(v).Float64(); err != nil {
				return false
			}
			some = true
		default:
			return false
		}
	}
	return some
}
