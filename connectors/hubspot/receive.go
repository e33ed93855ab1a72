package hubspot

import (
	"context"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Receive authenticates and reads a webhook: a list of up to 100 events, of any accounts that have installed the app.
// https://developers.hubspot.com/docs/api/webhooks
//
// Identity (I1): HubSpot doesn't promise that eventId is unique, and a redelivery differs in attemptNumber. So the ID is a hash of what tells
// events apart and stays: account, subscription, event, time, object, property and value, or the two ends of an association.
func (s *source) Receive(_ context.Context, d connectors.Delivery) (connectors.Received, error) {
	const op = "receive"
	if err := s.authenticate(d); err != nil {
		return connectors.Received{}, err
	}
	if err := connectors.CheckPayload(op, d.Body); err != nil {
		return connectors.Received{}, err
	}
	text := string(d.Body)
	events := gjson.Parse(text)
	if !events.IsArray() {
		return connectors.Received{}, connectors.Errorf(connectors.Invalid, op, "the body is not a JSON array of events")
	}
	got := connectors.Received{Accounts: []string{}}
	events.ForEach(func(_, value gjson.Result) bool {
		end := value.Index + len(value.Raw)
		e := event{Result: value, data: d.Body[value.Index:end:end]}
		if bad := e.read(s.app); bad != "" {
			got.Unusable = append(got.Unusable, connectors.Unusable{Account: e.portal, Reason: bad, Data: e.data})
			return true
		}
		for _, r := range e.records() {
			got.Records = append(got.Records, r)
			got.Accounts = append(got.Accounts, e.portal)
		}
		return true
	})
	return got, nil
}

// event is one thing that happened.
type event struct {
	gjson.Result
	data   []byte
	portal string
	kind   string // what happened, such as creation
	stream string
	at     int64 // in milliseconds
}

// read says why an event can't be understood; "" = it can. HubSpot knows one answer to all events of a delivery, sends all of them again up to ten
// times where it is no 200, and then gives them up: so what is the matter with one is no matter of the others.
func (e *event) read(app int64) string {
	if !e.IsObject() {
		return "an event is not a JSON object"
	}
	var ok bool
	if e.portal, ok = idOf(e.Get("portalId")); !ok {
		return unusable("portalId")
	}
	if id, ok := idOf(e.Get("appId")); !ok || id != idText(app) {
		return "an event is of another app"
	}
	at := e.Get("occurredAt")
	if e.at, ok = inTime(at.Int()); !ok || at.Type != gjson.Number {
		return unusable("occurredAt")
	}
	prefix, kind, ok := strings.Cut(e.Get("subscriptionType").Str, ".")
	if !ok || !customName(prefix) || !customName(kind) {
		return unusable("subscriptionType")
	}
	e.kind, e.stream = kind, prefix
	typeID := e.Get("objectTypeId")
	if prefix == "object" && kind == "associationChange" && !typeID.Exists() {
		typeID = e.Get("fromObjectTypeId")
	}
	switch {
	case e.survivor() == "" && kind == "merge", e.object() == "" && (kind == "deletion" || kind == "privacyDeletion"):
		return unusable("object ID")
	case prefix == "object" && !customType.MatchString(typeID.Str):
		return unusable("objectTypeId")
	case prefix == "object":
		e.stream = typeID.Str
		if st, ok := streamOf(typeID.Str); ok {
			e.stream = st.name
		}
	default:
		for _, st := range streams {
			if st.legacy == prefix {
				e.stream = st.name
			}
		}
	}
	return ""
}

func unusable(field string) string { return "an event has no usable " + field }

// customName keeps what no stream may be called out of the records' streams.
func customName(s string) bool {
	return s != "" && len(s) <= 100 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// records are what the event says: one, but for a merge, after which some objects are no more.
func (e *event) records() []connectors.Record {
	switch e.kind {
	case "deletion", "privacyDeletion":
		return []connectors.Record{e.record(e.object(), connectors.Delete)}
	case "associationChange":
		op := connectors.Upsert
		if e.Get("associationRemoved").Bool() {
			op = connectors.Delete
		}
		return []connectors.Record{e.record(e.association(), op)}
	case "merge":
		return e.merge()
	}
	return []connectors.Record{e.record(e.object(), connectors.Upsert)}
}

// object is the key of the object that the event is about; "" = none.
func (e *event) object() string {
	id, _ := idOf(e.Get("objectId"))
	return id
}

// association is a key that no object has: both ends and the type, such as 101/202/CONTACT_TO_COMPANY.
func (e *event) association() string {
	from, okFrom := idOf(e.Get("fromObjectId"))
	to, okTo := idOf(e.Get("toObjectId"))
	kind := e.Get("associationType").Str
	if id, ok := idOf(e.Get("associationTypeId")); ok && kind == "" {
		kind = id
	}
	if !okFrom || !okTo || kind != "" && !customName(kind) {
		return ""
	}
	return from + "/" + to + "/" + kind
}

// survivor is the object that a merge leaves: the primary one, or in some cases a new one.
func (e *event) survivor() string {
	for _, field := range []string{"newObjectId", "primaryObjectId", "objectId"} {
		if id, ok := idOf(e.Get(field)); ok {
			return id
		}
	}
	return ""
}

// merge tells of the object that is left, and of each that is merged into it as a delete.
func (e *event) merge() []connectors.Record {
	left := e.survivor()
	primary, _ := idOf(e.Get("primaryObjectId"))
	out := []connectors.Record{e.record(left, connectors.Upsert)}
	gone := map[string]bool{left: true, "": true}
	remove := func(key string) {
		if !gone[key] {
			gone[key] = true
			out = append(out, e.record(key, connectors.Delete))
		}
	}
	for _, merged := range e.Get("mergedObjectIds").Array() {
		id, _ := idOf(merged)
		remove(id)
	}
	remove(primary)
	return out
}

// record makes a record of the event. An upsert's version is half a moment, a microsecond, less than what an object has that changed in the same
// millisecond: an event is not the object, so the two must not be taken for one change, and the whole object wins.
func (e *event) record(key string, op connectors.Op) connectors.Record {
	r := connectors.Record{Stream: e.stream, Key: key, Op: op, Version: e.at * 1000, OccurredAt: time.UnixMilli(e.at).UTC(), Data: e.data}
	if op == connectors.Upsert {
		r.Version--
	}
	var identity []byte
	for _, field := range identityFields {
		identity = append(append(identity, e.Get(field).Raw...), 0)
	}
	r.ID = connectors.RecordID(e.stream, key, e.at, identity)
	return r
}

// identityFields tell events apart and are the same in each delivery.
var identityFields = []string{
	"portalId", "appId", "subscriptionId", "subscriptionType", "eventId", "objectId", "propertyName", "propertyValue",
	"fromObjectId", "toObjectId", "associationType", "associationTypeId", "associationRemoved", "messageId", "primaryObjectId", "newObjectId",
}

// idOf reads an ID, which some fields have as text.
func idOf(v gjson.Result) (string, bool) {
	s := v.Raw
	if v.Type == gjson.String {
		s = v.Str
	}
	_, ok := number(s)
	if !ok {
		return "", false
	}
	return s, true
}
