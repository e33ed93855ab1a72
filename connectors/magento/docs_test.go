package magento_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
)

const page = "../../docs/sources/magento.md"

// The page's tables are those of the Definition, it names the resource that each stream needs, and its block and the example's open.
func TestPage(t *testing.T) {
	t.Parallel()
	connectortest.TestPage(t, magento.Definition(), page)
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range magento.Definition().Streams {
		s := magentotest.New(t)
		for _, r := range resources() {
			if !strings.Contains(string(doc), "| `"+st.Name+"` | `"+r+"` |") {
				s.Deny(r)
			}
		}
		if err := openWith(t, s, signing(s.URL), magento.Settings{}, st.Name).(connectors.Checker).Check(t.Context()); err != nil {
			t.Errorf("with the resource that the page names: %v", err)
		}
	}
	example, err := os.ReadFile("../../examples/magento.yaml")
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
		_, err = magento.Definition().OpenSource(connectors.Config{
			Settings: settings, Connection: raw(t, signing("https://shop.example.com")), Streams: file.Source.Streams,
		})
		if file.Source.Connector != "magento" || err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}
