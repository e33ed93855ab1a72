package hubspot

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// batchRequest is BatchReadInputSimplePublicObjectId, in the vendor's specification.
type batchRequest struct {
	Inputs                []batchInput `json:"inputs"`
	Properties            []string     `json:"properties"`
	PropertiesWithHistory []string     `json:"propertiesWithHistory"`
}

type batchInput struct {
	ID string `json:"id"`
}

// read adds the objects of a page, at most maxPage, to its records: those that are still there. All objects are read in this one way,
// whoever found them, so that an object has the same bytes and the same ID; and because neither a URL nor a search, of 3,000 characters, has room
// for the names of all properties.
func (r *reading) read(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	names, calls, err := r.fields.of(ctx, r.op, r.api, r.stream)
	r.calls += calls
	if err != nil {
		return err
	}
	request := batchRequest{Properties: names, PropertiesWithHistory: []string{}}
	asked := make(map[string]bool, len(ids))
	for _, id := range ids {
		if _, ok := number(id); !ok {
			return connectors.Errorf(connectors.Invalid, r.op, "an object has no usable id")
		}
		if !asked[id] {
			asked[id] = true
			request.Inputs = append(request.Inputs, batchInput{id})
		}
	}
	r.calls++
	got, err := r.api.call(ctx, r.op, http.MethodPost, nil, request, "crm", "v3", "objects", r.stream.name, "batch", "read")
	if err != nil {
		return err
	}
	if got.allowed != nil {
		r.page.Allowed = got.allowed
	}
	results, err := r.results(got)
	if err != nil {
		return err
	}
	// An object that is gone is an error beside the others, with status 207; nothing else may be.
	for _, e := range gjson.GetBytes(got.body, "errors").Array() {
		if e.Get("category").Str != "OBJECT_NOT_FOUND" {
			return connectors.Errorf(connectors.Unavailable, r.op, "some objects can't be read (HubSpot says: %s)", r.api.redact(e.Get("message").Str))
		}
	}
	var bad error
	seen := make(map[string]bool, len(ids))
	results.ForEach(func(_, object gjson.Result) bool {
		id := object.Get("id").Str
		_, ok := number(id)
		at, known := changedAt(object, r.stream)
		switch {
		case !ok || !known:
			bad = connectors.Errorf(connectors.Invalid, r.op, "an object has no usable id or %s", r.stream.modified)
			return false
		case seen[id]: // what several were merged into
			return true
		}
		seen[id] = true
		end := object.Index + len(object.Raw)
		r.page.Records = append(r.page.Records, newRecord(r.stream, id, connectors.Upsert, at, got.body[object.Index:end:end]))
		return true
	})
	return bad
}

// newRecord is a record of an object that changed, or was archived, at a time in milliseconds.
func newRecord(st stream, key string, op connectors.Op, at int64, data []byte) connectors.Record {
	version := at * 1000
	return connectors.Record{
		ID: connectors.RecordID(st.name, key, version, data), Stream: st.name, Key: key, Op: op,
		Version: version, OccurredAt: time.UnixMilli(at).UTC(), Data: data,
	}
}

// changedAt is when an object last changed, in milliseconds.
func changedAt(object gjson.Result, st stream) (int64, bool) {
	if at, ok := parseTime(object.Get("properties." + st.modified).Str); ok {
		return at, true
	}
	return parseTime(object.Get("updatedAt").Str)
}

// parseTime reads a time as the API writes it, and as milliseconds, which some properties have.
func parseTime(s string) (millis int64, ok bool) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return inTime(at.UnixMilli())
	}
	millis, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, false
	}
	return inTime(millis)
}

// inTime refuses what no record can have as a time.
func inTime(millis int64) (int64, bool) {
	return millis, millis > 0 && millis < time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
}

// number accepts a positive integer in its one spelling, so that a key is the same wherever it comes from.
func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0 && strconv.FormatInt(n, 10) == s
}

func idText(n int64) string { return strconv.FormatInt(n, 10) }
