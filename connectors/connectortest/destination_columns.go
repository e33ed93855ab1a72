package connectortest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"tributary/connectors"
)

// Layout columns: each field of a payload has a column, and what was in the payload is in the row.

func testColumns(t *testing.T, h DestinationHarness, mode connectors.Mode) {
	for _, test := range []struct {
		name string
		run  func(*destinationTest)
	}{
		// The promises of layout raw hold in this layout too.
		{"ten thousand records", (*destinationTest).many},
		{"new epoch", (*destinationTest).epoch},
		{"two installations", (*destinationTest).installations},
		{"many lanes at once", (*destinationTest).lanesAtOnce},
		{"poison", (*destinationTest).poison},
		{"cancelled", (*destinationTest).cancelled},
		{"connection broken and healed", (*destinationTest).broken},
		{"which record wins", (*destinationTest).winners},
		{"any order of changes", (*destinationTest).anyOrder},

		{"values of every type", (*destinationTest).values},
		{"widening", (*destinationTest).widening},
		{"names of fields", (*destinationTest).fieldNames},
		{"payloads that are no object", (*destinationTest).noObjects},
		{"fields that go away", (*destinationTest).leaving},
		{"frozen", (*destinationTest).frozen},
		{"rows discarded", (*destinationTest).discardedRows},
		{"values discarded", (*destinationTest).discardedValues},
		{"columns made by hand", (*destinationTest).byHand},
		{"columns that come while others write", (*destinationTest).evolvingAtOnce},
		{"too many fields", (*destinationTest).tooMany},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &destinationTest{T: t, h: h, mode: mode, place: h.New(t), columns: true}
			if c.place.Columns != nil {
				test.run(c)
			}
		})
	}
}

