// Package mongodb writes records as documents into collections of a MongoDB database, version 5.0 or later, or of a server that speaks its protocol.
//
// Docs: docs/destinations/mongodb.md.
package mongodb

import (
	"strings"
	"sync/atomic"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// Settings is what a block may say.
type Settings struct {
	Collection string   `json:"collection,omitempty" jsonschema:"description=Name of the collection; {stream} {integration} and {user} stand for the record's,default={stream}"`
	Raw        bool     `json:"raw,omitempty" jsonschema:"description=Keep the payload byte for byte too as text in the field raw"`
	Dates      []string `json:"dates,omitempty" jsonschema:"description=Fields of the payload that hold dates as text of RFC 3339; they become dates of BSON. Fields within objects are written with dots: customer.created_at"`
	Decimals   string   `json:"decimals,omitempty" jsonschema:"description=What a number becomes that neither a 64-bit integer nor a double has exactly: decimal128 or text. Some servers that speak the protocol of MongoDB have no decimal128,enum=decimal128,enum=text,default=decimal128"`
}

// limits of a statement. The driver sends it in messages that the server takes; a larger one does not go faster, and one with many duplicates has an answer
// with as many errors in it.
var limits = table.Limits{Records: 2_000, Bytes: 8 << 20}

// fitness is what records must be like: their payloads are taken apart.
var fitness = table.Options{Layout: connectors.LayoutColumns, Limits: table.Limits{Data: maxDocument}}

// Definition describes the connector. Destinations opened from one Definition with the same connection share their connections to the server.
func Definition() connectors.Definition {
	var clients lifetime.Shared[*client]
	return connectors.Definition{
		Name:       "mongodb",
		Title:      "MongoDB",
		Doc:        "Writes records as documents into collections of a MongoDB database: every change as a document, or one document an object. The payload becomes a document under data, and is kept byte for byte beside it where the block says so.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Layouts:    []string{connectors.LayoutRaw},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, &clients)
		},
	}
}

type destination struct {
	client  *client
	release func() error
	name    table.Name
	mode    connectors.Mode
	raw     bool
	encoder encoder
	log     func(message string, args ...any)
	gate    lifetime.Gate
	// known says that of the last statement of mode upsert most was there: then it is quicker to look first than to be refused an insert.
	known atomic.Bool
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
	options, err := table.ReadOptions(c, settings.Collection)
	if err != nil {
		return nil, err
	}
	if options.Layout != connectors.LayoutRaw {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "layout %q: a collection has no columns; the fields of the payload are in the document data", options.Layout)
	}
	switch settings.Decimals {
	case "", "decimal128", "text":
	default:
		return nil, connectors.Errorf(connectors.Invalid, "settings", "decimals %q: want decimal128 or text", settings.Decimals)
	}
	for _, path := range settings.Dates {
		if path == "" || strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") || strings.Contains(path, "..") {
			return nil, connectors.Errorf(connectors.Invalid, "settings", "dates: want names of fields such as created_at or customer.created_at")
		}
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	shared, release, err := clients.Acquire(string(c.Connection), func() (*client, error) { return newClient(connection, c.Env.Networks) })
	if err != nil {
		return nil, err
	}
	mode := c.Mode
	if mode == "" {
		mode = connectors.Append
	}
	return &destination{
		client: shared, release: release, name: options.Name, mode: mode, raw: settings.Raw, log: c.Env.Logger().Warn,
		encoder: encoder{decimals: settings.Decimals != "text", dates: parsePaths(settings.Dates)},
	}, nil
}

// Close ends running writes as Unavailable.
func (d *destination) Close() error {
	d.gate.Close()
	return d.release()
}
