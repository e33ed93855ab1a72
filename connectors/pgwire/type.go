package pgwire

import (
	"slices"
	"strings"

	"tributary/connectors/table"
)

// Timestamp is the type of points in time, as format_type spells it.
const Timestamp = "timestamp with time zone"

// TypeOf says what a type as format_type spells it holds; json are those that hold JSON. A type that is narrower than ours, such as integer or numeric(10,2),
// refuses or rounds by itself.
func TypeOf(native string, json ...string) table.Type {
	before, rest, found := strings.Cut(native, "(")
	if found {
		_, after, _ := strings.Cut(rest, ")")
		before += after
	}
	if slices.Contains(json, before) {
		return table.JSON
	}
	switch before {
	case "boolean":
		return table.Boolean
	case "smallint", "integer", "bigint":
		return table.Integer
	case "numeric", "real", "double precision":
		return table.Decimal
	case "text", "character varying", "character":
		return table.Text
	case Timestamp, "timestamp without time zone":
		return table.Timestamp
	}
	return table.Other
}
