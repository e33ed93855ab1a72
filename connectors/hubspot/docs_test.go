package hubspot_test

import (
	"testing"

	"tributary/connectors/connectortest"
	"tributary/connectors/hubspot"
)

func TestPage(t *testing.T) {
	t.Parallel()
	connectortest.TestSourcePage(t, connectortest.SourcePage{
		Definition: hubspot.Definition(), Path: "../../docs/sources/hubspot.md", Example: "../../examples/hubspot.yaml", Connection: connection(), App: app(),
	})
}
