package main

import (
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/duckdb"
)

// warehouse writes records into the DuckDB file of a shell.
func warehouse(t *testing.T, s *shell, payloads ...string) {
	t.Helper()
	files := duckdb.NewFiles()
	d, err := files.Definition().OpenDestination(connectors.Config{
		Settings: json.RawMessage(`{"path": "warehouse.duckdb"}`), Mode: connectors.Append, Env: connectors.Env{Dir: s.env["TRIBUTARY_DIR"]},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := connectors.Batch{Installation: "i/ada", Integration: "i", User: "ada", Epoch: "e", Lane: "l", Next: int64(len(payloads)), Mode: connectors.Append}
	for i, p := range payloads {
		b.Records = append(b.Records, connectors.Record{ID: string(rune('a' + i)), Key: "k", Stream: "orders", Op: connectors.Upsert, Ordinal: int64(i), Data: []byte(p)})
	}
	if _, err := d.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
}

// Without a dev stack the command opens the file itself.
func TestQuery(t *testing.T) {
	t.Parallel()
	s := place(t)
	const odd = `{"total" : 9007199254740993, "note": "a, \"b\""}`
	warehouse(t, s, odd, `{"total": 2}`, `{"total": 3}`)

	r := s.want(exitOK, nil, "query", "SELECT _id, data, data->>'$.total' AS total FROM orders ORDER BY _id", "-o", "json")
	if !strings.Contains(r.out, `"_id": "a",`) || strings.Index(r.out, `"_id"`) > strings.Index(r.out, `"data"`) {
		t.Errorf("columns are not in their order:\n%s", r.out)
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(r.out), &rows); err != nil || len(rows) != 3 || rows[0]["data"] != odd {
		t.Fatalf("%v: %+v", err, rows)
	}
	r = s.want(exitOK, nil, "query", "-o", "csv", "SELECT _id, data FROM orders ORDER BY _id")
	lines, err := csv.NewReader(strings.NewReader(r.out)).ReadAll()
	if err != nil || len(lines) != 4 || lines[0][1] != "data" || lines[1][1] != odd {
		t.Fatalf("%v: %q", err, lines)
	}
	s.want(exitOK, words("_id", "(2 rows)", "more rows", "--limit 2"), "query", "--limit", "2", "SELECT _id FROM orders ORDER BY _id")
	s.want(exitOK, words("NULL", "(1 row)"), "query", "SELECT NULL AS nothing")
	s.want(exitOK, words("170141183460469231731687303715884105727", "2026-01-02T03:04:05.000006Z"), "query",
		"SELECT 170141183460469231731687303715884105727 AS huge, TIMESTAMPTZ '2026-01-02 03:04:05.000006Z' AS at")
	s.in = "SELECT 41 + 1 AS n"
	s.want(exitOK, words("42"), "query", "-")
	s.want(exitUsage, words("only statements that read"), "query", "DROP TABLE orders")
	s.want(exitUsage, words("nope"), "query", "SELECT nope FROM orders")
	s.want(exitNotFound, words("other.duckdb"), "query", "--file", filepath.Join(t.TempDir(), "other.duckdb"), "SELECT 1")
}
