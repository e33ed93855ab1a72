package sandbox

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// filter is a parsed search query: bounds on updated_at and id.
// Syntax: https://shopify.dev/docs/api/usage/search-syntax
type filter struct {
	minUpdated, maxUpdated time.Time // inclusive; zero = unbounded
	minID, maxID           int64     // inclusive; maxID 0 = unbounded
}

func (f filter) matches(id int64, updated time.Time) bool {
	return !updated.Before(f.minUpdated) && (f.maxUpdated.IsZero() || !updated.After(f.maxUpdated)) &&
		id >= f.minID && (f.maxID == 0 || id <= f.maxID)
}

var term = regexp.MustCompile(`^([a-z_]+):(>=|<=|>|<)?(?:'([^']*)'|"([^"]*)"|(\S+))$`)

// parseSearch reads terms joined by AND or by nothing. What it does not know it leaves out and warns of, as the vendor does, so that a
// caller that misspells a filter gets everything.
func parseSearch(query string) (f filter, warnings []string) {
	for word := range strings.FieldsSeq(query) {
		if word == "AND" {
			continue
		}
		m := term.FindStringSubmatch(word)
		if m == nil {
			warnings = append(warnings, fmt.Sprintf("not understood: %s", word))
			continue
		}
		if !f.narrow(m[1], m[2], m[3]+m[4]+m[5]) {
			warnings = append(warnings, "Invalid search field for this query.")
		}
	}
	return f, warnings
}

func (f *filter) narrow(field, op, value string) bool {
	switch field {
	case "updated_at":
		at, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return false
		}
		switch op {
		case ">=":
			f.minUpdated = at
		case ">":
			f.minUpdated = at.Add(time.Second)
		case "<=":
			f.maxUpdated = at
		case "<":
			f.maxUpdated = at.Add(-time.Second)
		default:
			f.minUpdated, f.maxUpdated = at, at
		}
	case "id":
		id, err := strconv.ParseInt(value, 10, 64)
		if err != nil || id <= 0 || id == math.MaxInt64 {
			return false
		}
		switch op {
		case ">=":
			f.minID = id
		case ">":
			f.minID = id + 1
		case "<=":
			f.maxID = id
		case "<":
			f.maxID = id - 1
		default:
			f.minID, f.maxID = id, id
		}
	default:
		return false
	}
	return true
}
