package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"

	"github.com/invopop/jsonschema"

	"tributary/connectors"
)

// Schema is the JSON Schema (2020-12) of an integration file, with the settings, modes, layouts and streams of each
// connector of the registry. Editors use it, and so does Parse. Equal registries give equal bytes.
func Schema(reg *connectors.Registry) ([]byte, error) {
	r := jsonschema.Reflector{Anonymous: true, RequiredFromJSONSchemaTags: true, ExpandedStruct: true}
	root := r.Reflect(Spec{})
	root.Title = "Tributary integration"
	root.Description = "Sends the records of one source to one or more destinations."
	source, destination := root.Definitions["Source"], root.Definitions["Destination"]
	if source == nil || destination == nil {
		return nil, fmt.Errorf("schema: the types Source and Destination are not among the definitions")
	}
	var sources, destinations []any
	for _, name := range reg.Names() {
		def, err := reg.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
		settings := settingsSchema(def, root.Definitions)
		if def.OpenSource != nil {
			sources = append(sources, name)
			source.AllOf = append(source.AllOf, whenConnector(def, settings, streamsOf(def)))
		}
		if def.OpenDestination != nil {
			destinations = append(destinations, name)
			can := property("mode", &jsonschema.Schema{Enum: anys(def.Modes), Default: def.Modes[0]})
			can.Properties.Set("layout", &jsonschema.Schema{Enum: anys(layouts(def)), Default: layouts(def)[0]})
			destination.AllOf = append(destination.AllOf, whenConnector(def, settings, can))
		}
	}
	setConnectors(source, sources)
	setConnectors(destination, destinations)
	raw, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return append(raw, '\n'), nil
}

// WriteSchema puts Schema into a file for editors, and reports whether the file was stale.
func WriteSchema(file string, reg *connectors.Registry) (stale bool, err error) {
	raw, err := Schema(reg)
	if err != nil {
		return false, err
	}
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, raw) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return true, fmt.Errorf("write schema: %w", err)
	}
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		return true, fmt.Errorf("write schema: %w", err)
	}
	return true, nil
}

// settingsSchema describes a connector's settings and puts the types they are made of among the definitions, under
// names that no other connector's types have.
func settingsSchema(def connectors.Definition, definitions jsonschema.Definitions) *jsonschema.Schema {
	if def.Settings == nil {
		return &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.FalseSchema}
	}
	r := jsonschema.Reflector{
		Anonymous: true, RequiredFromJSONSchemaTags: true, ExpandedStruct: true,
		Namer: func(t reflect.Type) string {
			if t.Name() == "" || t.PkgPath() == "" {
				return ""
			}
			return def.Name + "." + path.Base(t.PkgPath()) + "." + t.Name()
		},
	}
	s := r.Reflect(def.Settings)
	s.Version = ""
	for name, d := range s.Definitions {
		definitions[name] = d
	}
	s.Definitions = nil
	return s
}

// whenConnector makes rules hold for the blocks of one connector.
func whenConnector(def connectors.Definition, settings, more *jsonschema.Schema) *jsonschema.Schema {
	is := property("connector", &jsonschema.Schema{Const: def.Name})
	is.Required = []string{"connector"}
	then := property("settings", settings)
	if len(settings.Required) > 0 {
		then.Required = []string{"settings"}
	}
	if more != nil {
		for p := more.Properties.Oldest(); p != nil; p = p.Next() {
			then.Properties.Set(p.Key, p.Value)
		}
	}
	return &jsonschema.Schema{If: is, Then: then}
}

func streamsOf(def connectors.Definition) *jsonschema.Schema {
	if def.AnyStream {
		return nil
	}
	var names []string
	for _, s := range def.Streams {
		names = append(names, s.Name)
	}
	return property("streams", &jsonschema.Schema{Items: &jsonschema.Schema{Enum: anys(names)}})
}

// setConnectors names the connectors that a kind of block can have, and bounds the names of its streams.
func setConnectors(block *jsonschema.Schema, names []any) {
	if p, ok := block.Properties.Get("connector"); ok {
		p.Enum = names
	}
	if p, ok := block.Properties.Get("streams"); ok {
		p.Items.MinLength, p.Items.MaxLength = new(uint64(1)), new(uint64(128))
	}
}

func property(name string, s *jsonschema.Schema) *jsonschema.Schema {
	properties := jsonschema.NewProperties()
	properties.Set(name, s)
	return &jsonschema.Schema{Properties: properties}
}

func anys[T ~string](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}
