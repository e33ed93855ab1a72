package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// MaxFileBytes bounds an integration file.
	MaxFileBytes = 1 << 20
	// maxTokens bounds what the YAML parser is given: its time grows with the square of a mapping's length.
	maxTokens = 20_000
	maxDepth  = 64
)

// document is an integration as JSON values, with the place of each in the file.
type document struct {
	file     string
	root     any                 // map[string]any, []any, json.Number, string, bool or nil
	places   map[string]position // by JSON pointer: the key of what has parts, else the value
	problems Problems            // those of YAML itself
	refused  map[string]bool     // where they are, by JSON pointer
}

type position struct{ line, column int }

// position finds where to point for a value; for one that is missing, what it would be a part of.
func (d *document) position(at []string) position {
	for n := len(at); n >= 0; n-- {
		if pos, ok := d.places[pointer(at[:n])]; ok {
			return pos
		}
	}
	return position{}
}

func (d *document) refuse(pos position, at []string, format string, args ...any) {
	d.problems = append(d.problems, d.problem(pos, at, fmt.Sprintf(format, args...)))
	if len(at) > 0 {
		d.refused[pointer(at)] = true
	}
}

func (d *document) problem(pos position, at []string, message string) Problem {
	return Problem{File: d.file, Line: pos.line, Column: pos.column, Field: redact(fieldPath(at)), Message: redact(message)}
}

// readYAML reads one YAML document of plain values: no anchors, aliases, merge keys or tags, no key twice.
func readYAML(file string, src []byte) document {
	d := document{file: file, places: make(map[string]position), refused: make(map[string]bool)}
	start := position{1, 1}
	switch {
	case len(src) > MaxFileBytes:
		d.refuse(start, nil, "the file has %d bytes; at most %d are read", len(src), MaxFileBytes)
		return d
	case !utf8.Valid(src):
		d.refuse(start, nil, "the file is not UTF-8 text")
		return d
	}
	body, extra, err := parseYAML(src)
	if err != nil {
		pos, message := start, err.Error()
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			// The error's own text shows lines of the file, which may hold a secret.
			pos, message = positionOf(syntax.Token), syntax.Message
		}
		d.refuse(pos, nil, "not valid YAML: %s", message)
		return d
	}
	if extra != nil {
		d.refuse(positionOf(extra), nil, "a second YAML document; write one integration a file")
	}
	if body == nil {
		d.refuse(start, nil, "the file is empty; an integration has at least name, source and destinations")
		return d
	}
	d.root = d.value(body, nil, position{})
	return d
}

// parseYAML returns the first document's body, nil for none, and the first token of a second document.
func parseYAML(src []byte) (body ast.Node, extra *token.Token, err error) {
	// The input is anyone's, and the parser isn't ours: a panic of its is an answer about the file.
	defer func() {
		if recover() != nil {
			body, extra, err = nil, nil, errors.New("it cannot be understood")
		}
	}()
	tokens := lexer.Tokenize(string(src))
	if len(tokens) > maxTokens {
		return nil, nil, fmt.Errorf("more than %d words and signs", maxTokens)
	}
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, nil, err
	}
	for _, doc := range parsed.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.DirectiveType || doc.Body.Type() == ast.CommentType:
		case body == nil:
			body = doc.Body
		default:
			return body, doc.Body.GetToken(), nil
		}
	}
	return body, nil, nil
}

// value converts a node and notes the place of everything in it. key is the place of the node's key, if it has one.
func (d *document) value(node ast.Node, at []string, key position) any {
	pos := positionOf(node.GetToken())
	d.places[pointer(at)] = pos
	if len(at) > maxDepth {
		d.refuse(pos, at, "nested deeper than %d levels", maxDepth)
		return nil
	}
	switch n := node.(type) {
	case *ast.MappingNode:
		return d.mapping(n.Values, at, key)
	case *ast.MappingValueNode:
		return d.mapping([]*ast.MappingValueNode{n}, at, key)
	case *ast.SequenceNode:
		d.place(at, key)
		list := make([]any, len(n.Values))
		for i, item := range n.Values {
			list[i] = d.value(item, part(at, strconv.Itoa(i)), position{})
		}
		return list
	case *ast.StringNode:
		return plain(n)
	case *ast.LiteralNode:
		return n.Value.Value
	case *ast.IntegerNode:
		return d.number(n.Token.Value, n.Value, pos, at)
	case *ast.FloatNode:
		return d.number(n.Token.Value, nil, pos, at)
	case *ast.BoolNode:
		return n.Value
	case *ast.NullNode:
		return nil
	case *ast.InfinityNode, *ast.NanNode:
		d.refuse(pos, at, "want a finite number")
	case *ast.AnchorNode:
		d.refuse(pos, at, "anchors (&) are not read; write the value where it is used")
		return d.value(n.Value, at, key)
	case *ast.AliasNode:
		d.refuse(pos, at, "aliases (*) are not read; write the value itself")
	case *ast.TagNode:
		d.refuse(pos, at, "tags (!) are not read; quote what is to be text")
		if n.Value != nil {
			return d.value(n.Value, at, key)
		}
	default:
		d.refuse(pos, at, "%s is not read here; write a plain value", strings.ToLower(node.Type().String()))
	}
	return nil
}

func (d *document) mapping(values []*ast.MappingValueNode, at []string, key position) any {
	if key == (position{}) && len(values) > 0 {
		key = positionOf(values[0].Key.GetToken())
	}
	d.place(at, key)
	m := make(map[string]any, len(values))
	for _, v := range values {
		pos := positionOf(v.Key.GetToken())
		if v.Key.IsMergeKey() {
			d.refuse(pos, part(at, "<<"), "merge keys (<<) are not read; write the fields themselves")
			continue
		}
		name := v.Key.GetToken().Value
		child := part(at, name)
		switch v.Key.(type) {
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		default:
			d.refuse(pos, part(at, "?"), "a key is a plain word")
			continue
		}
		if _, twice := m[name]; twice {
			d.refuse(pos, child, "written twice, first in line %d", d.places[pointer(child)].line)
			continue
		}
		m[name] = d.value(v.Value, child, pos)
	}
	return m
}

func (d *document) place(at []string, key position) {
	if key != (position{}) {
		d.places[pointer(at)] = key
	}
}

// jsonNumber is a number as JSON has it, not too long to compare.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,400})(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?$`)

// plain is the value of an unquoted or quoted scalar. The parser calls numbers that fit no machine type strings.
func plain(n *ast.StringNode) any {
	if n.Token.Type == token.StringType && jsonNumber.MatchString(n.Value) {
		return json.Number(n.Value)
	}
	return n.Value
}

// number keeps what is written, digit for digit. What isn't a number in JSON too is read differently by different
// YAML libraries (010, 1_000), so it is refused; 0x and 0o have one meaning.
func (d *document) number(text string, parsed any, pos position, at []string) any {
	switch {
	case jsonNumber.MatchString(text):
		return json.Number(text)
	case strings.HasPrefix(text, "0x"), strings.HasPrefix(text, "0o"):
		return json.Number(fmt.Sprint(parsed))
	}
	d.refuse(pos, at, "write the number in plain decimal digits, such as 10 or 0.5, or quote it to make it text")
	return nil
}

func positionOf(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, max(t.Position.Column, 1)}
}

// part is the place of a part of what is at a place; it shares no memory with it.
func part(at []string, name string) []string {
	return append(at[:len(at):len(at)], name)
}
