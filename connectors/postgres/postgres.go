// Package postgres writes records into tables of a PostgreSQL database, version 12 or later.
//
// Docs: docs/destinations/postgres.md.
package postgres

import (
	"context"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// Settings is what a block may say.
type Settings struct {
	Schema string `json:"schema,omitempty" jsonschema:"description=Schema of the tables; made if it is missing,default=public"`
	Table  string `json:"table,omitempty" jsonschema:"description=Name of the table; {stream} {integration} and {user} stand for the record's,default={stream}"`
}

// limits of a statement. About 5,000 rows are what PostgreSQL takes best; identifiers end at 63 bytes; a payload stays
// well below the 1 GiB that a message of the protocol may have.
var limits = table.Limits{Records: 5_000, Bytes: 16 << 20, Data: 256 << 20, Name: 63}

// Definition describes the connector. Destinations opened from one Definition with the same connection share a pool.
func Definition() connectors.Definition {
	var pools lifetime.Shared[*pool]
	return connectors.Definition{
		Name:       "postgres",
		Title:      "PostgreSQL",
		Doc:        "Writes records into tables of a PostgreSQL database: every change as a row, or one row an object. The payload is kept byte for byte in a json column.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, &pools)
		},
	}
}

type destination struct {
	pool    *pool
	release func() error
	schema  string
	name    table.Name
	mode    connectors.Mode
	gate    lifetime.Gate
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

func open(c connectors.Config, pools *lifetime.Shared[*pool]) (connectors.Destination, error) {
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	name, err := table.ParseName(settings.Table)
	if err != nil {
		return nil, err
	}
	if settings.Schema == "" {
		settings.Schema = "public"
	}
	if len(settings.Schema) > limits.Name {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "schema: longer than %d bytes", limits.Name)
	}
	if c.Layout != "" && c.Layout != connectors.LayoutRaw {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "layout %q: want %s", c.Layout, connectors.LayoutRaw)
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	config, err := connection.config(c.Env.Networks)
	if err != nil {
		return nil, err
	}
	p, release, err := pools.Acquire(string(c.Connection), func() (*pool, error) { return newPool(config) })
	if err != nil {
		return nil, err
	}
	mode := c.Mode
	if mode == "" {
		mode = connectors.Append
	}
	return &destination{pool: p, release: release, schema: settings.Schema, name: name, mode: mode}, nil
}

// Write keeps I3 and I5 by the ledger and the unique key of each table; see table.Write.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return connectors.NewResult(len(b.Records)), err
	}
	defer leave()
	return table.Write(ctx, &store{pool: d.pool, schema: d.schema, mode: b.Mode}, d.name, limits, b)
}

// Close ends running writes as Unavailable.
func (d *destination) Close() error {
	d.gate.Close()
	return d.release()
}
