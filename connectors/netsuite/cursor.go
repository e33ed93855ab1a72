package netsuite

import (
	"encoding/json"
	"time"

	"tributary/connectors"
)

const cursorVersion = 1

// place is where a table has been read up to: behind the row ID, changed at the wall time At.
type place struct {
	// From is the wall time at which the poll begins; "" is the beginning.
	From string `json:"from,omitempty"`
	At   string `json:"at,omitempty"`
	// ID is "" where no row of At has been read.
	ID string `json:"id,omitempty"`
}

// cursor is where a poll is. It reads what changed, then what was deleted.
type cursor struct {
	V         int   `json:"v"`
	Changes   place `json:"changes"`
	Deletions place `json:"deletions"`
	// Deleting says that the changes are read.
	Deleting bool `json:"deleting,omitempty"`
	// Began is when the poll began, in microseconds by our clock; 0 = it has not.
	Began int64 `json:"began,omitempty"`
}

// deletionsReach is how far before the first poll of a stream its deletions are read from. What was deleted before is in no page of that poll
// either; an hour is for clocks that differ.
const deletionsReach = time.Hour

func (s *source) cursor(op string, req connectors.FetchRequest) (cursor, error) {
	now := s.now()
	c := cursor{V: cursorVersion, Began: now.UnixMicro()}
	if req.Cursor == nil {
		since := req.Since
		// Nothing changed in NetSuite before 1970, and its dates do not go back to year 1.
		if since.Unix() > 0 {
			c.Changes.From = lowest(since, s.zone)
		} else {
			since = now.Add(-max(deletionsReach, s.overlap))
		}
		c.Deletions.From = lowest(since, s.zone)
		c.Changes.At, c.Deletions.At = c.Changes.From, c.Deletions.From
		return c, nil
	}
	began := c.Began
	c = cursor{}
	if json.Unmarshal(req.Cursor, &c) != nil || c.V != cursorVersion || !c.Changes.valid() || !c.Deletions.valid() {
		return c, connectors.Errorf(connectors.CursorExpired, op, "the cursor is of another version of this connector")
	}
	if c.Began == 0 {
		c.Began = began
	}
	return c, nil
}

// valid says that a place may stand in a query.
func (p place) valid() bool {
	isTime := func(s string) bool {
		_, ok := read(s, time.UTC)
		return s == "" || ok
	}
	return isTime(p.From) && isTime(p.At) && (p.ID == "" || wholeNumber.MatchString(p.ID))
}

// next is where the next poll of a table begins: what changed shortly before this one began, or since, may have been shown only when it had passed.
// It is never before From, which is Since, or what comes again already.
func (s *source) next(p place, began int64) string {
	r, ok := read(p.At, s.zone)
	if !ok {
		return p.From
	}
	at := r.at
	if b := time.UnixMicro(began); b.Before(at) {
		at = b
	}
	return max(p.From, lowest(at.Add(-s.overlap), s.zone))
}

// finish is the cursor of the next poll. Whatever was deleted before the newest change seen was shown when deletions were read, behind it; so a
// stream of which nothing is deleted for long has no long overlap.
func (s *source) finish(c cursor) cursor {
	changes := s.next(c.Changes, c.Began)
	deletions := max(s.next(c.Deletions, c.Began), changes)
	return cursor{V: cursorVersion, Changes: place{From: changes, At: changes}, Deletions: place{From: deletions, At: deletions}}
}

// overlapFrom is the earliest that a later page, of this poll or the next, may hold again.
func (s *source) overlapFrom(c cursor, deletions bool) time.Time {
	from := s.next(c.Changes, c.Began)
	if deletions {
		other := c.Deletions.From
		if c.Deleting {
			other = s.next(c.Deletions, c.Began)
		}
		// Nothing at all has come of a table that is read from its beginning and had nothing.
		if from == "" || other < from {
			from = other
		}
	}
	r, ok := read(from, s.zone)
	if !ok {
		return time.Time{}
	}
	return r.at
}

func (c cursor) encode() []byte {
	raw, _ := json.Marshal(c) // of texts and numbers: it does not fail
	return raw
}
