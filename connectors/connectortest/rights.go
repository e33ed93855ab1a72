package connectortest

import (
	"os"
	"strings"
	"testing"

	"tributary/connectors"
)

// Rights are the statements that a destination's page says to grant its user's rights by, with names of the page replaced, as strings.NewReplacer does.
func Rights(t *testing.T, page string, names ...string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rights, _ := strings.Cut(string(text), "## Rights")
	_, statements, found := strings.Cut(rights, "```sql\n")
	statements, _, _ = strings.Cut(statements, "```")
	if !found || !strings.Contains(statements, "'...'") {
		t.Fatalf("%s has no rights to grant", page)
	}
	return strings.NewReplacer(names...).Replace(statements)
}

// TestRights wants the rights of what open opens to be enough for both layouts and modes, by few rows and by many. The table is named after both and the stream.
func TestRights(t *testing.T, open func(c connectors.Config, table string) (connectors.Destination, error)) {
	t.Helper()
	for _, layout := range []string{connectors.LayoutRaw, connectors.LayoutColumns} {
		for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
			d, err := open(connectors.Config{Mode: mode, Layout: layout, Env: Loopback()}, layout+"_"+string(mode)+"_{stream}")
			if err != nil {
				t.Fatal(err)
			}
			if err := Check(t, d); err != nil {
				t.Errorf("%s %s: %v", layout, mode, err)
			}
			b := Batch(mode, "orders", 0, 300)
			b.Lane = layout + string(mode)
			Write(t, d, b)
			b = Batch(mode, "orders", 300, 1)
			b.Lane, b.Records[0].Data = layout+string(mode), []byte(`{"a": "wider", "fresh": 1}`)
			Write(t, d, b)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
