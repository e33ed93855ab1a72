package mongodbtest

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// matches says whether a document is what a filter asks for. https://www.mongodb.com/docs/manual/reference/operator/query/
func matches(d, filter bson.Raw) (all bool, failed *failure) {
	all = true
	elements, _ := filter.Elements()
	for _, e := range elements {
		var ok bool
		switch key := e.Key(); {
		case key == "$or":
			ok, failed = matchesAny(d, e.Value())
		case strings.HasPrefix(key, "$"):
			failed = fail(2, "unknown top level operator: %s", key)
		case strings.Contains(key, "."):
			failed = fail(238, "a path in a filter: %s", key)
		default:
			ok, failed = satisfies(d.Lookup(key), e.Value())
		}
		if failed != nil {
			return false, failed
		}
		all = all && ok
	}
	return all, nil
}

func matchesAny(d bson.Raw, list bson.RawValue) (found bool, failed *failure) {
	array, ok := list.ArrayOK()
	values, err := array.Values()
	if !ok || err != nil || len(values) == 0 {
		return false, fail(2, "$or must be a nonempty array")
	}
	for _, v := range values {
		filter, ok := v.DocumentOK()
		if !ok {
			return false, fail(2, "$or entries need to be full objects")
		}
		ok, failed := matches(d, filter)
		if failed != nil {
			return false, failed
		}
		found = found || ok
	}
	return found, nil
}

// satisfies says whether a value, the zero one where there is none, is what a condition asks for: to be equal, or to pass operators.
func satisfies(v, condition bson.RawValue) (all bool, failed *failure) {
	operators, ok := condition.DocumentOK()
	elements, _ := operators.Elements()
	if !ok || len(elements) == 0 || !strings.HasPrefix(elements[0].Key(), "$") {
		return isEqual(v, condition), nil
	}
	all = true
	for _, e := range elements {
		operand := e.Value()
		var ok bool
		switch e.Key() {
		case "$lt":
			order, alike := compare(v, operand)
			ok = alike && order < 0
		case "$gt":
			order, alike := compare(v, operand)
			ok = alike && order > 0
		case "$ne":
			ok = !isEqual(v, operand)
		case "$in":
			array, isArray := operand.ArrayOK()
			if !isArray {
				return false, fail(2, "$in needs an array")
			}
			values, _ := array.Values()
			ok = slices.ContainsFunc(values, func(one bson.RawValue) bool { return isEqual(v, one) })
		case "$not":
			ok, failed = satisfies(v, operand)
			ok = !ok
		default:
			failed = fail(2, "unknown operator: %s", e.Key())
		}
		if failed != nil {
			return false, failed
		}
		all = all && ok
	}
	return all, nil
}

// isEqual compares; null equals a field that is not there.
func isEqual(a, b bson.RawValue) bool {
	if a.IsZero() {
		return b.IsZero() || b.Type == bson.TypeNull
	}
	if order, alike := compare(a, b); alike {
		return order == 0
	}
	return a.Type == b.Type && bytes.Equal(a.Value, b.Value)
}

// compare compares values of types that can be: numbers, texts, times. Others are not alike.
// https://www.mongodb.com/docs/manual/reference/method/db.collection.find/#type-bracketing
func compare(a, b bson.RawValue) (order int, alike bool) {
	if a.IsZero() || b.IsZero() {
		return 0, false
	}
	if x, ok := a.Int64OK(); ok {
		if y, ok := b.Int64OK(); ok {
			return cmp.Compare(x, y), true
		}
	}
	if x, ok := a.AsFloat64OK(); ok {
		y, ok := b.AsFloat64OK()
		return cmp.Compare(x, y), ok
	}
	if x, ok := a.StringValueOK(); ok {
		y, ok := b.StringValueOK()
		return cmp.Compare(x, y), ok
	}
	if x, ok := a.DateTimeOK(); ok {
		y, ok := b.DateTimeOK()
		return cmp.Compare(x, y), ok
	}
	return 0, false
}

// apply changes a document as an update says. https://www.mongodb.com/docs/manual/reference/operator/update/
func apply(d, operators bson.Raw) (bson.Raw, *failure) {
	list, _ := operators.Elements()
	fields, _ := d.Elements()
	var added []bson.RawElement
	touched := map[string]bool{}
	for _, operator := range list {
		changes, ok := operator.Value().DocumentOK()
		if !ok || !slices.Contains([]string{"$set", "$max", "$unset"}, operator.Key()) {
			return nil, fail(9, "Unknown modifier: %s", operator.Key())
		}
		elements, _ := changes.Elements()
		for _, change := range elements {
			key := change.Key()
			at := slices.IndexFunc(fields, func(e bson.RawElement) bool { return e.Key() == key })
			switch {
			case touched[key]:
				return nil, fail(40, "Updating the path '%s' would create a conflict at '%s'", key, key)
			case key == "" || strings.Contains(key, ".") || strings.HasPrefix(key, "$"):
				return nil, fail(238, "an update of the path '%s'", key)
			case key == "_id":
				return nil, fail(66, "Performing an update on the path '_id' would modify the immutable field '_id'")
			case operator.Key() == "$unset":
				if at >= 0 {
					fields = slices.Delete(slices.Clone(fields), at, at+1)
				}
			case at < 0:
				added = append(added, change)
			default:
				if order, alike := compare(change.Value(), fields[at].Value()); operator.Key() == "$max" {
					if !alike {
						return nil, fail(238, "$max of values that are not alike")
					}
					if order <= 0 {
						break
					}
				}
				fields = slices.Clone(fields)
				fields[at] = change
			}
			touched[key] = true
		}
	}
	// New fields are added in the order of their names: https://www.mongodb.com/docs/manual/reference/operator/update/set/#behavior
	slices.SortStableFunc(added, func(a, b bson.RawElement) int { return cmp.Compare(a.Key(), b.Key()) })
	next := assemble(append(fields, added...))
	if err := bsoncore.Document(next).Validate(); err != nil {
		return nil, fail(22, "the update makes no document")
	}
	return next, nil
}
