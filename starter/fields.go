package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"tributary/connectors"
)

// schemaOf describes a connector's settings or connection, from the Go type that they are decoded into.
func schemaOf(v any) *jsonschema.Schema {
	r := jsonschema.Reflector{Anonymous: true, RequiredFromJSONSchemaTags: true, DoNotReference: true, ExpandedStruct: true}
	s := r.Reflect(v)
	s.Version = ""
	return s
}

// checkAgainst checks a secret against the type of a connector's connection or of an app's credentials, which what names. Its errors name
// fields and repeat no value (I7).
func checkAgainst(connector, what string, like any, secret []byte) error {
	refuse := func(problems ...string) error {
		return usage("%s of %s:\n  %s\n`starter connectors describe %s` lists its fields; nothing was stored",
			what, connector, strings.Join(problems, "\n  "), connector)
	}
	if len(bytes.TrimSpace(secret)) == 0 {
		return refuse("it is empty; want a JSON object from --file, --env or stdin")
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(secret))
	if err != nil {
		return refuse("it is not valid JSON; want an object such as {\"field\": \"value\"}")
	}
	raw, err := json.Marshal(schemaOf(like))
	if err != nil {
		return err
	}
	schema, err := validator.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	c := validator.NewCompiler()
	if err := c.AddResource("connection.json", schema); err != nil {
		return err
	}
	compiled, err := c.Compile("connection.json")
	if err != nil {
		return fmt.Errorf("schema of %s: %w", connector, err)
	}
	var wrong *validator.ValidationError
	if err := compiled.Validate(doc); errors.As(err, &wrong) {
		return refuse(problemsOf(wrong, like)...)
	} else if err != nil {
		return refuse("it is not as the connector wants it")
	}
	return nil
}

// problemsOf words the leaves of what the validator found.
func problemsOf(e *validator.ValidationError, like any) (out []string) {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			out = append(out, problemsOf(cause, like)...)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	at := strings.Join(e.InstanceLocation, ".")
	if at == "" {
		at = "the object"
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return []string{fmt.Sprintf("%s: missing %s", at, strings.Join(k.Missing, ", "))}
	case *kind.AdditionalProperties:
		return []string{fmt.Sprintf("%s: unknown field %s; known are %s", at, strings.Join(k.Properties, ", "), strings.Join(connectors.FieldNames(like), ", "))}
	case *kind.Type:
		return []string{fmt.Sprintf("%s: want %s, got %s", at, strings.Join(k.Want, " or "), k.Got)}
	case *kind.Enum:
		return []string{fmt.Sprintf("%s: want one of %v", at, k.Want)}
	case *kind.MinItems:
		return []string{fmt.Sprintf("%s: want at least %d", at, k.Want)}
	}
	return []string{at + ": is not of the form that the connector wants"}
}
