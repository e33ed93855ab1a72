package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"tributary/connectors"
)

// rules are the Schema of a registry, ready to be checked against.
type rules struct {
	compiled *jsonschema.Schema
	schema   map[string]any
	settings map[string]map[string]any // the schema of each connector's settings
}

const schemaURL = "integration.schema.json"

func newRules(reg *connectors.Registry) (*rules, error) {
	raw, err := Schema(reg)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	compiled, err := c.Compile(schemaURL)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	r := &rules{compiled: compiled, schema: object(doc), settings: make(map[string]map[string]any)}
	for _, block := range []string{"Source", "Destination"} {
		cases, _ := r.at("$defs", block)["allOf"].([]any)
		for _, c := range cases {
			if name, ok := dig(c, "if", "properties", "connector")["const"].(string); ok {
				r.settings[name] = dig(c, "then", "properties", "settings")
			}
		}
	}
	return r, nil
}

// check finds where the document departs from the schema.
func (r *rules) check(f *findings) error {
	err := r.compiled.Validate(f.doc.root)
	var violation *jsonschema.ValidationError
	switch {
	case err == nil:
	case errors.As(err, &violation):
		r.explain(f, violation)
	default:
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}

func (r *rules) explain(f *findings, v *jsonschema.ValidationError) {
	if _, ok := v.ErrorKind.(*kind.OneOf); ok {
		r.explainChoice(f, v)
		return
	}
	for _, cause := range v.Causes {
		r.explain(f, cause)
	}
	if len(v.Causes) > 0 {
		return
	}
	schema := r.at(strings.Split(fragment(v.SchemaURL), "/")...)
	at := v.InstanceLocation
	switch k := v.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			about := r.resolve(dig(schema, "properties", name))
			f.add(part(at, name), "missing; it is required%s", hint(about))
		}
	case *kind.AdditionalProperties:
		known := slices.Sorted(maps.Keys(dig(schema, "properties")))
		for _, name := range k.Properties {
			f.add(part(at, name), "%s", unknown("field", name, known))
		}
	case *kind.Enum:
		f.add(at, "%s", unknown(choice(at), word(k.Got), words(k.Want)))
	default:
		f.add(at, "%s", describe(v.ErrorKind)+hint(schema))
	}
}

// choice is what a field that has only some values is called.
func choice(at []string) string {
	for i := len(at) - 1; i >= 0; i-- {
		switch at[i] {
		case "connector", "mode", "layout", "schema", "trigger":
			return at[i]
		case "streams":
			return "stream"
		case "kind":
			return "trigger"
		case "settings":
			return "value"
		}
	}
	return "value"
}

// explainChoice explains only the alternatives that are of the value's own type: a map in which something is wrong
// was not meant to be a word.
func (r *rules) explainChoice(f *findings, v *jsonschema.ValidationError) {
	var want []string
	var meant []*jsonschema.ValidationError
	for _, cause := range v.Causes {
		if t := typeMismatch(cause, v.InstanceLocation); t != nil {
			want = append(want, typeNames(t.Want))
		} else {
			meant = append(meant, cause)
		}
	}
	if meant == nil {
		f.add(v.InstanceLocation, "want %s", strings.Join(want, " or "))
	}
	for _, cause := range meant {
		r.explain(f, cause)
	}
}

func typeMismatch(v *jsonschema.ValidationError, at []string) *kind.Type {
	if t, ok := v.ErrorKind.(*kind.Type); ok && slices.Equal(v.InstanceLocation, at) {
		return t
	}
	for _, cause := range v.Causes {
		if t := typeMismatch(cause, at); t != nil {
			return t
		}
	}
	return nil
}

// describe says what would be right. It never shows the value: the schema's own messages do, and it may be a secret.
func describe(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		if k.Got == "null" {
			return "has no value; want " + typeNames(k.Want) + ", or leave the line out"
		}
		return "want " + typeNames(k.Want) + ", got " + typeNames([]string{k.Got})
	case *kind.Const:
		return "want " + word(k.Want)
	case *kind.Pattern:
		return "does not have the right form"
	case *kind.Format:
		return "is not a valid " + k.Want
	case *kind.MinLength:
		return fmt.Sprintf("is too short; want at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("is too long; want at most %d characters", k.Want)
	case *kind.Minimum:
		return "is too small; want at least " + decimal(k.Want)
	case *kind.Maximum:
		return "is too large; want at most " + decimal(k.Want)
	case *kind.ExclusiveMinimum:
		return "is too small; want more than " + decimal(k.Want)
	case *kind.ExclusiveMaximum:
		return "is too large; want less than " + decimal(k.Want)
	case *kind.MultipleOf:
		return "want a multiple of " + decimal(k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("has %d entries; want at least %d", k.Got, k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("has %d entries; want at most %d", k.Got, k.Want)
	case *kind.MinProperties:
		return fmt.Sprintf("has %d fields; want at least %d", k.Got, k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("has %d fields; want at most %d", k.Got, k.Want)
	case *kind.UniqueItems:
		return fmt.Sprintf("entries %d and %d are the same", k.Duplicates[0]+1, k.Duplicates[1]+1)
	case *kind.DependentRequired:
		return "with " + k.Prop + " it also needs " + strings.Join(k.Missing, ", ")
	}
	return "is not allowed here"
}

func typeNames(types []string) string {
	names := map[string]string{
		"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
		"array": "a list", "object": "a map of fields", "null": "nothing",
	}
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = names[t]
	}
	return strings.Join(out, " or ")
}

func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// hint is what the schema says about a field.
func hint(schema map[string]any) string {
	text, _ := schema["description"].(string)
	if text == "" {
		return ""
	}
	return ": " + text
}

func words(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = word(v)
	}
	return out
}

// word shows a single value, and of what has parts only what it is.
func word(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number, bool:
		return fmt.Sprint(v)
	case nil:
		return "nothing"
	case []any:
		return "a list"
	}
	return "a map of fields"
}

// at finds a part of the schema.
func (r *rules) at(path ...string) map[string]any { return dig(r.schema, path...) }

// resolve follows a reference; what is said beside it counts first.
func (r *rules) resolve(schema map[string]any) map[string]any {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	target := maps.Clone(r.at(strings.Split(fragment(ref), "/")...))
	maps.Copy(target, schema)
	delete(target, "$ref")
	return target
}

// fragment is the JSON pointer of a schema's URL without its first slash.
func fragment(ref string) string {
	_, after, _ := strings.Cut(ref, "#")
	if plain, err := url.PathUnescape(after); err == nil {
		after = plain
	}
	return strings.TrimPrefix(after, "/")
}

// dig follows a path into JSON values; nil where it leads nowhere.
func dig(v any, path ...string) map[string]any {
	for _, token := range path {
		if token == "" {
			continue
		}
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch parent := v.(type) {
		case map[string]any:
			v = parent[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(parent) {
				return nil
			}
			v = parent[i]
		default:
			return nil
		}
	}
	return object(v)
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
