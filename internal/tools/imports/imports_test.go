// Package imports proves that the rule in .depguard.yaml, who may import whom, is kept by the linter.
package imports

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A module of the same packages, empty, stands in for this one; beside them, each case has a tree of its own with one file that imports
// one of them, so that cases make no import cycles.
func TestRule(t *testing.T) {
	t.Parallel()
	linter := build(t)
	refused := []struct{ file, imports, message string }{
		{"connectors/record.go", "tributary/internal/vault", "imports nothing of ours"},
		{"connectors/source.go", "go.temporal.io/sdk/workflow", "knows nothing of Temporal"},
		{"connectors/shopify/shopify.go", "tributary/internal/catalog", "a connector imports connectors"},
		{"connectors/shopify/deep/fetch.go", "tributary/connectors/postgres", "a connector imports connectors"},
		{"connectors/shopify/errors.go", "tributary/connectors/connectortest/documented", "a connector imports connectors"},
		{"connectors/pubsub/pubsubtest/server.go", "tributary/connectors/pubsub", "a stand-in knows the vendor"},
		{"connectors/webhook/webhook.go", "go.temporal.io/sdk/activity", "knows nothing of Temporal"},
		{"connectors/webhook/webhook_test.go", "tributary/internal/engine", "a test of a connector"},
		{"examples/helpdesk/helpdesk.go", "tributary/connectors/shopify", "a connector imports connectors"},
		{"examples/helpdesk/fetch.go", "go.temporal.io/sdk/activity", "knows nothing of Temporal"},
		{"examples/helpdesk/helpdesk_test.go", "tributary/internal/engine", "a test of a connector"},
		{"connectors/builtin/builtin.go", "tributary/internal/engine", "builtin lists connectors"},
		{"internal/journal/journal.go", "tributary/internal/segment", "stand at the bottom"},
		{"internal/segment/store.go", "tributary/internal/catalog", "stand at the bottom"},
		{"internal/integration/parse.go", "tributary/connectors/builtin", "stand at the bottom"},
		{"internal/catalog/catalog.go", "tributary/internal/vault", "catalog imports"},
		{"internal/vault/vault.go", "go.temporal.io/sdk/client", "speak Temporal"},
		{"internal/block/block.go", "tributary/activities", "block opens connectors"},
		{"activities/fetch.go", "tributary/connectors/shopify", "never a connector by name"},
		{"activities/write.go", "tributary/workflows", "nor workflows"},
		{"workflows/run.go", "tributary/connectors/postgres", "never a connector"},
		{"workflows/lane.go", "tributary/internal/catalog", "workflows import activities"},
		{"internal/receiver/server.go", "tributary/activities", "receiver imports"},
		{"internal/engine/engine.go", "tributary/connectors/builtin", "imports none by name"},
		{"internal/engine/worker.go", "tributary/internal/pgtest", "imports none by name"},
		{"internal/devserver/ui.go", "tributary/internal/engine", "stands alone"},
		{"internal/engine/dev.go", "go.temporal.io/server/temporal", "use internal/devserver"},
		{"tests/stack/stack.go", "github.com/temporalio/ui-server/v2/server", "use internal/devserver"},
		{"worker/main.go", "tributary/internal/catalog", "worker hands"},
		{"starter/main.go", "tributary/internal/pgtest", "pgtest is for tests"},
		{"starter/check.go", "tributary/internal/mariadbtest", "mariadbtest is for tests"},
		{"starter/journal.go", "tributary/internal/journal", "belongs to a running receiver"},
		{"internal/fresh/fresh.go", "tributary/connectors", "no rule in .depguard.yaml yet"},
	}
	allowed := []struct{ file, imports string }{
		{"connectors/shopify/record.go", "tributary/connectors"},
		{"connectors/shopify/client.go", "tributary/connectors/outbound"},
		{"connectors/pubsub/pubsubtest/errors.go", "tributary/connectors/connectortest/documented"},
		{"connectors/mysql/write_test.go", "tributary/internal/mariadbtest"},
		{"connectors/postgres/write_test.go", "tributary/internal/pgtest"},
		{"connectors/postgres/suite_test.go", "tributary/connectors/connectortest"},
		{"examples/helpdesk/helpdesk.go", "tributary/connectors/outbound"},
		{"examples/helpdesk/helpdesk_test.go", "tributary/connectors/connectortest"},
		{"connectors/builtin/list.go", "tributary/connectors/shopify"},
		{"internal/segment/format.go", "tributary/connectors"},
		{"internal/catalog/installation.go", "tributary/internal/integration"},
		{"internal/vault/seal.go", "tributary/internal/catalog"},
		{"internal/block/open.go", "tributary/internal/vault"},
		{"activities/message.go", "go.temporal.io/sdk/activity"},
		{"activities/poll.go", "tributary/internal/segment"},
		{"workflows/names.go", "tributary/activities"},
		{"internal/receiver/forwarder.go", "tributary/internal/journal"},
		{"internal/engine/config.go", "tributary/internal/receiver"},
		{"internal/devserver/devserver.go", "go.temporal.io/server/temporal"},
		{"worker/serve.go", "tributary/internal/engine"},
		{"starter/dev.go", "tributary/internal/devserver"},
		{"tests/stack/open.go", "tributary/internal/engine"},
	}

	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("../../../.depguard.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, root, ".depguard.yaml", string(rules))
	module(t, root, "tributary", "go.temporal.io/sdk", "go.temporal.io/server", "github.com/temporalio/ui-server/v2")
	for i := range refused {
		refused[i].file = fmt.Sprintf("refused%d/%s", i, refused[i].file)
		source(t, root, refused[i].file, refused[i].imports)
	}
	for i := range allowed {
		allowed[i].file = fmt.Sprintf("allowed%d/%s", i, allowed[i].file)
		source(t, root, allowed[i].file, allowed[i].imports)
	}

	said := lint(t, linter, root)
	for _, r := range refused {
		found := false
		for line := range strings.Lines(said) {
			found = found || strings.Contains(line, filepath.FromSlash(r.file)+":") && strings.Contains(line, r.message)
		}
		if !found {
			t.Errorf("%s may import %s, want %q", r.file, r.imports, r.message)
		}
	}
	for _, a := range allowed {
		for line := range strings.Lines(said) {
			if strings.Contains(line, filepath.FromSlash(a.file)+":") {
				t.Errorf("%s may not import %s: %s", a.file, a.imports, line)
			}
		}
	}
	if t.Failed() {
		t.Log(said)
	}
}

// build returns the path of the linter, of the version that this module asks for.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "depguard")
	run(t, "", "go", "build", "-o", path, "github.com/OpenPeeDeeP/depguard/v2/cmd/depguard")
	return path
}

