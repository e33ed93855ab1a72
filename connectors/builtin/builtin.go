// Package builtin is the one list of all connectors.
package builtin

import (
	"tributary/connectors"
	"tributary/connectors/datastream"
	"tributary/connectors/webhook"
)

// New makes the registry of this build.
func New() (*connectors.Registry, error) {
	return connectors.NewRegistry(
		datastream.Definition(),
		webhook.Definition(),
	)
}
