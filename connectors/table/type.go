package table

// Type is what a column holds, among the things that JSON has.
type Type uint8

const (
	// None is the type of null, which every column takes.
	None Type = iota
	Boolean
	Integer // of 64 bits
	Decimal // within the digits of the Dialect
	Text    // a string without NUL and without half a surrogate pair
	// Timestamp is only found, in tables of the operator's, never made: it takes strings of RFC 3339 in whole microseconds.
	Timestamp
	// JSON holds any value as the app spelled it.
	JSON
	// Other is a type that is none of these, in a table of the operator's: the database casts what comes, or refuses the row.
	Other
	// Closed is a column that takes no values, such as one that is computed.
	Closed
)

var typeNames = [...]string{"null", "boolean", "integer", "decimal", "text", "timestamp", "json", "of another type", "computed"}

func (t Type) String() string { return typeNames[t] }

// Widen is the least type that holds, without loss, what a column of type a holds and a value of type b.
func Widen(a, b Type) Type {
	switch {
	case a == b || b == None:
		return a
	case a == None:
		return b
	case a == Integer && b == Decimal || a == Decimal && b == Integer:
		return Decimal
	}
	return JSON
}
