package magento

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

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
	objects, err := readObjects(op, st, f)
	if err != nil {
		return connectors.Page{}, err
	}
	page := connectors.Page{More: !f.whole() || len(objects) > limit}
	for _, o := range objects[:min(len(objects), limit)] {
		if o.compare(c.place) <= 0 {
			return connectors.Page{}, connectors.Errorf(connectors.Invalid, op,
				"%s %d is out of order, so that others would be missed: does an extension change how the shop filters and sorts?", st.id, o.ID)
		}
		c.place = o.place
		page.Records = append(page.Records, o.record(st))
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

// object is one that was found: what it holds, and its place in the order of changes.
type object struct {
	place
	data []byte
}

func (o object) compare(p place) int { return cmp.Or(cmp.Compare(o.At, p.At), cmp.Compare(o.ID, p.ID)) }

// readObjects reads an answer in the order of changes. Nothing is decoded: the data of an object is the slice of the answer that holds it (I8). Where an
// answer is whole, nothing can be missed by its order, and it is sorted here: for categories shops up to 2.3.2 heed neither order nor page size, but
// answer all that meet the search (https://github.com/magento/magento2/issues/23342, https://github.com/magento/magento2/issues/25740).
func readObjects(op string, st stream, f found) ([]object, error) {
	objects := make([]object, 0, len(f.items))
	for _, item := range f.items {
		id, badID := strconv.ParseInt(item.Get(st.id).String(), 10, 64)
		at, badTime := time.Parse(layout, item.Get("updated_at").Str)
		switch {
		case badID != nil || id < 1:
			return nil, connectors.Errorf(connectors.Invalid, op, "an object has no whole number as %s", st.id)
		case badTime != nil:
			return nil, connectors.Errorf(connectors.Invalid, op, "%s %d has no date and time as updated_at", st.id, id)
		}
		objects = append(objects, object{place{at.Unix(), id}, f.slice(item)})
	}
	if f.whole() {
		slices.SortFunc(objects, func(a, b object) int { return a.compare(b.place) })
	}
	return objects, nil
}

func (o object) record(st stream) connectors.Record {
	at := time.Unix(o.At, 0).UTC()
	key, version := strconv.FormatInt(o.ID, 10), at.UnixMicro()
	return connectors.Record{
		ID:     connectors.RecordID(st.name, key, version, o.data), // the shop has no IDs of changes (I1)
		Stream: st.name, Key: key, Op: connectors.Upsert, Version: version, OccurredAt: at, Data: o.data,
	}
}
