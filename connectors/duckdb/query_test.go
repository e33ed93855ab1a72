package duckdb_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/duckdb"
)

// batch makes a batch of n records of a stream.
func batch(mode connectors.Mode, stream string, first, n int) connectors.Batch {
	b := connectors.Batch{Installation: "i/ada", Integration: "i", User: "ada", Epoch: "epoch", Lane: "warehouse", First: int64(first), Next: int64(first + n), Mode: mode}
	for i := first; i < first+n; i++ {
		b.Records = append(b.Records, connectors.Record{ID: fmt.Sprint("id", i), Key: fmt.Sprint("key", i), Stream: stream, Op: connectors.Upsert, Ordinal: int64(i), Data: fmt.Appendf(nil, `{"a" : %d}`, i)})
	}
	return b
}

func write(t *testing.T, d connectors.Destination, b connectors.Batch) {
	t.Helper()
	r, err := d.Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range r.Outcomes {
		if o != connectors.Durable {
			t.Fatalf("record %d: outcome %d, %s", i, o, r.Reasons[i])
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	files, path := duckdb.NewFiles(), filepath.Join(t.TempDir(), "w.duckdb")
	d := open(t, files, path, connectors.Append)
	defer d.Close()
	write(t, d, batch(connectors.Append, "orders", 0, 5))
	for _, c := range []struct {
		query, columns, rows string
	}{
		{"SELECT _id, data FROM orders ORDER BY _ordinal", "[_id data]", `[[id0 {"a" : 0}] [id1 {"a" : 1}] [id2 {"a" : 2}]]`},
		{"SELECT data, data FROM orders -- both\n WHERE _ordinal = 4 ;\n", "[data data]", `[[{"a" : 4} {"a" : 4}]]`},
		{"SELECT count(*) AS n, NULL AS nothing FROM orders", "[n nothing]", "[[5 <nil>]]"},
		{"WITH o AS (FROM orders) SELECT max((data->>'a')::int) AS a FROM o", "[a]", "[[4]]"},
		{"SELECT name FROM pragma_table_info('orders') LIMIT 1", "[name]", "[[_installation]]"},
		{"SELECT 1 WHERE false", "[1]", "[]"},
	} {
		columns, rows, err := files.Query(t.Context(), path, c.query, 3)
		if err != nil || fmt.Sprint(columns) != c.columns || fmt.Sprint(rows) != c.rows {
			t.Errorf("%s: got %v %v, %v", c.query, columns, rows, err)
		}
	}
	for _, query := range []string{"SHOW TABLES", "DESCRIBE orders", "EXPLAIN SELECT * FROM orders", "SUMMARIZE orders"} {
		if _, rows, err := files.Query(t.Context(), path, query, 3); err != nil || len(rows) == 0 {
			t.Errorf("%s: %d rows, %v", query, len(rows), err)
		}
	}
}

// A query changes nothing and reaches nothing but the file.
func TestQueryOnlyReads(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	files, path := duckdb.NewFiles(), filepath.Join(folder, "w.duckdb")
	outside := filepath.Join(folder, "outside.csv")
	if err := os.WriteFile(outside, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, files, path, connectors.Append)
	defer d.Close()
	write(t, d, batch(connectors.Append, "orders", 0, 5))
	into := filepath.Join(folder, "made")
	for _, query := range []string{
		"DELETE FROM orders", "INSERT INTO orders SELECT * FROM orders", "WITH o AS (SELECT 1) DELETE FROM orders", "DROP TABLE orders", "CREATE TABLE x (a int)",
		"SELECT 1; DROP TABLE orders", "DROP TABLE orders; SELECT 1", "UPDATE orders SET _op = 'x' RETURNING *", "TRUNCATE orders",
		"COPY orders TO '" + into + "'", "EXPLAIN ANALYZE COPY orders TO '" + into + "'", "EXPORT DATABASE '" + into + "'", "ATTACH '" + into + "'",
		"EXPLAIN ANALYZE DELETE FROM orders", "SET memory_limit = '1MB'", "PRAGMA enable_profiling", "CALL checkpoint()", "CHECKPOINT", "INSTALL httpfs", "LOAD httpfs",
		"COMMIT", "BEGIN", "SELECT * FROM read_csv('" + outside + "')", "SELECT * FROM '" + outside + "'", "SELECT * FROM read_text('" + outside + "')", "", ";", "SELEC 1", "SELECT nothing FROM orders",
	} {
		_, rows, err := files.Query(t.Context(), path, query, 10)
		if err == nil {
			t.Errorf("%s: gave %v", query, rows)
			continue
		}
		if e := (*connectors.Error)(nil); !errors.As(err, &e) || e.Kind != connectors.Invalid {
			t.Errorf("%s: got %v, want an error of kind invalid", query, err)
		}
	}
	if _, err := os.Stat(into); err == nil {
		t.Error("a query made a file")
	}
	write(t, d, batch(connectors.Append, "orders", 5, 5))
	_, rows, err := files.Query(t.Context(), path, "SELECT count(*) FROM orders", 1)
	if err != nil || fmt.Sprint(rows) != "[[10]]" {
		t.Errorf("got %v, %v", rows, err)
	}
	missing := filepath.Join(folder, "missing.duckdb")
	_, _, err = files.Query(t.Context(), missing, "SELECT 1", 1)
	connectortest.WantError(t, err, connectors.NotFound, "there is no file")
	if _, err := os.Stat(missing); err == nil {
		t.Error("a query made a database")
	}
}
