package snowflake

import (
	"database/sql"

	"tributary/connectors"
)

// OpenSQL opens the sessions of a connection, for tests that look at what is in an account.
func OpenSQL(c Connection, env connectors.Env) (*sql.DB, error) {
	config, err := c.config(true, env)
	if err != nil {
		return nil, err
	}
	p, err := newPool(config, Storage{}, true, env)
	if err != nil {
		return nil, err
	}
	return p.DB, nil
}
