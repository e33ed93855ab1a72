package hubspot

import (
	"context"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Completes says whether the block wants whole objects.
func (s *source) Completes() bool { return s.objects }

// Complete reads the objects that events are about, 100 a call, each once. An event whose object is gone, and one about no object, such as of
// an association, stays as it came. An object that was restored has the time of that as its version at least: it may not have changed since it was
// deleted, and must win against the delete.
func (s *source) Complete(ctx context.Context, records []connectors.Record) ([]connectors.Record, error) {
	if len(records) == 0 {
		return nil, nil
	}
	op := "complete " + connectors.Clip(records[0].Stream, 100)
	st, err := lookup(op, records[0].Stream)
	if err != nil {
		return records, nil // such as conversations, which are no objects
	}
	if s.api == nil {
		return nil, connectors.Errorf(connectors.Unauthorized, op, "there is no connection: connect the account")
	}
	ids := objectsOf(records)
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	restored := map[string]int64{}
	for _, r := range records {
		if thin(r) && strings.HasSuffix(gjson.GetBytes(r.Data, "subscriptionType").Str, ".restore") {
			restored[r.Key] = max(restored[r.Key], r.OccurredAt.UnixMilli())
		}
	}
	whole := map[string]connectors.Record{}
	var others []connectors.Record
	for len(ids) > 0 {
		n := min(len(ids), maxPage)
		r := &reading{source: s, op: op, stream: st, size: n}
		if err := r.read(ctx, ids[:n]); err != nil {
			return nil, err
		}
		for _, object := range r.page.Records {
			if !wanted[object.Key] {
				others = append(others, object) // what the object was merged into
				continue
			}
			if at := restored[object.Key]; object.Version < at*1000 {
				object = newRecord(st, object.Key, object.Op, at, object.Data)
			}
			whole[object.Key] = object
		}
		ids = ids[n:]
	}
	out := make([]connectors.Record, 0, len(records))
	for _, r := range records {
		object, found := whole[r.Key]
		switch {
		case !thin(r) || wanted[r.Key] && !found:
			out = append(out, r)
		case wanted[r.Key]:
			out = append(out, object)
			wanted[r.Key] = false
		}
	}
	return append(out, others...), nil
}

// CompleteCalls is a batch read for each 100 objects, and the list of properties where it is to be asked for.
func (s *source) CompleteCalls(records []connectors.Record) int {
	ids := objectsOf(records)
	if len(ids) == 0 {
		return 0
	}
	st, err := lookup("complete", records[0].Stream)
	if err != nil || s.api == nil {
		return 0
	}
	calls := (len(ids) + maxPage - 1) / maxPage
	if _, known := s.fields.known(st, s.now()); !known {
		calls++
	}
	return calls
}

// objectsOf are the IDs of the objects that events are about and that can be read, each once.
func objectsOf(records []connectors.Record) []string {
	var ids []string
	seen := map[string]bool{}
	for _, r := range records {
		if thin(r) && !seen[r.Key] {
			seen[r.Key] = true
			ids = append(ids, r.Key)
		}
	}
	return ids
}

// thin says that a record is an event about an object that can be read.
func thin(r connectors.Record) bool {
	_, ok := number(r.Key)
	return ok && r.Op == connectors.Upsert
}
