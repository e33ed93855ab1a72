package netsuite

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"tributary/connectors"
)

// Nothing of a user gets into a query that is put together but names that these match, and whole queries that checkQuery has passed.
var (
	identifier  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)
	deletedType = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
)

// stream is what the stream of a name reads.
type stream struct {
	name    string
	changes table
	// deletions is nil where none are read.
	deletions *table
}

// stream finds out what a stream reads: what the settings say of it, else the record type of its name.
func (s *source) stream(name string) (stream, error) {
	q, set := s.queries[name]
	field := "stream " + connectors.Clip(name, 100)
	if set {
		field = "settings field queries." + connectors.Clip(name, 100)
	}
	if q.Query != "" && q.Record != "" {
		return stream{}, invalid("%s: want query or record, not both", field)
	}
	record := strings.ToLower(cmp.Or(q.Record, name))
	var known recordType
	if q.Query == "" {
		known = recordOf(record)
	}
	st := stream{name: name, changes: table{from: record, id: cmp.Or(q.ID, known.id, "id"), changed: cmp.Or(q.Changed, known.changed, "lastmodifieddate")}}
	for _, column := range []string{st.changes.id, st.changes.changed} {
		if !identifier.MatchString(column) || strings.EqualFold(column, changedColumn) {
			return stream{}, invalid("%s: id and changed are names of columns, of letters, digits and underscores", field)
		}
	}
	if q.Query != "" {
		if problem := checkQuery(q.Query, st.changes.id, st.changes.changed); problem != "" {
			return stream{}, invalid("%s.query: %s", field, problem)
		}
		st.changes.from = "(" + q.Query + ")"
	} else if !identifier.MatchString(record) {
		return stream{}, invalid("%s: want the name of a record type, such as customer or customrecord_shift", field)
	}
	filter := known.deleted
	if q.Deleted != nil {
		var types []string
		for _, t := range q.Deleted {
			t = strings.ReplaceAll(strings.ToLower(t), " ", "")
			if !deletedType.MatchString(t) {
				return stream{}, invalid("%s.deleted: want types as the table deletedrecord has them, such as salesorder", field)
			}
			types = append(types, t)
		}
		filter = deletedOf(types...)
	}
	if s.deletions && filter != "" {
		st.deletions = &table{from: "deletedrecord", id: "recordid", changed: "deleteddate", filter: filter}
	}
	return st, nil
}

// deletedOf is the condition for deletions of the types, in whatever spelling the account writes them; none for no types.
func deletedOf(types ...string) string {
	if len(types) == 0 {
		return ""
	}
	return fmt.Sprintf("LOWER(REPLACE(type, ' ', '')) IN ('%s')", strings.Join(types, "', '"))
}
