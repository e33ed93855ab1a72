package redshift_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/redshift"
)

// With a connection in liveVariable the suite of layout raw runs in Redshift itself, in schemas of its own, which it drops. The user must be allowed to make schemas.
const liveVariable = "TRIBUTARY_TEST_REDSHIFT"

// live is a place in Redshift itself, where there is a connection.
func live(t *testing.T, settings redshift.Settings) (connectortest.DestinationPlace, bool) {
	t.Helper()
	text := os.Getenv(liveVariable)
	if text == "" {
		return connectortest.DestinationPlace{}, false
	}
	c, err := connectors.Decode[redshift.Connection](json.RawMessage(text))
	if err != nil {
		t.Fatalf("$%s: %v", liveVariable, err)
	}
	return livePlace(t, c, settings), true
}

// livePlace is a schema of its own.
func livePlace(t *testing.T, c redshift.Connection, settings redshift.Settings) connectortest.DestinationPlace {
	t.Helper()
	settings.Schema = "tributary_test_" + strings.ToLower(rand.Text()[:12])
	db, err := redshift.OpenPool(c, connectortest.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := db.Exec(ctx, "CREATE SCHEMA "+settings.Schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.Exec(context.Background(), "DROP SCHEMA "+settings.Schema+" CASCADE"); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	def := redshift.Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
			config := block(t, c, settings, mode)
			config.Operator = true
			return open(t, def, config)
		},
		Rows: func(t *testing.T) []connectortest.Row { return liveRows(t, db, settings.Schema) },
	}
}

// liveRows reads all tables of records of a schema.
func liveRows(t *testing.T, db *pgxpool.Pool, schema string) (all []connectortest.Row) {
	t.Helper()
	ctx := t.Context()
	found, err := db.Query(ctx, "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = $1 AND column_name = '_installation'", schema)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tables {
		found, err := db.Query(ctx, "SELECT _installation, _stream, _id, _key, _op, _version, coalesce(data, '') FROM "+pgx.Identifier{schema, name}.Sanitize())
		if err != nil {
			t.Fatal(err)
		}
		rows, err := pgx.CollectRows(found, pgx.RowToStructByPos[connectortest.Row])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rows...)
	}
	return all
}

// What the suite needs of Redshift itself is tried on the stand-in: a schema is made, read and dropped.
func TestLivePlace(t *testing.T) {
	t.Parallel()
	s := serve(t)
	t.Run("place", func(t *testing.T) {
		place := livePlace(t, connection(t, s), redshift.Settings{JSON: "text"})
		d := place.Open(t, connectors.Append)
		defer d.Close()
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders of ours", 0, 3))
		if got := place.Rows(t); len(got) != 3 || got[0].Data != `{"a":1}` || got[0].Stream != "orders of ours" {
			t.Errorf("the rows are %+v", got)
		}
	})
	if n := value[int](t, s, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tributary_test_%'"); n != 0 {
		t.Errorf("%d schemas are left", n)
	}
}
