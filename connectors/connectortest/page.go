package connectortest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"tributary/connectors"
)

// UpdatePages, set to anything in the environment, lets TestPage write what it would otherwise compare.
const UpdatePages = "UPDATE_PAGES"

// TestPage proves that the tables of a connector's page are those of its Definition: of its streams, settings, connection and app. A page holds each
// between <!-- begin NAME --> and <!-- end NAME -->, where NAME is streams, settings, connection or app; what the Definition does not have, a page
// need not have. Run with UPDATE_PAGES=1 to write them.
func TestPage(t *testing.T, def connectors.Definition, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for name, table := range pageTables(t, def) {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		before, rest, found := strings.Cut(page, begin)
		held, after, closed := strings.Cut(rest, end)
		switch {
		case !found || !closed:
			t.Errorf("%s has no %s", path, strings.TrimSpace(begin))
		case held != table && os.Getenv(UpdatePages) != "":
			page = before + begin + table + end + after
		case held != table:
			t.Errorf("the %s of %s are not the Definition's; run the test with %s=1", name, path, UpdatePages)
		}
	}
	if page != string(raw) {
		if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
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
		b.WriteString("| stream | polled | received | |\n| --- | --- | --- | --- |\n")
		for _, s := range def.Streams {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Name, yes(s.Polls), yes(s.Receives), s.Doc)
		}
		tables["streams"] = b.String()
	}
	return tables
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
		if field.Format == "password" {
			meaning += " (secret)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Key, standard, meaning)
	}
	return b.String()
}
