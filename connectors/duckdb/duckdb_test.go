package duckdb_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
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

// rows reads all tables that have rows of ours.
func rows(t *testing.T, files *duckdb.Files, path string) []connectortest.Row {
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
		for _, r := range query(`SELECT _installation, _stream, _id, _key, _op, _version, coalesce(data::VARCHAR, '') FROM ` + name) {
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
			}
		},
	})
}
