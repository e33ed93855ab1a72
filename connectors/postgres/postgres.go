// Package postgres writes records into tables of a PostgreSQL database, version 12 or later.
//
// Docs: docs/destinations/postgres.md.
package postgres

import (
	"cmp"
	"slices"

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

// dialect of the columns. numeric would take more digits, of which an exponent makes many from few: 1,000 keep a payload from
// growing. A table has 1,600 columns at most, with those that were dropped: https://www.postgresql.org/docs/current/limits.html
var dialect = table.Dialect{
	Integer: 1_000, Fraction: 1_000, Name: 63, Columns: 1_200,
	Reserved: func(name string) bool {
		return slices.Contains([]string{"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}, name)
	},
}

// Definition describes the connector. Destinations opened from one Definition with the same connection share a pool.
func Definition() connectors.Definition {
	var pools lifetime.Shared[*pool]
	return connectors.Definition{
		Name:       "postgres",
		Title:      "PostgreSQL",
		Doc:        "Writes records into tables of a PostgreSQL database: every change as a row, or one row an object. The payload is kept byte for byte in a json column, or each of its fields gets a column.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Layouts:    []string{connectors.LayoutRaw, connectors.LayoutColumns},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, &pools)
		},
	}
}

type destination struct {
	table.Destination
	pool   *pool
	schema string
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
	options, err := table.ReadOptions(c, settings.Table)
	if err != nil {
		return nil, err
	}
	options.Limits, options.Dialect = limits, dialect
	settings.Schema = cmp.Or(settings.Schema, "public")
	if len(settings.Schema) > limits.Name {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "schema: longer than %d bytes", limits.Name)
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
	d := &destination{pool: p, schema: settings.Schema}
	d.Open(options, d.store, release)
	return d, nil
}

func (d *destination) store(mode connectors.Mode) table.Store {
	return &store{pool: d.pool, schema: d.schema, mode: mode, layout: d.Options.Layout}
}
