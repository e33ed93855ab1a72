// Package template reads what settings write with variables in it, such as {integration}_{stream}.
package template

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"tributary/connectors"
)

// Template is text with variables in braces. It is safe for concurrent use.
type Template struct {
	// parts alternate: text, variable, text, variable, ..., text.
	parts []string
}

// Parse reads a template that may use the variables. Its error, of kind Invalid, begins with the name of the setting.
func Parse(setting, s string, variables ...string) (Template, error) {
	var t Template
	rest := s
	for {
		text, after, found := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return Template{}, connectors.Errorf(connectors.Invalid, "settings", "%s %q has a } without a {", setting, s)
		}
		t.parts = append(t.parts, text)
		if !found {
			return t, nil
		}
		variable, end, closed := strings.Cut(after, "}")
		if !closed || !slices.Contains(variables, variable) {
			return Template{}, connectors.Errorf(connectors.Invalid, "settings", "%s %q: want the variables {%s}", setting, s, strings.Join(variables, "}, {"))
		}
		t.parts = append(t.parts, variable)
		rest = end
	}
}

// Fixed returns the text and true where no variable stands in it.
func (t Template) Fixed() (string, bool) { return t.parts[0], len(t.parts) == 1 }

// Uses says whether one of the variables stands in it.
func (t Template) Uses(variables ...string) bool {
	for i := 1; i < len(t.parts); i += 2 {
		if slices.Contains(variables, t.parts[i]) {
			return true
		}
	}
	return false
}

// Expand puts values in the places of the variables.
func (t Template) Expand(value func(variable string) string) string {
	if text, fixed := t.Fixed(); fixed {
		return text
	}
	var s strings.Builder
	for i, part := range t.parts {
		if i%2 == 1 {
			part = value(part)
		}
		s.WriteString(part)
	}
	return s.String()
}

// Variables are what Value knows: those of the batch, and those of the record.
var (
	OfBatch  = []string{"installation", "integration", "user"}
	OfRecord = []string{"stream", "id", "key", "op", "version"}
)

// Value is what a variable stands for in a record of a batch.
func Value(b *connectors.Batch, r *connectors.Record, variable string) string {
	switch variable {
	case "installation":
		return b.Installation
	case "integration":
		return b.Integration
	case "user":
		return b.User
	case "stream":
		return r.Stream
	case "id":
		return r.ID
	case "key":
		return r.Key
	case "op":
		return string(r.Op)
	case "version":
		return strconv.FormatInt(r.Version, 10)
	}
	panic("template: no variable " + variable)
}

// Fit makes a name of at most max bytes out of one of any length and characters: each byte that legal refuses (nil: none) becomes _, and a
// name that had to be changed ends in a separator and a hash of the whole, so that two names never become one.
func Fit(name string, max int, separator string, legal func(byte) bool) string {
	fit := func(c byte) bool { return legal == nil || legal(c) }
	illegal := func() bool {
		for i := range len(name) {
			if !fit(name[i]) {
				return true
			}
		}
		return false
	}
	if len(name) <= max && !illegal() {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	suffix := separator + hex.EncodeToString(sum[:4])
	cut := []byte(connectors.Clip(name, max-len(suffix)))
	for i, c := range cut {
		if !fit(c) {
			cut[i] = '_'
		}
	}
	return string(cut) + suffix
}
