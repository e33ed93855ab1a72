package postgres_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
)

// The rights that the page says to grant are enough for both layouts and modes, by few rows and by many.
func TestRightsOfThePage(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	admin := session(t, dsn)
	c := connection(t, dsn)
	c.User, c.Password = "page_of_"+c.Database, "pw"
	page, err := os.ReadFile("../../docs/destinations/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rights, _ := strings.Cut(string(page), "## Rights")
	_, statements, found := strings.Cut(rights, "```sql\n")
	statements, _, _ = strings.Cut(statements, "```")
	if !found || !strings.Contains(statements, "'...'") {
		t.Fatal("the page has no rights to grant")
	}
	exec(t, admin, "REVOKE ALL ON SCHEMA public FROM PUBLIC", "REVOKE ALL ON DATABASE "+c.Database+" FROM PUBLIC",
		strings.NewReplacer("tributary", c.User, "analytics", c.Database, "'...'", "'pw'").Replace(statements))
	t.Cleanup(func() {
		if _, err := admin.Exec(context.Background(), "DROP OWNED BY "+c.User+" CASCADE; DROP ROLE "+c.User); err != nil {
			t.Error(err)
		}
	})
	for _, layout := range []string{connectors.LayoutRaw, connectors.LayoutColumns} {
		for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
			d, err := postgres.Definition().OpenDestination(connectors.Config{
				Settings:   connectortest.JSON(t, postgres.Settings{Schema: "shop", Table: layout + "_" + string(mode) + "_{stream}"}),
				Connection: connectortest.JSON(t, c), Mode: mode, Layout: layout, Env: connectortest.Loopback(),
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
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
