package shopify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"tributary/connectors"
)

// cursor is where a stream has been read up to. A poll reads windows: everything changed since From, in the order of the changes. A record that
// changes meanwhile moves to the end and is read there.
//
// The vendor lets nobody page deeper than maxDepth, so that a window ends there and the next one starts at the last change read. When a whole
// window lies within one second, the finest that the vendor's filter knows, that second is read by ID instead.
type cursor struct {
	V int `json:"v"`
	// Floor is the FetchRequest's Since: nothing before it is ever asked for.
	Floor time.Time `json:"floor,omitzero"`
	From  time.Time `json:"from,omitzero"`
	// ByID says that the second From is being read by ID, above AfterID.
	ByID    bool  `json:"by_id,omitempty"`
	AfterID int64 `json:"after_id,omitempty"`
	// After is the vendor's cursor in the window, and Depth how many records lie before it.
	After string `json:"after,omitempty"`
	Depth int    `json:"depth,omitempty"`
	// At and LastID are of the last record read in the window.
	At     time.Time `json:"at,omitzero"`
	LastID int64     `json:"last_id,omitempty"`
	// Began is when the poll began, by the shop's clock, where the order is not that of the changes: what changes after it may be missed, and is left
	// to the next poll.
	Began time.Time `json:"began,omitzero"`
	// First says that no poll has ended yet, and Read how many records this first one had.
	First bool `json:"first,omitempty"`
	Read  int  `json:"read,omitempty"`
	// Child is the last child read of the order after AfterID; Location the vendor's cursor of the location before, and To where a part of its window ends.
	Child    int64     `json:"child,omitempty"`
	Location string    `json:"location,omitempty"`
	To       time.Time `json:"to,omitzero"`
	// Oldest is the first change seen in the window at this location.
	Oldest time.Time `json:"oldest,omitzero"`
	// Start is From of the whole poll, where From moves along within a location.
	Start time.Time `json:"start,omitzero"`
	// Bulk, while a bulk operation reads for us.
	Bulk *bulkCursor `json:"bulk,omitempty"`
	// Newest is the latest change ever seen.
	Newest time.Time `json:"newest,omitzero"`
	// Unsettled, once set in a poll, is the time before which the vendor had surely indexed everything when this poll reached it.
	Unsettled time.Time `json:"unsettled,omitzero"`
}

const cursorVersion = 1

func decodeCursor(op string, req connectors.FetchRequest) (cursor, error) {
	if req.Cursor == nil {
		since := req.Since.UTC().Truncate(time.Second)
		return cursor{V: cursorVersion, Floor: since, From: since, First: true}, nil
	}
	var c cursor
	if err := json.Unmarshal(req.Cursor, &c); err != nil || c.V != cursorVersion {
		return c, connectors.Errorf(connectors.CursorExpired, op, "the cursor is of another version of this connector")
	}
	return c, nil
}

func (c cursor) encode() []byte {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("shopify: cursor: %v", err)) // only a time beyond the year 9999, which parse refuses
	}
	return raw
}

// filter is the window as the vendor's search: https://shopify.dev/docs/api/usage/search-syntax
func (c cursor) filter() string {
	to := c.To
	if c.ByID {
		to = c.From.Add(time.Second)
	}
	var terms []string
	if !c.From.IsZero() {
		terms = append(terms, fmt.Sprintf("updated_at:>='%s'", c.From.UTC().Format(time.RFC3339)))
	}
	if !to.IsZero() {
		terms = append(terms, fmt.Sprintf("updated_at:<'%s'", to.UTC().Format(time.RFC3339)))
	}
	if c.AfterID > 0 {
		terms = append(terms, fmt.Sprintf("id:>=%d", c.AfterID+1))
	}
	return strings.Join(terms, " AND ")
}

func (c cursor) sortKey() string {
	if c.ByID {
		return "ID"
	}
	return "UPDATED_AT"
}

// narrow starts the next window where this one was left.
func (c cursor) narrow() cursor {
	switch at := c.At.Truncate(time.Second); {
	case c.ByID:
		c.AfterID = c.LastID
	case at.After(c.From):
		c.From = at
	default:
		c.ByID, c.AfterID = true, 0
	}
	c.After, c.Depth = "", 0
	return c
}

// resume is where the next poll starts: early enough for what the vendor indexed late.
func (c cursor) resume(overlap time.Duration) time.Time {
	from := c.From
	if !c.Newest.IsZero() {
		from = c.Newest.Add(-overlap)
	}
	if !c.Unsettled.IsZero() {
		from = earlier(from, c.Unsettled)
	}
	if !c.Began.IsZero() { // and not before where this one did: what lies there is settled
		from = later(earlier(from, c.Began.Add(-overlap)), c.From)
	}
	from = from.Truncate(time.Second)
	if from.Before(c.Floor) {
		return c.Floor
	}
	return from
}

// overlapFrom is the earliest change that a later page may hold again: of this poll, which goes on at At through what the last poll may have
// read, or of the next one.
func (c cursor) overlapFrom(overlap time.Duration) time.Time {
	if !c.Began.IsZero() && !c.First {
		return c.From // in the order of the IDs, any page may hold what the poll before had
	}
	if c.At.IsZero() || !c.Began.IsZero() {
		return c.resume(overlap)
	}
	return earlier(c.resume(overlap), c.At.Truncate(time.Second))
}

// finish is the cursor of the next poll.
func (c cursor) finish(overlap time.Duration) cursor {
	return cursor{V: cursorVersion, Floor: c.Floor, From: c.resume(overlap), Newest: c.Newest}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
