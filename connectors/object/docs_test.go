package object

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/object/objecttest"
)

// TestDocs proves that the blocks of the pages and of the examples open, and that the tables of errors have every code that is known.
func TestDocs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		def        connectors.Definition
		connection any
		kinds      map[string]connectors.Kind
	}{
		{S3(), S3Connection{Bucket: bucket, Region: "eu-central-1", Credentials: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}}, s3Kinds},
		{GCS(), GCSConnection{Bucket: bucket, ServiceAccountKey: objecttest.KeyFile(objecttest.ServiceKey(), "https://oauth2.googleapis.com/token")}, gcsKinds},
	} {
		page, err := os.ReadFile("../../docs/destinations/" + test.def.Name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		example, err := os.ReadFile("../../examples/" + test.def.Name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		blocks := []string{string(example)}
		for _, fence := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
			blocks = append(blocks, fence[1])
		}
		if len(blocks) < 2 {
			t.Errorf("%s: the page shows no block", test.def.Name)
		}
		for _, block := range blocks {
			var file struct {
				Destinations []struct {
					Connector, Layout string
					Settings          map[string]any
				}
			}
			if err := yaml.Unmarshal([]byte(block), &file); err != nil {
				t.Fatal(err)
			}
			for _, b := range file.Destinations {
				settings, err := json.Marshal(b.Settings)
				if err != nil {
					t.Fatal(err)
				}
				d, err := test.def.OpenDestination(connectors.Config{Settings: settings, Connection: raw(t, test.connection), Layout: b.Layout})
				if b.Connector != test.def.Name || err != nil {
					t.Errorf("%s: the block of %q: %v", test.def.Name, b.Connector, err)
					continue
				}
				d.Close()
			}
		}
		for code, kind := range test.kinds {
			row := regexp.MustCompile("(?m)^\\|.*`" + code + "`.*$").FindString(string(page))
			if !strings.Contains(row, "`"+string(kind)+"`") {
				t.Errorf("%s: the page does not say that %s is %s", test.def.Name, code, kind)
			}
		}
	}
}
