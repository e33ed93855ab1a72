// Package builtin is the one list of all connectors.
package builtin

import (
	"tributary/connectors"
	"tributary/connectors/bigquery"
	"tributary/connectors/datastream"
	"tributary/connectors/duckdb"
	"tributary/connectors/eventbridge"
	"tributary/connectors/httpapi"
	"tributary/connectors/hubspot"
	"tributary/connectors/kafka"
	"tributary/connectors/magento"
	"tributary/connectors/mongodb"
	"tributary/connectors/mysql"
	"tributary/connectors/netsuite"
	"tributary/connectors/object"
	"tributary/connectors/postgres"
	"tributary/connectors/pubsub"
	"tributary/connectors/redshift"
	"tributary/connectors/shopify"
	"tributary/connectors/snowflake"
	"tributary/connectors/webhook"
)

// New makes the registry of this build, and the DuckDB files that it opens: DuckDB has one process a file, so whoever
// wants to read one asks the process that writes it. More definitions are for programs that bring connectors of their own.
func New(more ...connectors.Definition) (*connectors.Registry, *duckdb.Files, error) {
	files := duckdb.NewFiles()
	r, err := connectors.NewRegistry(append([]connectors.Definition{
		bigquery.Definition(),
		datastream.Definition(),
		eventbridge.Definition(),
		files.Definition(),
		httpapi.Definition(),
		hubspot.Definition(),
		kafka.Definition(),
		magento.Definition(),
		mongodb.Definition(),
		mysql.MariaDB(),
		mysql.Definition(),
		netsuite.Definition(),
		object.GCS(),
		object.S3(),
		postgres.Definition(),
		pubsub.Definition(),
		redshift.Definition(),
		shopify.Definition(),
		snowflake.Definition(),
		webhook.Definition(),
	}, more...)...)
	return r, files, err
}
