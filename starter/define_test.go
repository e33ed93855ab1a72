package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tributary/connectors/builtin"
)

const badFile = `name: Events
source:
  connector: shopify
  trigger: polling
  streams: [customers, nothing]
destinations:
  - name: warehouse
    connector: duckdb
    mode: replace
`

// All problems of all files come at once, each with its place, and one bad file makes the status.
func TestValidate(t *testing.T) {
	t.Parallel()
	s := place(t)
	good, err := filepath.Abs("../examples/customers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bad := s.file("bad.yaml", badFile)
	s.want(exitOK, words("ok, integration customers"), "validate", good)
	r := s.want(exitUsage, words(bad+":1:", bad+":4:", bad+":5:", bad+":9:", "ok, integration customers"), "validate", bad, good)
	if r.err != "" {
		t.Errorf("stderr has %q", r.err)
	}
	r = s.want(exitUsage, nil, "validate", bad, good, "-o", "json")
	var results []validated
	if err := json.Unmarshal([]byte(r.out), &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || results[0].OK || len(results[0].Problems) < 4 || !results[1].OK || results[1].Name != "customers" {
		t.Errorf("got %+v", results)
	}
	s.in = badFile
	s.want(exitUsage, words("-:1:"), "validate", "-")

	// One that can't be read keeps nothing from the others.
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	s.want(exitNotFound, words(missing+": no such file", "ok, integration customers"), "validate", missing, good)
	r = s.want(exitUsage, nil, "validate", missing, bad, missing, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != 3 || results[0].OK || len(results[0].Problems) != 1 || len(results[1].Problems) < 4 {
		t.Errorf("got %+v", results)
	}
}

// Every file under examples/ is one that this build installs, and every destination of this build is in one.
func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	var all strings.Builder
	for i := range files {
		text, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
		if files[i], err = filepath.Abs(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	registry, _, err := builtin.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range registry.Names() {
		if def, _ := registry.Lookup(name); def.OpenDestination != nil && !strings.Contains(all.String(), "connector: "+name+"\n") {
			t.Errorf("no example writes to %s", name)
		}
	}
	place(t).want(exitOK, words("ok, integration"), append([]string{"validate"}, files...)...)
}

func TestSchema(t *testing.T) {
	t.Parallel()
	s := place(t)
	schema := s.want(exitOK, nil, "schema").out
	if !json.Valid([]byte(schema)) {
		t.Fatal("the schema is not JSON")
	}
	s.want(exitOK, words("up to date"), "schema", "--check", s.file("fresh.json", schema))
	// The one that the repository has: `make schema` writes it.
	s.want(exitOK, words("up to date"), "schema", "--check", "../docs/integration.schema.json")
	s.want(exitFailed, words("stale"), "schema", "--check", s.file("stale.json", schema+" "))
	s.want(exitNotFound, nil, "schema", "--check", filepath.Join(t.TempDir(), "none.json"))
}

func TestKey(t *testing.T) {
	t.Parallel()
	s := place(t)
	file := filepath.Join(t.TempDir(), "key.json")
	s.want(exitOK, words(file, "Keep a copy"), "key", "new", file)
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.want(exitExists, words("not overwritten", "key rotate"), "key", "new", file)
	s.want(exitOK, words("Rotated"), "key", "rotate", file)
	second, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(first) == string(second) {
		t.Error("rotating changed nothing")
	}
	s.want(exitNotFound, nil, "key", "rotate", file+".none")
}

// What can be set is what the types say, secrets are marked as such.
func TestConnectors(t *testing.T) {
	t.Parallel()
	s := place(t)
	var rows []connectorRow
	s.object(&rows, "connectors", "list")
	names := []string{}
	for _, r := range rows {
		names = append(names, r.Name)
		var d map[string]any
		s.object(&d, "connectors", "describe", r.Name)
		text := s.want(exitOK, words(r.Title), "connectors", "describe", r.Name).out
		for _, line := range strings.Split(text, "\n") {
			for _, secret := range []string{"access_token", "client_secret", "private_key", "password"} {
				if strings.Contains(line, secret+"  string") && !strings.Contains(line, "secret)") && !strings.Contains(line, "secret,") {
					t.Errorf("%s: %q is not marked as a secret", r.Name, line)
				}
			}
		}
	}
	for _, want := range []string{"datastream", "duckdb", "postgres", "shopify", "webhook"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
	s.want(exitOK, words("As a source, by realtime, polling, both", "customers", "access_token  string (secret)", "shop  string (required)"), "connectors", "describe", "shopify")
}
