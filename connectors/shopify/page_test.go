package shopify

import (
	"fmt"
	"strings"
	"testing"

	"tributary/connectors/connectortest"
)

// The page's table of streams has their topics too, and which ones bulk operations read.
func TestPage(t *testing.T) {
	t.Parallel()
	connectortest.TestSourcePage(t, connectortest.SourcePage{
		Definition: Definition(), Path: "../../docs/sources/shopify.md", Connection: Connection{Shop: "example.myshopify.com", AccessToken: "token"},
		App: App{ClientID: "id", ClientSecret: "secret"}, Tables: map[string]string{"streams": streamTable()},
	})
}

func streamTable() string {
	var b strings.Builder
	b.WriteString("| stream | what it is | access scopes | webhooks | in bulk |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range describeStreams() {
		scopes, topics, bulk := s.Needs, "set up with the app", "not polled"
		if scopes == "" {
			scopes = "none"
		}
		if st, err := lookup("page", s.Name); err == nil {
			topics, bulk = "", "yes"
			for i, topic := range st.topics {
				if i > 0 {
					topics += ", "
				}
				topics += "`" + topicName(topic) + "`"
			}
			if !st.bulks() {
				bulk = "no"
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.Name, s.Doc, scopes, topics, bulk)
	}
	return b.String()
}
