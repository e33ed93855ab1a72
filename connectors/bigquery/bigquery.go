// Package bigquery writes records into tables of a BigQuery dataset: in mode append through the Storage Write API straight into the table, in
// mode upsert through a staging table and MERGE.
//
// # How a record takes effect once (I3)
//
// BigQuery has no transaction over both a write stream and a statement, and no lock that an application could hold. What it has is
// things that can happen only once: a write stream that is finalized takes no more rows, and a job ID is used for one job only.
//
// Append. A lane writes each table through a committed stream of its own, at explicit offsets. Who begins to write for a lane, after a start or after any
// failure, first finalizes the stream that was registered last: whatever an earlier attempt still has in hand can't arrive any more. Then it reads
// which ordinals of the lane are in the table, registers a new stream, and leaves out what is there. The registration is a job whose ID is made of epoch,
// lane, table and the stream's number, so of two who do this at once one wins, and the other comes again. A stream is registered only after its predecessor was
// finalized, so it is always the last one only that could take rows. The ledger, whose greatest row counts, is written behind the rows: it bounds what has to be
// looked at and remembers batches in which there was nothing to write.
//
// Upsert. Rows go into a staging table, marked with a token that no other attempt has. One job then takes them from there into the tables and moves the ledger in a
// transaction of several statements. Its ID is made of epoch, lane and the ledger's position before it: from one position there is one step only.
//
// Docs: docs/destinations/bigquery.md.
package bigquery

import (
	"cmp"
	"strings"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// Settings is what a block may say.
type Settings struct {
	Project   string `json:"project,omitempty" jsonschema:"description=Project of the dataset; without it the connection's"`
	Dataset   string `json:"dataset" jsonschema:"required,description=Dataset of the tables; it must exist"`
	Table     string `json:"table,omitempty" jsonschema:"description=Name of the table; {stream} {integration} and {user} stand for the record's,default={stream}"`
	Partition string `json:"partition,omitempty" jsonschema:"description=Unit of time of _received_at by which new tables are partitioned,enum=hour,enum=day,enum=month,enum=year,enum=none,default=day"`
	JSON      string `json:"json,omitempty" jsonschema:"description=Type in which JSON is kept: json can be queried by field but is spelled anew by BigQuery; string keeps it byte for byte,enum=json,enum=string,default=json"`
}

// limits of a statement. A request of AppendRows has 10 MB at most: https://cloud.google.com/bigquery/quotas#write-api-limits; a table's name 1,024 bytes:
// https://cloud.google.com/bigquery/docs/tables#table_naming.
var limits = table.Limits{Records: 50_000, Bytes: 48 << 20, Data: maxRequest - 64<<10, Name: 1000}

// maxRequest bounds the rows of one AppendRows.
const maxRequest = 9 << 20

// Definition describes the connector. Destinations opened from one Definition with the same connection share clients and lanes.
func Definition() connectors.Definition {
	var clients lifetime.Shared[*client]
	return connectors.Definition{
		Name:  "bigquery",
		Title: "BigQuery",
		Doc: "Writes records into tables of a BigQuery dataset: every change as a row, streamed by the Storage Write API, or one row an object, by MERGE. " +
			"The payload is kept in a JSON or STRING column, or each of its fields gets a column.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Layouts:    []string{connectors.LayoutRaw, connectors.LayoutColumns},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, &clients)
		},
	}
}

type destination struct {
	table.Destination
	client  *client
	dataset dataset
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

func open(c connectors.Config, clients *lifetime.Shared[*client]) (connectors.Destination, error) {
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	options, err := table.ReadOptions(c, settings.Table)
	if err != nil {
		return nil, err
	}
	options.Limits, options.Dialect = limits, dialect
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	if connection.Ambient && !c.Operator { // a user could write wherever the worker may
		return nil, connectors.Errorf(connectors.Invalid, "connection", "ambient is for the operator's own connections: give this one a key")
	}
	config, err := connection.config(c.Env)
	if err != nil {
		return nil, err
	}
	in := dataset{project: cmp.Or(settings.Project, config.project), name: settings.Dataset, partition: strings.ToUpper(settings.Partition), json: strings.ToUpper(settings.JSON)}
	if err := in.fill(); err != nil {
		return nil, err
	}
	held, release, err := clients.Acquire(string(c.Connection), func() (*client, error) { return newClient(config) })
	if err != nil {
		return nil, err
	}
	d := &destination{client: held, dataset: in}
	d.Open(options, func(mode connectors.Mode) table.Store {
		return &store{client: held, dataset: in, mode: mode, layout: options.Layout}
	}, release)
	return d, nil
}
