package magento

import (
	"encoding/json"
	"time"

	"tributary/connectors"
)

const cursorVersion = 1

// place is where a stream has been read up to: behind the object ID that changed in the second At.
type place struct {
	// At is in seconds since 1970; 0 is before anything changed.
	At int64 `json:"at"`
	ID int64 `json:"id,omitempty"`
}

// stockPlace is where stock has been read up to.
type stockPlace struct {
	SKU    string `json:"sku,omitempty"`
	Source string `json:"source,omitempty"`
}

// cursor is where a poll is.
type cursor struct {
	V int `json:"v"`
	// From is the second in which the poll begins.
	From int64 `json:"from,omitempty"`
	place
	// Began is when the poll began, in microseconds by our clock; 0 = it has not.
	Began int64 `json:"began,omitempty"`
	// Stock is where a poll of stock is, and Before when the one before it began; 0 = there was none.
	Stock  stockPlace `json:"stock,omitzero"`
	Before int64      `json:"before,omitempty"`
}

func (s *source) cursor(op string, req connectors.FetchRequest) (cursor, error) {
	c := cursor{V: cursorVersion}
	if req.Cursor != nil {
		c = cursor{}
		if json.Unmarshal(req.Cursor, &c) != nil || c.V != cursorVersion || c.From < 0 || c.At < c.From || c.ID < 0 {
			return c, connectors.Errorf(connectors.CursorExpired, op, "the cursor is of another version of this connector")
		}
	} else if since := req.Since.Unix(); since > 0 {
		// What changed in the second of Since may have changed behind it.
		c.From, c.At = since, since
	}
	if c.Began == 0 {
		// Later than the poll before, whatever the clock of this worker says.
		c.Began = max(s.now().UnixMicro(), c.Before+1)
	}
	return c, nil
}

// next is the second in which the next poll begins: what changed shortly before this one began, or since, may have been committed only when it had
// passed. It is never before From, which is Since, or what comes again already.
func (s *source) next(c cursor) int64 {
	return max(c.From, min(c.At, c.Began/1_000_000)-int64(s.overlap/time.Second))
}

func (c cursor) encode() []byte {
	raw, _ := json.Marshal(c) // of texts and numbers: it does not fail
	return raw
}
