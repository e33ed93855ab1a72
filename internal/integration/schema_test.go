package integration

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tributary/connectors"
	"tributary/connectors/jq"
)

var update = flag.Bool("update", false, "write the schema instead of comparing it")

const goldenSchema = "testdata/integration.schema.json"

// The schema is what was reviewed; after a change on purpose: go test ./internal/integration -update.
func TestSchemaIsReviewed(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	if *update {
		if _, err := WriteSchema(goldenSchema, reg); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenSchema)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got, err := Schema(reg)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s is stale; run go test ./internal/integration -update and review the difference", goldenSchema)
		}
	}
}

func TestWriteSchema(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	file := filepath.Join(t.TempDir(), "docs", "integration.schema.json")
	for i, want := range []bool{true, false} {
		if stale, err := WriteSchema(file, reg); err != nil || stale != want {
			t.Errorf("time %d: stale %t, error %v", i+1, stale, err)
		}
	}
	if err := os.WriteFile(file, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if stale, err := WriteSchema(file, reg); err != nil || !stale {
		t.Errorf("changed by hand: stale %t, error %v", stale, err)
	}
}

// The schema alone, as an editor uses it, tells good files from bad.
func TestSchemaAccepts(t *testing.T) {
	t.Parallel()
	raw, err := Schema(testRegistry(t))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if object(doc)["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("$schema is %v", object(doc)["$schema"])
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("s")
	if err != nil {
		t.Fatal(err)
	}
	good := func(source, destination string) string {
		return `{"name":"a","source":` + source + `,"destinations":[` + destination + `]}`
	}
	const shop, duck = `{"connector":"shopify","trigger":"realtime","streams":["orders"]}`, `{"name":"d","connector":"duckdb","settings":{"path":"a"}}`
	for src, want := range map[string]bool{
		good(shop, duck): true,
		good(`{"connector":"shopify","trigger":{"kind":"polling","interval":"5m"},"streams":["orders"]}`, duck):                                  true,
		good(`{"connector":"webhook","trigger":"realtime","streams":["any thing"]}`, duck):                                                       true,
		good(`{"connector":"shopify","trigger":"realtime","streams":["any thing"]}`, duck):                                                       false,
		good(`{"connector":"shopify","trigger":"realtime","streams":["orders"],"settings":{"page_size":0}}`, duck):                               false,
		good(`{"connector":"shopify","trigger":"realtime","streams":["orders"],"settings":{"path":"a"}}`, duck):                                  false,
		good(`{"connector":"duckdb","trigger":"realtime","streams":["orders"]}`, duck):                                                           false,
		good(`{"connector":"shopify","trigger":{"kind":"polling","interval":"5"},"streams":["orders"]}`, duck):                                   false,
		good(shop, `{"name":"d","connector":"duckdb"}`):                                                                                          false,
		good(shop, `{"name":"d","connector":"datastream","settings":{"url":"https://a"},"mode":"upsert"}`):                                       false,
		good(shop, `{"name":"d","connector":"duckdb","settings":{"path":"a"},"batch":{"records":5,"age":"1s"},"required":false,"layout":"raw"}`): true,
		good(shop, `{"name":"d","connector":"duckdb","settings":{"path":"a"},"layout":"columns","schema":"discard_row"}`):                        true,
		good(shop, `{"name":"d","connector":"datastream","settings":{"url":"https://a"},"layout":"columns"}`):                                    false,
		good(shop, `{"name":"D","connector":"duckdb","settings":{"path":"a"}}`):                                                                  false,
	} {
		v, err := jq.Decode([]byte(src))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != want {
			t.Errorf("%s: %v", src, err)
		}
	}
}

// Two connectors may give their types the same names.
func TestSchemaKeepsTypesApart(t *testing.T) {
	t.Parallel()
	type settings struct {
		Nested shopRetry `json:"nested,omitzero"`
	}
	open := func(connectors.Config) (any, error) { return nil, nil }
	reg, err := connectors.NewRegistry(
		connectors.Definition{Name: "one", OpenSource: open, Settings: settings{}, AnyStream: true},
		connectors.Definition{Name: "two", OpenSource: open, Settings: settings{}, AnyStream: true},
	)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Schema(reg)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one.integration.shopRetry", "two.integration.shopRetry"} {
		if doc.Defs[name] == nil {
			t.Errorf("no definition %s", name)
		}
	}
}
