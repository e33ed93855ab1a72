package postgres_test

import (
	"context"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
)

func TestRightsOfThePage(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	admin := session(t, dsn)
	c := connection(t, dsn)
	c.User, c.Password = "page_of_"+c.Database, "pw"
	exec(t, admin, "REVOKE ALL ON SCHEMA public FROM PUBLIC", "REVOKE ALL ON DATABASE "+c.Database+" FROM PUBLIC",
		connectortest.Rights(t, "../../docs/destinations/postgres.md", "tributary", c.User, "analytics", c.Database, "'...'", "'pw'"))
	t.Cleanup(func() {
		if _, err := admin.Exec(context.Background(), "DROP OWNED BY "+c.User+" CASCADE; DROP ROLE "+c.User); err != nil {
			t.Error(err)
		}
	})
	connectortest.TestRights(t, func(config connectors.Config, table string) (connectors.Destination, error) {
		config.Settings, config.Connection = connectortest.JSON(t, postgres.Settings{Schema: "shop", Table: table}), connectortest.JSON(t, c)
		return postgres.Definition().OpenDestination(config)
	})
}
