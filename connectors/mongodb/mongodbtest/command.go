package mongodbtest

import (
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Limits of https://www.mongodb.com/docs/manual/reference/limits/: of a document in bytes and in levels, of a command in writes.
const (
	maxDocument = 16 << 20
	maxDepth    = 100
	maxWrites   = 100_000
)

// command is what a client asks for. Lists are those that stand beside the body.
type command struct {
	name, database string
	body           bson.Raw
	lists          map[string][]bson.Raw
	legacy         bool // it came by OP_QUERY
}

func (c *command) validate() error {
	if c.body == nil || c.body.Validate() != nil {
		return errProtocol
	}
	elements, err := c.body.Elements()
	if err != nil || len(elements) == 0 {
		return errProtocol
	}
	for _, list := range c.lists {
		if slices.ContainsFunc(list, func(d bson.Raw) bool { return d.Validate() != nil }) {
			return errProtocol
		}
	}
	c.name = elements[0].Key()
	c.database, _ = c.body.Lookup("$db").StringValueOK()
	return nil
}

// everywhere are fields that every command may have.
// https://www.mongodb.com/docs/manual/reference/command/
var everywhere = []string{"$db", "lsid", "maxTimeMS", "comment", "$readPreference", "apiVersion", "apiStrict", "apiDeprecationErrors"}

// commands have the fields that they know. Any other is refused, as MongoDB refuses what it does not know:
// https://github.com/mongodb/mongo/blob/v7.0/src/mongo/idl/idl_parser.cpp (throwUnknownField)
var commands = map[string]struct {
	run    func(*Server, *command) (bson.D, *failure)
	fields []string
}{
	"hello":           {(*Server).hello, nil},
	"ping":            {func(*Server, *command) (bson.D, *failure) { return nil, nil }, nil},
	"endSessions":     {func(*Server, *command) (bson.D, *failure) { return nil, nil }, nil},
	"listCollections": {(*Server).listCollections, []string{"filter", "cursor", "nameOnly", "authorizedCollections"}},
	"createIndexes":   {(*Server).createIndexes, []string{"indexes", "writeConcern", "commitQuorum"}},
	"insert":          {(*Server).insert, []string{"documents", "ordered", "writeConcern", "bypassDocumentValidation"}},
	"update":          {(*Server).update, []string{"updates", "ordered", "writeConcern", "bypassDocumentValidation"}},
	"find":            {(*Server).find, []string{"filter", "projection", "batchSize", "readConcern"}},
	"getMore":         {(*Server).getMore, []string{"collection", "batchSize"}},
	"killCursors":     {(*Server).killCursors, []string{"cursors"}},
}

// run answers a command.
func (s *Server) run(c *command) bson.D {
	if strings.EqualFold(c.name, "isMaster") { // what hello was called before
		c.name = "hello"
	}
	if answer, told := s.refused(c); told {
		return answer
	}
	return s.carryOut(c)
}

// carryOut does what a command asks for.
func (s *Server) carryOut(c *command) bson.D {
	known, ok := commands[c.name]
	var failed *failure
	var out bson.D
	switch {
	case !ok || c.legacy && c.name != "hello":
		failed = fail(59, "no such command: '%s'", c.name)
	case c.database == "" && !c.legacy:
		failed = fail(40571, "OP_MSG requests require a $db argument")
	default:
		if failed = c.refuse(known.fields); failed == nil {
			s.mu.Lock()
			out, failed = known.run(s, c)
			s.mu.Unlock()
		}
	}
	if failed != nil {
		return s.failed(failed)
	}
	return append(out, bson.E{Key: "ok", Value: 1.0})
}

// refuse says what is wrong with the fields of a command. A hello may have any: drivers tell there what newer servers know.
// https://github.com/mongodb/specifications/blob/master/source/mongodb-handshake/handshake.md
func (c *command) refuse(fields []string) *failure {
	if c.name == "hello" || c.legacy {
		return nil
	}
	elements, _ := c.body.Elements()
	for _, e := range elements[1:] {
		if key := e.Key(); !slices.Contains(fields, key) && !slices.Contains(everywhere, key) {
			return fail(40415, "BSON field '%s.%s' is an unknown field.", c.name, key)
		}
	}
	for key := range c.lists {
		if !slices.Contains(fields, key) {
			return fail(40415, "BSON field '%s.%s' is an unknown field.", c.name, key)
		}
	}
	// https://www.mongodb.com/docs/manual/reference/write-concern/: a standalone confirms alone what a majority would.
	if concern, ok := c.body.Lookup("writeConcern").DocumentOK(); ok {
		if failed := known("writeConcern", concern, "w", "j", "wtimeout"); failed != nil {
			return failed
		}
	}
	return nil
}

// known says which field of a part of a command is not known.
func known(what string, d bson.Raw, fields ...string) *failure {
	elements, _ := d.Elements()
	for _, e := range elements {
		if !slices.Contains(fields, e.Key()) {
			return fail(40415, "BSON field '%s.%s' is an unknown field.", what, e.Key())
		}
	}
	return nil
}

// list are the documents of a field, wherever they stand.
func (c *command) list(field string) ([]bson.Raw, *failure) {
	if list, ok := c.lists[field]; ok {
		return list, nil
	}
	array, ok := c.body.Lookup(field).ArrayOK()
	values, err := array.Values()
	if !ok || err != nil {
		return nil, fail(14, "BSON field '%s.%s' is the wrong type", c.name, field)
	}
	var list []bson.Raw
	for _, v := range values {
		d, ok := v.DocumentOK()
		if !ok {
			return nil, fail(14, "BSON field '%s.%s' is the wrong type", c.name, field)
		}
		list = append(list, d)
	}
	return list, nil
}

// on is the collection that the command is about, made when it is not there and is to be.
func (s *Server) on(c *command, field string, make bool) (*collection, *failure) {
	name, ok := c.body.Lookup(field).StringValueOK()
	if !ok || name == "" || strings.ContainsAny(name, "$\x00") {
		return nil, fail(73, "Invalid collection name: %q", name)
	}
	full := c.database + "." + name
	if s.collections[full] == nil && make {
		s.collections[full] = newCollection(c.database, name)
	}
	return s.collections[full], nil
}

// hello says what the server can: https://www.mongodb.com/docs/manual/reference/command/hello/
func (s *Server) hello(*command) (bson.D, *failure) {
	answer := bson.D{
		{Key: "helloOk", Value: true}, {Key: "isWritablePrimary", Value: true}, {Key: "ismaster", Value: true}, {Key: "maxBsonObjectSize", Value: int32(maxDocument)},
		{Key: "maxMessageSizeBytes", Value: int32(maxMessage)}, {Key: "maxWriteBatchSize", Value: int32(maxWrites)}, {Key: "localTime", Value: time.Now()},
		{Key: "logicalSessionTimeoutMinutes", Value: int32(30)}, {Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(21)}, {Key: "readOnly", Value: false},
	}
	if s.router {
		answer = append(answer, bson.E{Key: "msg", Value: "isdbgrid"})
	}
	return answer, nil
}

// listCollections finds one by its name, or all: https://www.mongodb.com/docs/manual/reference/command/listCollections/
func (s *Server) listCollections(c *command) (bson.D, *failure) {
	name := ""
	if filter, ok := c.body.Lookup("filter").DocumentOK(); ok {
		if failed := known("listCollections.filter", filter, "name"); failed != nil {
			return nil, failed
		}
		name, _ = filter.Lookup("name").StringValueOK()
	}
	found := bson.A{}
	for full, on := range s.collections {
		if database, its, _ := strings.Cut(full, "."); database == c.database && (name == "" || name == its) {
			options := bson.D{}
			if on.locale != "" {
				options = bson.D{{Key: "collation", Value: bson.D{{Key: "locale", Value: on.locale}}}}
			}
			found = append(found, bson.D{{Key: "name", Value: its}, {Key: "type", Value: "collection"}, {Key: "options", Value: options}})
		}
	}
	return bson.D{{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)}, {Key: "ns", Value: c.database + ".$cmd.listCollections"}, {Key: "firstBatch", Value: found}}}}, nil
}