// canonical is an object without its nulls, in which equal values are spelled alike: numbers as fractions, strings without escapes. Where a value lies
// in a side column, it counts as its field's.
func canonical(t *testing.T, data string) string {
	t.Helper()
	fields := make(map[string]json.RawMessage)
	if data != "" {
		if err := json.Unmarshal([]byte(data), &fields); err != nil {
			t.Fatalf("the row's data is no object: %v", err)
		}
	}
	plain := make(map[string]string)
	for name, raw := range fields {
		if string(raw) != "null" {
			plain[strings.TrimSuffix(name, "_json")] = spelled(t, raw)
		}
	}
	out, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// spelled spells equal JSON values alike.
func spelled(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	if bytes.Contains(raw, []byte(`\ud`)) || bytes.Contains(raw, []byte(`\u0000`)) {
		return string(raw) // decoding would lose what it is
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("a value is no JSON: %v", err)
	}
	var spell func(v any) any
	spell = func(v any) any {
		switch v := v.(type) {
		case json.Number:
			if r, ok := new(big.Rat).SetString(v.String()); ok {
				return map[string]string{"number": r.String()}
			}
		case []any:
			for i := range v {
				v[i] = spell(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = spell(v[k])
			}
		}
		return v
	}
	out, err := json.Marshal(spell(v))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// payloadsOf makes a batch of one record a payload, each of an object of its own.
func (t *destinationTest) payloadsOf(first int, payloads ...string) connectors.Batch {
	var rs []connectors.Record
	for i, p := range payloads {
		r := record(first + i)
		r.Data = []byte(p)
		rs = append(rs, r)
	}
	return t.batch(int64(first), rs...)
}

// data is what stands in the row of record n.
func (t *destinationTest) data(n int) map[string]json.RawMessage {
	t.Helper()
	id := record(n).ID
	for _, row := range t.rows() {
		if row.ID == id {
			fields := make(map[string]json.RawMessage)
			if err := json.Unmarshal([]byte(row.Data), &fields); err != nil {
				t.Fatal(err)
			}
			return fields
		}
	}
	t.Fatalf("record %d is not there", n)
	return nil
}

func (t *destinationTest) values() {
	wide := strings.Repeat("é", 30_000)
	b := t.payloadsOf(0,
		`{"whole":1,"money":0.10,"yes":true,"no":false,"text":"ada","object":{"b":1,"a":[1,2.50,null]},"list":[1,"2"],"nothing":null,"when":"2026-11-01T12:00:00.123456+02:00"}`,
		`{"whole":9223372036854775807,"money":12345678901234567890.123456789012345678,"yes":false,"text":"","object":{},"list":[]}`,
		`{"whole":-9223372036854775808,"money":-0.000000000000000001,"text":"'\\\"; DROP TABLE orders; --\t\n\u00e9😀","object":{"a":1,"a":2}}`,
		`{"money":1E+2,"text":"\\N"}`,
		`{"money":0,"text":"2026"}`,
		`{"text":"`+wide+`"}`,
		`{}`,
		` { "whole" : 7 } `,
	)
	d := t.open()
	t.write(d, b)
	t.want(rowsOf(b))
	// Nothing had to make room: the names are the fields' own.
	for name := range t.data(0) {
		if !slices.Contains([]string{"whole", "money", "yes", "no", "text", "object", "list", "when"}, name) {
			t.Errorf("there is a column %q", name)
		}
	}
	if object := string(t.data(0)["object"]); spelled(t.T, []byte(object)) != spelled(t.T, []byte(`{"b":1,"a":[1,2.50,null]}`)) {
		t.Errorf("the object is %s", object)
	}
}

// widening: whatever the column was made for, and whatever comes, in the same batch or a later one, by the same destination or another.
func (t *destinationTest) widening() {
	values := []string{
		`1`, `2.5`, `"text"`, `true`, `{"a":1}`, `[1]`, `null`, `99999999999999999999999999999999999999999999`, `1e400`, `1e-400`, `-0.1234567890123456789012345`,
		`"\u0000"`, `"2026-11-01T12:00:00Z"`, `12345678901234567890`, `""`,
	}
	if t.h.Refuses != nil {
		values = slices.DeleteFunc(values, func(v string) bool { return t.h.Refuses([]byte(v)) })
	}
	d := t.open()
	var all []connectors.Batch
	write := func(d connectors.Destination, payloads ...string) {
		b := t.payloadsOf(len(rowsOf(all...)), payloads...)
		all = append(all, b)
		t.write(d, b)
	}
	var first []string
	for i, v := range values {
		first = append(first, fmt.Sprintf(`{"f%d":%s}`, i, v))
	}
	write(d, first...) // a column for each
	var mixed []string
	for i := range values {
		for j, v := range values {
			mixed = append(mixed, fmt.Sprintf(`{"f%d":%s,"g":%d}`, i, v, j))
		}
	}
	half := len(mixed) / 2
	write(d, mixed[:half]...)
	write(t.open(), mixed[half:]...)
	write(d, first...)
	write(d, mixed...)
	t.want(rowsOf(all...))
}

func (t *destinationTest) fieldNames() {
	names := []string{
		"email", "Email", "EMAIL", "select", "table", "user", "order", "a b", "a.b", "a-b", "a/b", "$a", "1", "", " ", "'", "`", "\\", ";", "%s", "{}",
		"größe", "grösse", "注文", "😀", "_id", "_ID", "_op", "_version_seen", "_data", "data", "_tributary_x", "ctid", "xmin", "rowid", "id", "a\"b", "tab\there",
		strings.Repeat("long_", 30), strings.Repeat("long_", 30) + "x", strings.Repeat("é", 200), strings.Repeat("k", 2000), "v0", "lot", "t", "r", "excluded",
	}
	write := func(d connectors.Destination, n int) {
		fields := make(map[string]string)
		for i, name := range names {
			fields[name] = fmt.Sprintf("value %d of %d", i, n)
		}
		data, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if n%2 == 1 { // the same names, some spelled otherwise
			data = bytes.Replace(data, []byte(`"email"`), []byte(`"\u0065mail"`), 1)
		}
		t.write(d, t.payloadsOf(n, string(data)))
	}
	d := t.open()
	write(d, 0)
	write(d, 1)
	write(t.open(), 2)
	first := t.data(0)
	for n := range 3 {
		there := t.data(n)
		if len(there) != len(names) {
			t.Fatalf("record %d has %d values, want %d", n, len(there), len(names))
		}
		for column, raw := range there {
			var was, is string
			if err := errors.Join(json.Unmarshal(first[column], &was), json.Unmarshal(raw, &is)); err != nil {
				t.Fatalf("column %q: %v", column, err)
			}
			if want := strings.TrimSuffix(was, "0") + fmt.Sprint(n); is != want {
				t.Errorf("column %q has %q, want %q", column, is, want)
			}
		}
	}
	for i, name := range names {
		if (name == "select" || name == "größe") && string(first[name]) != fmt.Sprintf(`"value %d of 0"`, i) {
			t.Errorf("column %q has %s", name, first[name])
		}
	}
	if _, taken := first["_id"]; taken {
		t.Error("a field got the place of the metadata")
	}
}

func (t *destinationTest) noObjects() {
	b := t.payloadsOf(0, `[1,2]`, `"text"`, `5`, ` true `, `null`, `{"a":1}`, `{"_data":"mine"}`)
	t.write(t.open(), b)
	for n, want := range []string{`[1,2]`, `"text"`, `5`, `true`} {
		if got := t.data(n); len(got) != 1 || spelled(t.T, got["_data"]) != spelled(t.T, []byte(want)) {
			t.Errorf("record %d is %s, want %s in _data", n, got, want)
		}
	}
	if got := t.data(4); len(got) != 0 {
		t.Errorf("null is %s", got)
	}
	if got := t.data(6); len(got) != 1 || got["_data"] != nil {
		t.Errorf("a field of that name is %s", got)
	}
}

// leaving: an upsert leaves nothing of the record that it replaces.
func (t *destinationTest) leaving() {
	change := func(version int64, op connectors.Op, data string) connectors.Record {
		return connectors.Record{ID: fmt.Sprint("change ", version), Stream: "orders", Key: "one", Op: op, Version: version, Data: []byte(data)}
	}
	var all []connectors.Record
	for i, r := range []connectors.Record{
		change(1, connectors.Upsert, `{"a":1,"b":"x","c":[1]}`), change(2, connectors.Upsert, `{"b":5}`), change(4, connectors.Upsert, `{"a":null,"d":true}`),
		change(3, connectors.Upsert, `{"a":3}`), change(5, connectors.Delete, ``), change(6, connectors.Upsert, `{"c":{}}`), change(7, connectors.Delete, `{"a":9}`),
	} {
		t.write(t.open(), t.batch(int64(i), r))
		all = append(all, r)
		t.want(t.model(all))
	}
}

// wantFrozen wants an Invalid error that names the field and not the value.
func (t *destinationTest) wantFrozen(err error, field, value string) {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != connectors.Invalid || !strings.Contains(e.Error(), field) || strings.Contains(e.Error(), value) {
		t.Fatalf("got %v, want an invalid error that names %s", err, field)
	}
}

func (t *destinationTest) frozen() {
	first := t.payloadsOf(0, `{"known":1}`)
	t.write(t.open(), first)
	d := t.openWith(connectors.Freeze)
	b := t.payloadsOf(1, `{"known":2}`, `{"known":3,"fresh":"canary"}`, `{"known":4}`)
	for range 2 {
		r, err := d.Write(t.context(), b)
		t.wantFrozen(err, `"fresh"`, "canary")
		if !slices.Equal(r.Outcomes, []connectors.Outcome{connectors.Durable, connectors.Again, connectors.Again}) {
			t.Fatalf("outcomes %v", r.Outcomes)
		}
	}
	misfit := t.payloadsOf(4, `{"known":"canary"}`)
	_, err := d.Write(t.context(), misfit)
	t.wantFrozen(err, `"known"`, "canary")
	done := b
	done.Records = b.Records[:1]
	t.want(rowsOf(first, done))
	// When the rule is another, the rest goes.
	t.write(t.open(), b)
	t.write(t.open(), misfit)
	t.want(rowsOf(first, b, misfit))
}

func (t *destinationTest) discardedRows() {
	first := t.payloadsOf(0, `{"known":1}`)
	t.write(t.open(), first)
	d := t.openWith(connectors.DiscardRow)
	b := t.payloadsOf(1, `{"known":2}`, `{"known":"canary"}`, `{"fresh":"canary"}`, `{"known":null,"fresh":null}`, `[1]`)
	for range 2 { // the second time the ledger knows the reasons
		r, err := d.Write(t.context(), b)
		if err != nil {
			t.Fatal(err)
		}
		t.wantOutcomes(b, r, []int{1, 2, 4})
		for i, field := range map[int]string{1: `"known"`, 2: `"fresh"`} {
			if reason := r.Reasons[i]; !strings.Contains(reason, field) || strings.Contains(reason, "canary") {
				t.Errorf("record %d is rejected because %s", i, reason)
			}
		}
	}
	kept := b
	kept.Records = []connectors.Record{b.Records[0], b.Records[3]}
	t.want(rowsOf(first, kept))
}

func (t *destinationTest) discardedValues() {
	first := t.payloadsOf(0, `{"known":1}`)
	t.write(t.open(), first)
	b := t.payloadsOf(1, `{"known":2}`, `{"known":"canary","fresh":5}`, `{"fresh":"canary"}`, `"canary"`)
	r, err := t.openWith(connectors.DiscardValue).Write(t.context(), b)
	if err != nil {
		t.Fatal(err)
	}
	t.wantOutcomes(b, r, nil)
	if r.Discarded != 4 {
		t.Errorf("%d values were left out, want 4", r.Discarded)
	}
	for i := range b.Records[1:] {
		b.Records[i+1].Data = []byte(`{}`)
	}
	t.want(rowsOf(first, b))
}

// byHand: columns of the operator's are filled where the value fits, and never altered.
func (t *destinationTest) byHand() {
	first := t.payloadsOf(0, `{"known":1}`)
	d := t.open()
	t.write(d, first)
	for column, kind := range map[string]string{"n": "integer", "s": "text", "at": "timestamp", "note": "text"} {
		t.place.Columns.AddColumn(t.T, "orders", column, kind)
	}
	b := t.payloadsOf(1, `{"n":1,"s":"x","at":"2026-11-01T12:00:00+02:00"}`, `{"n":"many","s":5,"at":"tomorrow"}`, `{"n":2,"s":"y","at":null}`)
	t.write(d, b)
	for n, want := range map[int]string{1: `{"n":1,"s":"x","at":"2026-11-01T10:00:00Z"}`, 2: `{"n_json":"many","s_json":5,"at_json":"tomorrow"}`, 3: `{"n":2,"s":"y"}`} {
		got, err := json.Marshal(t.data(n))
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(want), &fields); err != nil {
			t.Fatal(err)
		}
		for name, raw := range fields {
			if there := t.data(n)[name]; spelled(t.T, orNull(there)) != spelled(t.T, raw) {
				t.Errorf("record %d: column %q has %s, want %s; the row is %s", n, name, there, raw, got)
			}
		}
		if len(t.data(n)) != len(fields) {
			t.Errorf("record %d is %s, want %s", n, got, want)
		}
	}
	// They are filled also where nothing may change.
	frozen := t.openWith(connectors.Freeze)
	t.write(frozen, t.payloadsOf(4, `{"note":"hers","n":3}`))
	if got := t.data(4); string(got["note"]) != `"hers"` {
		t.Errorf("record 4 is %s", got)
	}
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// evolvingAtOnce: each lane brings fields and types of its own into one table, in upserts of the same objects.
func (t *destinationTest) evolvingAtOnce() {
	const lanes, each = 6, 12
	var group sync.WaitGroup
	var all []connectors.Batch
	for lane := range lanes {
		var mine []connectors.Batch
		for i := range each {
			b := t.payloadsOf(i, fmt.Sprintf(`{"shared":%s,"own_%d":%d,"step_%d":"x"}`, []string{`1`, `1.5`, `"one"`, `[1]`}[(lane+i)%4], lane, i, i))
			b.Lane, b.Epoch, b.Installation = fmt.Sprint("lane ", lane), fmt.Sprint("epoch ", lane), fmt.Sprint("evolving/", lane)
			mine = append(mine, b)
		}
		all = append(all, mine...)
		d := t.open()
		group.Go(func() {
			for _, b := range mine {
				for {
					r, err := d.Write(t.context(), b)
					if err == nil {
						for i, o := range r.Outcomes {
							if o != connectors.Durable {
								t.Errorf("lane %d: record %d has the outcome %d: %s", lane, b.Records[i].Ordinal, o, r.Reasons[i])
							}
						}
						break
					}
					if e := (*connectors.Error)(nil); !errors.As(err, &e) || e.Kind.Stops() || t.Context().Err() != nil {
						t.Errorf("lane %d: %v", lane, err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	t.want(rowsOf(all...))
}

// tooMany: a record with more fields than a table has columns is rejected, the others are written.
func (t *destinationTest) tooMany() {
	fields := make(map[string]int)
	for i := range 20_000 {
		fields[fmt.Sprint("field_", i)] = i
	}
	data, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	b := t.payloadsOf(0, `{"a":1}`, string(data), `{"b":2}`)
	r, err := t.open().Write(t.context(), b)
	if err != nil {
		t.Fatal(err)
	}
	t.wantOutcomes(b, r, []int{1})
	b.Records = []connectors.Record{b.Records[0], b.Records[2]}
	t.want(rowsOf(b))
}
