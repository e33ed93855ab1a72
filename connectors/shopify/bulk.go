package shopify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Bulk operations read what is too much for pages: Shopify runs a query by itself and leaves a file.
// https://shopify.dev/docs/api/usage/bulk-operations/queries
//
// The first read of a stream may go on as one. A Fetch starts the operation or finds that it runs already, later ones look at it, each a while
// after the one before, and then each reads the next piece of the file. The cursor holds the operation's ID and a place in the file, and not the
// file's URL, which is as good as a password: it is asked for each time. When the file is read, polling goes on from before the operation began.

// bulkMode is the setting bulk.
type bulkMode string

const (
	bulkAuto   bulkMode = "auto"
	bulkNever  bulkMode = "never"
	bulkAlways bulkMode = "always"

	// bulkAfter is how many records a first read has had by pages when bulk operations take over.
	bulkAfter = 5000
	// bulkFailures is how many operations in a row may fail before the stream is read by pages.
	bulkFailures = 3
	// bulkRecent is how old an operation may be that ended and is taken up: one that an attempt has started and lost sight of.
	bulkRecent = time.Hour
	// severalBulks is the first version in which an app may run several operations in a shop and list them:
	// https://shopify.dev/changelog/new-queries-for-bulk-operations
	severalBulks = "2026-01"

	firstBulkWait = 5 * time.Second
	maxBulkWait   = 5 * time.Minute
	busyBulkWait  = time.Minute
)

// bulkCursor is where a bulk operation stands. Its query is made of the cursor's window.
type bulkCursor struct {
	// ID is the operation's number; 0 = it is to be started. Began is when it was made, by the shop's clock.
	ID    int64     `json:"id,omitempty"`
	Began time.Time `json:"began,omitzero"`
	// First is when the first operation of several was made.
	First time.Time `json:"first,omitzero"`
	// Looks is how often it has been looked at since it was made.
	Looks int `json:"looks,omitempty"`
	// Size is how many bytes the file has; 0 = there is none yet. Offset is how many have been read, and Rows how many records they held.
	Size   int64 `json:"size,omitempty"`
	Offset int64 `json:"offset,omitempty"`
	Rows   int64 `json:"rows,omitempty"`
	// Partial says that the file is what a failed operation left.
	Partial bool `json:"partial,omitempty"`
	// LastID is the greatest ID read, and Unordered says that they did not ascend.
	LastID    int64 `json:"last_id,omitempty"`
	Unordered bool  `json:"unordered,omitempty"`
	// Failures is how many operations failed one after the other, and Lost the last one, which is not taken up again.
	Failures int   `json:"failures,omitempty"`
	Lost     int64 `json:"lost,omitempty"`
}

// startsInBulk says whether a first read begins with a bulk operation. What lies under locations has no order in which one could take over later; what
// changed since a time is little of it, and an operation would look through all.
func (s *source) startsInBulk(st stream, since time.Time) bool {
	return st.bulks() && (s.bulk == bulkAlways || s.bulk == bulkAuto && st.way == ofLocations && since.IsZero())
}

// goesOnInBulk says whether the rest of a first read is better read by a bulk operation.
func (r *reading) goesOnInBulk(c cursor) bool {
	return r.bulk == bulkAuto && r.stream.bulks() && c.First && !c.ByID && c.Read >= r.bulkAfter
}

// cutAtSecond leaves a page at the beginning of its last second, so that a bulk operation that starts with this second reads nothing again.
// before is the last change of the page before; where that lies in the same second, there is no such place.
func (c cursor) cutAtSecond(before time.Time, records []connectors.Record) (head []connectors.Record, rest cursor, ok bool) {
	second := c.At.Truncate(time.Second)
	i := slices.IndexFunc(records, func(rec connectors.Record) bool { return !rec.OccurredAt.Before(second) })
	if i < 0 || !before.Before(second) {
		return nil, c, false
	}
	c.From, c.After, c.Depth, c.Bulk = second, "", 0, &bulkCursor{}
	return records[:i], c, true
}

// bulkQuery is the stream as a bulk operation reads it. It takes no page sizes, and its connections are lines of the file. The order of the IDs is
// asked for: a file that ends early is gone on from by it, and orders have another one by themselves, in which IDs may ascend for a while.
func (s stream) bulkQuery(filter string) string {
	root, fields := s.root, s.selection
	switch {
	case s.way == ofLocations:
		level := "inventoryLevels"
		if filter != "" {
			level = fmt.Sprintf("inventoryLevels(query: %q)", filter)
		}
		// An item's own change says nothing of its levels: all items are read.
		return fmt.Sprintf(`{ inventoryItems { edges { node { id %s { edges { node { %s } } } } } } }`, level, s.selection)
	case s.nested.name != "":
		fields += fmt.Sprintf(" %s { edges { node { %s } } }", s.nested.name, s.nested.selection)
	}
	var args []string
	if s.sortKeys != "" {
		args = append(args, "sortKey: ID")
	}
	if filter != "" {
		args = append(args, fmt.Sprintf("query: %q", filter))
	}
	if args != nil {
		root += "(" + strings.Join(args, ", ") + ")"
	}
	return fmt.Sprintf(`{ %s { edges { node { %s } } } }`, root, fields)
}

