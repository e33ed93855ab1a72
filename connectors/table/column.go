package table

import (
	"strings"
	"unicode"
)

// Dialect is what a database can hold, as far as the columns of payloads go.
type Dialect struct {
	// Integer and Fraction are how many digits its decimal type has before and behind the point: at least 19 and 1, so that what is
	// Integer is also Decimal. A number of more digits is JSON.
	Integer, Fraction int
	// Text is the longest text that it holds, in bytes; 0 = any. A longer one is JSON.
	Text int
	// Name is the longest name of a column, in bytes.
	Name int
	// Columns is how many columns a table has at most. A record that needs more is rejected.
	Columns int
	// Spell makes a name that the database takes; nil: control characters become underscores. It need not keep names apart.
	Spell func(field string) string
	// Fold makes equal what the database takes for the same name; nil: names are the same byte by byte.
	Fold func(name string) string
	// Reserved tells names that the database has for itself; nil: none.
	Reserved func(name string) bool
	// Widens tells whether a column can be changed from a type to another; nil: always. Asked about Integer to Decimal and about Boolean,
	// Integer, Decimal and Text to JSON.
	Widens func(from, to Type) bool
}

// Part is what of a field a column holds.
type Part string

const (
	Unused Part = ""        // nothing of a payload
	Main   Part = "value"   // the field's value
	Side   Part = "side"    // as JSON, what of the field's values does not fit the Main column
	Whole  Part = "payload" // as JSON, payloads that are no object
)

// Column is a column of a table, besides those of the metadata.
type Column struct {
	Name string
	Type Type
	// Native is the type as the database calls it; "" for one that has yet to be made.
	Native string
	// Part and Field say what it holds. Field is at most connectors.MaxIDBytes long and has no NUL; it is empty for Whole, and the name of a field
	// may be empty too.
	Part  Part
	Field string
	// Made says that it was made for that, and still has the type that it was given.
	Made bool
}

// Change is a step to the columns that a statement needs.
type Change struct {
	Op     ChangeOp
	Column Column // as it is to be
	From   Type   // Widen only: what it was
}

// ChangeOp is what a Change does. All of them write the column's Part and Field into Memory; Add and Widen with its new type, Adopt without.
type ChangeOp string

const (
	AddColumn   ChangeOp = "add"
	WidenColumn ChangeOp = "widen" // a column that has Made
	AdoptColumn ChangeOp = "adopt" // a column of the operator's is filled from now on; it is not altered
)

// KeptError says that a column can't be widened, for what depends on it or for its size: what does not fit goes into a side column. Store.Change
// returns it and has changed nothing then.
type KeptError struct {
	Column string
	Err    error
}

func (e *KeptError) Error() string { return "the column can't be widened: " + e.Column }

func (e *KeptError) Unwrap() error { return e.Err }

// Pending are the changes that are still to be made to a table of these columns: another writer may have made them, or others.
func (d *Dialect) Pending(changes []Change, now []Column) []Change {
	there := make(map[string]Column, len(now))
	for _, c := range now {
		there[d.fold(c.Name)] = c
	}
	var pending []Change
	for _, c := range changes {
		old, exists := there[d.fold(c.Column.Name)]
		switch c.Op {
		case AddColumn:
			if !exists {
				pending = append(pending, c)
			}
		case WidenColumn:
			if exists && old.Made && old.Type == c.From {
				pending = append(pending, c)
			}
		case AdoptColumn:
			if exists && old.Part == Unused {
				pending = append(pending, c)
			}
		}
	}
	return pending
}

// Names of columns that no field gets. Those of the metadata are the same in every layout and mode.
var metadata = []string{"_installation", "_stream", "_id", "_key", "_op", "_version", "_version_seen", "_occurred_at", "_received_at", "_ordinal", wholeColumn}

const (
	wholeColumn = "_data"
	dataColumn  = "data" // of layout raw
)

func (d *Dialect) fold(name string) string {
	if d.Fold == nil {
		return name
	}
	return d.Fold(name)
}

func (d *Dialect) reserved(name string) bool {
	for _, m := range metadata {
		if strings.EqualFold(name, m) {
			return true
		}
	}
	return d.Reserved != nil && d.Reserved(name)
}

// names are the names that a column for a field may have, the better one first: the field's own where the database takes it, and one with a hash of it, which
// no other field has.
func (d *Dialect) names(field string) []string {
	spelled := spell(field)
	if d.Spell != nil {
		spelled = d.Spell(field)
	}
	hashed := withHash(spelled, field, d.Name)
	if spelled == "" || len(spelled) > d.Name || d.reserved(spelled) {
		return []string{hashed}
	}
	return []string{spelled, hashed}
}

func spell(field string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '_'
		}
		return r
	}, field)
}
