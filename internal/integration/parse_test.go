package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

func TestParseExamples(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	for file, want := range map[string]string{
		"customers.yaml": `{"name":"customers","description":"Customers and orders in real time, into the warehouse and to our own endpoint.",` +
			`"source":{"connector":"shopify","connection":"default","trigger":{"kind":"realtime"},"streams":["customers","orders"]},` +
			`"destinations":[{"name":"warehouse","connector":"duckdb","hidden":true,"settings":{"path":"warehouse.duckdb","table":"shopify_{stream}"},` +
			`"batch":{"records":5000,"bytes":33554432,"age":"500ms"},"required":true,"mode":"upsert","layout":"raw"},` +
			`{"name":"endpoint","connector":"datastream","connection":"default","hidden":true,"settings":{"url":"https://example.com/hooks/shopify"},` +
			`"filter":"$stream != \"customers\" or .state != \"disabled\"","batch":{"records":50000,"bytes":33554432},"required":false,"mode":"append","layout":"raw"}],` +
			`"backlog_bytes":1073741824}`,
		"products.yaml": `{"name":"products","source":{"connector":"shopify","connection":"default","trigger":{"kind":"polling","interval":"5m"},"streams":["products"]},` +
			`"destinations":[{"name":"warehouse","connector":"duckdb","hidden":true,"settings":{"path":"warehouse.duckdb"},` +
			`"batch":{"records":50000,"bytes":33554432},"required":true,"mode":"upsert","layout":"raw"}],"backlog_bytes":1073741824}`,
	} {
		src, err := os.ReadFile("../../examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(file, src, reg)
		if err != nil {
			t.Fatal(err)
		}
		if got := marshal(t, s); got != want {
			t.Errorf("%s:\n got %s\nwant %s", file, got, want)
		}
		if err := Validate(s, reg); err != nil {
			t.Errorf("%s: a parsed spec is not valid: %v", file, err)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

// base is a good file; the tests of single fields replace one of its lines.
const base = `name: orders
source:
  connector: shopify
  trigger: realtime
  streams: [customers, orders]
destinations:
  - name: warehouse
    connector: duckdb
    settings: {path: a.duckdb}
backlog_bytes: 1048576
`

// Each problem is found where it is and says what would be right, and nothing else is reported with it.
func TestParseProblems(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	for name, c := range map[string]struct{ line, by, want string }{
		"unknown field":                 {"name: orders", "name: orders\ndestinatons: []", `2:1: destinatons: unknown field "destinatons" (did you mean "destinations"?); known are backlog_bytes,`},
		"unknown field without like":    {"name: orders", "name: orders\nzzz: []", `2:1: zzz: unknown field "zzz"; known are backlog_bytes, description, destinations, name, retention, source`},
		"missing name":                  {"name: orders\n", "", `1:1: name: missing; it is required: Names the integration`},
		"missing connector":             {"  connector: shopify\n", "", `2:1: source.connector: missing; it is required: The app to read from.`},
		"missing trigger":               {"  trigger: realtime\n", "", `2:1: source.trigger: missing`},
		"missing streams":               {"  streams: [customers, orders]\n", "", `2:1: source.streams: missing`},
		"no streams":                    {"[customers, orders]", "[]", `5:3: source.streams: has 0 entries; want at least 1`},
		"stream twice":                  {"[customers, orders]", "[orders, orders]", `5:3: source.streams: entries 1 and 2 are the same`},
		"wrong type":                    {"name: orders", "name: 5", `1:7: name: want text, got a number`},
		"no value":                      {"name: orders", "name:", `name: has no value; want text, or leave the line out`},
		"name in capitals":              {"name: orders", "name: Orders", `1:7: name: does not have the right form: Names the integration: lower-case`},
		"name too long":                 {"name: orders", "name: " + strings.Repeat("a", 64), `1:7: name: is too long; want at most 63 characters`},
		"name ends in a dash":           {"name: orders", "name: a-", `1:7: name: does not have the right form`},
		"unknown connector":             {"connector: shopify", "connector: shopfy", `3:14: source.connector: unknown connector "shopfy" (did you mean "shopify"?); known are shopify, webhook`},
		"destination as source":         {"connector: shopify", "connector: duckdb", `3:14: source.connector: duckdb is not a source; there are shopify, webhook`},
		"source as destination":         {"connector: duckdb", "connector: webhook", `8:16: destinations[0].connector: webhook is not a destination; there are datastream, duckdb`},
		"unknown stream":                {"orders]", "ordres]", `5:24: source.streams[1]: unknown stream "ordres" (did you mean "orders"?); known are customers,`},
		"stream can't be polled":        {"trigger: realtime\n  streams: [customers, orders]", "trigger: {kind: both, interval: 1h}\n  streams: [customers, carts]", `5:24: source.streams[1]: stream carts of shopify cannot be polled; use realtime`},
		"stream sends no webhooks":      {"orders]", "payouts]", `5:24: source.streams[1]: stream payouts of shopify sends no webhooks; use polling`},
		"source can't be polled":        {"connector: shopify\n  trigger: realtime", "connector: webhook\n  trigger: {kind: polling, interval: 1h}", `4:3: source.trigger: webhook cannot be polled; use realtime`},
		"unknown trigger":               {"trigger: realtime", "trigger: daily", `4:12: source.trigger: unknown trigger "daily"; known are realtime, polling, both`},
		"unknown trigger in long":       {"trigger: realtime", "trigger: {kind: daily}", `4:19: source.trigger.kind: unknown trigger "daily"; known are realtime, polling, both`},
		"unknown field of trigger":      {"trigger: realtime", "trigger: {kind: realtime, every: 5m}", `4:36: source.trigger.every: unknown field "every"; known are interval, kind`},
		"trigger of wrong type":         {"trigger: realtime", "trigger: 5", `4:12: source.trigger: want text or a map of fields`},
		"polling without interval":      {"trigger: realtime", "trigger: polling", `4:12: source.trigger.interval: missing; polling needs one: write {kind: polling, interval: 5m}`},
		"both without interval":         {"trigger: realtime", "trigger: {kind: both}", `4:3: source.trigger.interval: missing; both needs one`},
		"interval too small":            {"trigger: realtime", "trigger: {kind: polling, interval: 999ms}", `4:38: source.trigger.interval: is too short; want at least 1s`},
		"interval zero":                 {"trigger: realtime", "trigger: {kind: polling, interval: 0s}", `4:38: source.trigger.interval: is too short; want at least 1s`},
		"interval without unit":         {"trigger: realtime", "trigger: {kind: polling, interval: 90}", `4:38: source.trigger.interval: want text, got a number: A whole number and a unit`},
		"interval in words":             {"trigger: realtime", "trigger: {kind: polling, interval: hourly}", `4:38: source.trigger.interval: does not have the right form: A whole number and a unit`},
		"interval for realtime":         {"trigger: realtime", "trigger: {kind: realtime, interval: 5m}", `4:39: source.trigger.interval: realtime has none`},
		"no destination":                {base[strings.Index(base, "destinations"):strings.Index(base, "backlog")], "destinations: []\n", `6:1: destinations: has 0 entries; want at least 1`},
		"same name twice":               {"    settings: {path: a.duckdb}\n", "    settings: {path: a}\n  - {name: warehouse, connector: duckdb, settings: {path: b}}\n", `10:12: destinations[1].name: destination 1 has this name too; each needs one of its own`},
		"stream not of the source":      {"connector: duckdb", "connector: duckdb\n    streams: [orders, products]", `9:23: destinations[0].streams[1]: unknown stream of this source "products"; known are customers, orders`},
		"unknown mode":                  {"connector: duckdb", "connector: duckdb\n    mode: merge", `9:11: destinations[0].mode: unknown mode "merge"; known are append, upsert`},
		"mode not of the destination":   {"connector: duckdb\n    settings: {path: a.duckdb}", "connector: datastream\n    settings: {url: 'https://a/b'}\n    mode: upsert", `10:11: destinations[0].mode: datastream cannot upsert; it can append`},
		"unknown layout":                {"connector: duckdb", "connector: duckdb\n    layout: wide", `9:13: destinations[0].layout: unknown layout "wide"; known are raw, columns`},
		"layout not of the destination": {"connector: duckdb\n    settings: {path: a.duckdb}", "connector: datastream\n    settings: {url: 'https://a/b'}\n    layout: columns", `10:13: destinations[0].layout: datastream has no layout columns; it has raw`},
		"unknown schema rule":           {"connector: duckdb", "connector: duckdb\n    layout: columns\n    schema: strict", `10:13: destinations[0].schema: unknown schema "strict"; known are evolve, freeze, discard_row, discard_value`},
		"schema rule without columns":   {"connector: duckdb", "connector: duckdb\n    schema: freeze", `9:13: destinations[0].schema: is for layout columns only; set that, or leave it out`},
		"too many records":              {"connector: duckdb", "connector: duckdb\n    batch: {records: 50001}", `9:22: destinations[0].batch.records: is too large; want at most 50000`},
		"no records":                    {"connector: duckdb", "connector: duckdb\n    batch: {records: 0}", `9:22: destinations[0].batch.records: is too small; want at least 1`},
		"half a record":                 {"connector: duckdb", "connector: duckdb\n    batch: {records: 1.5}", `9:22: destinations[0].batch.records: want a whole number, got a number`},
		"too few bytes":                 {"connector: duckdb", "connector: duckdb\n    batch: {bytes: 1023}", `9:20: destinations[0].batch.bytes: is too small; want at least 1024`},
		"bytes beyond int64":            {"connector: duckdb", "connector: duckdb\n    batch: {bytes: 99999999999999999999}", `9:20: destinations[0].batch.bytes: is too large`},
		"batch beyond the backlog":      {"connector: duckdb", "connector: duckdb\n    batch: {bytes: 2000000}", `9:20: destinations[0].batch.bytes: is more than the backlog of 1048576 bytes holds`},
		"age too long":                  {"connector: duckdb", "connector: duckdb\n    batch: {age: 25h}", `9:18: destinations[0].batch.age: is too long; want at most 24h`},
		"retention too short":           {"name: orders", "name: orders\nretention: 23h", `2:12: retention: is too short; want at least 24h`},
		"filter does not compile":       {"connector: duckdb", "connector: duckdb\n    filter: .a ||", `9:13: destinations[0].filter: jq: unexpected token "|" at character 5`},
		"map does not compile":          {"connector: duckdb", "connector: duckdb\n    map: now", `9:10: destinations[0].map: jq: now can't be used: $occurred_at and $received_at`},
		"select is no path":             {"connector: duckdb", "connector: duckdb\n    select: customers.email", `9:13: destinations[0].select: want a path such as .customers.email`},
		"missing setting":               {"{path: a.duckdb}", "{table: a}", `9:5: destinations[0].settings.path: missing; it is required: The database file.`},
		"missing settings":              {"    settings: {path: a.duckdb}\n", "", `7:5: destinations[0].settings: missing; it is required`},
		"unknown setting":               {"{path: a.duckdb}", "{path: a, tabel: b}", `9:32: destinations[0].settings.tabel: unknown field "tabel" (did you mean "table"?); known are path, table`},
		"wrong setting":                 {"trigger: realtime", "trigger: realtime\n  settings:\n    api_version: latest", `6:18: source.settings.api_version: does not have the right form: Version of the API, such as 2026-07.`},
		"setting out of range":          {"trigger: realtime", "trigger: realtime\n  settings:\n    page_size: 251", `6:16: source.settings.page_size: is too large; want at most 250`},
		"nested setting":                {"trigger: realtime", "trigger: realtime\n  settings:\n    retry:\n      times: 0", `7:14: source.settings.retry.times: is too small; want at least 1`},
		"setting of wrong format":       {"connector: duckdb\n    settings: {path: a.duckdb}", "connector: datastream\n    settings: {url: 'a b'}", `9:21: destinations[0].settings.url: is not a valid uri`},
		"setting of none":               {"connector: shopify", "connector: webhook\n  settings: {a: 1}", `4:17: source.settings.a: unknown field "a"; there are none`},
		"connection of none":            {"connector: duckdb", "connector: duckdb\n    connection: mine", `9:17: destinations[0].connection: duckdb needs no connection; leave it out`},
		"key twice":                     {"name: orders", "name: orders\nname: other", `2:1: name: written twice, first in line 1`},
		"anchor":                        {"name: orders", "name: &a orders", `1:7: name: anchors (&) are not read`},
		"alias":                         {"name: orders", "name: orders\ndescription: *a", `2:14: description: aliases (*) are not read`},
		"merge key":                     {"name: orders", "name: orders\n<<: {description: a}", `2:1: <<: merge keys (<<) are not read`},
		"tag":                           {"name: orders", "name: !!str orders", `1:7: name: tags (!) are not read`},
		"two documents":                 {"name: orders\n", "name: a\n---\nname: orders\n", `a second YAML document`},
		"no YAML":                       {"name: orders", "name: [orders", `not valid YAML: `},
		"number with leading zero":      {"trigger: realtime", "trigger: realtime\n  settings: {since: 010}", `5:21: source.settings.since: write the number in plain decimal digits`},
		"infinite number":               {"trigger: realtime", "trigger: realtime\n  settings: {since: .inf}", `5:21: source.settings.since: want a finite number`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Count(base, c.line) != 1 {
				t.Fatalf("%q does not stand once in the file", c.line)
			}
			_, err := Parse("f.yaml", []byte(strings.Replace(base, c.line, c.by, 1)), reg)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want Problems", err)
			}
			if got := err.Error(); !strings.Contains(got, c.want) || !strings.HasPrefix(got, "f.yaml:") {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if name != "two documents" && len(problems) != 1 {
				t.Errorf("got %d problems, want 1:\n%v", len(problems), err)
			}
		})
	}
}

// A file in which much is wrong says all of it at once, in the order of its lines.
func TestParseAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	src := `name: Foo
descripton: x
source:
  connector: shopfy
  trigger: {kind: polling}
  streams: [customers, customers]
  access_token: hunter2
destinations:
  - connector: duckdb
    mode: merge
    settings: {pth: a, table: 5}
    batch: {records: 0, bytes: 1e3, age: 5}
    filter: ".a |"
    map: now
    select: .a | .b
    streams: [orders]
  - 5
  - {name: a, connector: duckdb, settings: {path: x}}
  - name: a
    connector: datastream
    settings: {url: "https://u:hunter2@x/", array: "yes"}
    hidden: &h maybe
retention: 1h
`
	_, err := Parse("", []byte(src), testRegistry(t))
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d %s", p.Line, p.Field))
	}
	want := []string{
		"1 name", "2 descripton", "4 source.connector", "5 source.trigger.interval", "6 source.streams", "7 source.access_token",
		"9 destinations[0].name", "10 destinations[0].mode", "11 destinations[0].settings.path", "11 destinations[0].settings.pth",
		"11 destinations[0].settings.table", "12 destinations[0].batch.records", "12 destinations[0].batch.bytes", "12 destinations[0].batch.age",
		"13 destinations[0].filter", "14 destinations[0].map", "15 destinations[0].select", "17 destinations[1]", "19 destinations[3].name",
		"21 ", "21 destinations[3].settings.array", "22 destinations[3].hidden", "23 retention",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a secret is shown:\n%v", err)
	}
}

// Settings reach the connector as they are written: large and small numbers digit for digit, text as text.
func TestParseKeepsSettings(t *testing.T) {
	t.Parallel()
	src := strings.Replace(base, "trigger: realtime", `trigger: realtime
  settings:
    since: 9007199254740993
    api_version: 2026-07
    headers: {a: "5", b: 'yes', c: no, d: "<&>", e: 2026-01-01}
    extra: [12345678901234567890123, -0, 1.10, 1e3, 0x1F, true, null, "null", {10: x}, "\u00e9\n"]`, 1)
	s, err := Parse("f", []byte(src), testRegistry(t))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"api_version":"2026-07","extra":[12345678901234567890123,-0,1.10,1e3,31,true,null,"null",{"10":"x"},"é\n"],` +
		`"headers":{"a":"5","b":"yes","c":"no","d":"<&>","e":"2026-01-01"},"since":9007199254740993}`
	if got := string(s.Source.Settings); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whole numbers may be written as YAML allows.
func TestParseWholeNumbers(t *testing.T) {
	t.Parallel()
	src := strings.Replace(base, "    connector: duckdb", "    connector: duckdb\n    batch: {records: 1e3, bytes: 5000.0}", 1)
	s, err := Parse("f", []byte(src), testRegistry(t))
	if err != nil {
		t.Fatal(err)
	}
	if b := s.Destinations[0].Batch; b.Records != 1000 || b.Bytes != 5000 {
		t.Errorf("got %+v", b)
	}
}

// Hostile files are refused before they cost time or memory.
func TestParseHostileFiles(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	bomb := "a: &a [x, x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c]\n", c, c, c-1, c-1, c-1)
	}
	for name, c := range map[string]struct{ src, want string }{
		"empty":       {"", "1:1: the file is empty"},
		"comment":     {"# nothing\n", "1:1: the file is empty"},
		"too long":    {"name: " + strings.Repeat("x", MaxFileBytes), "at most 1048576 are read"},
		"many keys":   {strings.Repeat("a: b\n", 100_000), "more than 20000 words"},
		"deep flow":   {"name: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested deeper than 64 levels"},
		"deep list":   {strings.Repeat("- ", 5000) + "a", "nested deeper than 64 levels"},
		"not text":    {"name: \xff\xfe", "not UTF-8"},
		"bomb":        {bomb, "aliases (*) are not read"},
		"scalar":      {"hello", "want a map of fields, got text"},
		"list":        {"- a", "want a map of fields, got a list"},
		"tab":         {"\tname: a", "not valid YAML"},
		"complex key": {"? [a, b]\n: c\n", "not valid YAML"},
		"long number": {"name: " + strings.Repeat("9", 1000), "name: "},
		"huge number": {"backlog_bytes: 1e999", "backlog_bytes: is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := Parse("f", []byte(c.src), reg)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.500v, want %s", err, c.want)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// What Validate says of a Spec is what Parse says of the file, without lines.
func TestValidate(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	s, err := Parse("f", []byte(base), reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := Validate(s, reg); err != nil {
		t.Error(err)
	}
	s.Source.Trigger = Trigger{Kind: Polling}
	s.Destinations[0].Filter = "."
	s.Destinations[0].Map = `"ghp_0123456789"`
	s.Destinations[0].Settings = json.RawMessage(`{"path":"a","access_token":"hunter2"}`)
	err = Validate(s, reg)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "0123") {
		t.Errorf("got %v", err)
	}
	for _, p := range problems {
		if p.Line != 0 || strings.HasPrefix(p.String(), ":") {
			t.Errorf("%s: a line without a file", p)
		}
	}
	s.Source.Trigger.Interval = -1
	if err := Validate(s, reg); err == nil {
		t.Error("a negative interval is valid")
	}
}

// Defaults change nothing that is said, nothing twice, and none of the memory of what they are given.
func TestDefaults(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	no := false
	s := Spec{
		Source:       Source{Connector: "shopify", Connection: "mine"},
		BacklogBytes: 1 << 20,
		Destinations: []Destination{{Connector: "datastream", Required: &no}, {Connector: "gone"}, {Connector: "duckdb", Mode: connectors.Append, Batch: Batch{Bytes: 5000}, Layout: connectors.LayoutColumns}},
	}
	before := marshal(t, s)
	full := s.Defaults(reg)
	want := `{"name":"","source":{"connector":"shopify","connection":"mine","trigger":{"kind":""},"streams":null},"destinations":[` +
		`{"name":"","connector":"datastream","connection":"default","batch":{"records":50000,"bytes":1048576},"required":false,"mode":"append","layout":"raw"},` +
		`{"name":"","connector":"gone","batch":{"records":50000,"bytes":1048576},"required":true,"layout":"raw"},` +
		`{"name":"","connector":"duckdb","batch":{"records":50000,"bytes":5000},"required":true,"mode":"append","layout":"columns","schema":"evolve"}],"backlog_bytes":1048576}`
	if got := marshal(t, full); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if marshal(t, s) != before {
		t.Error("the given spec was changed")
	}
	if marshal(t, full.Defaults(reg)) != want {
		t.Error("a second time changes something")
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"customers.yaml", "products.yaml"} {
		src, err := os.ReadFile("../../examples/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte(base))
	f.Add([]byte("a: &a [*a, !!x {? b : c}]\n<<: *a\n--- |\n 5\n"))
	f.Add([]byte("source: {settings: {extra: [0x1, 1_0, .5, ~]}, trigger: {kind: both}}\ndestinations: [{}, 1, ]"))
	reg := testRegistry(f)
	r, err := newRules(reg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 4096 {
			return // the parser's time grows with the square
		}
		s, err := r.parse("f", src, reg)
		var problems Problems
		switch {
		case err == nil:
			if err := Validate(s, reg); err != nil {
				t.Fatalf("a parsed spec is not valid: %v", err)
			}
		case !errors.As(err, &problems):
			t.Fatalf("an error without place: %v", err)
		default:
			for _, p := range problems {
				if p.Line < 1 || p.Column < 1 || p.Message == "" {
					t.Fatalf("problem %+v", p)
				}
			}
			if secretValue.MatchString(err.Error()) {
				t.Fatalf("a secret is shown: %v", err)
			}
		}
	})
}
