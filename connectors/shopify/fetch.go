package shopify

import (
	"context"
	"errors"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Fetch reads a page of a stream in the order of the changes.
func (s *source) Fetch(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
	op := "fetch " + connectors.Clip(req.Stream, 100)
	st, err := lookup(op, req.Stream)
	if err != nil {
		return connectors.Page{}, err
	}
	c, err := decodeCursor(op, req)
	if err != nil {
		return connectors.Page{}, err
	}
	size := st.pageSize
	if s.pageSize > 0 {
		size = s.pageSize
	}
	if req.Limit > 0 {
		size = min(size, req.Limit)
	}
	if c.Depth+size > s.depth {
		c = c.narrow()
	}
	variables := map[string]any{"first": size, "query": c.filter(), "sortKey": c.sortKey()}
	if c.After != "" {
		variables["after"] = c.After
	}
	body, err := s.call(ctx, op, st.query(), variables)
	if errors.Is(err, errBadCursor) && c.After != "" {
		// The vendor forgot its own cursor; ours knows the place.
		c = c.narrow()
		return connectors.Page{Cursor: c.encode(), More: true, OverlapFrom: c.overlapFrom(s.overlap)}, nil
	}
	if err != nil {
		return connectors.Page{}, err
	}
	return s.page(op, st, c, body)
}

// page makes records of an answer's nodes. Nothing is decoded: a record's Data is the slice of the answer that holds its node.
func (s *source) page(op string, st stream, c cursor, body []byte) (connectors.Page, error) {
	text := string(body)
	list := gjson.Get(text, "data."+st.name)
	nodes := list.Get("nodes")
	if !nodes.IsArray() {
		return connectors.Page{}, connectors.Errorf(connectors.Unavailable, op, "the answer holds no list of %s", st.name)
	}
	var records []connectors.Record
	var bad error
	before := c.Newest
	nodes.ForEach(func(_, node gjson.Result) bool {
		end := node.Index + len(node.Raw)
		r := connectors.Record{Stream: st.name, Op: connectors.Upsert, Data: body[node.Index:end:end]}
		var id int64
		if r.Key, id, bad = keyOf(op, node.Get("id").Str); bad != nil {
			return false
		}
		at, err := time.Parse(time.RFC3339, node.Get("updatedAt").Str)
		if err != nil || at.UTC().Year() > 9999 { // which the cursor could not hold
			bad = connectors.Errorf(connectors.Invalid, op, "%s %s has no usable updatedAt", st.name, r.Key)
			return false
		}
		r.OccurredAt = at.UTC()
		r.Version = at.UnixMicro()
		r.ID = connectors.RecordID(r.Stream, r.Key, r.Version, r.Data)
		records = append(records, r)
		c.At, c.LastID = r.OccurredAt, id
		if r.OccurredAt.After(c.Newest) {
			c.Newest = r.OccurredAt
		}
		return true
	})
	if bad != nil {
		return connectors.Page{}, bad
	}
	// What changed within the overlap before now may not be indexed yet, and this poll is about to pass it.
	now := s.now()
	if now.Before(before) {
		now = before
	}
	if settled := now.Add(-s.overlap).UTC(); c.Unsettled.IsZero() && c.Newest.After(settled) {
		c.Unsettled = settled
	}

	end := list.Get("pageInfo.endCursor").Str
	switch more := list.Get("pageInfo.hasNextPage").Bool(); {
	case more && (end == "" || end == c.After):
		return connectors.Page{}, connectors.Errorf(connectors.Invalid, op, "cursor repeated: Shopify says that there is more and gives the same place again")
	case more:
		c.After, c.Depth = end, c.Depth+len(records)
	case c.ByID:
		// The second is read; go on with the next one.
		c.ByID, c.AfterID, c.After, c.Depth = false, 0, "", 0
		c.From = c.From.Add(time.Second)
	default:
		c = c.finish(s.overlap)
		return connectors.Page{Records: records, Cursor: c.encode(), OverlapFrom: c.From}, nil
	}
	return connectors.Page{Records: records, Cursor: c.encode(), More: true, OverlapFrom: c.overlapFrom(s.overlap)}, nil
}
