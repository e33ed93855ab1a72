package shopify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// child is a fulfillment or refund that changed.
type child struct {
	order, id int64
	gid       string
}

// pageOfOrders reads what belongs to orders. The vendor lists it nowhere else, and a change of it changes its order: so the orders that changed
// are looked through in the order of their IDs, and their children that changed since the poll's own beginning are read, whole, by their IDs.
// An order that changed for another reason gives nothing again.
func (r *reading) pageOfOrders(ctx context.Context, c cursor) (connectors.Page, error) {
	variables := map[string]any{"first": min(r.stream.orders, 10*r.size), "query": c.filter(), "sortKey": "ID"}
	a, err := r.ask(ctx, r.op, r.stream.query(), variables)
	if err != nil {
		return connectors.Page{}, err
	}
	list := gjson.GetBytes(a.body, "data.orders")
	if !list.Get("nodes").IsArray() {
		return connectors.Page{}, connectors.Errorf(connectors.Unavailable, r.op, "the answer holds no list of orders")
	}
	if c.Began.IsZero() {
		c.Began = a.at
	}
	start := c
	var found []child
	cut := false // the page ends within an order
	for _, order := range list.Get("nodes").Array() {
		_, id, err := keyOf(r.op, order.Get("id").Str)
		if err != nil {
			return connectors.Page{}, err
		}
		at, ok := parseTime(order.Get("updatedAt"))
		switch {
		case !ok:
			return connectors.Page{}, connectors.Errorf(connectors.Invalid, r.op, "order %d has no usable updatedAt", id)
		case id <= c.AfterID:
			return connectors.Page{}, connectors.Errorf(connectors.Invalid, r.op, "Shopify lists orders out of the order of their IDs: others would be missed")
		}
		children, err := r.changed(order.Get(r.stream.root), c.From, id)
		if err != nil {
			return connectors.Page{}, err
		}
		if start.Child > 0 && id == start.AfterID+1 { // a page ended within it
			children = slices.DeleteFunc(children, func(ch child) bool { return ch.id <= start.Child })
		}
		room := r.size - len(found)
		if len(children) > room {
			if room > 0 {
				found = append(found, children[:room]...)
				c.AfterID, c.Child = id-1, children[room-1].id
			}
			cut = true
			break
		}
		found = append(found, children...)
		c.AfterID, c.Child = id, 0
		c.Newest = later(c.Newest, at)
	}
	page := connectors.Page{More: cut || list.Get("pageInfo.hasNextPage").Bool(), Wait: a.pace}
	if page.More && c.AfterID == start.AfterID && c.Child == start.Child {
		return connectors.Page{}, r.repeated()
	}
	if len(found) > 0 {
		page.Calls = 1
		if page.Records, page.Wait, err = r.children(ctx, found); err != nil {
			return connectors.Page{}, err
		}
	}
	if !page.More {
		c = c.finish(r.overlap)
		page.OverlapFrom, page.Wait = c.From, 0
	} else {
		page.OverlapFrom = c.overlapFrom(r.overlap)
	}
	page.Cursor = c.encode()
	return page, nil
}

// changed lists an order's children that changed since, by ID.
func (r *reading) changed(list gjson.Result, since time.Time, order int64) (out []child, err error) {
	if !list.IsArray() {
		return nil, connectors.Errorf(connectors.Unavailable, r.op, "the answer holds no list of %s", r.stream.name)
	}
	for _, node := range list.Array() {
		gid := node.Get("id").Str
		_, id, err := keyOf(r.op, gid)
		if err != nil {
			return nil, err
		}
		at, ok := parseTime(node.Get("updatedAt"))
		if !ok {
			return nil, connectors.Errorf(connectors.Invalid, r.op, "%s %d has no usable updatedAt", r.stream.name, id)
		}
		if !at.Before(since) {
			out = append(out, child{order, id, gid})
		}
	}
	slices.SortFunc(out, func(a, b child) int { return cmp.Compare(a.id, b.id) })
	return out, nil
}

// children reads them whole. One that is gone meanwhile is left out.
func (r *reading) children(ctx context.Context, found []child) ([]connectors.Record, time.Duration, error) {
	ids := make([]string, len(found))
	for i, ch := range found {
		ids[i] = ch.gid
	}
	query := fmt.Sprintf(`query Children($ids: [ID!]!) { nodes(ids: $ids) { ... on %s { %s } } }`, r.stream.node, r.stream.fields())
	a, err := r.ask(ctx, r.op, query, map[string]any{"ids": ids})
	if err != nil {
		return nil, 0, err
	}
	list := gjson.Get(string(a.body), "data.nodes")
	if !list.IsArray() {
		return nil, 0, connectors.Errorf(connectors.Unavailable, r.op, "the answer holds no list of %s", r.stream.name)
	}
	var out []connectors.Record
	var bad error
	list.ForEach(func(_, node gjson.Result) bool {
		if node.Type == gjson.Null {
			return true
		}
		end := node.Index + len(node.Raw)
		var rec connectors.Record
		data := a.body[node.Index:end:end]
		if rec, _, bad = r.record(node, data, data); bad != nil {
			return false
		}
		out = append(out, rec)
		return true
	})
	return out, a.pace, bad
}