// bulkPage goes a step on with a bulk operation.
func (r *reading) bulkPage(ctx context.Context, c cursor) (connectors.Page, error) {
	b := *c.Bulk
	c.Bulk = &b
	switch {
	case b.ID == 0:
		return r.startBulk(ctx, c)
	case b.Size == 0:
		return r.lookAtBulk(ctx, c)
	}
	return r.readBulk(ctx, c)
}

// between is a page without records.
func (r *reading) between(c cursor, wait time.Duration) (connectors.Page, error) {
	return connectors.Page{Cursor: c.encode(), More: true, OverlapFrom: c.bulkOverlap(r.overlap), Wait: wait}, nil
}

// bulkOverlap is from when on the poll after the operation may bring again what the file or the pages before it had.
func (c cursor) bulkOverlap(overlap time.Duration) time.Time {
	from := c.Bulk.First
	if from.IsZero() {
		return c.overlapFrom(overlap)
	}
	if !c.Began.IsZero() { // what pages had read by then may have changed while others were read
		from = earlier(from, c.Began)
	}
	from = from.Add(-overlap)
	if !c.Unsettled.IsZero() {
		from = earlier(from, c.Unsettled)
	}
	return later(from.Truncate(time.Second), c.Floor)
}

const (
	recentBulks = `query Bulks { bulkOperations(first: 50, query: "operation_type:query") { nodes { id status query createdAt } } }`
	currentBulk = `query Bulk { currentBulkOperation(type: QUERY) { id status query createdAt } }`
	runBulk     = `mutation Bulk($query: String!, $group: Boolean!) {
		bulkOperationRunQuery(query: $query, groupObjects: $group) { bulkOperation { id status createdAt } userErrors { code message } }
	}`
	lookAtBulk = `query Bulk($id: ID!) {
		node(id: $id) { ... on BulkOperation { id status errorCode createdAt objectCount fileSize url partialDataUrl } }
	}`
)

// startBulk takes up the operation that an earlier attempt has started, or starts it.
func (r *reading) startBulk(ctx context.Context, c cursor) (connectors.Page, error) {
	query := r.stream.bulkQuery(c.filter())
	list, path := currentBulk, "data.currentBulkOperation"
	if r.version >= severalBulks {
		list, path = recentBulks, "data.bulkOperations.nodes"
	}
	a, err := r.ask(ctx, r.op, list, nil)
	if err != nil {
		return connectors.Page{}, err
	}
	found := gjson.GetBytes(a.body, path)
	for _, op := range found.Array() { // one object counts as an array of one
		began, ok := parseTime(op.Get("createdAt"))
		if !ok || op.Get("query").Str != query {
			continue
		}
		switch op.Get("status").Str {
		case "CREATED", "RUNNING":
		case "COMPLETED":
			if a.at.Sub(began) > bulkRecent {
				continue
			}
		default:
			continue
		}
		if page, ok, err := r.follow(c, op, began); ok {
			return page, err
		}
	}
	a, err = r.ask(ctx, r.op, runBulk, map[string]any{"query": query, "group": r.stream.nested.name != ""})
	if err != nil {
		return connectors.Page{}, err
	}
	payload := gjson.GetBytes(a.body, "data.bulkOperationRunQuery")
	if message := payload.Get("userErrors.0.message").Str; message != "" {
		return connectors.Page{}, r.bulkRefusal(payload.Get("userErrors.0.code").Str, message)
	}
	op := payload.Get("bulkOperation")
	began, ok := parseTime(op.Get("createdAt"))
	if ok {
		if page, ok, err := r.follow(c, op, began); ok {
			page.Calls = 1
			return page, err
		}
	}
	return connectors.Page{}, connectors.Errorf(connectors.Unavailable, r.op, "the answer holds no bulk operation")
}

// follow notes an operation; ok is false where it has no usable ID or is the one that was lost.
func (r *reading) follow(c cursor, op gjson.Result, began time.Time) (page connectors.Page, ok bool, err error) {
	_, id, err := keyOf(r.op, op.Get("id").Str)
	if err != nil || id == c.Bulk.Lost {
		return page, false, nil
	}
	b := c.Bulk
	b.ID, b.Began, b.Looks, b.Size, b.Offset, b.Rows, b.Partial, b.LastID, b.Unordered = id, began, 0, 0, 0, 0, false, 0, false
	if b.First.IsZero() || began.Before(b.First) {
		b.First = began
	}
	page, err = r.between(c, firstBulkWait)
	return page, true, err
}

