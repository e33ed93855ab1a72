package snowflake_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/fault"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

// As made by default: names in upper case, so that SQL needs no quotes; VARIANT; clustered by day where rows are appended.
func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		s := snowflaketest.New(t, &returned)
		d := openedWith(t, direct(s), snowflake.Settings{Database: "analytics", Schema: "crm"}, connectors.Config{Mode: mode})
		b := connectortest.Batch(mode, "orders", 0, 4)
		b.Records[1].Stream, b.Records[2].Stream = "Orders", "ORDERS" // one table
		connectortest.Write(t, d, b)
		connectortest.Write(t, d, b)
		columns, clustered := s.Table(t, "ORDERS")
		kinds := make(map[string]string)
		for _, c := range columns {
			kinds[c.Name] = c.Type
		}
		if kinds["DATA"] != "VARIANT" || kinds["_RECEIVED_AT"] != "TIMESTAMP_TZ(9)" || kinds["_VERSION"] != "NUMBER(38,0)" || mode == connectors.Append != (clustered == "TO_DATE(_RECEIVED_AT)") {
			t.Errorf("%s: the table is %v, clustered by %q", mode, columns, clustered)
		}
		n := 0
		s.Read(t, "_INSTALLATION", func(_ string, row map[string]*string) {
			n++
			if text(row["DATA"]) != `{"a":1}` {
				t.Errorf("it is spelled %s", text(row["DATA"]))
			}
		})
		if n != 4 {
			t.Errorf("there are %d rows", n)
		}
	}
	s := snowflaketest.New(t, &returned)
	connectortest.Write(t, openedWith(t, direct(s), snowflake.Settings{Database: "analytics", Schema: "crm", Cluster: "none"}, connectors.Config{}), connectortest.Batch(connectors.Append, "orders", 0, 1))
	if _, clustered := s.Table(t, "ORDERS"); clustered != "" {
		t.Errorf("it is clustered by %s", clustered)
	}
}

// VARIANT spells payloads anew and keeps their values; what it would change sends the record alone to quarantine.
func TestVariant(t *testing.T) {
	t.Parallel()
	settings := warehouse
	settings.JSON = "variant"
	kept := map[string]string{
		`{ "b" : [1, 2.50],"a":1, "a":2 }`:              `{"a":2,"b":[1,2.5]}`,
		`12345678901234567890123456789012345678`:        `12345678901234567890123456789012345678`,
		`{"n":0.1234567890123456789012345678901234567}`: `{"n":0.1234567890123456789012345678901234567}`,
		`1E+2`:                              `100`,
		`{"s":"\u0000\ud83d\ude00\u00e9<"}`: `{"s":"\u0000😀é<"}`,
		`[1e300,1.5E-300]`:                  ``,
		`"text"`:                            `"text"`,
		`null`:                              `null`,
		strings.Repeat(`[`, 900) + strings.Repeat(`]`, 900): strings.Repeat(`[`, 900) + strings.Repeat(`]`, 900),
	}
	refused := []string{
		`{"n":123456789012345678901234567890123456789}`, `1e400`, `[0.1234567890123456789012345678901234567891]`, `0.12345678901234567890123456789012345678`, `"\ud800"`, `{"\udc00":1}`, `{"a": nonsense}`, `1e-400`,
		`{"n":1.00000000000000000000000000000000000000000000001e5}`, `9999999999999999e99`,
	}
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		s := snowflaketest.New(t, &returned)
		d := openedWith(t, direct(s), settings, connectors.Config{Mode: mode})
		var payloads []string
		for p := range kept {
			payloads = append(payloads, p)
		}
		payloads = append(payloads, refused...)
		b := connectortest.Batch(mode, "orders", 0, len(payloads))
		for i, p := range payloads {
			b.Records[i].Data = []byte(p)
		}
		for range 2 {
			r, err := d.Write(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range r.Outcomes {
				if bad := i >= len(kept); bad != (o == connectors.Rejected) || bad != (r.Reasons[i] != "") || strings.Contains(r.Reasons[i], "nonsense") {
					t.Fatalf("%.80s: outcome %d, %q", payloads[i], o, r.Reasons[i])
				}
			}
		}
		there := rows(t, s)
		if len(there) != len(kept) {
			t.Fatalf("%d rows", len(there))
		}
		for _, r := range there {
			var i int
			if _, err := fmt.Sscanf(r.ID, "id%d", &i); err != nil {
				t.Fatal(err)
			}
			if want := kept[payloads[i]]; want != "" && r.Data != want || !json.Valid([]byte(r.Data)) {
				t.Errorf("%.80s is spelled %.80s", payloads[i], r.Data)
			}
		}
	}
}