// createIndexes keeps the names of indexes, which change nothing of what is found: https://www.mongodb.com/docs/manual/reference/command/createIndexes/
func (s *Server) createIndexes(c *command) (bson.D, *failure) {
	on, failed := s.on(c, "createIndexes", true)
	if failed != nil {
		return nil, failed
	}
	indexes, failed := c.list("indexes")
	if failed != nil {
		return nil, failed
	}
	before := int32(len(on.indexes))
	for _, index := range indexes {
		if failed := known("createIndexes.indexes", index, "key", "name"); failed != nil { // no options: those have effects
			return nil, failed
		}
		name, ok := index.Lookup("name").StringValueOK()
		if _, keyed := index.Lookup("key").DocumentOK(); !ok || !keyed {
			return nil, fail(9, "An index has a key and a name")
		}
		on.indexes[name] = true
	}
	return bson.D{{Key: "numIndexesBefore", Value: before}, {Key: "numIndexesAfter", Value: int32(len(on.indexes))}}, nil
}

// writes are the documents of a command that writes, and whether the first error ends it.
func (c *command) writes(field string) (list []bson.Raw, ordered bool, failed *failure) {
	list, failed = c.list(field)
	if failed != nil {
		return nil, false, failed
	}
	if len(list) == 0 || len(list) > maxWrites {
		return nil, false, fail(16, "Write batch sizes must be between 1 and %d. Got %d operations.", maxWrites, len(list))
	}
	ordered, ok := c.body.Lookup("ordered").BooleanOK()
	return list, ordered || !ok, nil
}

