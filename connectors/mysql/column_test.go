package mysql_test

import (
	"fmt"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
)

// ofPayloads is a batch of one record a payload.
func ofPayloads(mode connectors.Mode, first int, payloads ...string) connectors.Batch {
	b := connectortest.Batch(mode, "orders", first, len(payloads))
	for i, p := range payloads {
		b.Records[i].Data = []byte(p)
	}
	return b
}

func wantColumns(t *testing.T, rawURL, want string) {
	t.Helper()
	got := one(t, session(t, rawURL), `SELECT GROUP_CONCAT(CONCAT(column_name, ' ', data_type) ORDER BY column_name SEPARATOR ', ') FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name NOT LIKE '\_%'`)
	if got != want {
		t.Fatalf("the table has %s, want %s", got, want)
	}
}

// What depends on a column, or a type that the operator gave it, keeps it from being widened.
func TestColumnsInUse(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		admin := session(t, rawURL)
		d := openColumns(t, f.define(), connection(t, rawURL), connectors.ModeUpsert, connectors.Evolve)
		defer closed(t, d)
		connectortest.Write(t, d, ofPayloads(connectors.ModeUpsert, 0, `{"used":1,"changed":1,"ours":1,"dropped":1,"yes":true}`))
		exec(t, admin, "CREATE TABLE far (id bigint PRIMARY KEY)", "INSERT INTO far VALUES (1)",
			"ALTER TABLE orders ADD KEY (used), ADD FOREIGN KEY (used) REFERENCES far (id), MODIFY changed int, DROP COLUMN dropped")
		connectortest.Write(t, d, ofPayloads(connectors.ModeUpsert, 1, `{"used":1.5,"changed":1.5,"ours":1.5,"dropped":"x","yes":"no"}`))
		wantColumns(t, rawURL, "changed int, changed_json longtext, dropped longtext, ours decimal, used bigint, used_json longtext, yes tinyint, yes_json longtext")
		// A table that is made anew has nothing of the old one's.
		exec(t, admin, "DROP TABLE orders")
		_, err := d.Write(t.Context(), ofPayloads(connectors.ModeUpsert, 2, `{"ours":true}`))
		connectortest.WantError(t, err, connectors.Unavailable, "exist")
		connectortest.Write(t, d, ofPayloads(connectors.ModeUpsert, 2, `{"ours":true}`))
		wantColumns(t, rawURL, "ours tinyint")
	})
}

// Columns of types that payloads don't have are filled by the database's own rules, and what it refuses is rejected by itself.
func TestColumnsOfOtherTypes(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		d := openColumns(t, f.define(), connection(t, rawURL), connectors.ModeUpsert, connectors.Evolve)
		defer closed(t, d)
		connectortest.Write(t, d, ofPayloads(connectors.ModeUpsert, 0, `{}`))
		admin := session(t, rawURL)
		exec(t, admin, `ALTER TABLE orders ADD code varchar(3), ADD small smallint, ADD day date, ADD kind enum('a', 'b'), ADD b json, ADD local datetime, ADD f double, ADD n decimal(6,2),
			ADD sum int GENERATED ALWAYS AS (small * 2) STORED, ADD must varchar(10) NOT NULL DEFAULT 'x'`)
		good := `{"code":"abc","small":5,"day":"2026-11-01","kind":"b","b":{"a": 1},"local":"2026-11-01T12:00:00+02:00","f":0.5,"n":1.25,"sum":"mine","must":"y"}`
		b := ofPayloads(connectors.ModeUpsert, 1, good, `{"code":"abcd","must":"y"}`, `{"small":70000,"must":"y"}`, `{"day":"canary","must":"y"}`, `{"kind":"canary","must":"y"}`, `{"must":null}`, `{"must":"z"}`)
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
		if got := one(t, admin, "SELECT CONCAT_WS(' ', local, sum, small, f, n, kind + 0, json_extract(b, '$.a') + 0) FROM orders WHERE _id = 'id1'"); got != "2026-11-01 10:00:00 10 5 0.5 1.25 2 1" {
			t.Errorf("the row has %s", got)
		}
	})
}

// A change of columns that was cut off between what it notes and the table's own change is no harm.
func TestChangeCutOff(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		admin := session(t, rawURL)
		d := openColumns(t, f.define(), connection(t, rawURL), connectors.ModeUpsert, connectors.Evolve)
		defer closed(t, d)
		connectortest.Write(t, d, ofPayloads(connectors.ModeUpsert, 0, `{"n":1,"m":1}`))
		exec(t, admin, "UPDATE _tributary_columns SET type = 'bigint decimal(65,30)' WHERE column_name IN ('n', 'm')", "ALTER TABLE orders MODIFY m decimal(65,30)",
			"INSERT INTO _tributary_columns (table_name, column_name, part, field, type) VALUES ('orders', 'late', 'value', 'late', 'bigint')")
		connectortest.Write(t, d, ofPayloads(connectors.ModeUpsert, 1, `{"n":1.5,"m":1.5,"late":"text"}`))
		wantColumns(t, rawURL, "late longtext, m decimal, n decimal")
	})
}

// In a table that is too large to be written anew a column stays as it is.
func TestLargeTableIsNotWidened(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		d := openColumns(t, f.define(), connection(t, rawURL), connectors.ModeUpsert, connectors.Evolve)
		defer closed(t, d)
		mysql.WidenUpTo(d, 1000)
		connectortest.Write(t, d, ofPayloads(connectors.ModeUpsert, 0, `{"n":1}`))
		connectortest.Write(t, d, ofPayloads(connectors.ModeUpsert, 1, `{"n":1.5,"m":1}`))
		wantColumns(t, rawURL, "m bigint, n bigint, n_json longtext")
	})
}

// A table takes as many fields as it may have columns, whatever is in them.
func TestWidestTable(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		d := openColumns(t, f.define(), connection(t, rawURL), connectors.ModeUpsert, connectors.Evolve)
		defer closed(t, d)
		object := func(n, size int) string {
			var fields []string
			for i := range n {
				fields = append(fields, fmt.Sprintf(`"f%d":%q`, i, strings.Repeat("x", size)))
			}
			return "{" + strings.Join(fields, ",") + "}"
		}
		const most = 170 // with the metadata 180
		r, err := d.Write(t.Context(), ofPayloads(connectors.ModeUpsert, 0, object(most, 40), object(most, 10), object(most, 1000), object(most+1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range r.Outcomes {
			if want := i == 3; want != (o == connectors.Rejected) {
				t.Errorf("record %d: outcome %d, %s", i, o, r.Reasons[i])
			}
		}
	})
}
