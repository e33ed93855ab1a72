// Package examples_test keeps what CONTRIBUTING.md quotes true.
package examples_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Each fence of Go code names its file and holds it byte for byte: all of a connector's file, of a test's whole lines.
func TestContributingQuotesTheExample(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := map[string]bool{}
	for _, fence := range regexp.MustCompile("(?ms)^```go(?: (\\S+))?\n(.*?)^```$").FindAllStringSubmatch(string(doc), -1) {
		name, code := fence[1], fence[2]
		file, err := os.ReadFile("../" + name)
		if name == "" || err != nil {
			t.Errorf("a fence must name its file, as in ```go examples/helpdesk/fetch.go: %q: %v", name, err)
			continue
		}
		quoted[name] = true
		text := string(file)
		if strings.HasSuffix(name, "_test.go") {
			if code == "" || !strings.Contains("\n"+text, "\n"+code) {
				t.Errorf("what CONTRIBUTING.md quotes of %s is not in it", name)
			}
		} else if code != text {
			t.Errorf("CONTRIBUTING.md quotes %s, but not as it is: copy the file into the fence", name)
		}
	}
	for _, name := range []string{"helpdesk.go", "fetch.go", "facts.go", "helpdesk_test.go"} {
		if !quoted["examples/helpdesk/"+name] {
			t.Errorf("CONTRIBUTING.md quotes nothing of examples/helpdesk/%s", name)
		}
	}
}
