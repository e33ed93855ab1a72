package duckdb_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/duckdb"
)

func open(t *testing.T, files *duckdb.Files, path string, mode connectors.Mode) connectors.Destination {
	t.Helper()
	settings, err := json.Marshal(duckdb.Settings{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.Definition().OpenDestination(connectors.Config{Settings: settings, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// openColumns opens a destination of layout columns.
func openColumns(t *testing.T, files *duckdb.Files, path string, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
	t.Helper()
	settings, err := json.Marshal(duckdb.Settings{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.Definition().OpenDestination(connectors.Config{Settings: settings, Mode: mode, Layout: connectors.LayoutColumns, Schema: rule})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// rows reads all tables that have rows of ours.
func rows(t *testing.T, files *duckdb.Files, path string) []connectortest.Row {
	t.Helper()
	return readRows(t, files, path, func([][]any) string { return "coalesce(data::VARCHAR, '')" })
}

// columnRows is rows for tables of layout columns. Each value is made JSON by its type.
func columnRows(t *testing.T, files *duckdb.Files, path string) []connectortest.Row {
	t.Helper()
	return readRows(t, files, path, func(columns [][]any) string {
		parts := []string{"''"}
		for _, c := range columns {
			name, kind := c[0].(string), c[1].(string)
			if slices.Contains([]string{"_installation", "_stream", "_id", "_key", "_op", "_version", "_version_seen", "_occurred_at", "_received_at", "_ordinal"}, name) {
				continue
			}
			value := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
			switch kind {
			case "VARCHAR":
				value = "to_json(" + value + ")::VARCHAR"
			case "TIMESTAMP WITH TIME ZONE":
				value = `strftime(` + value + `, '"%Y-%m-%dT%H:%M:%SZ"')`
			default:
				value += "::VARCHAR"
			}
			encoded, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, "coalesce('"+strings.ReplaceAll(string(encoded), "'", "''")+":' || "+value+" || ',', '')")
		}
		return "'{' || rtrim(" + strings.Join(parts, " || ") + ", ',') || '}'"
	})
}

// readRows takes what stands for the payload from an expression that is made of a table's columns and their types.
func readRows(t *testing.T, files *duckdb.Files, path string, data func(columns [][]any) string) []connectortest.Row {
	t.Helper()
	query := func(sql string) [][]any {
		_, rows, err := files.Query(t.Context(), path, sql, 1_000_000)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	var all []connectortest.Row
	for _, table := range query(`SELECT table_name FROM duckdb_columns() WHERE column_name = '_installation'`) {
		name := `main."` + strings.ReplaceAll(table[0].(string), `"`, `""`) + `"`
		columns := query("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '" + strings.ReplaceAll(table[0].(string), "'", "''") + "'")
		for _, r := range query(`SELECT _installation, _stream, _id, _key, _op, _version, ` + data(columns) + ` FROM ` + name) {
			all = append(all, connectortest.Row{Installation: r[0].(string), Stream: r[1].(string), ID: r[2].(string), Key: r[3].(string),
				Op: connectors.Op(r[4].(string)), Version: r[5].(int64), Data: r[6].(string)})
		}
	}
	return all
}

func TestDestination(t *testing.T) {
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:  []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Poison: []byte(`{"a": nonsense}`),
		Memory: 8, // the database is in this process, with what it has not yet put to disk
		// A surrogate without its other half is no character, and DuckDB's JSON wants characters.
		Refuses: func(data []byte) bool { return bytes.Equal(data, []byte(`"\ud800"`)) },
		New: func(t *testing.T) connectortest.DestinationPlace {
			files := duckdb.NewFiles()
			path := filepath.Join(t.TempDir(), "a warehouse.duckdb")
			keep := open(t, files, path, connectors.Append)
			if _, err := keep.Write(t.Context(), connectors.Batch{Installation: "i", Epoch: "e", Lane: "l", Mode: connectors.Append}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := errors.Join(keep.Close(), files.Close()); err != nil {
					t.Error(err)
				}
			})
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, mode connectors.Mode) connectors.Destination { return open(t, files, path, mode) },
				Rows: func(t *testing.T) []connectortest.Row { return rows(t, files, path) },
				Columns: &connectortest.ColumnsPlace{
					Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
						return openColumns(t, files, path, mode, rule)
					},
					Rows: func(t *testing.T) []connectortest.Row { return columnRows(t, files, path) },
					AddColumn: func(t *testing.T, name, column, kind string) {
						if err := files.Exec(t.Context(), path, `ALTER TABLE "`+name+`" ADD COLUMN "`+column+`" `+strings.Replace(kind, "timestamp", "timestamptz", 1)); err != nil {
							t.Fatal(err)
						}
					},
				},
			}
		},
	})
}
