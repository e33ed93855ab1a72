package integration

import (
	"testing"

	"tributary/connectors"
)

type shopSettings struct {
	APIVersion string            `json:"api_version,omitempty" jsonschema:"pattern=^[0-9]{4}-[0-9]{2}$" jsonschema_description:"Version of the API, such as 2026-07."`
	PageSize   int               `json:"page_size,omitempty" jsonschema:"minimum=1,maximum=250"`
	Since      int64             `json:"since,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Extra      any               `json:"extra,omitempty"`
	// SecretHeader has a name that looks like a secret's, and is none.
	SecretHeader string    `json:"secret_header,omitempty"`
	Pin          string    `json:"pin,omitempty" jsonschema:"format=password"`
	Retry        shopRetry `json:"retry,omitzero"`
}

type shopRetry struct {
	Times int    `json:"times,omitempty" jsonschema:"minimum=1"`
	Token string `json:"token,omitempty" jsonschema:"format=password"`
}

type shopConnection struct {
	Shop        string `json:"shop" jsonschema:"required"`
	AccessToken string `json:"access_token" jsonschema:"required,format=password"`
}

type fileSettings struct {
	Path  string `json:"path" jsonschema:"required" jsonschema_description:"The database file."`
	Table string `json:"table,omitempty" jsonschema:"default={stream}"`
}

type endpointSettings struct {
	URL     string `json:"url" jsonschema:"required,format=uri"`
	Array   bool   `json:"array,omitempty"`
	OrderBy string `json:"order_by,omitempty" jsonschema:"enum=key,enum=stream"`
}

// testRegistry has a source with fixed streams, a source with any, a source that only receives, and two destinations.
func testRegistry(t testing.TB) *connectors.Registry {
	t.Helper()
	source := func(connectors.Config) (any, error) { return nil, nil }
	destination := func(connectors.Config) (connectors.Destination, error) { return nil, nil }
	reg, err := connectors.NewRegistry(
		connectors.Definition{
			Name: "shopify", Settings: shopSettings{}, Connection: shopConnection{}, OpenSource: source, Polls: true, Receives: true,
			Streams: []connectors.Stream{
				{Name: "customers", Polls: true, Receives: true}, {Name: "orders", Polls: true, Receives: true},
				{Name: "products", Polls: true, Receives: true}, {Name: "payouts", Polls: true}, {Name: "carts", Receives: true},
			},
		},
		connectors.Definition{Name: "webhook", OpenSource: source, Receives: true, AnyStream: true},
		connectors.Definition{
			Name: "duckdb", Settings: fileSettings{}, OpenDestination: destination,
			Modes: []connectors.Mode{connectors.ModeUpsert, connectors.Append}, Layouts: []string{connectors.LayoutRaw, connectors.LayoutColumns},
		},
		connectors.Definition{
			Name: "datastream", Settings: endpointSettings{}, Connection: shopConnection{}, OpenDestination: destination,
			Modes: []connectors.Mode{connectors.Append},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}
