package connectortest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"

	"tributary/connectors"
)

// UpdatePages, set to anything in the environment, lets TestSourcePage write what it would otherwise compare.
const UpdatePages = "UPDATE_PAGES"

// SourcePage is the page of a source among the docs.
type SourcePage struct {
	Definition connectors.Definition
	// Path is the page's, and Example that of an integration of the source; "" = there is none.
	Path, Example string
	// Connection, and App where the Definition has one, are such that blocks open with them.
	Connection, App any
	// Tables stand in place of those that are made of the Definition, by name.
	Tables map[string]string
}

// TestSourcePage proves that the tables of a source's page are those of its Definition: of its streams, records, limits, settings, connection and app. A page
// holds each between <!-- begin NAME --> and <!-- end NAME -->, where NAME is one of these; what the Definition does not have, a page need not have, but
// what a record is and the limits each has. And it opens the source blocks of the page and of the example. Run with UPDATE_PAGES=1 to write the tables.
func TestSourcePage(t *testing.T, p SourcePage) {
	t.Helper()
	if len(p.Definition.Records) == 0 || len(p.Definition.Limits) == 0 {
		t.Error("the Definition says in Records what a record is, its ID, key and version above all, and in Limits what the app limits: set both")
	}
	page := p.tables(t)
	texts := yamlOf(page)
	if p.Example != "" {
		example, err := os.ReadFile(p.Example)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(example))
	}
	opened := 0
	for _, text := range texts {
		if p.opens(t, text) {
			opened++
		}
	}
	if opened == 0 {
		t.Errorf("%s shows no block", p.Path)
	}
}

func (p SourcePage) tables(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	tables := pageTables(t, p.Definition)
	maps.Copy(tables, p.Tables)
	for name, table := range tables {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		before, rest, found := strings.Cut(page, begin)
		held, after, closed := strings.Cut(rest, end)
		switch {
		case !found || !closed:
			t.Errorf("%s has no %s", p.Path, strings.TrimSpace(begin))
		case held != table && os.Getenv(UpdatePages) != "":
			page = before + begin + table + end + after
		case held != table:
			t.Errorf("the %s of %s are not the Definition's; run the test with %s=1", name, p.Path, UpdatePages)
		}
	}
	if page != string(raw) {
		if err := os.WriteFile(p.Path, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return page
}

// yamlOf are the blocks of YAML on a page.
func yamlOf(page string) (texts []string) {
	for _, text := range strings.Split(page, "```yaml\n")[1:] {
		text, _, _ = strings.Cut(text, "```")
		texts = append(texts, text)
	}
	return texts
}

// opens opens the source of an integration, or the settings that stand by themselves; false: there is neither.
func (p SourcePage) opens(t *testing.T, text string) bool {
	t.Helper()
	type block struct {
		Connector string
		Streams   []string
		Settings  map[string]any
	}
	var file struct {
		Source   *block
		Settings map[string]any
	}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	b := file.Source
	switch {
	case b == nil && file.Settings == nil:
		return false
	case b == nil:
		b = &block{Connector: p.Definition.Name, Settings: file.Settings}
	}
	c := connectors.Config{Settings: marshal(t, b.Settings), Streams: b.Streams}
	if p.Connection != nil {
		c.Connection = marshal(t, p.Connection)
	}
	if p.App != nil {
		c.App = marshal(t, p.App)
	}
	if _, err := p.Definition.OpenSource(c); b.Connector != p.Definition.Name || err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
	return true
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func pageTables(t *testing.T, def connectors.Definition) map[string]string {
	t.Helper()
	tables := map[string]string{}
	for name, typ := range map[string]any{"settings": def.Settings, "connection": def.Connection, "app": def.App} {
		if typ != nil {
			tables[name] = fieldTable(t, typ)
		}
	}
	if def.OpenSource != nil && len(def.Streams) > 0 {
		var b strings.Builder
		needs := slices.ContainsFunc(def.Streams, func(s connectors.Stream) bool { return s.Needs != "" })
		b.WriteString("| stream | polled | received | |")
		if needs {
			b.WriteString(" needs |")
		}
		b.WriteString("\n" + strings.Repeat("| --- ", 4) + "|")
		if needs {
			b.WriteString(" --- |")
		}
		for _, s := range def.Streams {
			fmt.Fprintf(&b, "\n| `%s` | %s | %s | %s |", s.Name, yes(s.Polls), yes(s.Receives), s.Doc)
			if needs {
				b.WriteString(" " + s.Needs + " |")
			}
		}
		tables["streams"] = b.String() + "\n"
	}
	tables["records"] = factTable("a record's", "is", def.Records)
	tables["limits"] = factTable("limit", "what is done", def.Limits)
	return tables
}

func factTable(name, doc string, facts []connectors.Fact) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |\n| --- | --- |\n", name, doc)
	for _, f := range facts {
		fmt.Fprintf(&b, "| %s | %s |\n", f.Name, f.Doc)
	}
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// fieldTable lists the fields of a struct as their JSON Schema has them.
func fieldTable(t *testing.T, typ any) string {
	t.Helper()
	schema := (&jsonschema.Reflector{RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true}).Reflect(typ)
	var b strings.Builder
	b.WriteString("| field | default | meaning |\n| --- | --- | --- |\n")
	for p := schema.Properties.Oldest(); p != nil; p = p.Next() {
		field := p.Value
		standard := ""
		switch {
		case field.Default != nil:
			raw, err := json.Marshal(field.Default)
			if err != nil {
				t.Fatal(err)
			}
			standard = "`" + strings.Trim(string(raw), `"`) + "`"
		case slices.Contains(schema.Required, p.Key):
			standard = "required"
		}
		meaning := field.Description
		if field.Minimum != "" && field.Maximum != "" {
			meaning += fmt.Sprintf(" (%s to %s)", field.Minimum, field.Maximum)
		}
		if len(field.Enum) > 0 {
			meaning += fmt.Sprintf(" (`%s`)", strings.Trim(strings.ReplaceAll(fmt.Sprint(field.Enum), " ", "`, `"), "[]"))
		}
		if field.Format == "password" {
			meaning += " (secret)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Key, standard, meaning)
	}
	return b.String()
}
