package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/jq"
)

const customer = `{"customers": {"id": 7845692539040, "email": "a@example.com", "orders_count": 0, "tags": "Test",` +
	` "total_spent": "0.00", "ratio": 1.10, "big": 123456789012345678901234567890, "a.b": {"*": 1}, "list": [10, [20, 21], null]}}`

func compile(t testing.TB, d Destination) *Program {
	t.Helper()
	p, err := Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestApply(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		block Destination
		op    connectors.Op
		data  string
		want  string // "-" = the record does not go
	}{
		"nothing to do":                         {data: ` {"a" : 1.0 } `, want: ` {"a" : 1.0 } `},
		"select an object, its bytes unchanged": {block: Destination{Select: ".a"}, data: `{"a": {"x" : 1.00, "y":"\u00e9"} }`, want: `{"x" : 1.00, "y":"\u00e9"}`},
		"select a string":                       {block: Destination{Select: ".customers.email"}, data: customer, want: `"a@example.com"`},
		"select everything":                     {block: Destination{Select: "."}, data: ` [1 ] `, want: ` [1 ] `},
		"select an element of an element":       {block: Destination{Select: ".customers.list[1][0]"}, data: customer, want: `20`},
		"select a key with a dot":               {block: Destination{Select: `.customers."a.b"["*"]`}, data: customer, want: `1`},
		"select a null":                         {block: Destination{Select: ".customers.list[2]"}, data: customer, want: `null`},
		"select the last of equal keys":         {block: Destination{Select: ".a"}, data: `{"a":1,"a":2}`, want: `2`},
		"select an escaped key":                 {block: Destination{Select: `."é"`}, data: `{"\u00e9":1}`, want: "1"},
		"select a missing part":                 {block: Destination{Select: ".customers.nobody"}, data: customer, want: "-"},
		"select an index of an object":          {block: Destination{Select: ".a[0]"}, data: `{"a":{"0":1}}`, want: "-"},
		"select a key of an array":              {block: Destination{Select: `.a["0"]`}, data: `{"a":[1]}`, want: "-"},
		"select an empty key of an array":       {block: Destination{Select: `.a[""]`}, data: `{"a":[1]}`, want: "-"},
		"select an empty key of a number":       {block: Destination{Select: `.a[""]`}, data: `{"a":1}`, want: "-"},
		"select beyond the end":                 {block: Destination{Select: ".a[1]"}, data: `{"a":[1]}`, want: "-"},
		"filter true":                           {block: Destination{Filter: ".a > 1"}, data: `{"a" :2}`, want: `{"a" :2}`},
		"filter false":                          {block: Destination{Filter: ".a > 1"}, data: `{"a":1}`, want: "-"},
		"filter null":                           {block: Destination{Filter: ".b"}, data: `{"a":1}`, want: "-"},
		"filter empty":                          {block: Destination{Filter: "empty"}, data: `{"a":1}`, want: "-"},
		"filter one of several":                 {block: Destination{Filter: ".a[] == 2"}, data: `{"a":[1,2]}`, want: `{"a":[1,2]}`},
		"filter sees the whole payload":         {block: Destination{Filter: ".b", Select: ".a"}, data: `{"a": [ 1],"b":true}`, want: `[ 1]`},
		"map gets the selected part":            {block: Destination{Select: ".a", Map: "{x: .}"}, data: `{"a":1}`, want: `{"x":1}`},
		"map after a filter":                    {block: Destination{Filter: ".a", Map: ".a"}, data: `{"a":1}`, want: `1`},
		"map without output":                    {block: Destination{Map: "select(.a)"}, data: `{"b":1}`, want: "-"},
		"map keeps digits":                      {block: Destination{Map: ".customers | [.id, .ratio, .big, .total_spent]"}, data: customer, want: `[7845692539040,1.10,123456789012345678901234567890,"0.00"]`},
		"map adds big integers":                 {block: Destination{Map: ".customers.big + 1"}, data: customer, want: `123456789012345678901234567891`},
		"map knows the record":                  {block: Destination{Map: "[$id, $stream, $key, $op, $occurred_at, $received_at]"}, data: `{}`, want: `["e1","customers","7","upsert","2026-11-22T03:04:05.006Z",null]`},
		"map repeats a little":                  {block: Destination{Map: `"ab" * .n`}, data: `{"n":3}`, want: `"ababab"`},
		"map updates":                           {block: Destination{Map: `.a += 2 | .a *= 3 | .a -= 1`}, data: `{"a":1}`, want: `{"a":8}`},
		"map with a function of its own":        {block: Destination{Map: `def f: 2; f * .a`}, data: `{"a":4}`, want: `8`},
		"a key may be called like a function":   {block: Destination{Map: `{now: .a, _id: .now}`}, data: `{"a":4,"now":1}`, want: `{"_id":1,"now":4}`},
		"delete passes a filter on content":     {block: Destination{Filter: `.state == "on"`}, op: connectors.Delete, data: `{"id":1}`, want: `{"id":1}`},
		"delete is held back by $op":            {block: Destination{Filter: `$op != "delete"`}, op: connectors.Delete, data: `{"id":1}`, want: "-"},
		"delete without payload":                {block: Destination{Filter: ".a", Select: ".b", Map: ".c.d"}, op: connectors.Delete, want: ``},
		"delete without payload, by $op":        {block: Destination{Filter: `$op == "upsert"`}, op: connectors.Delete, want: `-`},
		"delete without the selected part":      {block: Destination{Select: ".customers.email"}, op: connectors.Delete, data: `{"id":1}`, want: ``},
		"delete is mapped":                      {block: Destination{Map: ".id"}, op: connectors.Delete, data: `{"id":1}`, want: `1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.op == "" {
				c.op = connectors.Upsert
			}
			r := connectors.Record{
				ID: "e1", Stream: "customers", Key: "7", Op: c.op, Data: []byte(c.data),
				OccurredAt: time.Date(2026, 11, 22, 4, 4, 5, 6e6, time.FixedZone("", 3600)),
			}
			data, keep, err := compile(t, c.block).Apply(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			got := string(data)
			if !keep {
				got = "-"
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if string(r.Data) != c.data {
				t.Error("the record's own payload was changed")
			}
		})
	}
}

// A program that fails says what it failed on in words of jq's, and nothing of the payload (I7).
func TestApplyFails(t *testing.T) {
	t.Parallel()
	for program, want := range map[string]string{
		".a.b":                          "expected an object, got string",
		".a[]":                          "cannot iterate over, got string",
		".a + 1":                        "cannot add, got string",
		"error(.a)":                     "calls error",
		".a | error":                    "calls error",
		".a | ltrimstr(1) | fromjson":   "does not take such a value",
		"[.a] | implode":                "does not take such a value",
		`{(.a | [.]): 1}`:               "expected a string for object key, got array",
		`"cannot add: " + .a | error`:   "calls error",
		`try error("hunter2") catch .x`: "expected an object, got string",
	} {
		for _, block := range []Destination{{Map: program}, {Filter: program}} {
			_, keep, err := compile(t, block).Apply(t.Context(), connectors.Record{Data: []byte(`{"a":"hunter2"}`)})
			checkInvalid(t, err, want)
			if keep {
				t.Errorf("%s: the record goes in spite of the error", program)
			}
		}
	}
	_, _, err := compile(t, Destination{Map: ".a, .a"}).Apply(t.Context(), connectors.Record{Data: []byte(`{"a":"hunter2"}`)})
	checkInvalid(t, err, "more than one output")
	for _, block := range []Destination{{Map: "."}, {Filter: "."}, {Select: ".a"}} {
		for _, data := range []string{`{"a":"hunter2"`, `hunter2`, `{"a":1} {"hunter2":1}`, ``} {
			_, _, err := compile(t, block).Apply(t.Context(), connectors.Record{Data: []byte(data)})
			if data != "" {
				checkInvalid(t, err, "not JSON")
			}
		}
	}
}

func checkInvalid(t *testing.T, err error, want string) {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != connectors.Invalid || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an invalid error with %q and without payload", err, want)
	}
}

// The output of a map is bounded by what it is made from, not by a fixed length: what only passes on goes, however long.
func TestMapMayPassOnMuch(t *testing.T) {
	t.Parallel()
	payload := []byte(`{"a":"` + strings.Repeat("x", 3<<20) + `"}`)
	data, keep, err := compile(t, Destination{Map: "."}).Apply(t.Context(), connectors.Record{Data: payload})
	if err != nil || !keep || !bytes.Equal(data, payload) {
		t.Fatalf("got %d bytes, keep %t, error %v", len(data), keep, err)
	}
	_, _, err = compile(t, Destination{Map: `[.a, .a]`}).Apply(t.Context(), connectors.Record{Data: payload})
	checkInvalid(t, err, "too large")
}

// What takes six bytes for each of its own is measured as it is written.
func TestMapOutputIsMeasuredAsWritten(t *testing.T) {
	t.Parallel()
	_, _, err := compile(t, Destination{Map: `("\u0001" * 300000)`}).Apply(t.Context(), connectors.Record{Data: []byte(`1`)})
	checkInvalid(t, err, "too large")
}

// The end of the context is not the program's fault: the record comes again.
func TestApplyCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := compile(t, Destination{Filter: ".a"}).Apply(ctx, connectors.Record{Data: []byte(`{"a":1}`)})
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != connectors.Unavailable {
		t.Errorf("got %v, want kind unavailable", err)
	}
}

func TestApplyConcurrently(t *testing.T) {
	t.Parallel()
	p := compile(t, Destination{Filter: `.n % 2 == 0 and (.s | test("a"))`, Select: ".n", Map: ". * 2"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 200 {
				data, keep, err := p.Apply(t.Context(), connectors.Record{Data: fmt.Appendf(nil, `{"n":%d,"s":"abc"}`, n)})
				if want := fmt.Sprint(2 * n); err != nil || keep != (n%2 == 0) || keep && string(data) != want {
					t.Errorf("goroutine %d: %d gives %s, %t, %v", i, n, data, keep, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, block := range []Destination{{Map: ".a |"}, {Filter: "now"}} {
		_, err := Compile(block)
		checkInvalid(t, err, "jq: ")
	}
	for _, path := range []string{"a", ".a.", ".a[]", ".a?", ".a[-1]", ".a[1.5]", ".a[1:2]", ".[.a]", ".a | .b", ".a, .b", "..", `"a"`, ".a-b", `.["a\(1)"]`, "now", "def f: 1; .a", "-.a", ".a + 1"} {
		if _, err := Compile(Destination{Select: path}); err == nil || !strings.Contains(err.Error(), "such as .customers.email") {
			t.Errorf("select %s: got %v", path, err)
		}
	}
}

// Whatever is selected stands in the payload as it is, is JSON, and is what a decoder finds there.
func FuzzSelect(f *testing.F) {
	f.Add(`.customers."a.b"["*"]`, []byte(customer))
	f.Add(`.a[1].b`, []byte(` { "a" : [ 1 , {"b": "\"]}"} ] } `))
	f.Add(`.["#"]["@this"]`, []byte(`{"#":{"@this":[1,2]}}`))
	f.Add(`."\n|"`, []byte(`{"\n|": -0.0e1 }`))
	f.Fuzz(func(t *testing.T, path string, payload []byte) {
		steps, err := parsePath(path)
		if err != nil || !json.Valid(payload) {
			return
		}
		p := &Program{steps: steps}
		part, keep, err := p.Apply(t.Context(), connectors.Record{Data: payload})
		if err != nil {
			t.Fatal(err)
		}
		want, exists := lookup(t, payload, steps)
		if keep != exists {
			t.Fatalf("%q in %q: found %t, want %t", path, payload, keep, exists)
		}
		if !keep {
			return
		}
		if !bytes.Contains(payload, part) || !json.Valid(part) {
			t.Fatalf("%q in %q gives %q", path, payload, part)
		}
		if got, _ := jq.Decode(part); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q in %q gives %q, want %v", path, payload, part, want)
		}
	})
}

func lookup(t *testing.T, payload []byte, steps []step) (any, bool) {
	v, err := jq.Decode(payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		switch parent := v.(type) {
		case map[string]any:
			item, ok := parent[s.name]
			if !ok || s.index >= 0 {
				return nil, false
			}
			v = item
		case []any:
			if s.index < 0 || s.index >= len(parent) {
				return nil, false
			}
			v = parent[s.index]
		default:
			return nil, false
		}
	}
	return v, true
}

func BenchmarkApply(b *testing.B) {
	for name, block := range map[string]Destination{
		"select": {Select: ".customers.email"}, "filter": {Filter: `.customers.state != "disabled"`}, "map": {Map: ".customers | {id, email}"},
	} {
		b.Run(name, func(b *testing.B) {
			p := compile(b, block)
			for b.Loop() {
				if _, _, err := p.Apply(b.Context(), connectors.Record{Data: []byte(customer)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
