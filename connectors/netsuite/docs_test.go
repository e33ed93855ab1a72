package netsuite_test

import (
	"os"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/netsuite"
)

// Besides what every page has, this one has a row for each field of a query.
func TestPage(t *testing.T) {
	t.Parallel()
	const page = "../../docs/sources/netsuite.md"
	connectortest.TestSourcePage(t, connectortest.SourcePage{
		Definition: netsuite.Definition(), Path: page, Example: "../../examples/netsuite.yaml", Connection: tokenBased(),
	})
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range connectors.FieldNames(netsuite.Query{}) {
		if !strings.Contains(string(doc), "| `"+field+"` |") {
			t.Errorf("the page has no row for the field %s of a query", field)
		}
	}
}
