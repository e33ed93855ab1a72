// Package mysql writes records into tables of a MySQL or a MariaDB database: two connectors that differ by their dialect.
//
// Docs: docs/destinations/mysql.md.
package mysql

import (
	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// Settings is what a block may say.
type Settings struct {
	Table string `json:"table,omitempty" jsonschema:"description=Name of the table; {stream} {integration} and {user} stand for the record's,default={stream}"`
}

// limits of a statement. Names end at 64 characters. What a server's max_allowed_packet does not allow is found when it is written, because that may
// change between two attempts.
var limits = table.Limits{Records: 5_000, Bytes: 16 << 20, Data: 256 << 20, Name: maxName}

// Definition describes the connector for MySQL, 8.0.19 or later.
func Definition() connectors.Definition { return definition(&mysqlDialect) }

// MariaDB describes the connector for MariaDB, 10.4 or later.
func MariaDB() connectors.Definition { return definition(&mariadbDialect) }

// definition of one of the two. Destinations opened from one Definition with the same connection share a pool.
func definition(d *dialect) connectors.Definition {
	var pools lifetime.Shared[*pool]
	return connectors.Definition{
		Name:       d.name,
		Title:      d.title,
		Doc:        "Writes records into tables of a " + d.title + " database: every change as a row, or one row an object. The payload is kept byte for byte in a text column, or each of its fields gets a column.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Layouts:    []string{connectors.LayoutRaw, connectors.LayoutColumns},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, d, &pools)
		},
	}
}

type destination struct {
	table.Destination
	pool *pool
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

func open(c connectors.Config, of *dialect, pools *lifetime.Shared[*pool]) (connectors.Destination, error) {
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	options, err := table.ReadOptions(c, settings.Table)
	if err != nil {
		return nil, err
	}
	options.Limits, options.Dialect = limits, columnsDialect
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	config, err := connection.config(of, c.Env.Networks)
	if err != nil {
		return nil, err
	}
	p, release, err := pools.Acquire(string(c.Connection), func() (*pool, error) { return newPool(of, config) })
	if err != nil {
		return nil, err
	}
	d := &destination{pool: p}
	d.Open(options, func(mode connectors.Mode) table.Store {
		return &store{pool: p, mode: mode, layout: options.Layout}
	}, release)
	return d, nil
}
