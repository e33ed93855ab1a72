package hubspot

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Budget is that of searches, which HubSpot counts apart, or the account's.
func (s *source) Budget(req connectors.FetchRequest) connectors.Budget {
	if c, err := decodeCursor("", req); err == nil && c.Phase == searching {
		return searchBudget
	}
	return generalBudget
}

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
	if s.api == nil {
		return connectors.Page{}, connectors.Errorf(connectors.Unauthorized, op, "there is no connection: connect the account")
	}
	size := s.pageSize
	if req.Limit > 0 {
		size = min(size, req.Limit)
	}
	r := &reading{source: s, op: op, stream: st, size: size}
	switch c.Phase {
	case listing:
		err = r.list(ctx, c)
	case searching:
		err = r.search(ctx, c)
	default:
		err = r.archived(ctx, c)
	}
	// Every Fetch makes one call. Those besides were made also where one of them failed.
	r.page.Calls = max(r.calls-1, 0)
	if err != nil {
		return connectors.Page{Calls: r.page.Calls, Allowed: r.page.Allowed}, err
	}
	return r.page, nil
}

// reading makes one page.
type reading struct {
	*source
	op     string
	stream stream
	size   int
	calls  int
	page   connectors.Page
}

// settle sets what goes on after the page.
func (r *reading) settle(c cursor, more bool) {
	r.page.Cursor, r.page.More = c.encode(), more
	// What a later page of this poll or the next poll reads again lies behind where the next poll begins.
	at := c.next(r.overlap)
	if !more {
		at = c.From
	}
	r.page.OverlapFrom = time.UnixMilli(at).UTC()
}

// earlier is the vendor's clock where that is behind ours: what changes from then on is searched for.
func (r *reading) earlier(date time.Time) time.Time {
	if now := r.now(); date.IsZero() || now.Before(date) {
		return now
	}
	return date
}

// listObjects calls the list of the stream's objects.
func (r *reading) listObjects(ctx context.Context, after string, archived bool, properties string) (answer, gjson.Result, error) {
	query := url.Values{"limit": {strconv.Itoa(r.size)}, "archived": {strconv.FormatBool(archived)}, "properties": {properties}}
	if after != "" {
		query.Set("after", after)
	}
	r.calls++
	got, err := r.api.call(ctx, r.op, http.MethodGet, query, nil, "crm", "v3", "objects", r.stream.name)
	if err != nil {
		return got, gjson.Result{}, err
	}
	r.page.Allowed = got.allowed
	results, err := r.results(got)
	return got, results, err
}

func (r *reading) results(got answer) (gjson.Result, error) {
	results := gjson.GetBytes(got.body, "results")
	switch {
	case !results.IsArray():
		return results, connectors.Errorf(connectors.Unavailable, r.op, "the answer holds no list of objects")
	case len(results.Array()) > r.size:
		return results, connectors.Errorf(connectors.Unavailable, r.op, "the answer has more objects than were asked for")
	}
	return results, nil
}

// following is the vendor's place of the next page; "" = there is none.
func (r *reading) following(got answer, after string) (string, error) {
	next := gjson.GetBytes(got.body, "paging.next.after")
	switch {
	case !next.Exists():
		return "", nil
	case next.String() == "" || next.String() == after || len(next.String()) > 1000:
		return "", connectors.Errorf(connectors.Invalid, r.op, "cursor repeated: HubSpot says that there is more and gives the same place again")
	}
	return next.String(), nil
}

// list reads a page of all objects, in the order of their IDs.
func (r *reading) list(ctx context.Context, c cursor) error {
	got, results, err := r.listObjects(ctx, c.After, false, objectID)
	if err != nil {
		return err
	}
	c = c.begin(r.earlier(got.date), r.overlap)
	var ids []string
	for _, object := range results.Array() {
		ids = append(ids, object.Get("id").Str)
	}
	if err := r.read(ctx, ids); err != nil {
		return err
	}
	if c.After, err = r.following(got, c.After); err != nil {
		return err
	}
	if c.After == "" {
		c.Phase, c.Began = searching, 0 // what changed meanwhile
	}
	r.settle(c, true)
	return nil
}

const objectID = "hs_object_id"

// searchRequest is PublicObjectSearchRequest, in the vendor's specification.
type searchRequest struct {
	After        string        `json:"after"`
	FilterGroups []filterGroup `json:"filterGroups"`
	Limit        int           `json:"limit"`
	Properties   []string      `json:"properties"`
	Sorts        []string      `json:"sorts"`
}

type filterGroup struct {
	Filters []filter `json:"filters"`
}

type filter struct {
	Operator     string `json:"operator"`
	PropertyName string `json:"propertyName"`
	Value        string `json:"value"`
}

