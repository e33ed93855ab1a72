package sandbox

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

//go:embed schema.graphql
var schemaSource string

// loadSchema panics on a fault in the schema: it is part of the program.
func loadSchema() *ast.Schema {
	return gqlparser.MustLoadSchema(&ast.Source{Name: "schema.graphql", Input: schemaSource})
}

// fields is a GraphQL object as a map; a value is nil, a scalar, fields, a list of either, a nested connection, or what makes one.
type fields map[string]any

// nested is a connection within an object: all of it, to be cut by the field's arguments.
type nested []fields

// connection is a cut of a collection.
type connection struct {
	nodes   []fields
	cursors []string
	more    bool
	// written is told of each node's bytes.
	written func(i int, node []byte)
}

// fault is an error of a query with the vendor's code.
type fault struct {
	code, message string
}

func (f *fault) Error() string { return f.message }

// answer is the outcome of one request, written in the order in which the query selects, as GraphQL demands and as the connector's
// scanning is quickest with.
type answer struct {
	data     bytes.Buffer
	errors   []gqlError
	cost     int
	warnings []searchWarning
	// bulk, in a bulk operation, takes the connections within an object.
	bulk func(o fields, f *ast.Field)
}

// gqlError is an error as the vendor writes it: https://shopify.dev/docs/api/admin-graphql#status_and_error_codes
type gqlError struct {
	Message    string              `json:"message"`
	Locations  []gqlerror.Location `json:"locations,omitempty"`
	Path       []string            `json:"path,omitempty"`
	Extensions map[string]any      `json:"extensions,omitempty"`
}

type searchWarning struct {
	Path     []string         `json:"path"`
	Query    string           `json:"query"`
	Warnings []map[string]any `json:"warnings"`
}

var unknownField = regexp.MustCompile(`^Cannot query field "(\w+)" on type "(\w+)"`)

// parse reads and validates a query and its variables against the schema.
func parse(schema *ast.Schema, query string, variables map[string]any) (*ast.OperationDefinition, map[string]any, []gqlError) {
	doc, problems := gqlparser.LoadQueryWithRules(schema, query, rules.NewDefaultRules())
	if problems != nil {
		var out []gqlError
		for _, p := range problems {
			e := gqlError{Message: p.Message, Locations: p.Locations, Extensions: map[string]any{"code": "parseError"}}
			if p.Rule != "" {
				e.Extensions["code"] = strings.ToLower(p.Rule[:1]) + p.Rule[1:]
			}
			if m := unknownField.FindStringSubmatch(p.Message); m != nil {
				e.Message = fmt.Sprintf("Field '%s' doesn't exist on type '%s'", m[1], m[2])
				e.Extensions = map[string]any{"code": "undefinedField", "typeName": m[2], "fieldName": m[1]}
			}
			out = append(out, e)
		}
		return nil, nil, out
	}
	if len(doc.Operations) != 1 {
		return nil, nil, []gqlError{{Message: "want one operation"}}
	}
	op := doc.Operations[0]
	values, err := validator.VariableValues(schema, op, variables)
	if err != nil {
		return nil, nil, []gqlError{{Message: err.Error(), Extensions: map[string]any{"code": "INVALID_VARIABLE"}}}
	}
	return op, values, nil
}

// selected flattens fragments into the fields that they hold.
func selected(set ast.SelectionSet) []*ast.Field { return selectedOf(set, "") }

// selectedOf leaves out fragments for other types than the object's, where that is known.
func selectedOf(set ast.SelectionSet, typename string) (out []*ast.Field) {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			out = append(out, sel)
		case *ast.InlineFragment:
			if typename != "" && sel.TypeCondition != "" && sel.TypeCondition != typename {
				continue
			}
			out = append(out, selectedOf(sel.SelectionSet, typename)...)
		case *ast.FragmentSpread:
			out = append(out, selectedOf(sel.Definition.SelectionSet, typename)...)
		}
	}
	return out
}

// run resolves each root field by resolve; one that fails is null and its error stands beside the data.
func (a *answer) run(op *ast.OperationDefinition, vars map[string]any, resolve func(field *ast.Field, args map[string]any) (any, error)) {
	if op.Operation == ast.Mutation {
		a.cost += 10
	}
	a.data.WriteByte('{')
	for i, f := range selected(op.SelectionSet) {
		if i > 0 {
			a.data.WriteByte(',')
		}
		a.name(f.Alias)
		v, err := resolve(f, f.ArgumentMap(vars))
		if err != nil {
			a.fail(f, err)
			v = nil
		}
		a.value(v, f, vars)
	}
	a.data.WriteByte('}')
}

