package shopify

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("update", false, "write the generated parts of the documentation anew")

const page = "../../docs/sources/shopify.md"

// TestPage compares the page's generated parts with what they are generated from.
func TestPage(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(raw)
	for name, table := range map[string]string{
		"streams": streamTable(), "settings": fieldTable("setting", Settings{}), "connection": fieldTable("connection field", Connection{}),
		"app": fieldTable("field", App{}),
	} {
		head, rest, ok := strings.Cut(doc, "<!-- "+name+":")
		marker, rest, ok2 := strings.Cut(rest, "-->\n")
		old, tail, ok3 := strings.Cut(rest, "<!-- end -->")
		if !ok || !ok2 || !ok3 {
			t.Fatalf("%s has no place for %s", page, name)
		}
		if old != table && !*rewrite {
			t.Errorf("the table of %s is not that of the code: run go test ./connectors/shopify -run TestPage -update", name)
		}
		doc = head + "<!-- " + name + ":" + marker + "-->\n" + table + "<!-- end -->" + tail
	}
	if *rewrite {
		if err := os.WriteFile(page, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func code(s string) string { return "`" + s + "`" }

func streamTable() string {
	var b strings.Builder
	b.WriteString("| stream | what it is | access scopes | webhooks | in bulk |\n| --- | --- | --- | --- | --- |\n")
	for _, st := range streams {
		var scopes, topics []string
		for _, s := range st.scopes {
			scopes = append(scopes, code(s))
		}
		for _, t := range st.topics {
			topics = append(topics, code(topicName(t)))
		}
		bulk := "yes"
		if !st.bulks() {
			bulk = "no"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", st.name, st.doc, strings.Join(scopes, ", "), strings.Join(topics, ", "), bulk)
	}
	all := describeStreams()
	fmt.Fprintf(&b, "| `%s` | %s | none | set up with the app | not polled |\n", privacyStream, all[len(all)-1].Doc)
	return b.String()
}

// fieldTable describes the fields of a config type by its tags.
func fieldTable(title string, v any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | default | meaning |\n| --- | --- | --- |\n", title)
	t := reflect.TypeOf(v)
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		var doc, standard string
		var enum []string
		terms := strings.Split(f.Tag.Get("jsonschema"), ",")
		for _, term := range terms {
			key, value, _ := strings.Cut(term, "=")
			switch key {
			case "description":
				doc = value
			case "default":
				standard = code(value)
			case "enum":
				enum = append(enum, code(value))
			}
		}
		if slices.Contains(terms, "required") {
			standard = "required"
		}
		if name == "page_size" {
			standard = "the stream's own"
		}
		if enum != nil {
			doc += " (" + strings.Join(enum, ", ") + ")"
		}
		if slices.Contains(terms, "format=password") {
			doc += "; secret"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, standard, doc)
	}
	return b.String()
}