// searchFor is the page that the cursor stands before. The bare name of a property sorts upwards:
// https://github.com/HubSpot/hubspot-api-nodejs#search
func (r *reading) searchFor(c cursor) searchRequest {
	by := func(property, operator string, value int64) filter {
		return filter{Operator: operator, PropertyName: property, Value: strconv.FormatInt(value, 10)}
	}
	filters, sort := []filter{by(r.stream.modified, "GTE", c.At)}, r.stream.modified
	if c.ByID {
		filters = append(filters, by(r.stream.modified, "LT", c.At+1), by(objectID, "GT", c.AfterID))
		sort = objectID
	}
	return searchRequest{
		After: "0", FilterGroups: []filterGroup{{filters}}, Limit: r.size, Properties: []string{objectID, r.stream.modified}, Sorts: []string{sort},
	}
}

// found is what a search says of an object.
type found struct {
	id string
	no int64
	at int64 // when it last changed
}

// search reads a page of what changed. https://developers.hubspot.com/docs/api/crm/search
func (r *reading) search(ctx context.Context, c cursor) error {
	r.calls++
	got, err := r.api.call(ctx, r.op, http.MethodPost, nil, r.searchFor(c), "crm", "v3", "objects", r.stream.name, "search")
	if err != nil {
		return err
	}
	c = c.begin(r.earlier(got.date), r.overlap)
	results, err := r.results(got)
	if err != nil {
		return err
	}
	objects, err := r.inOrder(c, results)
	if err != nil {
		return err
	}
	full := gjson.GetBytes(got.body, "paging.next.after").Exists()
	if full && len(objects) == 0 {
		return connectors.Errorf(connectors.Invalid, r.op, "cursor repeated: HubSpot says that there is more and gives nothing")
	}
	more := true
	switch {
	case c.ByID && full:
		c.AfterID = objects[len(objects)-1].no
	case c.ByID:
		c.ByID, c.AfterID, c.At = false, 0, c.At+1
	case full:
		// The last moment may go on behind this page: it is read whole with the next one, and by ID where it is more than a page.
		last := objects[len(objects)-1].at
		objects = objects[:slices.IndexFunc(objects, func(o found) bool { return o.at == last })]
		c.ByID, c.At = len(objects) == 0, last
	default:
		if len(objects) > 0 {
			c.At = objects[len(objects)-1].at
		}
		more = false
	}
	ids := make([]string, len(objects))
	for i, o := range objects {
		ids[i] = o.id
	}
	if err := r.read(ctx, ids); err != nil {
		return err
	}
	if !more {
		c, more = c.searched(r.overlap, r.deletions)
	}
	r.settle(c, more)
	return nil
}

// inOrder reads what a search found and makes sure that nothing is missing between: it is ascending, and behind the cursor.
func (r *reading) inOrder(c cursor, results gjson.Result) ([]found, error) {
	var out []found
	last := found{no: c.AfterID, at: c.At}
	for _, object := range results.Array() {
		id := object.Get("id").Str
		no, ok := number(id)
		at, known := changedAt(object, r.stream)
		switch {
		case !ok || !known:
			return nil, connectors.Errorf(connectors.Invalid, r.op, "an object has no usable id or %s", r.stream.modified)
		case c.ByID && (no <= last.no || at != c.At), !c.ByID && at < last.at:
			// The index may be changing just now.
			return nil, connectors.Errorf(connectors.Unavailable, r.op, "the search's results are out of order, so that some would be missed: asked again later")
		}
		last = found{id, no, at}
		out = append(out, last)
	}
	return out, nil
}

// archived reads a page of the archived objects, in the order of their IDs. The vendor keeps them for 90 days.
func (r *reading) archived(ctx context.Context, c cursor) error {
	got, results, err := r.listObjects(ctx, c.After, true, r.stream.modified)
	if err != nil {
		return err
	}
	var bad error
	results.ForEach(func(_, object gjson.Result) bool {
		id := object.Get("id").Str
		_, ok := number(id)
		at, timed := parseTime(object.Get("archivedAt").Str)
		if !timed {
			at, timed = parseTime(object.Get("updatedAt").Str)
		}
		if !ok || !timed {
			bad = connectors.Errorf(connectors.Invalid, r.op, "an archived object has no usable id or archivedAt")
			return false
		}
		if at < c.Deleted || at >= c.Until {
			return true // told before, or the next time
		}
		end := object.Index + len(object.Raw)
		r.page.Records = append(r.page.Records, newRecord(r.stream, id, connectors.Delete, at, got.body[object.Index:end:end]))
		return true
	})
	if bad != nil {
		return bad
	}
	if c.After, err = r.following(got, c.After); err != nil {
		return err
	}
	if c.After != "" {
		r.settle(c, true)
		return nil
	}
	r.settle(c.listedDeletions(r.overlap), false)
	return nil
}
