package jq

import (
	"encoding/json"
	"errors"
	"math/big"

	"github.com/itchyny/gojq"
)

const (
	// maxWork bounds the values that a program works with, in bytes of JSON and counting what is contained twice twice.
	maxWork = 16 << 20
	// maxIndex bounds the elements of an array that a program makes by writing to one.
	maxIndex = 100_000
	// maxNesting bounds how deep a value is.
	maxNesting = 10_000
	// maxBits bounds whole numbers.
	maxBits = 1 << 16
)

// The guards are functions that a program can't call by itself. They return their input, or an error where what
// follows would go beyond the bounds.
const (
	guardTree    = "_guard_tree"    // the value, with all that it contains
	guardSize    = "_guard_size"    // the value's own length
	guardSum     = "_guard_sum"     // the lengths of the elements, and of a separator between them
	guardIndex   = "_guard_index"   // a number, or the numbers of a path
	guardEvent   = "_guard_event"   // a path and perhaps a value
	guardProduct = "_guard_product" // of two factors; returns both
)

// walker says how a function of jq is guarded; empty = not. guardIndex is for the first argument only.
type walker struct{ input, arguments string }

var walkers = map[string]walker{
	"tojson": {input: guardTree}, "tostring": {input: guardTree}, "flatten": {input: guardTree},
	"sort": {input: guardTree}, "unique": {input: guardTree}, "min": {input: guardTree}, "max": {input: guardTree},
	"sort_by": {guardTree, guardTree}, "group_by": {guardTree, guardTree}, "unique_by": {guardTree, guardTree},
	"min_by": {guardTree, guardTree}, "max_by": {guardTree, guardTree},
	"contains": {guardTree, guardTree}, "inside": {guardTree, guardTree}, "index": {guardTree, guardTree},
	"rindex": {guardTree, guardTree}, "indices": {guardTree, guardTree}, "bsearch": {guardTree, guardTree},
	"IN": {guardTree, guardTree}, "INDEX": {arguments: guardTree}, "transpose": {input: guardTree},
	"del": {input: guardTree}, "delpaths": {input: guardTree}, "tostream": {input: guardTree},
	"format": {input: guardTree}, "implode": {input: guardSize}, "explode": {input: guardSize},
	"add": {input: guardSum}, "join": {input: guardSum},
	"nth": {arguments: guardIndex}, "getpath": {arguments: guardIndex}, "setpath": {arguments: guardIndex},
	"fromstream": {arguments: guardEvent},
}

var errTooLarge = errors.New("a value becomes too large")

func guards() []gojq.CompilerOption {
	guard := func(name string, ok func(any) bool) gojq.CompilerOption {
		return gojq.WithFunction(name, 0, 0, func(v any, _ []any) any {
			if !ok(v) {
				return errTooLarge
			}
			return v
		})
	}
	return []gojq.CompilerOption{
		guard(guardTree, func(v any) bool { return treeSize(v, maxWork, 0) <= maxWork }),
		guard(guardSize, func(v any) bool { return ownSize(v) <= maxWork }),
		guard(guardIndex, reachable),
		guard(guardEvent, func(v any) bool {
			event, _ := v.([]any)
			return len(event) == 0 || reachable(event[0])
		}),
		gojq.WithFunction(guardSum, 0, 1, func(v any, args []any) any {
			each := 0
			if len(args) == 1 {
				each = ownSize(args[0])
			}
			total := 0
			for _, item := range elements(v) {
				if total += ownSize(item) + each; total > maxWork {
					return errTooLarge
				}
			}
			return v
		}),
		gojq.WithFunction(guardProduct, 2, 2, func(_ any, args []any) any {
			l, r := args[0], args[1]
			if _, ok := r.(string); ok {
				l, r = r, l
			}
			switch l := l.(type) {
			case string:
				if n, ok := gojq.ToFloat64(r); ok && n*float64(len(l)) > maxWork {
					return errTooLarge
				}
			case map[string]any:
				if treeSize(l, maxWork, 0) > maxWork || treeSize(r, maxWork, 0) > maxWork {
					return errTooLarge
				}
			default:
				if ownSize(l) > maxWork || ownSize(r) > maxWork {
					return errTooLarge
				}
			}
			return []any{args[0], args[1]}
		}),
	}
}

// treeSize is about the length of the value as JSON, or something above limit as soon as it is more.
func treeSize(v any, limit, depth int) int {
	if depth > maxNesting {
		return limit + 1
	}
	size := 2
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if size += 1 + treeSize(item, limit-size, depth+1); size > limit {
				return size
			}
		}
	case map[string]any:
		for name, item := range v {
			if size += 4 + len(name) + treeSize(item, limit-size, depth+1); size > limit {
				return size
			}
		}
	default:
		return ownSize(v)
	}
	return size
}

// ownSize is the memory that a value takes without what it contains, in about the unit of maxWork.
func ownSize(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) + 2
	case json.Number:
		if len(v) > maxBits/3 {
			return maxWork + 1
		}
		return len(v)
	case *big.Int:
		if v.BitLen() > maxBits {
			return maxWork + 1
		}
		return v.BitLen()/3 + 1
	case []any:
		return 16 * len(v)
	case map[string]any:
		return 64 * len(v)
	}
	return 4
}

func elements(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			out = append(out, item)
		}
		return out
	}
	return nil
}

func reachable(v any) bool {
	if path, ok := v.([]any); ok {
		for _, p := range path {
			if n, ok := gojq.ToFloat64(p); ok && n > maxIndex {
				return false
			}
		}
		return true
	}
	n, ok := gojq.ToFloat64(v)
	return !ok || !(n > maxIndex) // not a number is no element
}
