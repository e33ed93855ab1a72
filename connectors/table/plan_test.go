package table_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/table"
)

// small is a database with little room, that ignores case.
var small = table.Dialect{Integer: 19, Fraction: 2, Name: 24, Columns: 24, Text: 40, Fold: strings.ToLower}

func newColumns(found ...table.Column) *memory {
	m := newMemory()
	m.dialect, m.columns = small, found
	return m
}

// writeColumns writes payloads, each a record with the ID of its place.
func writeColumns(t *testing.T, m *memory, rule connectors.SchemaRule, payloads ...string) connectors.Result {
	t.Helper()
	b := batch(len(payloads))
	for i, p := range payloads {
		b.Records[i].Data = []byte(p)
		b.Records[i].ID = fmt.Sprint(int(m.next) + i)
		b.Records[i].Ordinal += m.next
	}
	b.First, b.Next = m.next, m.next+int64(len(payloads))
	r, err := table.Write(t.Context(), m, options(t, m.dialect, rule), b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func options(t *testing.T, d table.Dialect, rule connectors.SchemaRule) table.Options {
	t.Helper()
	o, err := table.ReadOptions(connectors.Config{Layout: connectors.LayoutColumns, Schema: rule}, "")
	if err != nil {
		t.Fatal(err)
	}
	o.Limits, o.Dialect = limits, d
	o.Limits.Data = 10_000
	return o
}

func (m *memory) column(name string) table.Column {
	for _, c := range m.columns {
		if c.Name == name {
			return c
		}
	}
	return table.Column{}
}

// A value's type is what it says itself, at the edge of what the database holds.
func TestTypes(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]table.Type{
		`true`: table.Boolean, `0`: table.Integer, `-9223372036854775808`: table.Integer, `9223372036854775807`: table.Integer, `9223372036854775808`: table.Decimal,
		`10000000000000000000`: table.JSON, `1e18`: table.Decimal, `1e19`: table.JSON, `0.01`: table.Decimal, `0.010`: table.Decimal, `0.001`: table.JSON, `1.10E1`: table.Decimal,
		`123e-2`: table.Decimal, `123e-3`: table.JSON, `0e999999999999`: table.Decimal, `1e99999999999`: table.JSON, `1e-99999999999`: table.JSON, `-0.0`: table.Decimal,
		`"a"`: table.Text, `""`: table.Text, `"2026-11-01T12:00:00Z"`: table.Text, `"` + strings.Repeat("x", 41) + `"`: table.JSON,
		`"\u0000"`: table.JSON, `"\\u0000"`: table.Text, `"\ud83d\ude00"`: table.Text, `"\ud83d"`: table.JSON, `"\ude00"`: table.JSON, `"\ud83dx"`: table.JSON, `"\ud83d\n"`: table.JSON,
		`"\ud83d\u0041"`: table.JSON, `{}`: table.JSON, `[1]`: table.JSON,
	} {
		m := newColumns()
		writeColumns(t, m, "", `{"f":`+value+`}`)
		if got := m.column("f").Type; got != want {
			t.Errorf("%s is %s, want %s", value, got, want)
		}
	}
}

func TestWiden(t *testing.T) {
	t.Parallel()
	for a := table.None; a <= table.JSON; a++ {
		for b := table.None; b <= table.JSON; b++ {
			if table.Widen(a, b) != table.Widen(b, a) || table.Widen(a, a) != a || table.Widen(a, table.JSON) != table.JSON {
				t.Errorf("%s and %s give %s", a, b, table.Widen(a, b))
			}
		}
	}
	if table.Widen(table.Integer, table.Decimal) != table.Decimal || table.Widen(table.Text, table.Integer) != table.JSON {
		t.Error("integers are decimals, and no texts")
	}
}

// What a destination gets for a column is of the type that Rows.Values promises.
func TestValues(t *testing.T) {
	t.Parallel()
	m := newColumns(table.Column{Name: "at", Type: table.Timestamp}, table.Column{Name: "uuid", Type: table.Other})
	writeColumns(t, m, "", `{"b":true,"i":-7,"d":0.10,"t":"a\u00e9","j":{"x": 1},"at":"2026-11-01T12:00:00.000001+02:00","uuid":"u","n":null}`, `{"i":2.5,"uuid":5,"i":1}`, `{"i":"x","i":3}`)
	for id, want := range map[string]map[string]any{
		"0": {"b": true, "i": []byte(`-7`), "d": "0.10", "t": "aé", "j": []byte(`{"x": 1}`), "at": time.Date(2026, 11, 1, 10, 0, 0, 1000, time.UTC), "uuid": "u"},
		"1": {"b": nil, "i": []byte(`1`), "d": nil, "t": nil, "j": nil, "at": nil, "uuid": "5"},
	} {
		if got := m.values[id]; !reflect.DeepEqual(got, want) {
			t.Errorf("record %s has %#v, want %#v", id, got, want)
		}
	}
}

// A column that can't be widened stays as it is, and a side column takes what does not fit: because it is the operator's, because the database has no
// such change, or because it turns out so.
func TestSideColumns(t *testing.T) {
	t.Parallel()
	theirs := newColumns(table.Column{Name: "n", Type: table.Integer})
	unable := newColumns()
	unable.dialect.Widens = func(_, to table.Type) bool { return to == table.Decimal }
	stuck := newColumns()
	stuck.stuck = map[string]bool{"n": true}
	for name, m := range map[string]*memory{"operator's": theirs, "unable": unable, "stuck": stuck} {
		writeColumns(t, m, "", `{"n":1}`)
		writeColumns(t, m, "", `{"n":"x"}`, `{"n":2}`)
		writeColumns(t, m, "", `{"n":null}`, `{"n":true}`, `{"n_json":9}`, `{"n":"x","n":2}`, `{"n":2,"n":"x"}`)
		if n, side := m.column("n"), m.column("n_json"); n.Type != table.Integer || side.Part != table.Side || side.Field != "n" {
			t.Errorf("%s: columns %+v and %+v", name, n, side)
		}
		for id, want := range map[string][2]any{"0": {int64(1), nil}, "1": {nil, []byte(`"x"`)}, "2": {int64(2), nil}, "4": {nil, []byte(`true`)}} {
			if got := m.values[id]; got["n"] != want[0] || fmt.Sprint(got["n_json"]) != fmt.Sprint(want[1]) {
				t.Errorf("%s: record %s has %v", name, id, got)
			}
		}
		if last, side := m.values["6"], m.values["7"]; last["n"] != int64(2) || last["n_json"] != nil || side["n"] != nil || side["n_json"] == nil {
			t.Errorf("%s: of names that stand twice: %v, %v", name, last, side)
		}
		if got := m.values["5"]; got["n_json"] != nil || len(got) != 3 {
			t.Errorf("%s: the field n_json has no column of its own: %v", name, got)
		}
	}
}

// A timestamp column takes what it holds to the last digit.
func TestTimestamps(t *testing.T) {
	t.Parallel()
	for value, fits := range map[string]bool{
		`2026-11-01T12:00:00Z`: true, `2026-11-01T12:00:00.123456-11:30`: true, `2026-11-01T12:00:00.1234567Z`: false, `2026-11-01`: false, `2026-11-01T12:00:00`: false,
		`2026-02-30T12:00:00Z`: false, `0000-11-01T12:00:00Z`: false, `0001-01-01T00:00:01+01:00`: false, ``: false,
	} {
		m := newColumns(table.Column{Name: "at", Type: table.Timestamp})
		writeColumns(t, m, "", `{"at":"`+value+`"}`)
		if got := m.values["0"]; (got["at"] != nil) != fits || (got["at_json"] != nil) == fits {
			t.Errorf("%s: %v", value, got)
		}
	}
}

// Names that the database takes for the same, or does not take at all, are columns of their own, and stay with their field.
func TestFieldNames(t *testing.T) {
	t.Parallel()
	m := newColumns(table.Column{Name: "Hand"}, table.Column{Name: "sum", Type: table.Closed})
	m.columns[0].Type = table.Text
	fields := []string{"email", "Email", "_id", "_ID", "", "sum", "a\x01b", "a\x02b", "a_name_of_twenty_five_chrs", "a_name_of_twenty_five_chrz", "_data", "hand"}
	payload := func(n int) string {
		values := make(map[string]string)
		for _, f := range fields {
			values[f] = fmt.Sprintf("%s %d", f, n)
		}
		data, err := json.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	writeColumns(t, m, "", payload(0), `{"\ud800":"half","\ud801":"other half"}`)
	writeColumns(t, m, "", payload(2))
	seen := make(map[string]bool)
	for _, c := range m.columns {
		if lower := strings.ToLower(c.Name); seen[lower] || len(c.Name) > 24 || c.Part == table.Main && strings.HasPrefix(lower, "_id") && len(lower) < 5 {
			t.Errorf("column %q", c.Name)
		} else {
			seen[lower] = true
		}
	}
	if got := len(m.values["0"]); got != len(fields) && got != len(fields)+2 {
		t.Errorf("%d values, want %d", got, len(fields))
	}
	for column, v := range m.values["0"] {
		if again := m.values["2"][column]; v != nil && again != strings.TrimSuffix(v.(string), "0")+"2" {
			t.Errorf("column %q has %q, then %q", column, v, again)
		}
	}
	if m.values["0"]["Hand"] != "hand 0" || m.column("sum").Part != table.Unused {
		t.Errorf("columns of the operator's: %v", m.values["0"])
	}
}

// A rejected record leaves no columns behind.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	m := newColumns()
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf(`"f%d":1`, i))
	}
	r := writeColumns(t, m, "", `{"a":1}`, `{`+strings.Join(many, ",")+`}`, `{"b":"x"}`, `nonsense`, `{"a":{"b":[}`)
	for i, o := range r.Outcomes {
		if want := i == 1 || i > 2; want != (o == connectors.Rejected) {
			t.Errorf("record %d has the outcome %d, %s", i, o, r.Reasons[i])
		}
	}
	if len(m.columns) != 2 {
		t.Errorf("columns %+v", m.columns)
	}
}

