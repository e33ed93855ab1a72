package mysql_test

import (
	"os"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
)

// The rights that the page says to grant are enough for both layouts and modes, by few rows and by many.
func TestRightsOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/destinations/mysql.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rights, _ := strings.Cut(string(page), "## Rights")
	_, statements, found := strings.Cut(rights, "```sql\n")
	statements, _, _ = strings.Cut(statements, "```")
	if !found || !strings.Contains(statements, "'...'") {
		t.Fatal("the page has no rights to grant")
	}
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		admin := session(t, rawURL)
		c := connection(t, rawURL)
		c.User, c.Password = "p"+c.Database[len(c.Database)-20:], "pw"
		exec(t, admin, "DROP DATABASE "+c.Database) // the page makes it
		for statement := range strings.SplitSeq(strings.NewReplacer("tributary", c.User, "analytics", c.Database, "'...'", "'pw'").Replace(statements), ";\n") {
			if statement != "" {
				exec(t, admin, statement)
			}
		}
		t.Cleanup(func() { _ = query(t, session(t, rawURL), "DROP USER "+c.User) })
		for _, layout := range []string{connectors.LayoutRaw, connectors.LayoutColumns} {
			for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
				d, err := f.define().OpenDestination(connectors.Config{
					Settings: connectortest.JSON(t, mysql.Settings{Table: layout + "_" + string(mode) + "_{stream}"}), Connection: connectortest.JSON(t, c), Mode: mode, Layout: layout, Env: connectortest.Loopback(),
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := connectortest.Check(t, d); err != nil {
					t.Errorf("%s %s: %v", layout, mode, err)
				}
				b := connectortest.Batch(mode, "orders", 0, 300)
				b.Lane = layout + string(mode)
				connectortest.Write(t, d, b)
				b = connectortest.Batch(mode, "orders", 300, 1)
				b.Lane, b.Records[0].Data = layout+string(mode), []byte(`{"a": "wider", "fresh": 1}`)
				connectortest.Write(t, d, b)
				closed(t, d)
			}
		}
	})
}
