package shopify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

const (
	// bulkPage is how many records a piece of the file gives, if the request does not say.
	bulkPage = 1000
	// A piece is asked for by what a record took so far, and again larger where it holds no whole one.
	firstPiece = 1 << 20
	minPiece   = 64 << 10
	maxPiece   = maxBody
)

// fileHosts are where Shopify keeps the files: https://shopify.dev/docs/api/usage/bulk-operations/queries. With admin_url any host will do that
// outbound lets pass.
var fileHosts = []string{"storage.googleapis.com"}

// readBulk reads a piece of the file.
func (r *reading) readBulk(ctx context.Context, c cursor) (connectors.Page, error) {
	op, err := r.operation(ctx, c)
	if err != nil {
		return connectors.Page{}, err
	}
	b := c.Bulk
	field := "url"
	if b.Partial {
		field = "partialDataUrl"
	}
	where := op.Get(field).Str
	if where == "" {
		return r.anotherBulk(c)
	}
	limit := bulkPage
	if r.limit > 0 {
		limit = r.limit
	}
	for size := pieceSize(b, limit); ; size = min(size*4, maxPiece) {
		piece, last, err := r.piece(ctx, where, b.Offset, size)
		switch {
		case errors.Is(err, errFileGone):
			return r.anotherBulk(c)
		case err != nil:
			return connectors.Page{}, err
		case last && b.Offset+int64(len(piece)) < b.Size:
			return connectors.Page{}, connectors.Errorf(connectors.Unavailable, r.op, "the bulk operation's file ends before the end that Shopify tells")
		}
		lines := &jsonl{reading: r, text: piece, last: last, partial: b.Partial, limit: limit}
		if err := lines.read(); err != nil {
			return connectors.Page{}, err
		}
		if lines.used == 0 && !lines.last {
			if size >= maxPiece {
				return connectors.Page{}, connectors.Errorf(connectors.Invalid, r.op, "a record of the bulk operation is larger than %d MiB", maxPiece>>20)
			}
			continue
		}
		b.Offset += int64(lines.used)
		b.Rows += int64(len(lines.records))
		for i, id := range lines.ids {
			b.Unordered = b.Unordered || id <= b.LastID
			b.LastID = max(b.LastID, id)
			c.Newest = later(c.Newest, lines.records[i].OccurredAt)
		}
		var page connectors.Page
		switch {
		case !lines.ended:
			page = connectors.Page{Cursor: c.encode(), More: true, OverlapFrom: c.bulkOverlap(r.overlap)}
		case b.Partial:
			page, err = r.anotherBulk(c)
		default:
			page = r.bulkRead(c)
		}
		page.Records, page.Calls = lines.records, 1
		return page, err
	}
}

// pieceSize is how many bytes so many records will take.
func pieceSize(b *bulkCursor, limit int) int64 {
	if b.Rows == 0 {
		return firstPiece
	}
	each := b.Offset/b.Rows + 1
	return min(max(each*int64(limit)*5/4, minPiece), maxPiece)
}

// errFileGone says that the file is no more, or its signature.
var errFileGone = errors.New("the file is gone")

// piece reads bytes of the file, and says whether it ends with them. The storage is another company's: it gets no token of the shop.
func (r *reading) piece(ctx context.Context, where string, offset, size int64) (text []byte, last bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	u, err := url.Parse(where)
	if err != nil || u.Host == "" || !r.files(u) {
		return nil, false, connectors.Errorf(connectors.Invalid, r.op, "the bulk operation's file lies where Shopify keeps none")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, false, connectors.Errorf(connectors.Invalid, r.op, "the bulk operation's file has no usable URL")
	}
	// With a Range the transport asks for no compression, of which no piece could be read alone.
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+size-1))
	res, err := r.http.Do(req)
	if err != nil {
		return nil, false, outbound.AsError(r.op, err)
	}
	defer res.Body.Close()
	total := int64(-1)
	switch code := res.StatusCode; {
	case code == http.StatusPartialContent:
		var from, to int64
		if n, _ := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &total); n < 2 || from != offset {
			return nil, false, connectors.Errorf(connectors.Unavailable, r.op, "the storage answers with another piece of the file")
		}
	case code == http.StatusOK: // it knows no pieces
		if _, err := io.CopyN(io.Discard, res.Body, offset); err != nil {
			return nil, false, outbound.AsError(r.op, err)
		}
	case code == http.StatusRequestedRangeNotSatisfiable: // all was read
		return nil, true, nil
	case code == http.StatusBadRequest, code == http.StatusForbidden, code == http.StatusNotFound, code == http.StatusGone:
		return nil, false, errFileGone
	default:
		e := connectors.Errorf(connectors.Unavailable, r.op, "HTTP %d: the storage of bulk operations is not available now", code)
		e.Wait = outbound.RetryAfter(res.Header.Get("Retry-After"), r.now())
		if code == http.StatusTooManyRequests {
			e.Kind, e.Wait = connectors.RateLimited, max(e.Wait, minWait)
		}
		return nil, false, e
	}
	text, err = io.ReadAll(io.LimitReader(res.Body, size+1))
	if err != nil {
		return nil, false, outbound.AsError(r.op, err)
	}
	if last = int64(len(text)) <= size; !last {
		text = text[:size]
	}
	if total >= 0 {
		last = offset+int64(len(text)) >= total
	}
	return text, last, nil
}

