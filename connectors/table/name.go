package table

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"tributary/connectors"
)

// Own is the prefix of the tables that a destination keeps for itself beside those of the records.
const Own = "_tributary_"

// Ledger and Rejections are the tables that a destination keeps its place in (I3).
const (
	Ledger     = Own + "ledger"
	Rejections = Own + "rejected"
)

var variables = []string{"stream", "integration", "user"}

// Name is a template of a table's name, such as "{integration}_{stream}".
type Name struct {
	// parts alternate: text, variable, text, variable, ..., text.
	parts []string
}

// ParseName reads a template. Its variables are {stream}, {integration} and {user}; "" means "{stream}".
func ParseName(s string) (Name, error) {
	if s == "" {
		s = "{stream}"
	}
	var n Name
	rest := s
	for {
		text, after, found := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return Name{}, connectors.Errorf(connectors.Invalid, "settings", "table %q has a } without a {", s)
		}
		n.parts = append(n.parts, text)
		if !found {
			break
		}
		variable, end, closed := strings.Cut(after, "}")
		if !closed || !slices.Contains(variables, variable) {
			return Name{}, connectors.Errorf(connectors.Invalid, "settings", "table %q: want the variables {%s}", s, strings.Join(variables, "}, {"))
		}
		n.parts = append(n.parts, variable)
		rest = end
	}
	if name, fixed := n.Fixed(); fixed && reserved(name) {
		return Name{}, connectors.Errorf(connectors.Invalid, "settings", "table %q: names that begin with %s are taken", s, Own)
	}
	return n, nil
}

// Fixed returns the name and true where it is the same for all records.
func (n Name) Fixed() (string, bool) { return n.parts[0], len(n.parts) == 1 }

// For is the name of the table for a stream's records, at most max bytes long: a longer name is cut and ends in a hash of
// the whole, so that two long names with the same beginning are two tables.
func (n Name) For(b connectors.Batch, stream string, max int) string {
	var s strings.Builder
	for i, part := range n.parts {
		if i%2 == 1 {
			switch part {
			case "stream":
				part = stream
			case "integration":
				part = b.Integration
			case "user":
				part = b.User
			}
		}
		s.WriteString(part)
	}
	name := s.String()
	if len(name) <= max {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	suffix := "_" + hex.EncodeToString(sum[:4])
	return connectors.Clip(name, max-len(suffix)) + suffix
}

// reserved looks at the name as a database does that ignores case.
func reserved(name string) bool { return strings.HasPrefix(strings.ToLower(name), Own) }