// bulkRefusal classifies what the vendor says when an operation can't be started.
func (r *reading) bulkRefusal(code, message string) error {
	if code == "OPERATION_IN_PROGRESS" || code == "LIMIT_REACHED" || strings.Contains(message, "already in progress") {
		e := connectors.Errorf(connectors.RateLimited, r.op, "as many bulk operations of the app run in this shop as Shopify allows")
		e.Wait = busyBulkWait
		return e
	}
	return connectors.Errorf(connectors.Invalid, r.op, "Shopify refuses the bulk operation: %s; set bulk to never to read by pages", r.redact(message))
}

// operation asks how the operation is doing. It also says where its file is, which is a secret.
func (r *reading) operation(ctx context.Context, c cursor) (gjson.Result, error) {
	body, err := r.call(ctx, r.op, lookAtBulk, map[string]any{"id": fmt.Sprintf("gid://shopify/BulkOperation/%d", c.Bulk.ID)})
	if err != nil {
		return gjson.Result{}, err
	}
	return gjson.GetBytes(body, "data.node"), nil
}

// lookAtBulk asks whether the operation has ended.
func (r *reading) lookAtBulk(ctx context.Context, c cursor) (connectors.Page, error) {
	op, err := r.operation(ctx, c)
	if err != nil {
		return connectors.Page{}, err
	}
	b := c.Bulk
	b.Looks++
	switch status := op.Get("status").Str; status {
	case "CREATED", "RUNNING", "CANCELING":
		return r.between(c, min(firstBulkWait<<min(b.Looks, 6), maxBulkWait))
	case "COMPLETED":
		size := op.Get("fileSize").Int()
		switch {
		case op.Get("url").Str == "" && op.Get("objectCount").Int() > 0: // its file has died already
			return r.anotherBulk(c)
		case op.Get("url").Str == "": // nothing was found: there is no file
			return r.bulkRead(c), nil
		case size <= 0:
			return connectors.Page{}, connectors.Errorf(connectors.Unavailable, r.op, "the bulk operation has a file without a size")
		}
		b.Size = size
		return r.between(c, 0)
	case "FAILED", "CANCELED", "EXPIRED":
		if op.Get("errorCode").Str == "ACCESS_DENIED" {
			return connectors.Page{}, connectors.Errorf(connectors.Forbidden, r.op, "the bulk operation may not read this: grant the app %s",
				strings.Join(r.stream.scopes, " and "))
		}
		if op.Get("partialDataUrl").Str != "" && op.Get("fileSize").Int() > 0 {
			b.Size, b.Partial = op.Get("fileSize").Int(), true
			return r.between(c, 0)
		}
		return r.anotherBulk(c)
	case "":
		return r.anotherBulk(c) // the operation is forgotten
	default:
		return connectors.Page{}, connectors.Errorf(connectors.Unavailable, r.op, "the bulk operation has the unknown status %s", connectors.Clip(status, 40))
	}
}

// anotherBulk starts again behind what was read. That is known only where the IDs ascended: else all is read again.
func (r *reading) anotherBulk(c cursor) (connectors.Page, error) {
	b := *c.Bulk
	if b.Rows > 0 && (b.Unordered || r.stream.way == ofLocations) {
		return connectors.Page{}, connectors.Errorf(connectors.CursorExpired, r.op, "the bulk operation's file is gone before it was read, and its order is none to go on from")
	}
	c.AfterID = max(c.AfterID, b.LastID)
	c.Bulk = &bulkCursor{Lost: b.ID, First: b.First}
	if b.Rows > 0 {
		return r.between(c, 0)
	}
	if c.Bulk.Failures = b.Failures + 1; c.Bulk.Failures < bulkFailures {
		return r.between(c, busyBulkWait)
	}
	// By pages, then, and in their own order: what a failed operation has left may come again.
	page, err := r.between(c, busyBulkWait)
	c.First, c.Bulk = false, nil
	if r.stream.way == byUpdated {
		c.AfterID = 0
	}
	page.Cursor = c.encode()
	return page, err
}

// bulkRead ends the first read: polling goes on from before the operation began.
func (r *reading) bulkRead(c cursor) connectors.Page {
	from := c.bulkOverlap(r.overlap)
	next := cursor{V: cursorVersion, Floor: c.Floor, From: from, Newest: c.Bulk.First}
	return connectors.Page{Cursor: next.encode(), OverlapFrom: from}
}
