package shopify

import (
	"context"
	"errors"
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
	r := &reading{source: s, op: op, stream: st, size: size, limit: req.Limit}
	if req.Cursor == nil && s.startsInBulk(st, req.Since) {
		c.Bulk = &bulkCursor{}
	}
	switch {
	case c.Bulk != nil:
		return r.bulkPage(ctx, c)
	case st.way == byID:
		return r.pageByID(ctx, c)
	case st.way == ofOrders:
		return r.pageOfOrders(ctx, c)
	case st.way == ofLocations:
		return r.pageOfLocations(ctx, c)
	}
	return r.pageByUpdated(ctx, c)
}

// reading is one Fetch.
type reading struct {
	*source
	op     string
	stream stream
	size   int // of a page of a query
	limit  int // of the request; 0 = none
}

// page asks for a page of nodes and makes records of them.
func (r *reading) page(ctx context.Context, c cursor) (nodes, error) {
	variables := map[string]any{"first": r.size, "query": c.filter()}
	if r.stream.sortKeys != "" {
		variables["sortKey"] = c.sortKey()
	}
	if r.stream.way == byID && r.stream.sortKeys != "" {
		variables["sortKey"] = "ID"
	}
	if c.After != "" {
		variables["after"] = c.After
	}
	a, err := r.ask(ctx, r.op, r.stream.query(), variables)
	if err != nil {
		return nodes{}, err
	}
	return r.records(a, "data."+r.stream.root)
}

// nodes are a page's records and what the answer says besides.
type nodes struct {
	answer
	records []connectors.Record
	ids     []int64 // of the records
	more    bool
	end     string // the vendor's cursor
}

// records makes records of the nodes of a connection. Nothing is decoded: a record's Data is the slice of the answer that holds its node.
func (r *reading) records(a answer, path string) (nodes, error) {
	out := nodes{answer: a}
	list := gjson.Get(string(a.body), path)
	if !list.Get("nodes").IsArray() {
		return out, connectors.Errorf(connectors.Unavailable, r.op, "the answer holds no list of %s", r.stream.name)
	}
	var bad error
	list.Get("nodes").ForEach(func(_, node gjson.Result) bool {
		var rec connectors.Record
		var id int64
		end := node.Index + len(node.Raw)
		data := a.body[node.Index:end:end]
		if rec, id, bad = r.record(node, data, data); bad != nil {
			return false
		}
		out.records, out.ids = append(out.records, rec), append(out.ids, id)
		return true
	})
	out.more, out.end = list.Get("pageInfo.hasNextPage").Bool(), list.Get("pageInfo.endCursor").Str
	return out, bad
}

// record makes a record of a node; id is the number that orders it. page is the node as a page gives it, by which it is recognised whichever way it comes.
func (r *reading) record(node gjson.Result, data, page []byte) (rec connectors.Record, id int64, err error) {
	key, id, err := keyOf(r.op, node.Get("id").Str)
	if err != nil {
		return rec, 0, err
	}
	if r.stream.name == levelStream {
		item, _, err := keyOf(r.op, node.Get("item.id").Str)
		if err != nil {
			return rec, 0, err
		}
		location, _, err := keyOf(r.op, node.Get("location.id").Str)
		if err != nil {
			return rec, 0, err
		}
		key = item + "-" + location
	}
	at, ok := parseTime(node.Get("updatedAt"))
	if !ok {
		return rec, 0, connectors.Errorf(connectors.Invalid, r.op, "%s %s has no usable updatedAt", r.stream.name, key)
	}
	rec = connectors.Record{Stream: r.stream.name, Key: key, Op: connectors.Upsert, Version: at.UnixMicro(), OccurredAt: at, Data: data}
	rec.ID = connectors.RecordID(rec.Stream, rec.Key, rec.Version, page)
	return rec, id, nil
}

