package mysql_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
)

// Rows arrive as they were whichever way they go: a few by INSERT, many by LOAD DATA, in mode upsert through the stage, and many by INSERT after the
// server warned of one that was there.
func TestRowsArriveAlike(t *testing.T) {
	t.Parallel()
	odd := []connectors.Record{
		{ID: `a"b\c`, Key: `{x,"y'}`, Data: []byte(`{"quote": "\"", "path": "\\", "tab": "\t",  "n" : [1 ,2]}`), Version: -1},
		{ID: "NULL", Key: `\N`, Data: []byte("\r\n[\t\"NULL\", null]  "), Version: 1 << 62},
		{ID: "empty", Key: "k", Op: connectors.Delete, OccurredAt: time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), ReceivedAt: time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)},
		{ID: "é\u2028💥\x1a\x01", Key: "'; -- ", Data: []byte("\"💥\x7f\""), OccurredAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", 3600))},
		{ID: `\\'`, Key: "\\\n\t\\t", Data: []byte(`"\\\\'\\n\\N"`), OccurredAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600))},
	}
	eachFlavour(t, func(t *testing.T, f flavour) {
		for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
			rawURL := f.database(t)
			db := session(t, rawURL)
			for name, size := range map[string]int{"few": len(odd), "many": 300, "warned": 300} {
				b := connectortest.Batch(mode, "orders", 0, size)
				for i, r := range odd {
					r.Stream, r.Ordinal = "orders", int64(i)
					if r.Op == "" {
						r.Op = connectors.Upsert
					}
					b.Records[i] = r
				}
				b.Lane = name
				d := opened(t, f.define(), connection(t, rawURL), mysql.Settings{Table: name}, mode)
				if name == "warned" {
					first := b
					first.Epoch, first.Records = "another", b.Records[2:4]
					connectortest.Write(t, d, first)
				}
				connectortest.Write(t, d, b)
			}
			const columns = `_scope, _installation, _stream, _id, _key, _op, _version, coalesce(_occurred_at, 'null'), coalesce(_received_at, 'null'), _ordinal, coalesce(hex(data), 'null')`
			for _, other := range []string{"many", "warned"} {
				if same := one(t, db, `SELECT count(*) FROM (SELECT `+columns+` FROM few INTERSECT SELECT `+columns+` FROM `+other+`) t`); same != fmt.Sprint(len(odd)) {
					t.Errorf("%s: %s rows of %d are the same in %s", mode, same, len(odd), other)
				}
				if n := one(t, db, "SELECT count(*) FROM "+other); n != "300" {
					t.Errorf("%s: %s rows in %s", mode, n, other)
				}
			}
			for _, row := range query(t, db, "SELECT _ordinal, _id, _key, coalesce(data, '') AS data, coalesce(_occurred_at, '') AS at FROM few ORDER BY _ordinal") {
				r := odd[(*row["_ordinal"])[0]-'0']
				if *row["_id"] != r.ID || *row["_key"] != r.Key || *row["data"] != string(r.Data) {
					t.Errorf("%s: %q became %v, %v, %q", mode, r.ID, *row["_id"], *row["_key"], *row["data"])
				}
			}
			if at := one(t, db, "SELECT GROUP_CONCAT(coalesce(_occurred_at, 'null') ORDER BY _ordinal) FROM few"); at != "null,null,0001-01-01 00:00:00.000001,9999-12-31 22:59:59.000000,null" {
				t.Errorf("%s: the times are %s", mode, at)
			}
		}
	})
}

// Payloads up to what a statement of the server may have are written, larger ones rejected by themselves.
func TestLargestPayload(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		db := session(t, rawURL)
		var packet int
		if err := db.QueryRowContext(t.Context(), "SELECT @@max_allowed_packet").Scan(&packet); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{3, 200} {
			d := opened(t, f.define(), connection(t, rawURL), mysql.Settings{Table: fmt.Sprint("of_", n)}, connectors.Append)
			b := connectortest.Batch(connectors.Append, "orders", 0, n)
			b.Lane = fmt.Sprint(n)
			b.Records[0].Data = []byte(`"` + strings.Repeat("x", packet-4096) + `"`)
			b.Records[1].Data = []byte(`"` + strings.Repeat("x", packet) + `"`)
			for range 2 {
				r, err := d.Write(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				for i, o := range r.Outcomes {
					if (i == 1) != (o == connectors.Rejected) || i == 1 && !strings.Contains(r.Reasons[i], "max_allowed_packet") {
						t.Fatalf("record %d: outcome %d, %s", i, o, r.Reasons[i])
					}
				}
			}
		}
	})
}

// A server that takes no loads, or stops taking them, gets its rows by INSERT.
func TestLoadsTurnedOff(t *testing.T) {
	// Not beside others: the variable is the server's.
	for _, f := range flavours() {
		rawURL := f.database(t)
		admin := session(t, rawURL)
		d := opened(t, f.define(), connection(t, rawURL), mysql.Settings{}, connectors.Append)
		loads := func() (n int) {
			var name string
			if err := admin.QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Com_load'").Scan(&name, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := loads()
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 300))
		if loads() == before {
			t.Error("the rows were not loaded")
		}
		exec(t, admin, "SET GLOBAL local_infile = 0")
		defer func() { _ = query(t, admin, "SET GLOBAL local_infile = 1") }()
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 300, 300))
		connectortest.Write(t, opened(t, f.define(), connection(t, rawURL), mysql.Settings{Table: "t"}, connectors.ModeUpsert), connectortest.Batch(connectors.ModeUpsert, "orders", 600, 300))
		if n := len(rows(t, rawURL)); n != 900 {
			t.Errorf("%d rows, want 900", n)
		}
	}
}

// A load would cut what does not fit and leave out what breaks a unique index of the operator's, with a warning.
func TestLoadsAreStrict(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		db := session(t, rawURL)
		d := openColumns(t, f.define(), connection(t, rawURL), connectors.Append, connectors.Evolve)
		defer closed(t, d)
		connectortest.Write(t, d, ofPayloads(connectors.Append, 0, `{}`))
		exec(t, db, "ALTER TABLE orders ADD code varchar(3), ADD serial int UNIQUE")
		b := connectortest.Batch(connectors.Append, "orders", 1, 300)
		for i := range b.Records {
			b.Records[i].Data = fmt.Appendf(nil, `{"code":"abc","serial":%d}`, i)
		}
		b.Records[100].Data = []byte(`{"code":"abcd","serial":100}`)
		b.Records[200].Data = []byte(`{"code":"abc","serial":5}`)
		r, err := d.Write(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range r.Outcomes {
			if want := i == 100 || i == 200; want != (o == connectors.Rejected) {
				t.Errorf("record %d: outcome %d, %s", i, o, r.Reasons[i])
			}
		}
		if n := one(t, db, "SELECT count(*) FROM orders WHERE code = 'abc'"); n != "298" {
			t.Errorf("%s rows, want 298", n)
		}
	})
}
