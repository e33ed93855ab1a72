package table_test

import (
	"fmt"
	"testing"

	"tributary/connectors/table"
)

// A file's columns hold what all its payloads have, and a payload for whose columns there is no room is not taken.
func TestFile(t *testing.T) {
	t.Parallel()
	f := table.NewFile(table.Dialect{Integer: 20, Fraction: 18, Name: 63, Columns: 15})
	payloads := []string{`{"a":1,"b":"x","c":null}`, `{"a":2.5}`, ``, `[1]`, `{"b":true,"d":7}`}
	for _, p := range payloads {
		if !f.Take([]byte(p)) {
			t.Fatalf("no room for %s", p)
		}
	}
	if f.Take([]byte(`{"e":1,"f":2}`)) {
		t.Fatal("took more columns than there may be")
	}
	columns := f.Columns()
	got := ""
	for _, c := range columns {
		got += c.Name + " " + c.Type.String() + " " + string(c.Part) + "; "
	}
	if want := "a decimal value; b json value; _data json payload; d integer value; "; got != want {
		t.Fatalf("the columns are %s, want %s", got, want)
	}
	values := make([]any, len(columns))
	for i, want := range []string{`[1 "x" <nil> <nil>]`, `[2.5 <nil> <nil> <nil>]`, `[<nil> <nil> <nil> <nil>]`, `[<nil> <nil> [1] <nil>]`, `[<nil> true <nil> 7]`} {
		f.Values([]byte(payloads[i]), values)
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				values[i] = string(b)
			}
		}
		if got := fmt.Sprint(values); got != want {
			t.Errorf("%s: the values are %s, want %s", payloads[i], got, want)
		}
	}
}
