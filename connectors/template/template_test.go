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

// A name that fits stays; one that doesn't is changed, fits, and differs from all others that look like it then.
func TestFit(t *testing.T) {
	t.Parallel()
	legal := func(c byte) bool { return c >= 'a' && c <= 'z' }
	seen := make(map[string]string)
	for _, name := range []string{"a", "abcdefghijklmnop", "a b", "a.b", "a_b", "é", "abcdefghijklmnopq", "abcdefghijklmnopr", "abcdefg", ""} {
		got := template.Fit(name, 16, "-", legal)
		if len(got) > 16 || seen[got] != "" {
			t.Errorf("%q gives %q, as does %q", name, got, seen[got])
		}
		seen[got] = name
		changed := strings.ContainsFunc(name, func(r rune) bool { return r < 'a' || r > 'z' }) || len(name) > 16
		if changed == (got == name) || changed && strings.ContainsFunc(got[:len(got)-9], func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
			t.Errorf("%q gives %q", name, got)
		}
	}
	if got := template.Fit("größe", 8, "", nil); got != "größe" {
		t.Errorf("got %q where everything is legal", got)
	}
}