// written answers a command that writes: https://www.mongodb.com/docs/manual/reference/command/insert/#output
func written(out bson.D, errs bson.A) bson.D {
	if len(errs) > 0 {
		out = append(out, bson.E{Key: "writeErrors", Value: errs})
	}
	return out
}

func (s *Server) insert(c *command) (bson.D, *failure) {
	on, failed := s.on(c, "insert", true)
	if failed != nil {
		return nil, failed
	}
	list, ordered, failed := c.writes("documents")
	if failed != nil {
		return nil, failed
	}
	n, errs := int32(0), bson.A{}
	for i, d := range list {
		if failed := on.insert(d); failed != nil {
			if errs = append(errs, s.against(i, failed)); ordered {
				break
			}
			continue
		}
		n++
	}
	return written(bson.D{{Key: "n", Value: n}}, errs), nil
}

// update does updates of one document each: https://www.mongodb.com/docs/manual/reference/command/update/
func (s *Server) update(c *command) (bson.D, *failure) {
	on, failed := s.on(c, "update", true)
	if failed != nil {
		return nil, failed
	}
	list, ordered, failed := c.writes("updates")
	if failed != nil {
		return nil, failed
	}
	n, modified, errs := int32(0), int32(0), bson.A{}
	for i, u := range list {
		matched, changed, failed := on.update(u)
		if failed != nil {
			if errs = append(errs, s.against(i, failed)); ordered {
				break
			}
			continue
		}
		if matched {
			n++
		}
		if changed {
			modified++
		}
	}
	return written(bson.D{{Key: "n", Value: n}, {Key: "nModified", Value: modified}}, errs), nil
}

// firstBatch is how many documents a find answers with when it is not told: https://www.mongodb.com/docs/manual/tutorial/iterate-a-cursor/#cursor-batches
const firstBatch = 101

// cursor is what is left of a find.
type cursor struct {
	namespace string
	left      []bson.Raw
}

func (s *Server) find(c *command) (bson.D, *failure) {
	on, failed := s.on(c, "find", false)
	if failed != nil {
		return nil, failed
	}
	name, _ := c.body.Lookup("find").StringValueOK()
	var found []bson.Raw
	if on != nil {
		filter, _ := c.body.Lookup("filter").DocumentOK()
		projection, _ := c.body.Lookup("projection").DocumentOK()
		if found, failed = on.find(filter, projection); failed != nil {
			return nil, failed
		}
	}
	return s.batch(&cursor{c.database + "." + name, found}, c, "firstBatch", firstBatch), nil
}

func (s *Server) getMore(c *command) (bson.D, *failure) {
	id, _ := c.body.Lookup("getMore").Int64OK()
	open := s.cursors[id]
	if open == nil {
		return nil, fail(43, "cursor id %d not found", id)
	}
	delete(s.cursors, id)
	return s.batch(open, c, "nextBatch", maxWrites), nil
}

// batch answers with as many documents as go into one answer, and keeps the rest.
func (s *Server) batch(from *cursor, c *command, field string, size int) bson.D {
	if n, ok := c.body.Lookup("batchSize").AsInt64OK(); ok {
		size = int(n)
	}
	batch, bytes := bson.A{}, 0
	for len(from.left) > 0 && len(batch) < size && (len(batch) == 0 || bytes+len(from.left[0]) <= maxDocument) {
		batch, bytes = append(batch, from.left[0]), bytes+len(from.left[0])
		from.left = from.left[1:]
	}
	id := int64(0)
	if len(from.left) > 0 {
		s.lastCursor++
		id = s.lastCursor
		s.cursors[id] = from
	}
	return bson.D{{Key: "cursor", Value: bson.D{{Key: "id", Value: id}, {Key: "ns", Value: from.namespace}, {Key: field, Value: batch}}}}
}

func (s *Server) killCursors(c *command) (bson.D, *failure) {
	array, ok := c.body.Lookup("cursors").ArrayOK()
	ids, err := array.Values()
	if !ok || err != nil {
		return nil, fail(14, "BSON field 'killCursors.cursors' is the wrong type")
	}
	killed := bson.A{}
	for _, v := range ids {
		if id, ok := v.Int64OK(); ok && s.cursors[id] != nil {
			delete(s.cursors, id)
			killed = append(killed, id)
		}
	}
	return bson.D{{Key: "cursorsKilled", Value: killed}}, nil
}