// parseTime refuses what a cursor could not hold.
func parseTime(v gjson.Result) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, v.Str)
	return at.UTC(), err == nil && at.UTC().Year() <= 9999
}

// saw notes the changes of a page.
func (c *cursor) saw(records []connectors.Record, ids []int64) {
	for i, rec := range records {
		c.At, c.LastID = rec.OccurredAt, ids[i]
		c.Newest = later(c.Newest, rec.OccurredAt)
	}
	if c.First {
		c.Read += len(records)
	}
}

// pageByUpdated reads a page in the order of the changes.
func (r *reading) pageByUpdated(ctx context.Context, c cursor) (connectors.Page, error) {
	if c.Depth+r.size > r.depth {
		c = c.narrow()
	}
	n, err := r.page(ctx, c)
	if errors.Is(err, errBadCursor) && c.After != "" {
		// The vendor forgot its own cursor; ours knows the place.
		c = c.narrow()
		return connectors.Page{Cursor: c.encode(), More: true, OverlapFrom: c.overlapFrom(r.overlap)}, nil
	}
	if err != nil {
		return connectors.Page{}, err
	}
	before := c
	c.saw(n.records, n.ids)
	// What changed within the overlap before now, by whichever clock is behind, may not be indexed yet, and this poll is about to pass it.
	if settled := later(earlier(r.now(), n.at), before.Newest).Add(-r.overlap).UTC(); c.Unsettled.IsZero() && c.Newest.After(settled) {
		c.Unsettled = settled
	}
	switch {
	case n.more && (n.end == "" || n.end == c.After):
		return connectors.Page{}, r.repeated()
	case n.more:
		c.After, c.Depth = n.end, c.Depth+len(n.records)
		if r.goesOnInBulk(c) {
			if records, rest, ok := c.cutAtSecond(before.At, n.records); ok {
				return connectors.Page{Records: records, Cursor: rest.encode(), More: true, OverlapFrom: rest.overlapFrom(r.overlap)}, nil
			}
		}
	case c.ByID:
		// The second is read; go on with the next one.
		c.ByID, c.AfterID, c.After, c.Depth = false, 0, "", 0
		c.From = c.From.Add(time.Second)
	default:
		c = c.finish(r.overlap)
		return connectors.Page{Records: n.records, Cursor: c.encode(), OverlapFrom: c.From}, nil
	}
	return connectors.Page{Records: n.records, Cursor: c.encode(), More: true, OverlapFrom: c.overlapFrom(r.overlap), Wait: n.pace}, nil
}

// repeated ends what would never end.
func (r *reading) repeated() error {
	return connectors.Errorf(connectors.Invalid, r.op, "cursor repeated: Shopify says that there is more and gives the same place again")
}

// pageByID reads a page in the order of the IDs. There is no depth: each page asks for what lies above the last ID.
func (r *reading) pageByID(ctx context.Context, c cursor) (connectors.Page, error) {
	n, err := r.page(ctx, c)
	if err != nil {
		return connectors.Page{}, err
	}
	if c.Began.IsZero() {
		c.Began = n.at
	}
	for _, id := range n.ids {
		if id <= c.AfterID {
			return connectors.Page{}, r.unordered()
		}
		c.AfterID = id
	}
	c.saw(n.records, n.ids)
	if !n.more {
		c = c.finish(r.overlap)
		return connectors.Page{Records: n.records, Cursor: c.encode(), OverlapFrom: c.From}, nil
	}
	if len(n.records) == 0 {
		return connectors.Page{}, r.repeated()
	}
	if r.goesOnInBulk(c) {
		c.Bulk = &bulkCursor{}
	}
	return connectors.Page{Records: n.records, Cursor: c.encode(), More: true, OverlapFrom: c.overlapFrom(r.overlap), Wait: n.pace}, nil
}

func (r *reading) unordered() error {
	return connectors.Errorf(connectors.Invalid, r.op, "Shopify lists %s out of the order of their IDs: others would be missed", r.stream.name)
}