// Columns in upper case: fields that differ by their case alone have columns of their own.
func TestUpperColumns(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	d := openedWith(t, direct(s), snowflake.Settings{Database: "analytics", Schema: "crm"}, connectors.Config{Layout: connectors.LayoutColumns})
	b := connectortest.Batch(connectors.Append, "orders", 0, 2)
	b.Records[0].Data = []byte(`{"email":"a","Email":"b","total":1,"größe":2.5,"tags":[1],"select":true}`)
	b.Records[1].Data = []byte(`{"email":"c","total":"many","tags":{"x":1}}`)
	one, other := b, b
	one.Records, one.Next, other.Records, other.First = b.Records[:1], 1, b.Records[1:], 1
	connectortest.Write(t, d, one)
	connectortest.Write(t, d, other)
	found := false
	s.Read(t, "EMAIL", func(_ string, row map[string]*string) {
		if text(row["_ID"]) == "id0" {
			found = true
			if text(row["EMAIL"]) != "a" || text(row["TOTAL"]) != "1" || text(row["GRÖSSE"]) == "2.5" || text(row["TAGS"]) != "[1]" || text(row["SELECT"]) != "true" {
				t.Errorf("the row is %v", row)
			}
			other := ""
			for name := range row {
				if strings.HasPrefix(name, "EMAIL_") {
					other = text(row[name])
				}
			}
			if other != "b" {
				t.Errorf("the other field's column has %q", other)
			}
		} else if text(row["TOTAL_JSON"]) != `"many"` || text(row["TOTAL"]) != "" {
			t.Errorf("what does not fit is %q beside %q", text(row["TOTAL_JSON"]), text(row["TOTAL"]))
		}
	})
	if !found {
		t.Error("there is no such row")
	}
}

// A table whose keys are compared by a collation is refused, before it takes one key for another.
func TestCollation(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	s.Collate("en-ci")
	d := opened(t, s, connectors.ModeUpsert)
	for i, key := range []string{"abc", "ABC"} {
		b := connectortest.Batch(connectors.ModeUpsert, "orders", i, 1)
		b.Records[0].Key = key
		_, err := d.Write(t.Context(), b)
		connectortest.WantError(t, err, connectors.Invalid, "SET DEFAULT_DDL_COLLATION = ''")
	}
	s = snowflaketest.New(t, &returned)
	s.Collate("utf8") // is none
	connectortest.Write(t, opened(t, s, connectors.ModeUpsert), connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1))
}

// What stands in the way of a table is said, and left as it is.
func TestTablesThatDoNotFit(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	fixed := warehouse
	fixed.Table = "orders"
	connectortest.Write(t, openedWith(t, direct(s), fixed, connectors.Config{}), connectortest.Batch(connectors.Append, "orders", 0, 2))
	other := openedWith(t, direct(s), fixed, connectors.Config{Mode: connectors.ModeUpsert})
	connectortest.WantError(t, other.(connectors.Checker).Check(t.Context()), connectors.Invalid, "the other mode")
	_, err := other.Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "orders", 0, 2))
	connectortest.WantError(t, err, connectors.Invalid, "the other mode")
	fixed.JSON = "variant"
	connectortest.WantError(t, openedWith(t, direct(s), fixed, connectors.Config{}).(connectors.Checker).Check(t.Context()), connectors.Invalid, "VARCHAR", "instead of VARIANT", "json")
	s.Run(t, `CREATE TABLE IF NOT EXISTS "ANALYTICS"."CRM"."mine" ("id" NUMBER(38,0))`)
	fixed.Table = "mine"
	connectortest.WantError(t, openedWith(t, direct(s), fixed, connectors.Config{}).(connectors.Checker).Check(t.Context()), connectors.Invalid, "is missing")
}

// A table that is dropped while a lane writes to it is made again, and the records go on.
func TestDroppedTable(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{connectors.LayoutRaw, connectors.LayoutColumns} {
		for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
			s := snowflaketest.New(t, &returned)
			d := openedWith(t, direct(s), warehouse, connectors.Config{Mode: mode, Layout: layout})
			connectortest.Write(t, d, connectortest.Batch(mode, "orders", 0, 2))
			s.Drop(t, "orders")
			b := connectortest.Batch(mode, "orders", 2, 2)
			if _, err := d.Write(t.Context(), b); err == nil {
				t.Fatal("written to a table that is not there")
			} else if connectors.AsError("", err).Kind.Stops() {
				t.Fatalf("the lane stops: %v", err)
			}
			connectortest.UntilDurable(t, d, b)
			wantOnce(t, s, "after the drop", b)
		}
	}
}

// A column that another writer brings and fills, while rows are on their way, is not left with an old value in a row that is replaced.
func TestColumnsMeanwhile(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	config := connectors.Config{Mode: connectors.ModeUpsert, Layout: connectors.LayoutColumns}
	d, other := openedWith(t, direct(s), warehouse, config), openedWith(t, direct(s), warehouse, config)
	b := connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1)
	connectortest.Write(t, d, b)
	brought := b
	brought.Lane, brought.Records = "other", []connectors.Record{b.Records[0]}
	brought.Records[0].Version, brought.Records[0].ID, brought.Records[0].Data = 2, "brought", []byte(`{"b": 2}`)
	newest := connectortest.Batch(connectors.ModeUpsert, "orders", 1, 1)
	newest.Records[0].Key, newest.Records[0].Version, newest.Records[0].Data = b.Records[0].Key, 3, []byte(`{"a": 3}`)
	done := false
	s.Befall(func(call string) fault.Fault {
		if call == "PUT" && !done {
			done = true
			connectortest.Write(t, other, brought)
		}
		return fault.None
	})
	_, err := d.Write(t.Context(), newest)
	s.Befall(nil)
	if err != nil {
		connectortest.WantError(t, err, connectors.Unavailable, "columns")
		connectortest.UntilDurable(t, d, newest)
	}
	for _, r := range columnRows(t, s) {
		if r.Data != `{"a":3}` {
			t.Errorf("the row is %s", r.Data)
		}
	}
}
