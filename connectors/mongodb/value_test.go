package mongodb_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/mongodb"
)

// data is what a payload becomes, as canonical Extended JSON.
func data(t testing.TB, payload string, s mongodb.Settings) string {
	t.Helper()
	b := batch(connectors.Append, 0, 1)
	b.Records[0].Data = []byte(payload)
	doc := mongodb.Document(b, s)
	if err := doc.Validate(); err != nil {
		t.Fatalf("%.100s: not BSON: %v", payload, err)
	}
	return gjson.Get(extended(t, doc), "data").Raw
}

// Every number keeps its value, in the type that readers expect.
func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ number, want, text string }{
		{`0`, `{"$numberLong":"0"}`, ""},
		{`-0`, `{"$numberDouble":"-0.0"}`, ""},
		{`1`, `{"$numberLong":"1"}`, ""},
		{`9007199254740993`, `{"$numberLong":"9007199254740993"}`, ""},
		{`9223372036854775807`, `{"$numberLong":"9223372036854775807"}`, ""},
		{`-9223372036854775808`, `{"$numberLong":"-9223372036854775808"}`, ""},
		{`9223372036854775808`, `{"$numberDecimal":"9223372036854775808"}`, `"9223372036854775808"`},
		{`18446744073709551616`, `{"$numberDecimal":"18446744073709551616"}`, `"18446744073709551616"`},
		{`123456789012345678901234567890`, `{"$numberDecimal":"1.2345678901234567890123456789E+29"}`, `"123456789012345678901234567890"`},
		{`1.5`, `{"$numberDouble":"1.5"}`, ""},
		{`0.1`, `{"$numberDouble":"0.1"}`, ""},
		{`0.10`, `{"$numberDouble":"0.1"}`, ""},
		{`1.0`, `{"$numberDouble":"1.0"}`, ""},
		{`1E+2`, `{"$numberDouble":"100.0"}`, ""},
		{`1e22`, `{"$numberDouble":"1E+22"}`, ""},
		{`1.7976931348623157e308`, `{"$numberDouble":"1.7976931348623157E+308"}`, ""},
		{`5e-324`, `{"$numberDouble":"5E-324"}`, ""},
		{`0.1000000000000000055511151231257827`, `{"$numberDecimal":"0.1000000000000000055511151231257827"}`, `"0.1000000000000000055511151231257827"`},
		{`12345678901234567890.12`, `{"$numberDecimal":"12345678901234567890.12"}`, `"12345678901234567890.12"`},
		{`1e400`, `{"$numberDecimal":"1E+400"}`, `"1e400"`},
		{`-1e-400`, `{"$numberDecimal":"-1E-400"}`, `"-1e-400"`},
		{`1e6111`, `{"$numberDecimal":"1E+6111"}`, `"1e6111"`},
		{`1e7000`, `"1e7000"`, `"1e7000"`},
		{`1e99999999999`, `"1e99999999999"`, `"1e99999999999"`},
		{`0e99999999999`, `{"$numberDouble":"0.0"}`, ""},
		{`12345678901234567890123456789012345`, `"12345678901234567890123456789012345"`, `"12345678901234567890123456789012345"`},
	} {
		if got := data(t, c.number, mongodb.Settings{}); got != c.want {
			t.Errorf("%s: got %s, want %s", c.number, got, c.want)
		}
		if c.text == "" {
			c.text = c.want
		}
		if got := data(t, c.number, mongodb.Settings{Decimals: "text"}); got != c.text {
			t.Errorf("%s without decimals: got %s, want %s", c.number, got, c.text)
		}
	}
	// A number as long as a payload takes no time beyond reading it.
	long := "1" + strings.Repeat("0", 1<<20) + "e-1048576"
	if got := data(t, long, mongodb.Settings{}); got != `{"$numberDouble":"1.0"}` {
		t.Errorf("a long 1 became %.100s", got)
	}
}

// FuzzNumbers compares values as rationals.
func FuzzNumbers(f *testing.F) {
	f.Add("1.50")
	f.Add("-12345678901234567890.5e-3")
	f.Fuzz(func(t *testing.T, number string) {
		if !gjson.Valid(number) || gjson.Parse(number).Type != gjson.Number || len(number) > 60 {
			return
		}
		want, ok := new(big.Rat).SetString(number)
		if !ok || strings.ContainsAny(number, "eE") && len(number) > 30 {
			return
		}
		became := gjson.Parse(data(t, number, mongodb.Settings{}))
		text := became.Str
		became.ForEach(func(_, v gjson.Result) bool { text = v.Str; return false })
		if became.Get("$numberDouble").Exists() { // its shortest form is what it stands for
			text = became.Get("$numberDouble").Str
		}
		got, ok := new(big.Rat).SetString(text)
		if !ok || got.Cmp(want) != 0 {
			t.Fatalf("%s became %s", number, became.Raw)
		}
	})
}

