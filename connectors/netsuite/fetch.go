package netsuite

import (
	"cmp"
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

var wholeNumber = regexp.MustCompile(`^-?[0-9]{1,18}$`)

// future is how far a change may lie ahead of our clock. Time zones differ by a quarter of an hour at least.
const future = 14 * time.Minute

// Fetch reads a page of a stream: what changed, in the order of the changes, and when there is no more, what was deleted.
func (s *source) Fetch(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
	op := "fetch " + connectors.Clip(req.Stream, 100)
	st, err := s.stream(req.Stream)
	if err != nil {
		return connectors.Page{}, err
	}
	c, err := s.cursor(op, req)
	if err != nil {
		return connectors.Page{}, err
	}
	limit := s.pageSize
	if req.Limit > 0 {
		limit = min(limit, req.Limit)
	}
	r := reader{source: s, op: op, stream: st.name, table: st.changes, operation: connectors.Upsert, place: c.Changes}
	if c.Deleting && st.deletions != nil {
		r.table, r.operation, r.place = *st.deletions, connectors.Delete, c.Deletions
	}
	body, err := s.call(ctx, op, r.table.sql(r.place, limit), limit)
	if err != nil {
		return connectors.Page{}, err
	}
	records, err := r.page(body)
	if err != nil {
		return connectors.Page{}, err
	}
	page := connectors.Page{Records: records, More: true}
	if r.operation == connectors.Delete {
		c.Deletions = r.place
	} else {
		c.Changes = r.place
	}
	page.OverlapFrom = s.overlapFrom(c, st.deletions != nil)
	switch {
	case len(records) >= limit:
	case !c.Deleting && st.deletions != nil:
		c.Deleting = true
	default:
		page.More = false
		c = s.finish(c)
	}
	page.Cursor = c.encode()
	return page, nil
}

// reader makes records of rows, and moves its place along.
type reader struct {
	*source
	op, stream string
	table      table
	operation  connectors.Op
	place      place
}

// page makes records of an answer. Nothing is decoded: a record's Data is the slice of the answer that holds its row (I8).
func (r *reader) page(body []byte) ([]connectors.Record, error) {
	items := gjson.GetBytes(body, "items")
	if !items.IsArray() {
		return nil, connectors.Errorf(connectors.Unavailable, r.op, "the answer is no list of rows")
	}
	var records []connectors.Record
	for _, item := range items.Array() {
		end := item.Index + len(item.Raw)
		record, err := r.record(item, body[item.Index:end:end])
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

func (r *reader) record(item gjson.Result, data []byte) (connectors.Record, error) {
	fail := func(format string, args ...any) (connectors.Record, error) {
		return connectors.Record{}, connectors.Errorf(connectors.Invalid, r.op, format, args...)
	}
	// The spelling of names may change with any release: https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_156257796125.html
	var key, wall string
	item.ForEach(func(name, value gjson.Result) bool {
		switch {
		case strings.EqualFold(name.Str, r.table.id):
			key = value.String()
		case strings.EqualFold(name.Str, changedColumn):
			wall = value.Str
		}
		return key == "" || wall == ""
	})
	at, ok := read(wall, r.zone)
	switch {
	case !wholeNumber.MatchString(key):
		return fail("a row has no whole number in the column %s", r.table.id)
	case !ok:
		return fail("a row has no time in the column %s: is %s a date and time?", changedColumn, r.table.changed)
	case at.at.After(r.now().Add(future)):
		return fail("row %s changed at %s, which in the time zone %s is yet to come: the setting time_zone must be the one in which NetSuite shows times "+
			"to the user of the credentials", key, wall, r.zone)
	}
	switch order := cmp.Or(cmp.Compare(wall, r.place.At), compareNumbers(key, r.place.ID)); {
	case order == 0 && r.operation == connectors.Upsert:
		return fail("two rows have the %s %s: it must be another one for each row, or some would be missed", r.table.id, key)
	case order < 0:
		return fail("row %s is out of order: others would be missed", key)
	}
	r.place.At, r.place.ID = wall, key
	return connectors.Record{
		ID:     connectors.RecordID(r.stream, key, at.version, data), // NetSuite has no IDs of changes (I1)
		Stream: r.stream, Key: key, Op: r.operation, Version: at.version, OccurredAt: at.at, Data: data,
	}, nil
}

// compareNumbers compares whole numbers; "" is less than any.
func compareNumbers(a, b string) int {
	if b == "" {
		return 1
	}
	x, _ := strconv.ParseInt(a, 10, 64)
	y, _ := strconv.ParseInt(b, 10, 64)
	return cmp.Compare(x, y)
}
