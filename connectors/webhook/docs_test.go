package webhook_test

import (
	"testing"

	"tributary/connectors/connectortest"
	"tributary/connectors/webhook"
)

func TestPage(t *testing.T) {
	t.Parallel()
	connectortest.TestSourcePage(t, connectortest.SourcePage{
		Definition: webhook.Definition(), Path: "../../docs/sources/webhook.md",
	})
}
