package magento_test

import (
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
)

// Besides what every page has, each stream can be read with the resource that it says it needs.
func TestPage(t *testing.T) {
	t.Parallel()
	connectortest.TestSourcePage(t, connectortest.SourcePage{
		Definition: magento.Definition(), Path: "../../docs/sources/magento.md", Example: "../../examples/magento.yaml", Connection: signing("https://shop.example.com"),
	})
	for _, st := range magento.Definition().Streams {
		s := magentotest.New(t, returned)
		for _, r := range resources() {
			if r != strings.Trim(st.Needs, "`") {
				s.Deny(r)
			}
		}
		if err := openWith(t, s, signing(s.URL), magento.Settings{}, st.Name).(connectors.Checker).Check(t.Context()); err != nil {
			t.Errorf("with what %s says that it needs: %v", st.Name, err)
		}
	}
}