// lint returns what the linter says of a module that breaks the rule, and fails the test if it finds nothing.
func lint(t *testing.T, linter, root string) string {
	t.Helper()
	c := exec.Command(linter, "./...")
	c.Dir = root
	c.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := c.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 3 {
		t.Fatalf("linter: %v, want exit status 3 for findings\n%s", err, out)
	}
	return string(out)
}

// module makes a module that gets others from folders of its own.
func module(t *testing.T, root, path string, others ...string) {
	t.Helper()
	text := "module " + path + "\n\ngo 1.26\n"
	for i, other := range others {
		folder := fmt.Sprintf("third-party-%d", i)
		version := "v0.0.0"
		if strings.HasSuffix(other, "/v2") {
			version = "v2.0.0"
		}
		text += fmt.Sprintf("\nrequire %s %s\nreplace %s => ./%s\n", other, version, other, folder)
		write(t, root, folder+"/go.mod", "module "+other+"\n\ngo 1.26\n")
	}
	write(t, root, "go.mod", text)
	for _, p := range []string{"0/workflow", "0/activity", "0/client", "1/temporal", "2/server"} {
		write(t, root, "third-party-"+p+"/doc.go", "package "+filepath.Base(p)+"\n")
	}
}

// source writes a file with one import, and a package to be imported.
func source(t *testing.T, root, file, imports string) {
	t.Helper()
	name := filepath.Base(filepath.Dir(file))
	write(t, root, file, fmt.Sprintf("package %s\n\nimport _ %q\n", name, imports))
	if own, ok := strings.CutPrefix(imports, "tributary/"); ok {
		write(t, root, own+"/doc.go", "package "+filepath.Base(own)+"\n")
	}
}

func write(t *testing.T, root, file, text string) {
	t.Helper()
	path := filepath.Join(root, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
