package mongodb

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"tributary/connectors/table"
)

// encoder turns payloads into BSON. Nothing is rounded or left out: what BSON has no type for becomes text.
type encoder struct {
	decimals bool // the server has Decimal128
	dates    *paths
}

// maxDepth is how deep arrays and objects of a payload become such of the document; what lies deeper becomes its JSON text. MongoDB takes 100
// levels: https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-Nested-Depth-for-BSON-Documents
const maxDepth = 90

// paths is a tree of the fields that hold dates.
type paths struct {
	date  bool
	below map[string]*paths
}

// parsePaths reads names of fields, those within objects joined by dots. Arrays need no step of their own, as in MongoDB's own paths.
func parsePaths(names []string) *paths {
	root := &paths{}
	for _, name := range names {
		p := root
		for step := range strings.SplitSeq(name, ".") {
			next := p.below[step]
			if next == nil {
				next = &paths{}
				if p.below == nil {
					p.below = make(map[string]*paths)
				}
				p.below[step] = next
			}
			p = next
		}
		p.date = true
	}
	return root
}

func (p *paths) step(field string) *paths {
	if p == nil {
		return nil
	}
	return p.below[field]
}

// value adds a value of a valid payload to a document.
func (e *encoder) value(dst []byte, name string, v gjson.Result, at *paths, depth int) []byte {
	switch v.Type {
	case gjson.Null:
		return bsoncore.AppendNullElement(dst, name)
	case gjson.True, gjson.False:
		return bsoncore.AppendBooleanElement(dst, name, v.Type == gjson.True)
	case gjson.Number:
		return e.number(dst, name, v.Raw)
	case gjson.String:
		if at != nil && at.date {
			if t, ok := dateOf(v.Str); ok {
				return bsoncore.AppendDateTimeElement(dst, name, t)
			}
		}
		return bsoncore.AppendStringElement(dst, name, textOf(v))
	}
	if depth == maxDepth {
		return bsoncore.AppendStringElement(dst, name, v.Raw)
	}
	var start int32
	if v.IsArray() {
		start, dst = bsoncore.AppendArrayElementStart(dst, name)
		i := 0
		v.ForEach(func(_, item gjson.Result) bool {
			dst = e.value(dst, strconv.Itoa(i), item, at, depth+1)
			i++
			return true
		})
	} else {
		start, dst = bsoncore.AppendDocumentElementStart(dst, name)
		for _, f := range fieldsOf(v) {
			dst = e.value(dst, f.name, f.value, at.step(f.key), depth+1)
		}
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, start) // fails for no start but our own
	return dst
}

// field is a field of an object: its key in the payload and its name in the document.
type field struct {
	key, name string
	value     gjson.Result
}

// few is up to how many fields looking through all of them is faster than a map.
const few = 16

// fieldsOf lists an object's fields. Of a key that stands twice the last counts, as in most readers of JSON. Names that became the same by being
// spelled otherwise are told apart.
func fieldsOf(v gjson.Result) []field {
	fields := make([]field, 0, few)
	var byName map[string]int
	find := func(name string) int {
		if byName == nil {
			return slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		}
		if i, ok := byName[name]; ok {
			return i
		}
		return -1
	}
	v.ForEach(func(key, value gjson.Result) bool {
		f := field{key: textOf(key), value: value}
		f.name = nameOf(f.key)
		for {
			i := find(f.name)
			if i >= 0 && fields[i].key == f.key {
				fields[i].value = value
				return true
			}
			if i < 0 {
				break
			}
			f.name += "_"
		}
		fields = append(fields, f)
		if byName != nil {
			byName[f.name] = len(fields) - 1
		} else if len(fields) > few {
			byName = make(map[string]int, 4*few)
			for i, f := range fields {
				byName[f.name] = i
			}
		}
		return true
	})
	return fields
}

// textOf is a JSON string's text; as it is spelled where that holds a NUL, which ends a name, or half a surrogate pair, which is no character.
func textOf(v gjson.Result) string {
	if table.IsPlain(v.Raw) {
		return v.Str
	}
	return v.Raw[1 : len(v.Raw)-1]
}

// nameOf is the name of a key in the document. A dollar sign in front and dots mean something in MongoDB's queries and updates, and older servers refuse
// them: they become the full-width ones, as MongoDB recommends in https://www.mongodb.com/docs/v2.6/faq/developers/#dollar-sign-operator-escaping
func nameOf(key string) string {
	if strings.HasPrefix(key, "$") {
		key = "＄" + key[1:]
	}
	return strings.ReplaceAll(key, ".", "．")
}

// dateOf reads a string of RFC 3339 as milliseconds since 1970; false where it is none or a date of BSON would lose part of it.
func dateOf(s string) (int64, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Nanosecond()%int(time.Millisecond) != 0 {
		return 0, false
	}
	return t.UnixMilli(), true
}
