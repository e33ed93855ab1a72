package redshift

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
)

// OpenPool opens the connections to a database, for tests that look at what is in it.
func OpenPool(c Connection, env connectors.Env) (*pgxpool.Pool, error) {
	config, err := c.config(true, env.Networks)
	if err != nil {
		return nil, err
	}
	p, err := newPool(c, config, env)
	if err != nil {
		return nil, err
	}
	return p.Pool, nil
}
