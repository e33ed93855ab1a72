package helpdesk

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// overlap is how late the app may index a change without it being missed: the next poll begins that much earlier.
const overlap = time.Minute

// cursor is the place in a poll: behind the ticket ID, changed At. Times are in microseconds, as versions are.
type cursor struct {
	V  int   `json:"v"`
	At int64 `json:"at"`
	ID int64 `json:"id"`
	// From is where the poll began, and Began when, by our clock; 0 = it has not.
	From  int64 `json:"from"`
	Began int64 `json:"began"`
}

// next is where the next poll begins: what changed shortly before this one began, or since, may have been indexed when it had
// passed. It is never before From, which is Since, or what comes again already.
func (c cursor) next() int64 { return max(c.From, min(c.At, c.Began)-overlap.Microseconds()) }

// Fetch reads a page.
func (s *source) Fetch(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
	const op = "fetch tickets"
	var page connectors.Page
	if req.Stream != stream {
		return page, connectors.Errorf(connectors.Invalid, op, "there is no stream %q", connectors.Clip(req.Stream, 100))
	}
	c := cursor{V: 1, At: req.Since.UnixMicro(), From: req.Since.UnixMicro()}
	if req.Cursor != nil {
		c = cursor{}
		if json.Unmarshal(req.Cursor, &c) != nil || c.V != 1 {
			return page, connectors.Errorf(connectors.CursorExpired, op, "the cursor is of another version of this connector")
		}
	}
	c.Began = cmp.Or(c.Began, s.now().UnixMicro())
	limit := s.pageSize
	if req.Limit > 0 {
		limit = min(limit, req.Limit)
	}
	body, err := s.get(ctx, op, time.UnixMicro(c.At), c.ID, limit)
	if err != nil {
		return page, err
	}
	answer := gjson.ParseBytes(body)
	list, more := answer.Get("tickets"), answer.Get("has_more")
	if !list.IsArray() || !more.IsBool() {
		return page, connectors.Errorf(connectors.Unavailable, op, "the answer is no list of tickets")
	}
	var records []connectors.Record
	for _, ticket := range list.Array() {
		end := ticket.Index + len(ticket.Raw)
		data := body[ticket.Index:end:end] // a slice of the answer, never encoded again (I8)
		id, badID := strconv.ParseInt(ticket.Get("id").Raw, 10, 64)
		at, badTime := time.Parse(time.RFC3339, ticket.Get("updated_at").Str)
		version := at.UnixMicro()
		switch {
		case badID != nil || badTime != nil:
			return page, connectors.Errorf(connectors.Invalid, op, "a ticket has no number as id or no RFC 3339 time as updated_at")
		case cmp.Or(cmp.Compare(version, c.At), cmp.Compare(id, c.ID)) <= 0:
			return page, connectors.Errorf(connectors.Invalid, op, "ticket %d is out of order: others would be missed", id)
		}
		c.At, c.ID = version, id
		key := strconv.FormatInt(id, 10)
		records = append(records, connectors.Record{
			ID:     connectors.RecordID(stream, key, version, data), // the API has no IDs of changes (I1)
			Stream: stream, Key: key, Op: connectors.Upsert, Version: version, OccurredAt: at.UTC(), Data: data,
		})
	}
	// What the next poll reads again is recognised (I6).
	page = connectors.Page{Records: records, More: more.Bool(), OverlapFrom: time.UnixMicro(c.next()).UTC()}
	if !page.More {
		c = cursor{V: 1, At: c.next(), From: c.next()}
	}
	page.Cursor, err = json.Marshal(c)
	return page, err // of integers alone: there is none
}
