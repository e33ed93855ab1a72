package netsuite_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/netsuite"
)

const page = "../../docs/sources/netsuite.md"

// The page's tables are those of the Definition, and its blocks and the example's open.
func TestPage(t *testing.T) {
	t.Parallel()
	connectortest.TestPage(t, netsuite.Definition(), page)
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range connectors.FieldNames(netsuite.Query{}) {
		if !strings.Contains(string(doc), "| `"+field+"` |") {
			t.Errorf("the page has no row for the field %s of a query", field)
		}
	}
	example, err := os.ReadFile("../../examples/netsuite.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(doc), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	for _, text := range []string{string(example), block} {
		var file struct {
			Source struct {
				Connector string
				Streams   []string
				Settings  map[string]any
			}
		}
		if err := yaml.Unmarshal([]byte(text), &file); err != nil {
			t.Fatal(err)
		}
		settings, err := json.Marshal(file.Source.Settings)
		if err != nil {
			t.Fatal(err)
		}
		_, err = netsuite.Definition().OpenSource(connectors.Config{Settings: settings, Connection: raw(t, tokenBased()), Streams: file.Source.Streams})
		if file.Source.Connector != "netsuite" || err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}
