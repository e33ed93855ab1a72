// Package mysql writes records into tables of a MySQL or a MariaDB database: two connectors that differ by their dialect.
//
// Docs: docs/destinations/mysql.md.
package mysql

import (
	"context"

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
	pool    *pool
	release func() error
	options table.Options
	mode    connectors.Mode
	gate    lifetime.Gate
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

func open(c connectors.Config, d *dialect, pools *lifetime.Shared[*pool]) (connectors.Destination, error) {
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
	config, err := connection.config(d, c.Env.Networks)
	if err != nil {
		return nil, err
	}
	p, release, err := pools.Acquire(string(c.Connection), func() (*pool, error) { return newPool(d, config) })
	if err != nil {
		return nil, err
	}
	mode := c.Mode
	if mode == "" {
		mode = connectors.Append
	}
	return &destination{pool: p, release: release, options: options, mode: mode}, nil
}

// Write keeps I3 and I5 by the ledger and the unique key of each table; see table.Write.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return connectors.NewResult(len(b.Records)), err
	}
	defer leave()
	return table.Write(ctx, &store{pool: d.pool, mode: b.Mode, layout: d.options.Layout}, d.options, b)
}

// Close ends running writes as Unavailable.
func (d *destination) Close() error {
	d.gate.Close()
	return d.release()
}