// fail notes that a field could not be answered.
func (a *answer) fail(f *ast.Field, err error) {
	e := gqlError{Message: err.Error(), Path: []string{f.Alias}}
	if f.Position != nil {
		e.Locations = []gqlerror.Location{{Line: f.Position.Line, Column: f.Position.Column}}
	}
	if known, ok := err.(*fault); ok && known.code != "" {
		e.Extensions = map[string]any{"code": known.code}
	}
	a.errors = append(a.errors, e)
}

func (a *answer) name(s string) {
	a.data.WriteByte('"')
	a.data.WriteString(s)
	a.data.WriteString(`":`)
}

func (a *answer) value(v any, f *ast.Field, vars map[string]any) {
	switch v := v.(type) {
	case nil:
		a.data.WriteString("null")
	case fields:
		a.object(v, f, vars)
	case func() any: // made when it is asked for
		a.value(v(), f, vars)
	case []any:
		a.data.WriteByte('[')
		for i, o := range v {
			if i > 0 {
				a.data.WriteByte(',')
			}
			a.value(o, f, vars)
		}
		a.data.WriteByte(']')
	case chosen:
		c, err := v.connection(f.ArgumentMap(vars))
		if err != nil {
			a.fail(f, err)
			a.data.WriteString("null")
			return
		}
		a.connection(c, f, vars)
	case []fields:
		a.data.WriteByte('[')
		for i, o := range v {
			if i > 0 {
				a.data.WriteByte(',')
			}
			a.object(o, f, vars)
		}
		a.data.WriteByte(']')
	case nested:
		n := integer(f.ArgumentMap(vars)["first"])
		c := connection{nodes: v[:min(n, len(v))], more: len(v) > n}
		for i := range c.nodes {
			c.cursors = append(c.cursors, encodeCursor(position{Seq: i + 1}))
		}
		a.connection(c, f, vars)
	case connection:
		a.connection(v, f, vars)
	default:
		a.scalar(v)
	}
}

func (a *answer) scalar(v any) {
	// Markup stays as it is: the vendor does not escape it.
	enc := json.NewEncoder(&a.data)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("sandbox: scalar of type %T: %v", v, err)) // only a fault in this package's own tables
	}
	a.data.Truncate(a.data.Len() - 1) // the encoder's newline
}

func (a *answer) object(o fields, f *ast.Field, vars map[string]any) {
	a.cost++
	a.data.WriteByte('{')
	typename, _ := o["__typename"].(string)
	first := true
	for _, sub := range selectedOf(f.SelectionSet, typename) {
		if a.bulk != nil && strings.HasSuffix(sub.Definition.Type.Name(), "Connection") {
			a.bulk(o, sub) // its nodes become lines of their own
			continue
		}
		if !first {
			a.data.WriteByte(',')
		}
		first = false
		a.name(sub.Alias)
		if sub.Name == "__typename" {
			a.scalar(sub.ObjectDefinition.Name)
			continue
		}
		a.value(o[sub.Name], sub, vars)
	}
	a.data.WriteByte('}')
}

func (a *answer) connection(c connection, f *ast.Field, vars map[string]any) {
	a.cost += 2
	a.data.WriteByte('{')
	for i, sub := range selected(f.SelectionSet) {
		if i > 0 {
			a.data.WriteByte(',')
		}
		a.name(sub.Alias)
		switch sub.Name {
		case "nodes":
			a.data.WriteByte('[')
			for j, o := range c.nodes {
				if j > 0 {
					a.data.WriteByte(',')
				}
				a.node(c, j, o, sub, vars)
			}
			a.data.WriteByte(']')
		case "edges":
			a.edges(c, sub, vars)
		case "pageInfo":
			info := fields{"hasNextPage": c.more, "endCursor": nil}
			if len(c.cursors) > 0 {
				info["endCursor"] = c.cursors[len(c.cursors)-1]
			}
			a.cost-- // the vendor's figures leave it out
			a.object(info, sub, vars)
		case "__typename":
			a.scalar(sub.ObjectDefinition.Name)
		}
	}
	a.data.WriteByte('}')
}

func (a *answer) edges(c connection, f *ast.Field, vars map[string]any) {
	a.data.WriteByte('[')
	for j, o := range c.nodes {
		if j > 0 {
			a.data.WriteByte(',')
		}
		a.data.WriteByte('{')
		for i, sub := range selected(f.SelectionSet) {
			if i > 0 {
				a.data.WriteByte(',')
			}
			a.name(sub.Alias)
			switch sub.Name {
			case "cursor":
				a.scalar(c.cursors[j])
			case "node":
				a.node(c, j, o, sub, vars)
			case "__typename":
				a.scalar(sub.ObjectDefinition.Name)
			}
		}
		a.data.WriteByte('}')
	}
	a.data.WriteByte(']')
}

func (a *answer) node(c connection, i int, o fields, f *ast.Field, vars map[string]any) {
	from := a.data.Len()
	a.object(o, f, vars)
	if c.written != nil {
		c.written(i, a.data.Bytes()[from:])
	}
}
