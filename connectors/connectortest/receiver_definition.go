package connectortest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"tributary/connectors"
)

// testDefinition: what the connector says of itself is true, and its schemas accept what it accepts.
func (s *receiverSuite) testDefinition(t *testing.T) {
	def := s.Definition
	if _, err := connectors.NewRegistry(def); err != nil {
		t.Error(err)
	}
	v, err := def.OpenSource(s.config(s.Connect(s.Secret), receiverNow))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	_, receives := v.(connectors.Receiver)
	_, polls := v.(connectors.Source)
	if def.Receives != receives || def.Polls != polls {
		t.Errorf("Receives is %v and Polls %v, but a %T can do %v and %v", def.Receives, def.Polls, v, receives, polls)
	}
	if def.Title == "" || def.Doc == "" {
		t.Error("Title and Doc are what a user chooses by")
	}
	if !def.AnyStream {
		var names []string
		for _, stream := range def.Streams {
			if stream.Receives {
				names = append(names, stream.Name)
			}
		}
		for _, sample := range s.Samples {
			for _, r := range sample.Want {
				if !slices.Contains(names, r.Stream) {
					t.Errorf("%s: stream %q is not among the streams that the Definition says it receives: %v", sample.Name, r.Stream, names)
				}
			}
		}
	}
	if def.Settings != nil {
		receiverCheckSchema(t, "settings", def.Settings, s.Settings)
	}
	holder := def.Connection
	if s.InApp {
		holder = def.App
	}
	if holder == nil {
		t.Fatal("a receiver without a connection has no secret")
	}
	connection := s.Connect(s.Secret)
	schema := receiverCheckSchema(t, "connection", holder, connection)
	var value any
	if err := json.Unmarshal(connection, &value); err != nil {
		t.Fatal(err)
	}
	if !receiverCheckMasked(t, "connection", value, schema, s.Secret) {
		t.Error("Connect makes a connection without the secret")
	}
	if strings.Contains(string(s.Settings), s.Secret) {
		t.Error("the settings, which stand in files, hold the secret")
	}
	unknown := s.config(connection, receiverNow)
	unknown.Settings = receiverWithUnknown(t, s.Settings)
	for name, c := range map[string]connectors.Config{
		"settings": unknown, "connection": s.config(receiverWithUnknown(t, connection), receiverNow),
	} {
		if _, err := def.OpenSource(c); err == nil || !strings.Contains(err.Error(), "no_such_field") {
			t.Errorf("%s with no_such_field: got %v, want an error that names it", name, err)
		} else {
			s.checkError(t, name, err, connectors.Invalid)
		}
	}
}

// receiverCheckSchema generates the schema of a Definition's type and holds a value against it.
func receiverCheckSchema(t *testing.T, name string, typ any, value json.RawMessage) map[string]any {
	t.Helper()
	reflector := &jsonschema.Reflector{RequiredFromJSONSchemaTags: true, DoNotReference: true, Anonymous: true}
	src, err := json.Marshal(reflector.Reflect(typ))
	if err != nil {
		t.Fatalf("schema of %s: %v", name, err)
	}
	decode := func(src []byte) any {
		v, err := validator.UnmarshalJSON(strings.NewReader(string(src)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	schema := decode(src)
	compiler := validator.NewCompiler()
	if err := compiler.AddResource(name+".json", schema); err != nil {
		t.Fatalf("schema of %s: %v", name, err)
	}
	compiled, err := compiler.Compile(name + ".json")
	if err != nil {
		t.Fatalf("schema of %s: %v", name, err)
	}
	if len(value) > 0 {
		if err := compiled.Validate(decode(value)); err != nil {
			t.Errorf("the schema of %s refuses what the connector accepts: %v", name, err)
		}
	}
	return schema.(map[string]any)
}

// receiverCheckMasked finds the secret in a value and checks that its field says format=password, by which the rest of
// the program knows what to hide.
func receiverCheckMasked(t *testing.T, path string, value any, schema map[string]any, secret string) bool {
	t.Helper()
	found := false
	switch v := value.(type) {
	case string:
		if found = strings.Contains(v, secret); found && schema["format"] != "password" {
			t.Errorf("%s holds a secret and has no format=password", path)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			field, _ := properties[name].(map[string]any)
			found = receiverCheckMasked(t, path+"."+name, v[name], field, secret) || found
		}
	case []any:
		items, _ := schema["items"].(map[string]any)
		for _, element := range v {
			found = receiverCheckMasked(t, path+"[]", element, items, secret) || found
		}
	}
	return found
}

func receiverWithUnknown(t *testing.T, src json.RawMessage) json.RawMessage {
	t.Helper()
	fields := make(map[string]json.RawMessage)
	if len(src) > 0 {
		if err := json.Unmarshal(src, &fields); err != nil {
			t.Fatal(err)
		}
	}
	fields["no_such_field"] = json.RawMessage("1")
	out, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
