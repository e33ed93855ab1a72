package snowflake_test

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

// With a connection in liveVariable the suite of layout raw runs in Snowflake itself, in schemas of its own of the database that liveDatabase names, which it drops. The role
// must be allowed to make schemas there.
const (
	liveVariable = "TRIBUTARY_TEST_SNOWFLAKE"
	liveDatabase = "TRIBUTARY_TEST_SNOWFLAKE_DATABASE"
)

// live is a place in Snowflake itself, where there is a connection.
func live(t *testing.T, settings snowflake.Settings) (connectortest.DestinationPlace, bool) {
	t.Helper()
	text := os.Getenv(liveVariable)
	if text == "" {
		return connectortest.DestinationPlace{}, false
	}
	c, err := connectors.Decode[snowflake.Connection](json.RawMessage(text))
	if err != nil {
		t.Fatalf("$%s: %v", liveVariable, err)
	}
	settings.Database = os.Getenv(liveDatabase)
	if settings.Database == "" {
		t.Fatalf("set $%s too: the database in which schemas are made", liveDatabase)
	}
	return livePlace(t, c, settings), true
}

// livePlace is a schema of its own. Names are exact.
func livePlace(t *testing.T, c snowflake.Connection, settings snowflake.Settings) connectortest.DestinationPlace {
	t.Helper()
	settings.Schema = "tributary_test_" + strings.ToLower(rand.Text()[:12])
	settings.Schema = strconv.Quote(settings.Schema) // it is plain
	db, err := snowflake.OpenSQL(c, connectortest.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	schema := strconv.Quote(strings.ToUpper(settings.Database)) + "." + settings.Schema
	if strings.HasPrefix(settings.Database, `"`) {
		schema = settings.Database + "." + settings.Schema
	}
	exec := func(statement string) {
		if _, err := db.Exec(statement); err != nil {
			t.Error(err)
		}
	}
	exec("CREATE SCHEMA IF NOT EXISTS " + schema)
	t.Cleanup(func() {
		exec("DROP SCHEMA IF EXISTS " + schema)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	def := snowflake.Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
			return open(t, def, c, settings, connectors.Config{Mode: mode})
		},
		Rows: func(t *testing.T) []connectortest.Row { return liveRows(t, db, schema) },
	}
}

// liveRows reads all tables of records of a schema.
func liveRows(t *testing.T, db *sql.DB, schema string) (all []connectortest.Row) {
	t.Helper()
	var tables []string
	query(t, db, "SHOW TABLES IN SCHEMA "+schema, func(row map[string]*string) {
		if name := text(row["name"]); !strings.HasPrefix(name, "_tributary_") {
			tables = append(tables, name)
		}
	})
	for _, name := range tables {
		query(t, db, `SELECT "_installation", "_stream", "_id", "_key", "_op", "_version", "data" FROM `+schema+"."+`"`+strings.ReplaceAll(name, `"`, `""`)+`"`, func(row map[string]*string) {
			all = append(all, rowOf(t, row, text(row["data"])))
		})
	}
	return all
}

func query(t *testing.T, db *sql.DB, statement string, f func(row map[string]*string)) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, into := make([]*string, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make(map[string]*string, len(names))
		for i, name := range names {
			row[name] = values[i]
		}
		f(row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// What the suite needs of Snowflake itself is tried on the stand-in: a schema is made, read and dropped.
func TestLivePlace(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	t.Run("place", func(t *testing.T) {
		place := livePlace(t, direct(s), warehouse)
		d := place.Open(t, connectors.Append)
		defer d.Close()
		b := connectortest.Batch(connectors.Append, `orders of "ours"`, 0, 3)
		connectortest.Write(t, d, b)
		got := place.Rows(t)
		if len(got) != 3 || got[0].Data != `{"a":1}` || got[0].Stream != b.Records[0].Stream {
			t.Errorf("the rows are %+v", got)
		}
	})
	if n := len(rows(t, s)); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
