package hubspot

import (
	"encoding/json"
	"time"

	"tributary/connectors"
)

// cursor is where a stream has been read up to. The first poll reads the list of all objects, by ID, and then what changed meanwhile; each
// later one reads what changed since the one before, in the order of the changes. A search shows its first 10,000 results only, and what it
// shows shifts when an object changes: so each page is a search of its own, that begins where the page before ended. Times are in milliseconds,
// the finest that the vendor knows.
type cursor struct {
	V     int   `json:"v"`
	Phase phase `json:"phase"`
	// Began is when this poll began, by the earlier of our clock and the vendor's; 0 = it has not.
	Began int64 `json:"began,omitempty"`
	// After is the vendor's place in a list.
	After string `json:"after,omitempty"`
	// From is where this poll's searches begin; everything that changed before At has been read.
	From int64 `json:"from"`
	At   int64 `json:"at"`
	// ByID says that what changed at At is more than a page, and is read in the order of the IDs, above AfterID.
	ByID    bool  `json:"by_id,omitempty"`
	AfterID int64 `json:"after_id,omitempty"`
	// What was archived before Deleted has been told, and the list of it was last read in the poll that began at Checked.
	Deleted int64 `json:"deleted"`
	Checked int64 `json:"checked"`
	// Until is where the reading of that list ends.
	Until int64 `json:"until,omitempty"`
}

// phase is what a poll is reading.
type phase string

const (
	listing   phase = "list"     // all objects
	searching phase = "search"   // what changed
	deletions phase = "archived" // what was archived
)

const cursorVersion = 1

func decodeCursor(op string, req connectors.FetchRequest) (cursor, error) {
	if req.Cursor == nil {
		if req.Since.IsZero() || req.Since.UnixMilli() <= 0 {
			return cursor{V: cursorVersion, Phase: listing}, nil
		}
		since := req.Since.UnixMilli()
		if req.Since.After(time.UnixMilli(since)) {
			since++
		}
		return cursor{V: cursorVersion, Phase: searching, From: since, At: since, Deleted: since}, nil
	}
	var c cursor
	err := json.Unmarshal(req.Cursor, &c)
	known := c.Phase == listing || c.Phase == searching || c.Phase == deletions
	if err != nil || c.V != cursorVersion || !known || c.From < 0 || c.At < c.From || c.AfterID < 0 {
		return c, connectors.Errorf(connectors.CursorExpired, op, "the cursor is of another version of this connector")
	}
	return c, nil
}

func (c cursor) encode() []byte {
	raw, _ := json.Marshal(c) // of integers and text: there is no error
	return raw
}

// begin starts a poll.
func (c cursor) begin(now time.Time, overlap time.Duration) cursor {
	if c.Began != 0 {
		return c
	}
	c.Began = now.UnixMilli()
	if c.Phase == listing {
		c.From = max(c.Began-overlap.Milliseconds(), 0)
		c.At = c.From
	}
	if c.Deleted == 0 {
		c.Deleted = c.Began
	}
	if c.Checked == 0 {
		c.Checked = c.Began
	}
	return c
}

// next is where the next poll begins: what changed shortly before this one began, or since, may have been indexed when it had passed.
func (c cursor) next(overlap time.Duration) int64 {
	return max(c.From, min(c.At, c.Began)-overlap.Milliseconds())
}

// searched goes on after everything that changed has been read: with the archived objects, if it is time for them, or with the next poll.
func (c cursor) searched(overlap, every time.Duration) (next cursor, more bool) {
	if every == 0 || c.Began-c.Checked < every.Milliseconds() {
		return c.finish(overlap), false
	}
	c.Phase, c.After = deletions, ""
	// What was archived a moment ago may not be listed yet. It is told the next time, so that nothing is told twice.
	c.Until = max(c.Began-overlap.Milliseconds(), c.Deleted)
	return c, true
}

// listedDeletions goes on after the list of the archived objects.
func (c cursor) listedDeletions(overlap time.Duration) cursor {
	c.Deleted, c.Checked = c.Until, c.Began
	return c.finish(overlap)
}

// finish is the cursor of the next poll.
func (c cursor) finish(overlap time.Duration) cursor {
	at := c.next(overlap)
	return cursor{V: cursorVersion, Phase: searching, From: at, At: at, Deleted: c.Deleted, Checked: c.Checked}
}
