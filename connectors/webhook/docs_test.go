package webhook_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"tributary/connectors"
	"tributary/connectors/webhook"
)

// TestDocumentedExamples opens every example of the documentation.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/sources/webhook.md")
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for _, block := range strings.Split(string(doc), "```yaml\n")[1:] {
		src, _, _ := strings.Cut(block, "```")
		var file struct {
			Settings map[string]any
			Source   struct{ Settings map[string]any }
		}
		if err := yaml.Unmarshal([]byte(src), &file); err != nil {
			t.Fatal(err)
		}
		settings := file.Settings
		if settings == nil {
			settings = file.Source.Settings
		}
		config, err := json.Marshal(settings)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := webhook.Definition().OpenSource(connectors.Config{Settings: config}); err != nil {
			t.Errorf("%v in\n%s", err, src)
		}
		opened++
	}
	if opened != 5 {
		t.Errorf("opened %d examples, want 5", opened)
	}
}
