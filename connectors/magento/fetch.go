package magento

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Fetch reads a page of a stream.
func (s *source) Fetch(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
	op := "fetch " + connectors.Clip(req.Stream, 100)
	st, err := lookup(op, req.Stream)
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
	if st.id == "" {
		return s.stock(ctx, op, st, c, limit)
	}
	f, err := s.find(ctx, op, st, changedBehind(c.place, limit))
	if err != nil {
		return connectors.Page{}, err
	}
	page := connectors.Page{More: f.total > int64(len(f.items))}
	for _, item := range f.items {
		record, err := readObject(op, st, item, f.slice(item), &c.place)
		if err != nil {
			return connectors.Page{}, err
		}
		page.Records = append(page.Records, record)
	}
	next := s.next(c)
	if next > 0 {
		page.OverlapFrom = time.Unix(next, 0).UTC()
	}
	if !page.More {
		c = cursor{V: cursorVersion, From: next, place: place{At: next}}
	}
	page.Cursor = c.encode()
	return page, nil
}

// readObject makes a record of an object, and moves the place behind it. Nothing is decoded: data is the slice of the answer that holds it (I8).
func readObject(op string, st stream, item gjson.Result, data []byte, p *place) (connectors.Record, error) {
	fail := func(format string, args ...any) (connectors.Record, error) {
		return connectors.Record{}, connectors.Errorf(connectors.Invalid, op, format, args...)
	}
	id, badID := strconv.ParseInt(item.Get(st.id).String(), 10, 64)
	at, badTime := time.Parse(layout, item.Get("updated_at").Str)
	switch {
	case badID != nil || id < 1:
		return fail("an object has no whole number as %s", st.id)
	case badTime != nil:
		return fail("%s %d has no date and time as updated_at", st.id, id)
	case cmp.Or(cmp.Compare(at.Unix(), p.At), cmp.Compare(id, p.ID)) <= 0:
		return fail("%s %d is out of order, so that others would be missed: does an extension change how the shop filters and sorts?", st.id, id)
	}
	p.At, p.ID = at.Unix(), id
	key, version := strconv.FormatInt(id, 10), at.UnixMicro()
	return connectors.Record{
		ID:     connectors.RecordID(st.name, key, version, data), // the shop has no IDs of changes (I1)
		Stream: st.name, Key: key, Op: connectors.Upsert, Version: version, OccurredAt: at, Data: data,
	}, nil
}
