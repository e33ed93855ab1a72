package webhook

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// maxRecords bounds what one delivery may hold, so that a body of tiny elements can't fill the memory.
const maxRecords = 50_000

// layout says where a delivery holds what a record needs.
type layout struct {
	arrays               []string // gjson paths, see parseRecords; nil: the body is the record
	arraysPath           string   // as the settings say it, for messages
	id, typ, stream, key *field
	version, occurredAt  *field
	idRepeats            bool
	deletes              map[string]bool
}

// records cuts an authentic and valid body into records, whose Data is part of it byte for byte (I8). Of an array, the elements that no record can be
// made of are told apart, unless that is all of them: then the settings may be what is wrong, and the sender is to keep them.
func (l *layout) records(d connectors.Delivery) (got connectors.Received, err error) {
	if l.arrays == nil {
		r, err := l.record(d, d.Body)
		if err != nil {
			return got, err
		}
		got.Records = []connectors.Record{r}
		return got, nil
	}
	n := 0
	var first error
	err = l.each(d.Body, l.arrays, func(data []byte) error {
		if n == maxRecords {
			return fmt.Errorf("the body holds more than %d records", maxRecords)
		}
		r, err := l.record(d, data)
		if err != nil {
			err = fmt.Errorf("record %d: %w", n, err)
			first = cmp.Or(first, err)
			got.Unusable = append(got.Unusable, connectors.Unusable{Reason: err.Error(), Data: data})
		} else {
			got.Records = append(got.Records, r)
		}
		n++
		return nil
	})
	if err == nil && len(got.Records) == 0 {
		err = first
	}
	if err != nil {
		return connectors.Received{}, err
	}
	return got, nil
}

// each calls f for every element of the arrays. An array that is missing is an error: what it was to hold is not known
// to be nothing (I4).
func (l *layout) each(data []byte, arrays []string, f func([]byte) error) error {
	if len(arrays) == 0 {
		return f(data)
	}
	var array gjson.Result
	if arrays[0] == "" {
		array = gjson.ParseBytes(data)
	} else {
		array = gjson.GetBytes(data, arrays[0])
	}
	if !array.IsArray() {
		return fmt.Errorf("there is no array at %s", l.arraysPath)
	}
	var err error
	array.ForEach(func(_, element gjson.Result) bool {
		err = l.each(data[element.Index:element.Index+len(element.Raw)], arrays[1:], f)
		return err == nil
	})
	return err
}

func (l *layout) record(d connectors.Delivery, data []byte) (connectors.Record, error) {
	r := connectors.Record{Op: connectors.Upsert, Data: data}
	typ, err := l.typ.name(d, data)
	if err != nil {
		return r, fmt.Errorf("type: %w", err)
	}
	if r.Stream, err = l.stream.name(d, data); err != nil {
		return r, fmt.Errorf("stream: %w", err)
	}
	if r.Stream == "" {
		r.Stream = typ
	}
	if r.Stream == "" {
		return r, fmt.Errorf("stream: %s", missing(l.stream, l.typ))
	}
	if r.Key, err = l.key.name(d, data); err != nil {
		return r, fmt.Errorf("key: %w", err)
	}
	// An event that names no object deletes none.
	if r.Key != "" && l.deletes[typ] {
		r.Op = connectors.Delete
	}
	// A version that can't be read is refused: as unknown it would let an older change win.
	if r.Version, err = l.version.version(d, data); err != nil {
		return r, fmt.Errorf("version: %w", err)
	}
	r.OccurredAt = l.occurredAt.time(d, data)
	id, err := l.id.name(d, data)
	if err != nil {
		return r, fmt.Errorf("id: %w", err)
	}
	r.ID = id
	if id == "" || l.idRepeats {
		// I1: two events of different types are different changes, also with equal payloads.
		r.ID = connectors.RecordID(r.Stream, typ+"\x00"+id+"\x00"+r.Key, r.Version, data)
	}
	return r, nil
}

// missing says where a value was looked for.
func missing(fields ...*field) string {
	var places []string
	for _, f := range fields {
		if f != nil {
			places = append(places, f.where)
		}
	}
	return strings.Join(places, " and ") + " is missing"
}
