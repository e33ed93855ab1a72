package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
)

// ofPayloads is a batch of one record a payload.
func ofPayloads(first int, payloads ...string) connectors.Batch {
	b := connectortest.Batch(connectors.ModeUpsert, "orders", first, len(payloads))
	for i, p := range payloads {
		b.Records[i].Data = []byte(p)
	}
	return b
}

// columnTypes lists a table's columns of payloads.
func columnTypes(t *testing.T, dsn string) string {
	t.Helper()
	var list string
	err := session(t, dsn).QueryRow(t.Context(), `SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_name COLLATE "C") FROM information_schema.columns
		WHERE table_name = 'orders' AND column_name !~ '^_'`).Scan(&list)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func wantColumns(t *testing.T, dsn, want string) {
	t.Helper()
	if got := columnTypes(t, dsn); got != want {
		t.Fatalf("the table has %s, want %s", got, want)
	}
}

// A view on a column, or a type that the operator gave it, keeps it from being widened.
func TestColumnsInUse(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	admin := session(t, dsn)
	d := openColumns(t, postgres.Definition(), connection(t, dsn), connectors.ModeUpsert, connectors.Evolve)
	defer d.Close()
	connectortest.Write(t, d, ofPayloads(0, `{"seen":1,"changed":1,"ours":1,"dropped":1}`))
	exec(t, admin, "CREATE VIEW report AS SELECT seen FROM orders", "ALTER TABLE orders ALTER changed TYPE integer, DROP dropped")
	connectortest.Write(t, d, ofPayloads(1, `{"seen":"x","changed":"x","ours":"x","dropped":"x"}`))
	wantColumns(t, dsn, "changed integer, changed_json json, dropped text, ours json, seen bigint, seen_json json")
	// A table that is made anew has nothing of the old one's.
	exec(t, admin, "DROP TABLE orders CASCADE")
	_, err := d.Write(t.Context(), ofPayloads(2, `{"ours":true}`))
	connectortest.WantError(t, err, connectors.Unavailable, "does not exist")
	connectortest.Write(t, d, ofPayloads(2, `{"ours":true}`))
	wantColumns(t, dsn, "ours boolean")
}

// Columns of types that payloads don't have are filled by the database's own rules, and what it refuses is rejected by itself.
func TestColumnsOfOtherTypes(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	d := openColumns(t, postgres.Definition(), connection(t, dsn), connectors.ModeUpsert, connectors.Evolve)
	defer d.Close()
	connectortest.Write(t, d, ofPayloads(0))
	connectortest.Write(t, d, ofPayloads(0, `{}`))
	exec(t, session(t, dsn), `ALTER TABLE orders ADD code varchar(3), ADD small smallint, ADD day date, ADD u uuid, ADD b jsonb, ADD local timestamp, ADD f double precision, ADD n numeric(6,2),
		ADD sum int GENERATED ALWAYS AS (small * 2) STORED, ADD must text NOT NULL DEFAULT 'x'`)
	good := `{"code":"abc","small":5,"day":"2026-11-01","u":"6e4ad9e8-0000-4000-8000-000000000001","b":{"a": 1},"local":"2026-11-01T12:00:00+02:00","f":0.5,"n":1.25,"sum":"mine","must":"y"}`
	b := ofPayloads(1, good, `{"code":"abcd","must":"y"}`, `{"small":70000,"must":"y"}`, `{"day":"canary","must":"y"}`, `{"u":5,"must":"y"}`, `{"must":null}`, `{"must":"z"}`)
	r, err := d.Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range r.Outcomes {
		if want := i > 0 && i < 6; want != (o == connectors.Rejected) || strings.Contains(r.Reasons[i], "canary") {
			t.Errorf("record %d: outcome %d, %s", i, o, r.Reasons[i])
		}
	}
	if !strings.Contains(r.Reasons[5], `column "must" wants a value`) {
		t.Errorf("record 5 is rejected because %s", r.Reasons[5])
	}
	var local string
	var sum, small int
	if err := session(t, dsn).QueryRow(t.Context(), "SELECT local::text, sum, small FROM orders WHERE _id = 'id1'").Scan(&local, &sum, &small); err != nil {
		t.Fatal(err)
	}
	if local != "2026-11-01 10:00:00" || sum != 10 || small != 5 {
		t.Errorf("the row has %s, %d, %d", local, sum, small)
	}
}

// Between transactions a session has nothing that the next one, perhaps another's behind a pooler, could stumble on.
func TestSessionsAreLeftClean(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	d := openColumns(t, postgres.Definition(), connection(t, dsn), connectors.ModeUpsert, connectors.Evolve)
	defer d.Close()
	admin := session(t, dsn)
	for i := range 4 {
		connectortest.Write(t, d, ofPayloads(i, fmt.Sprintf(`{"a":%d}`, i)))
		var tables int
		if err := admin.QueryRow(t.Context(), `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname ~ '^pg_temp' AND c.relkind = 'r'`).Scan(&tables); err != nil {
			t.Fatal(err)
		}
		if tables > 0 {
			t.Errorf("%d temporary tables are left", tables)
		}
	}
}
