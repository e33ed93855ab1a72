package mongodbtest

import (
	"bytes"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// collection is one whose only unique index is that of _id.
type collection struct {
	database, name string
	byID           map[string]int // index in list, by type and bytes of _id
	list           []bson.Raw     // in the order of their insertion
	indexes        map[string]bool
	locale         string // of its collation; "" = none
}

func newCollection(database, name string) *collection {
	return &collection{database: database, name: name, byID: make(map[string]int), indexes: map[string]bool{"_id_": true}}
}

func identity(v bson.RawValue) string { return string(v.Type) + string(v.Value) }

// unfit says why a document can't be stored.
func unfit(d bson.Raw) *failure {
	switch {
	case len(d) > maxDocument:
		return fail(10334, "object to insert too large. size in bytes: %d, max size: %d", len(d), maxDocument)
	case depth(d) > maxDepth:
		return fail(15, "BSONObj exceeded maximum nested object depth: %d", maxDepth)
	}
	return nil
}

func depth(d bson.Raw) int {
	deepest := 0
	elements, _ := d.Elements()
	for _, e := range elements {
		switch v := e.Value(); v.Type {
		case bson.TypeEmbeddedDocument:
			deepest = max(deepest, depth(v.Document()))
		case bson.TypeArray:
			deepest = max(deepest, depth(bson.Raw(v.Array())))
		}
	}
	return deepest + 1
}

func (c *collection) insert(d bson.Raw) *failure {
	if failed := unfit(d); failed != nil {
		return failed
	}
	id := d.Lookup("_id")
	if id.IsZero() || id.Type == bson.TypeArray {
		return fail(2, "a document has an _id, which is no array") // drivers add the one that lacks
	}
	if _, taken := c.byID[identity(id)]; taken {
		// https://www.mongodb.com/docs/manual/core/index-unique/, with what the answer says since version 4.2
		failed := fail(11000, "E11000 duplicate key error collection: %s.%s index: _id_ dup key: { _id: %s }", c.database, c.name, id)
		failed.more = bson.D{{Key: "keyPattern", Value: bson.D{{Key: "_id", Value: int32(1)}}}, {Key: "keyValue", Value: bson.D{{Key: "_id", Value: id}}}}
		return failed
	}
	c.byID[identity(id)] = len(c.list)
	c.list = append(c.list, bytes.Clone(d))
	return nil
}

// candidates are the indexes of documents that a filter may match: one, where it names an _id.
func (c *collection) candidates(filter bson.Raw) []int {
	var ids []bson.RawValue
	switch id := filter.Lookup("_id"); id.Type {
	case bson.TypeString:
		ids = []bson.RawValue{id}
	case bson.TypeEmbeddedDocument:
		if array, ok := id.Document().Lookup("$in").ArrayOK(); ok {
			ids, _ = array.Values()
		}
	}
	if ids == nil {
		all := make([]int, len(c.list))
		for i := range all {
			all[i] = i
		}
		return all
	}
	var found []int
	for _, id := range ids {
		if i, ok := c.byID[identity(id)]; ok && !slices.Contains(found[max(0, len(found)-1):], i) {
			found = append(found, i)
		}
	}
	return found
}

func (c *collection) find(filter, projection bson.Raw) (found []bson.Raw, failed *failure) {
	fields, _ := projection.Elements()
	for _, i := range c.candidates(filter) {
		ok, failed := matches(c.list[i], filter)
		if failed != nil {
			return nil, failed
		}
		if !ok {
			continue
		}
		d := c.list[i]
		if len(fields) > 0 {
			if d, failed = project(d, fields); failed != nil {
				return nil, failed
			}
		}
		found = append(found, d)
	}
	return found, nil
}

// project leaves the fields that are named, and _id: https://www.mongodb.com/docs/manual/reference/command/find/, projection
func project(d bson.Raw, fields []bson.RawElement) (bson.Raw, *failure) {
	kept := []string{"_id"}
	for _, f := range fields {
		if n, ok := f.Value().AsInt64OK(); !ok || n != 1 || strings.ContainsAny(f.Key(), ".$") {
			return nil, fail(238, "projection of %s", f.Key())
		}
		kept = append(kept, f.Key())
	}
	elements, _ := d.Elements()
	elements = slices.DeleteFunc(elements, func(e bson.RawElement) bool { return !slices.Contains(kept, e.Key()) })
	return assemble(elements), nil
}

func assemble(elements []bson.RawElement) bson.Raw {
	start, b := bsoncore.AppendDocumentStart(nil)
	for _, e := range elements {
		b = append(b, e...)
	}
	b, _ = bsoncore.AppendDocumentEnd(b, start)
	return b
}

// update does one of the updates of a command.
func (c *collection) update(u bson.Raw) (matched, changed bool, failed *failure) {
	if failed := known("update.updates", u, "q", "u", "multi", "upsert"); failed != nil {
		return false, false, failed
	}
	for _, flag := range []string{"multi", "upsert"} {
		if on, _ := u.Lookup(flag).BooleanOK(); on {
			return false, false, fail(238, "update with %s", flag)
		}
	}
	q, filtered := u.Lookup("q").DocumentOK()
	operators, changes := u.Lookup("u").DocumentOK()
	if !filtered || !changes {
		return false, false, fail(14, "BSON field 'update.updates.q' or 'u' is the wrong type")
	}
	for _, i := range c.candidates(q) {
		ok, failed := matches(c.list[i], q)
		if failed != nil {
			return false, false, failed
		}
		if !ok {
			continue
		}
		next, failed := apply(c.list[i], operators)
		if failed == nil {
			failed = unfit(next)
		}
		if failed != nil {
			return false, false, failed
		}
		changed := !bytes.Equal(next, c.list[i])
		c.list[i] = next
		return true, changed, nil
	}
	// What can't be parsed is refused also where nothing is found.
	_, failed = matches(assemble(nil), q)
	return false, false, failed
}