// When others change the same columns, what is there counts.
func TestChangesOfOthers(t *testing.T) {
	t.Parallel()
	m := newColumns()
	m.meddle = func(m *memory) {
		if m.changed == 0 {
			m.columns = append(m.columns, table.Column{Name: "n", Type: table.Boolean, Part: table.Main, Field: "n", Made: true})
		}
	}
	writeColumns(t, m, "", `{"n":1}`)
	if c := m.column("n"); c.Type != table.JSON || fmt.Sprint(m.values["0"]["n"]) != fmt.Sprint([]byte(`1`)) || m.changed != 2 {
		t.Errorf("column %+v, values %v after %d changes", c, m.values["0"], m.changed)
	}
	// Somebody who takes away what is added can't make it run for ever.
	gone := newColumns()
	b := batch(1)
	b.Records[0].Data = []byte(`{"n":1}`)
	_, err := table.Write(t.Context(), &forgetful{gone}, options(t, small, ""), b)
	if e := connectors.AsError("", err); e == nil || e.Kind != connectors.Unavailable {
		t.Errorf("got %v", err)
	}
}

// forgetful is a database in which no column stays.
type forgetful struct{ *memory }

func (f *forgetful) Change(ctx context.Context, name string, changes []table.Change) error {
	err := f.memory.Change(ctx, name, changes)
	f.memory.columns = nil
	return err
}
