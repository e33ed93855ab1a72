package integration

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/itchyny/gojq"
	"github.com/tidwall/gjson"
)

// step leads from a JSON value to a part of it: to the field name of an object, or where index is not negative, to an
// element of an array.
type step struct {
	name  string
	index int
}

const pathForm = `want a path such as .customers.email, .items[0].sku or ."a key with dots"`

// parsePath reads a path as jq does: .a.b, .a[0], ."a.b", .["a.b"]. Empty and "." are the whole, without steps.
func parsePath(src string) ([]step, error) {
	if src == "" {
		return nil, nil
	}
	query, err := gojq.Parse(src)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, pathForm)
	}
	term := query.Term
	if term == nil || query.Meta != nil || len(query.Imports)+len(query.FuncDefs) > 0 {
		return nil, errors.New(pathForm + "; a calculation belongs into map")
	}
	var steps []step
	switch term.Type {
	case gojq.TermTypeIdentity:
	case gojq.TermTypeIndex:
		s, err := stepOf(term.Index)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	default:
		return nil, errors.New(pathForm + "; a calculation belongs into map")
	}
	for _, suffix := range term.SuffixList {
		s, err := stepOf(suffix.Index)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func stepOf(i *gojq.Index) (step, error) {
	switch {
	case i == nil:
		return step{}, errors.New(pathForm + "; [] and ? belong into map")
	case i.Name != "":
		return step{name: i.Name, index: -1}, nil
	case i.Str != nil && i.Str.Queries == nil:
		return step{name: i.Str.Str, index: -1}, nil
	case !i.IsSlice && i.Start != nil && i.Start.Term != nil && len(i.Start.Term.SuffixList) == 0:
		switch t := i.Start.Term; {
		case t.Type == gojq.TermTypeString && t.Str.Queries == nil:
			return step{name: t.Str.Str, index: -1}, nil
		case t.Type == gojq.TermTypeNumber:
			if n, err := strconv.Atoi(t.Number); err == nil {
				return step{index: n}, nil
			}
		}
	}
	return step{}, errors.New(pathForm + "; in brackets stands a whole number or a quoted key")
}

// find returns the bytes of the part that the steps lead to, as they stand in the payload (I8) and in its memory, and
// whether there is one. Of a key that stands twice in an object the last counts, as for jq and for databases.
func find(payload []byte, steps []step) ([]byte, bool) {
	v := gjson.ParseBytes(payload)
	for _, s := range steps {
		var found gjson.Result
		switch i := 0; {
		case s.index < 0 && v.IsObject():
			v.ForEach(func(key, item gjson.Result) bool {
				if key.Str == s.name {
					found = item
				}
				return true
			})
		case s.index >= 0 && v.IsArray():
			v.ForEach(func(_, item gjson.Result) bool {
				if i == s.index {
					found = item
				}
				i++
				return i <= s.index
			})
		}
		if !found.Exists() {
			return nil, false
		}
		v = found
	}
	return payload[v.Index : v.Index+len(v.Raw)], true
}
