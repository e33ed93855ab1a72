package builtin_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"tributary/connectors"
	"tributary/connectors/builtin"
)

// TestPagesOfDestinations: the page of each destination has a row for each setting and each field of the connection, with the default where the type
// has one, and for nothing else.
func TestPagesOfDestinations(t *testing.T) {
	t.Parallel()
	registry, files, err := builtin.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	pages := 0
	for _, name := range registry.Names() {
		def, err := registry.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if def.OpenDestination == nil {
			continue
		}
		pages++
		for kind, typ := range map[string]any{"setting": def.Settings, "connection": def.Connection} {
			if typ == nil {
				if rows := tables(read(t, name), kind); len(rows) > 0 {
					t.Errorf("%s has no %s, its page says %q", name, kind, slices.Sorted(maps.Keys(rows)))
				}
				continue
			}
			rows := rowsOf(t, name, kind)
			schema := (&jsonschema.Reflector{DoNotReference: true, Anonymous: true}).Reflect(typ)
			fields := connectors.FieldNames(typ)
			for _, field := range fields {
				row, ok := rows[field]
				if !ok {
					t.Errorf("the page of %s has no row for %s `%s`", name, kind, field)
					continue
				}
				if p, _ := schema.Properties.Get(field); p != nil && p.Default != nil && !strings.Contains(strings.ReplaceAll(row, ",", ""), fmt.Sprint(p.Default)) {
					t.Errorf("the page of %s: the row of %s `%s` does not name its default %v: %s", name, kind, field, p.Default, row)
				}
			}
			for field := range rows {
				if !slices.Contains(fields, field) {
					t.Errorf("the page of %s has a row for %s `%s`, which there is not", name, kind, field)
				}
			}
		}
	}
	if pages < 15 {
		t.Errorf("%d pages were looked at", pages)
	}
}

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	link   = regexp.MustCompile(`\]\(([a-z0-9]+)\.md`)
)

// rowsOf are the rows, by the names in their first cell, of the tables of a page that are headed by kind; where it has none, of the first
// page that it refers to and that has any.
func rowsOf(t *testing.T, page, kind string) map[string]string {
	t.Helper()
	text := read(t, page)
	rows := tables(text, kind)
	for _, other := range link.FindAllStringSubmatch(text, -1) {
		if len(rows) > 0 {
			break
		}
		rows = tables(read(t, other[1]), kind)
	}
	return rows
}

func read(t *testing.T, page string) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/destinations/" + page + ".md")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func tables(text, kind string) map[string]string {
	rows := map[string]string{}
	within := false
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		switch {
		case len(cells) < 3:
			within = false
		case strings.TrimSpace(cells[1]) == kind:
			within = true
		case within:
			for _, name := range quoted.FindAllStringSubmatch(cells[1], -1) {
				rows[name[1]] = line
			}
		}
	}
	return rows
}
