// Package redshift writes records into tables of Amazon Redshift, provisioned or serverless: by COPY from S3, or a few by INSERT, into a staging
// table, and from there into the table in one transaction with the ledger.
//
// Docs: docs/destinations/redshift.md.
package redshift

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// Settings is what a block may say.
type Settings struct {
	Schema string `json:"schema,omitempty" jsonschema:"description=Schema of the tables; made if it is missing,default=public"`
	Table  string `json:"table,omitempty" jsonschema:"description=Name of the table; {stream} {integration} and {user} stand for the record's,default={stream}"`
	JSON   string `json:"json,omitempty" jsonschema:"description=Type in which JSON is kept: super can be queried by field but is not byte for byte what the app sent; text is and ends at 65535 bytes,enum=super,enum=text,default=super"`
}

const (
	// maxName is shorter than the 127 bytes that Redshift takes (https://docs.aws.amazon.com/redshift/latest/dg/r_names.html): tools made for PostgreSQL
	// cut longer ones.
	maxName = 63
	// maxText is the length of a VARCHAR in bytes, and of a string within a SUPER: https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html,
	// https://docs.aws.amazon.com/redshift/latest/dg/limitations-super.html
	maxText = 65_535
	// maxLine is the size of a row of a file in bytes: https://docs.aws.amazon.com/redshift/latest/dg/r_COPY.html
	maxLine = 4 << 20
)

// limits of a statement. A commit costs a second or so however many rows it has, so a statement is as large as a batch, and as what is held in memory may be. Beside a payload a row has
// its metadata, names of columns, and numbers that are longer without an exponent.
var limits = table.Limits{Records: 50_000, Bytes: 64 << 20, Data: maxLine - 128<<10, Name: maxName}

// dialect of the columns. DECIMAL has 38 digits; 20 before the point hold every integer that 64 bits hold, signed or not. A table has 1,600 columns:
// https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_TABLE_usage.html. Only the length of a VARCHAR can be changed, and it is the longest from the
// beginning: https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_TABLE.html
var dialect = table.Dialect{
	Integer: 20, Fraction: 18, Text: maxText, Name: maxName, Columns: 1_200,
	Spell: spell, Fold: fold,
	Reserved: func(name string) bool {
		return slices.Contains([]string{identityColumn.name, "oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "deletexid", "insertxid"}, name)
	},
	Widens: func(table.Type, table.Type) bool { return false },
}

// Definition describes the connector. Destinations opened from one Definition with the same connection share a pool.
func Definition() connectors.Definition {
	var pools lifetime.Shared[*pool]
	return connectors.Definition{
		Name:       "redshift",
		Title:      "Amazon Redshift",
		Doc:        "Writes records into tables of Amazon Redshift through files in S3: every change as a row, or one row an object. The payload is kept in a SUPER column, or byte for byte as text, or each of its fields gets a column.",
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
	json   string // native type of JSON
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
	settings.Schema = fold(cmp.Or(settings.Schema, "public"))
	json, known := map[string]string{"": superType, "super": superType, "text": textType}[settings.JSON]
	switch {
	case len(settings.Schema) > maxName || spell(settings.Schema) != settings.Schema || strings.HasPrefix(settings.Schema, "pg_"):
		return nil, connectors.Errorf(connectors.Invalid, "settings", "schema: want a name of at most %d bytes without double quotes, that does not begin with pg_", maxName)
	case !known:
		return nil, connectors.Errorf(connectors.Invalid, "settings", "json: want super or text")
	}
	if options.Layout == connectors.LayoutRaw && json == textType {
		options.Limits.Data = maxText
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	config, err := connection.config(c.Operator, c.Env.Networks)
	if err != nil {
		return nil, err
	}
	p, release, err := pools.Acquire(string(c.Connection), func() (*pool, error) { return newPool(connection, config, c.Env) })
	if err != nil {
		return nil, err
	}
	d := &destination{pool: p, schema: settings.Schema, json: json}
	d.Open(options, func(mode connectors.Mode) table.Store { return d.store(mode) }, release)
	return d, nil
}

// Write refuses what the ledger can't hold.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	if len(b.Installation) > maxWho {
		return connectors.NewResult(len(b.Records)), connectors.Errorf(connectors.Invalid, "write", "the installation's name is longer than %d bytes", maxWho)
	}
	return d.Destination.Write(ctx, b)
}

func (d *destination) store(mode connectors.Mode) *store {
	return &store{pool: d.pool, schema: d.schema, mode: mode, layout: d.Options.Layout, json: d.json}
}