// Everything else that JSON has finds its place, and what BSON has no place for becomes text.
func TestValues(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		var fields []string
		for i := range n {
			fields = append(fields, fmt.Sprintf(`"f%d":true`, i))
		}
		return strings.Join(fields, ",")
	}
	deep := strings.Repeat(`{"a":[`, 60) + `1` + strings.Repeat(`]}`, 60)
	s := mongodb.Settings{Dates: []string{"at", "customer.at", "lines.at"}}
	for _, c := range []struct{ payload, want string }{
		{`null`, `null`},
		{`true`, `true`},
		{`"x"`, `"x"`},
		{` [ 1 , [ "b" ] ] `, `[{"$numberLong":"1"},["b"]]`},
		{`{}`, `{}`},
		{`{"":""}`, `{"":""}`},
		{`{"s":"\u00e9\ud83d\ude00\/"}`, `{"s":"é😀/"}`},
		{`"\ud800"`, `"\\ud800"`},
		{`"a\u0000b"`, `"a\\u0000b"`},
		{`{"a\u0000b":1}`, `{"a\\u0000b":{"$numberLong":"1"}}`},
		{`{"a":1,"b":2,"a":3,"A":4}`, `{"a":{"$numberLong":"3"},"b":{"$numberLong":"2"},"A":{"$numberLong":"4"}}`},
		{`{` + many(40) + `,"f3":false}`, `{` + strings.Replace(many(40), `"f3":true`, `"f3":false`, 1) + `}`},
		{`{"$oid":"x","a.b":1,"a$":2,".":3}`, `{"＄oid":"x","a．b":{"$numberLong":"1"},"a$":{"$numberLong":"2"},"．":{"$numberLong":"3"}}`},
		{`{"a.b":1,"a．b":2,"a．b_":3}`, `{"a．b":{"$numberLong":"1"},"a．b_":{"$numberLong":"2"},"a．b__":{"$numberLong":"3"}}`},
		{`{"_id":1,"_installation":2}`, `{"_id":{"$numberLong":"1"},"_installation":{"$numberLong":"2"}}`},
		{`{"at":"2026-11-01T10:00:00Z","on":"2026-11-01T10:00:00Z"}`, `{"at":{"$date":{"$numberLong":"1793527200000"}},"on":"2026-11-01T10:00:00Z"}`},
		{`{"customer":{"at":"2026-11-01T10:00:00.001+02:00"}}`, `{"customer":{"at":{"$date":{"$numberLong":"1793520000001"}}}}`},
		{`{"lines":[{"at":"1969-12-31T23:59:59Z"},{"at":null},{"at":5}]}`, `{"lines":[{"at":{"$date":{"$numberLong":"-1000"}}},{"at":null},{"at":{"$numberLong":"5"}}]}`},
		{`{"at":["2026-11-01T10:00:00Z"]}`, `{"at":[{"$date":{"$numberLong":"1793527200000"}}]}`},
		{`{"at":"2026-11-01T10:00:00.000001Z"}`, `{"at":"2026-11-01T10:00:00.000001Z"}`},
		{`{"at":"yesterday"}`, `{"at":"yesterday"}`},
		{deep, strings.Repeat(`{"a":[`, 45) + `"` + strings.ReplaceAll(strings.Repeat(`{"a":[`, 15)+`1`+strings.Repeat(`]}`, 15), `"`, `\"`) + `"` + strings.Repeat(`]}`, 45)},
	} {
		if got := data(t, c.payload, s); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.payload, got, c.want)
		}
	}
}

// Identities that differ never share an _id, whatever signs are in them.
func TestIdentities(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		parts := []string{"a", "a:", ":a", "a#", "#", "a:a", "%3A", "a%23", ":", "a/a"}
		for _, installation := range parts {
			for _, stream := range parts {
				for _, key := range append(parts, "") {
					for _, id := range parts {
						b := batch(mode, 0, 1)
						b.Installation = installation
						b.Records[0].Stream, b.Records[0].Key, b.Records[0].ID = stream, key, id
						is := fmt.Sprintf("%q %q key %q", installation, stream, key)
						if mode == connectors.Append || key == "" {
							is = fmt.Sprintf("%q %q id %q", installation, stream, id)
						}
						name := mongodb.Document(b, mongodb.Settings{}).Lookup("_id").StringValue()
						if other, taken := seen[name]; taken && other != is {
							t.Fatalf("%s and %s are both %s", is, other, name)
						}
						seen[name] = is
					}
				}
			}
		}
	}
}

// Names of collections are such that MongoDB takes, and two streams are two collections.
func TestCollectionNames(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, stream := range []string{"orders", "Orders", "a.b", "$1", "_1", "$", "_", "system.users", "_ystem.users", ".a", "_a", "a..b", "a._b", "a.", "a_", "...", " ", "", strings.Repeat("é", 100), strings.Repeat("é", 101)} {
		name, err := mongodb.CollectionName("", batch(connectors.Append, 0, 1), stream)
		if err != nil {
			t.Fatal(err)
		}
		if name == "" || len(name) > 200 || strings.Contains(name, "$") || strings.Contains(name, "..") || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.HasPrefix(name, "system.") {
			t.Errorf("%q became %q", stream, name)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%q and %q are both %q", stream, other, name)
		}
		seen[name] = stream
	}
	if seen["orders"] != "orders" || seen["a.b"] != "a.b" {
		t.Error("names that are as MongoDB takes them were changed")
	}
}
