package shopify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// pageOfLocations reads inventory levels, one location after the other: the vendor lists them under a location, filters them there by their changes
// and sorts them by nothing.
//
// Where more than maxDepth changed at a location, the window is halved in time until its parts can be paged through; what was read of the whole
// comes again.
func (r *reading) pageOfLocations(ctx context.Context, c cursor) (connectors.Page, error) {
	if c.Began.IsZero() {
		c.Start = c.From
	}
	if c.Depth+r.size > r.depth {
		halved, ok := c.halve(r.now())
		if !ok {
			return connectors.Page{}, connectors.Errorf(connectors.Invalid, r.op,
				"more than %d inventory levels of a location changed within one second: set bulk to always and read the stream anew", r.depth)
		}
		c = halved
	}
	query := fmt.Sprintf(`query Levels($location: String, $first: Int!, $after: String, $query: String) {
		locations(first: 1, after: $location, includeInactive: true, includeLegacy: true, sortKey: ID) {
			nodes { id inventoryLevels(first: $first, after: $after, query: $query) { nodes { %s } pageInfo { hasNextPage endCursor } } }
			pageInfo { hasNextPage endCursor }
		}
	}`, r.stream.fields())
	variables := map[string]any{"first": r.size, "query": c.filter()}
	if c.After != "" {
		variables["after"] = c.After
	}
	if c.Location != "" {
		variables["location"] = c.Location
	}
	a, err := r.ask(ctx, r.op, query, variables)
	if errors.Is(err, errBadCursor) && c.After+c.Location != "" {
		// The vendor forgot its own cursor: from the first location again, whose changes since From come again.
		c.After, c.Depth, c.Location, c.From, c.To, c.Oldest = "", 0, "", c.Start, time.Time{}, time.Time{}
		return connectors.Page{Cursor: c.encode(), More: true, OverlapFrom: c.levelsAgain()}, nil
	}
	if err != nil {
		return connectors.Page{}, err
	}
	if c.Began.IsZero() {
		c.Began = a.at
	}
	locations := gjson.GetBytes(a.body, "data.locations")
	switch n := locations.Get("nodes.#").Int(); {
	case !locations.Get("nodes").IsArray() || n > 1:
		return connectors.Page{}, connectors.Errorf(connectors.Unavailable, r.op, "the answer holds no location")
	case n == 0:
		return r.levelsRead(c, nil)
	}
	levels, err := r.records(a, "data.locations.nodes.0.inventoryLevels")
	if err != nil {
		return connectors.Page{}, err
	}
	c.saw(levels.records, levels.ids)
	for _, rec := range levels.records {
		if c.Oldest.IsZero() || rec.OccurredAt.Before(c.Oldest) {
			c.Oldest = rec.OccurredAt
		}
	}
	next := locations.Get("pageInfo.endCursor").Str
	switch {
	case levels.more && (levels.end == "" || levels.end == c.After):
		return connectors.Page{}, r.repeated()
	case levels.more:
		c.After, c.Depth = levels.end, c.Depth+len(levels.records)
	case !c.To.IsZero(): // a part of the window is read; go on with the rest
		width := c.To.Sub(later(c.From, earliest))
		c.After, c.Depth, c.From, c.Oldest = "", 0, c.To, time.Time{}
		if c.To = c.To.Add(2 * width); c.To.After(c.Began) {
			c.To = time.Time{} // the last part has no end
		}
	case !locations.Get("pageInfo.hasNextPage").Bool():
		return r.levelsRead(c, levels.records)
	case next == "" || next == c.Location:
		return connectors.Page{}, r.repeated()
	default:
		c.After, c.Depth, c.Location, c.Oldest = "", 0, next, time.Time{}
		c.From = c.Start
	}
	return connectors.Page{Records: levels.records, Cursor: c.encode(), More: true, OverlapFrom: c.levelsAgain(), Wait: a.pace}, nil
}

// levelsRead ends the poll.
func (r *reading) levelsRead(c cursor, records []connectors.Record) (connectors.Page, error) {
	c.From = c.Start
	c = c.finish(r.overlap)
	return connectors.Page{Records: records, Cursor: c.encode(), OverlapFrom: c.From}, nil
}

// halve is the first half of the window at this location; ok is false where it is too small.
func (c cursor) halve(now time.Time) (half cursor, ok bool) {
	to := c.To
	if to.IsZero() {
		to = later(now, c.Newest).Add(time.Second).UTC().Truncate(time.Second)
	}
	from := later(later(c.From, earliest), c.Oldest.Truncate(time.Second))
	middle := from.Add(to.Sub(from) / 2).Truncate(time.Second)
	if !middle.After(from) {
		return c, false
	}
	c.After, c.Depth, c.To, c.Oldest = "", 0, middle, time.Time{}
	return c, true
}

// earliest is before every shop.
var earliest = time.Date(2004, 1, 1, 0, 0, 0, 0, time.UTC)

// levelsAgain is from when on levels may come again while a poll goes on: all of it, once a window was halved.
func (c cursor) levelsAgain() time.Time { return later(c.Start, earliest) }
