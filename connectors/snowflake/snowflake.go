// Package snowflake writes records into tables of a Snowflake schema: a file of compressed NDJSON is PUT to a stage, copied into a temporary table, and merged from there.
//
// # How a record takes effect once (I3)
//
// One transaction copies the file, merges its rows into their tables and moves the ledger's row from the position that was read when it began. Snowflake has no lock on a
// row, and a lock on the ledger's table would keep all lanes waiting while files are on their way. So the row is not locked but compared: a transaction whose
// position is not the ledger's any more is rolled back, and the batch comes again. MERGE and the ledger's step are the last statements before the commit: their locks, which
// are those of whole tables, are held for moments only.
//
// Snowflake may end a transaction by itself, when it is idle and in the way of another; what follows would then be committed statement by statement, and COMMIT
// would succeed without one. So each statement that changes a table names the transaction that it belongs to, and does nothing in another; and what COMMIT said is looked up in the
// ledger.
//
// Docs: docs/destinations/snowflake.md.
package snowflake

import (
	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// Settings is what a block may say.
type Settings struct {
	Database  string `json:"database" jsonschema:"required,description=Database; it must exist. Like everywhere in Snowflake a plain name is taken in upper case; write \"name\" in double quotes to have it as it is"`
	Schema    string `json:"schema,omitempty" jsonschema:"description=Schema of the tables; made if it is not there,default=PUBLIC"`
	Table     string `json:"table,omitempty" jsonschema:"description=Name of the table; {stream} {integration} and {user} stand for the record's,default={stream}"`
	Warehouse string `json:"warehouse,omitempty" jsonschema:"description=Warehouse that runs the statements; without it the connection's or the user's default"`
	Role      string `json:"role,omitempty" jsonschema:"description=Role to work as; without it the connection's or the user's default"`
	Stage     string `json:"stage,omitempty" jsonschema:"description=Stage that files pass through such as LOADS.PUBLIC.TRIBUTARY: an internal one or with the stage_url of the connection an external one; without it the user's own stage"`
	Names     string `json:"names,omitempty" jsonschema:"description=Names of tables and columns: upper can be written without quotes in SQL; exact are those of streams and fields,enum=upper,enum=exact,default=upper"`
	JSON      string `json:"json,omitempty" jsonschema:"description=Type in which JSON is kept: variant can be queried by field but is spelled anew by Snowflake; string keeps it byte for byte,enum=variant,enum=string,default=variant"`
	Cluster   string `json:"cluster,omitempty" jsonschema:"description=Clustering of new tables of mode append: by the day of _received_at or none,enum=day,enum=none,default=day"`
}

// limits of a statement. A line of a file and a value have 16 MB at most, and a payload may need twice its bytes when it is quoted:
// https://docs.snowflake.com/en/user-guide/semistructured-considerations#data-size-limitations; names have 255 characters:
// https://docs.snowflake.com/en/sql-reference/identifiers-syntax
var limits = table.Limits{Records: 50_000, Bytes: 64 << 20, Data: 8 << 20, Name: maxName}

const (
	maxName = 255
	maxLine = 16_000_000
)

// Definition describes the connector. Destinations opened from one Definition with the same connection and session share a pool.
func Definition() connectors.Definition {
	var pools lifetime.Shared[*pool]
	return connectors.Definition{
		Name:  "snowflake",
		Title: "Snowflake",
		Doc: "Writes records into tables of a Snowflake schema by files on a stage, COPY INTO and MERGE: every change as a row, or one row an object. " +
			"The payload is kept in a VARIANT or VARCHAR column, or each of its fields gets a column.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Layouts:    []string{connectors.LayoutRaw, connectors.LayoutColumns},
		Renewal:    &connectors.Renewal{Due: renewalDue, Expires: tokenExpires, Renew: renew},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, &pools)
		},
	}
}

type destination struct {
	table.Destination
	pool  *pool
	place place
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
	where, err := settings.place()
	if err != nil {
		return nil, err
	}
	options.Limits, options.Dialect = limits, where.dialect()
	if where.variant {
		options.Refuses = refusedByVariant
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	if settings.Warehouse != "" {
		connection.Warehouse = settings.Warehouse
	}
	if settings.Role != "" {
		connection.Role = settings.Role
	}
	config, err := connection.config(c.Operator, c.Env)
	if err != nil {
		return nil, err
	}
	key := string(c.Connection) + "\x00" + connection.Warehouse + "\x00" + connection.Role
	if (connection.StageURL != "") && where.stage == userStage {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "stage: the connection has the stage_url of an external stage; name that stage")
	}
	p, release, err := pools.Acquire(key, func() (*pool, error) { return newPool(config, connection.Storage, c.Operator, c.Env) })
	if err != nil {
		return nil, err
	}
	d := &destination{pool: p, place: where}
	d.Open(options, func(mode connectors.Mode) table.Store {
		return &store{pool: p, place: where, mode: mode, layout: options.Layout}
	}, release)
	return d, nil
}
