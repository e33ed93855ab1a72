package mysql_test

import (
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
)

func TestRightsOfThePage(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		admin := session(t, rawURL)
		c := connection(t, rawURL)
		c.User, c.Password = "p"+c.Database[len(c.Database)-20:], "pw"
		exec(t, admin, "DROP DATABASE "+c.Database) // the page makes it
		for statement := range strings.SplitSeq(connectortest.Rights(t, "../../docs/destinations/mysql.md", "tributary", c.User, "analytics", c.Database, "'...'", "'pw'"), ";\n") {
			if statement != "" {
				exec(t, admin, statement)
			}
		}
		t.Cleanup(func() { _ = query(t, session(t, rawURL), "DROP USER "+c.User) })
		connectortest.TestRights(t, func(config connectors.Config, table string) (connectors.Destination, error) {
			config.Settings, config.Connection = connectortest.JSON(t, mysql.Settings{Table: table}), connectortest.JSON(t, c)
			return f.define().OpenDestination(config)
		})
	})
}
