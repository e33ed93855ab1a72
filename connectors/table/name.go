package table

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"tributary/connectors"
	"tributary/connectors/template"
)

// Own is the prefix of the tables that a destination keeps for itself beside those of the records.
const Own = "_tributary_"

// Ledger and Rejections are the tables that a destination keeps its place in (I3). Memory says, in layout columns, what columns hold: for each
// column that has a Part a row of table, column, part, field and the type that the column was made with, which is empty for the operator's.
const (
	Ledger     = Own + "ledger"
	Rejections = Own + "rejected"
	Memory     = Own + "columns"
)

// Name is a template of a table's name, such as "{integration}_{stream}".
type Name struct{ template.Template }

// ParseName reads a template. Its variables are {stream}, {integration} and {user}; "" means "{stream}".
func ParseName(s string) (Name, error) {
	if s == "" {
		s = "{stream}"
	}
	t, err := template.Parse("table", s, "stream", "integration", "user")
	if err != nil {
		return Name{}, err
	}
	if name, fixed := t.Fixed(); fixed && reserved(name) {
		return Name{}, connectors.Errorf(connectors.Invalid, "settings", "table %q: names that begin with %s are taken", s, Own)
	}
	return Name{t}, nil
}

// For is the name of the table for a stream's records, at most max bytes long: a longer name is cut and ends in a hash of
// the whole, so that two long names with the same beginning are two tables.
func (n Name) For(b connectors.Batch, stream string, max int) string {
	r := &connectors.Record{Stream: stream}
	name := n.Expand(func(variable string) string { return template.Value(&b, r, variable) })
	return template.Fit(name, max, "_", nil)
}

// withHash is a name of at most max bytes that ends in a hash of what it stands for.
func withHash(name, of string, max int) string {
	sum := sha256.Sum256([]byte(of))
	suffix := "_" + hex.EncodeToString(sum[:4])
	return connectors.Clip(name, max-len(suffix)) + suffix
}

// reserved looks at the name as a database does that ignores case.
func reserved(name string) bool { return strings.HasPrefix(strings.ToLower(name), Own) }
