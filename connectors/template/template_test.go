package template_test

import (
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/template"
)

var all = slices.Concat(template.OfBatch, template.OfRecord)

// Every variable stands for what it is called.
func TestExpand(t *testing.T) {
	t.Parallel()
	b := &connectors.Batch{Installation: "shop/ada", Integration: "shop", User: "ada"}
	r := &connectors.Record{Stream: "orders", ID: "e1", Key: "{id}", Op: connectors.Delete, Version: -3}
	for in, want := range map[string]string{
		"":                     "",
		"x":                    "x",
		"{stream}":             "orders",
		"a{key}b{op}{version}": "a{id}bdelete-3", // what a value holds is no variable
		"{installation}|{integration}|{user}|{id}": "shop/ada|shop|ada|e1",
	} {
		tm, err := template.Parse("topic", in, all...)
		if err != nil {
			t.Fatal(err)
		}
		got := tm.Expand(func(v string) string { return template.Value(b, r, v) })
		if got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
		if text, fixed := tm.Fixed(); fixed != !strings.Contains(in, "{") || fixed && text != in {
			t.Errorf("%q is fixed: %t", in, fixed)
		}
		if tm.Uses("op", "key") != strings.Contains(in, "{op}") {
			t.Errorf("%q uses op or key: %t", in, tm.Uses("op", "key"))
		}
	}
}

// What is no template is refused by the name of the setting, with the variables that there are.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a}b": "topic", "{stream": "{stream}, {user}", "{nothing}": "{stream}, {user}", "{key}": "{stream}, {user}", "{}": "want the variables", "{a{stream}}": "want",
	} {
		_, err := template.Parse("topic", in, "stream", "user")
		if e, ok := err.(*connectors.Error); !ok || e.Kind != connectors.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
	}
}