// files says whether Shopify keeps files there.
func (r *reading) files(u *url.URL) bool {
	if r.ownURL {
		return u.Scheme == r.endpoint.Scheme || u.Scheme == "https"
	}
	for _, host := range fileHosts {
		if u.Scheme == "https" && u.Host == host {
			return true
		}
	}
	return false
}

// jsonl makes records of the lines of a piece.
//
// A connection within an object has become lines of their own behind the object's, each with its parent's ID as __parentId. They are put back: the
// record is the object's line with its children's lines, both byte for byte, in place of the connection, as a page would have it. Inventory levels are
// records themselves, and their parents are not.
type jsonl struct {
	*reading
	text    []byte
	last    bool // the file ends with the piece
	partial bool // and may end anywhere
	limit   int

	records []connectors.Record
	ids     []int64
	used    int  // bytes of whole records
	ended   bool // the file is read

	parent   []byte // the line that waits for its children
	parentID string
	children [][]byte
}

func (l *jsonl) read() error {
	for at := 0; at < len(l.text); {
		end := bytes.IndexByte(l.text[at:], '\n')
		next := at + end + 1
		if end < 0 {
			if l.partial || !l.last {
				break
			}
			end, next = len(l.text)-at, len(l.text) // the last line may lack its end
		}
		line := l.text[at : at+end : at+end]
		if len(bytes.TrimSpace(line)) == 0 {
			at = next
			continue
		}
		if connectors.CheckPayload(l.op, line) != nil || line[0] != '{' {
			return connectors.Errorf(connectors.Unavailable, l.op, "a line of the bulk operation's file is no JSON object")
		}
		parent := gjson.GetBytes(line, "__parentId").Str
		if l.stream.way == ofLocations {
			if parent != "" {
				if len(l.records) == l.limit {
					return nil
				}
				if err := l.add(line, withoutParent(line)); err != nil {
					return err
				}
			}
			at, l.used = next, next
			continue
		}
		if parent == "" {
			if err := l.flush(); err != nil {
				return err
			}
			l.used = at
			if len(l.records) == l.limit {
				return nil
			}
			l.parent, l.parentID, l.children = line, gjson.GetBytes(line, "id").Str, nil
		} else {
			if l.parent == nil || parent != l.parentID {
				return connectors.Errorf(connectors.Invalid, l.op, "a line of the bulk operation's file does not stand under its parent")
			}
			l.children = append(l.children, line)
		}
		if at = next; l.stream.nested.name == "" { // no children come
			if err := l.flush(); err != nil {
				return err
			}
			l.used = at
		}
	}
	if l.ended = l.last; !l.last || l.partial { // of a file that ends anywhere, the last object may lack children
		return nil
	}
	l.used = len(l.text)
	return l.flush()
}

// flush makes a record of the line that waited. Its ID is that of the node as a page gives it, with the first few children: what the poll behind the
// operation brings again is recognised by it, and does not replace all children by those few.
func (l *jsonl) flush() error {
	if l.parent == nil {
		return nil
	}
	line := l.parent
	l.parent = nil
	if l.stream.nested.name == "" {
		return l.add(line, line)
	}
	var few [][]byte
	for _, child := range l.children[:min(len(l.children), l.stream.nested.first)] {
		few = append(few, withoutParent(child))
	}
	more := len(l.children) > len(few)
	return l.add(l.stream.nested.within(line, l.children, false), l.stream.nested.within(line, few, more))
}

// within is an object's line with children in place of the connection.
func (n nested) within(line []byte, children [][]byte, more bool) []byte {
	end := bytes.LastIndexByte(line, '}')
	return slices.Concat(line[:end], []byte(`,"`+n.name+`":{"nodes":[`), bytes.Join(children, []byte{','}),
		fmt.Appendf(nil, `],"pageInfo":{"hasNextPage":%t}}`, more), line[end:])
}

// withoutParent is a child's line as a page has it. No text within it holds what is cut out: there a quote has a backslash before it.
func withoutParent(line []byte) []byte {
	return bytes.Replace(line, []byte(`,"__parentId":`+gjson.GetBytes(line, "__parentId").Raw), nil, 1)
}

// add makes a record of a line.
func (l *jsonl) add(line, page []byte) error {
	rec, id, err := l.record(gjson.ParseBytes(line), line, page)
	if err != nil {
		return err
	}
	l.records, l.ids = append(l.records, rec), append(l.ids, id)
	return nil
}
