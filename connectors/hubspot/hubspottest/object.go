package hubspottest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// objectType is a collection of objects.
type objectType struct {
	name, id, legacy string
	modified         string // the property of the last change
	scope            string
	properties       []string
	objects          map[int64]*object
	held             int // how many changes the index is still to miss
}

// object is a record of the CRM.
type object struct {
	id         int64
	properties map[string]string
	created    time.Time
	changed    time.Time
	millis     int64     // of changed
	archived   time.Time // zero = it is not
	indexed    *object   // what searches see; nil = nothing
	merged     int64     // into which one
}

const millisecond = "2006-01-02T15:04:05.000Z"

// engagements are read with the scope of contacts: https://developers.hubspot.com/docs/guides/crm/using-object-apis
const engagements = "crm.objects.contacts.read"

func (s *Server) addTypes() {
	for _, t := range []*objectType{
		{name: "contacts", id: "0-1", legacy: "contact", modified: "lastmodifieddate", scope: "crm.objects.contacts.read", properties: []string{"email", "firstname", "lastname", "notes"}},
		{name: "companies", id: "0-2", legacy: "company", scope: "crm.objects.companies.read", properties: []string{"name", "domain"}},
		{name: "deals", id: "0-3", legacy: "deal", scope: "crm.objects.deals.read", properties: []string{"dealname", "amount"}},
		{name: "tickets", id: "0-5", legacy: "ticket", scope: "tickets", properties: []string{"subject"}},
		{name: "products", id: "0-7", legacy: "product", scope: "e-commerce", properties: []string{"name"}},
		{name: "line_items", id: "0-8", legacy: "line_item", scope: "crm.objects.line_items.read", properties: []string{"name"}},
		{name: "calls", id: "0-48", scope: engagements, properties: []string{"hs_call_title"}},
		{name: "emails", id: "0-49", scope: engagements, properties: []string{"hs_email_status"}},
		{name: "meetings", id: "0-47", scope: engagements, properties: []string{"hs_meeting_title"}},
		{name: "notes", id: "0-46", scope: engagements, properties: []string{"hs_note_body"}},
		{name: "tasks", id: "0-27", scope: engagements, properties: []string{"hs_task_subject"}},
		{name: "communications", id: "0-18", scope: engagements, properties: []string{"hs_communication_channel_type"}},
		{name: "postal_mail", id: "0-116", scope: engagements, properties: []string{"hs_postal_mail_body"}},
		{name: "quotes", id: "0-14", scope: "crm.objects.quotes.read", properties: []string{"hs_title"}},
		{name: "leads", id: "0-136", scope: "crm.objects.leads.read", properties: []string{"hs_lead_name"}},
		{name: "orders", id: "0-123", scope: "crm.objects.orders.read", properties: []string{"hs_order_name"}},
		{name: "carts", id: "0-142", scope: "crm.objects.carts.read", properties: []string{"hs_cart_name"}},
		{name: "invoices", id: "0-53", scope: "crm.objects.invoices.read", properties: []string{"hs_invoice_status"}},
		{name: "subscriptions", id: "0-69", scope: "crm.objects.subscriptions.read", properties: []string{"hs_name"}},
		{name: "commerce_payments", id: "0-101", scope: "crm.objects.commercepayments.read", properties: []string{"hs_latest_status"}},
		{name: "appointments", id: "0-421", scope: "crm.objects.appointments.read", properties: []string{"hs_appointment_name"}},
		{name: "courses", id: "0-410", scope: "crm.objects.courses.read", properties: []string{"hs_course_name"}},
		{name: "listings", id: "0-420", scope: "crm.objects.listings.read", properties: []string{"hs_name"}},
		{name: "services", id: "0-162", scope: "crm.objects.services.read", properties: []string{"hs_name"}},
		{name: "p62515_car", id: "2-3465404", scope: "crm.objects.custom.read", properties: []string{"model"}},
	} {
		if t.modified == "" {
			t.modified = "hs_lastmodifieddate"
		}
		t.properties = append(t.properties, t.modified, "createdate", "hs_object_id")
		t.objects = map[int64]*object{}
		s.types[t.name], s.types[t.id] = t, t
	}
	s.types["p_car"] = s.types["p62515_car"]
}

// AddProperties gives a type more properties.
func (s *Server) AddProperties(stream string, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.types[stream].properties = append(s.types[stream].properties, names...)
}

// Create makes an object, as of now.
func (s *Server) Create(stream string, properties map[string]string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.create(s.types[stream], properties, s.o.Now())
}

// CreateAt makes an object as of another time, without webhooks.
func (s *Server) CreateAt(stream string, properties map[string]string, at time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.hooks.pending
	defer func() { s.hooks.pending = was }()
	return s.create(s.types[stream], properties, at)
}

func (s *Server) create(t *objectType, properties map[string]string, at time.Time) int64 {
	s.last += 3
	o := &object{id: s.last, properties: maps.Clone(properties), created: at}
	if o.properties == nil {
		o.properties = map[string]string{}
	}
	o.properties["createdate"] = at.UTC().Format(millisecond)
	o.properties["hs_object_id"] = strconv.FormatInt(o.id, 10)
	t.objects[o.id] = o
	t.touch(o, at)
	s.tell(t, o.id, "creation", at, nil)
	return o.id
}

// touch dates a change; the index learns of it unless it is held.
func (t *objectType) touch(o *object, at time.Time) {
	o.changed, o.millis = at.Truncate(time.Millisecond), at.UnixMilli()
	o.properties[t.modified] = o.changed.UTC().Format(millisecond)
	if t.held > 0 {
		t.held--
		return
	}
	t.index(o)
}

func (t *objectType) index(o *object) {
	if !o.archived.IsZero() {
		o.indexed = nil
		return
	}
	seen := *o
	seen.properties = maps.Clone(o.properties)
	o.indexed = &seen
}

// Update changes properties of an object.
func (s *Server) Update(stream string, id int64, properties map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.types[stream]
	o := t.objects[id]
	maps.Copy(o.properties, properties)
	at := s.o.Now()
	t.touch(o, at)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		s.tell(t, id, "propertyChange", at, map[string]any{"propertyName": name, "propertyValue": properties[name]})
	}
}

// Archive deletes an object, which can be restored for 90 days.
func (s *Server) Archive(stream string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.types[stream]
	t.objects[id].archived = s.o.Now().Truncate(time.Millisecond)
	t.index(t.objects[id])
	s.tell(t, id, "deletion", s.o.Now(), nil)
}

// Restore brings an archived object back, which no property tells of.
func (s *Server) Restore(stream string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.types[stream]
	t.objects[id].archived = time.Time{}
	t.index(t.objects[id])
	s.tell(t, id, "restore", s.o.Now(), nil)
}

// Merge merges an object into another; both are then found under the ID that is left, the other's.
func (s *Server) Merge(stream string, primary, merged int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.types[stream]
	t.objects[merged].merged, t.objects[merged].indexed = primary, nil
	t.touch(t.objects[primary], s.o.Now())
	s.tell(t, primary, "merge", s.o.Now(), map[string]any{
		"primaryObjectId": primary, "mergedObjectIds": []int64{merged}, "newObjectId": primary, "numberOfPropertiesMoved": 2,
	})
}

// Associate tells of an association between two objects, or of its end.
func (s *Server) Associate(stream string, from, to int64, kind string, removed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(s.types[stream], 0, "associationChange", s.o.Now(), map[string]any{
		"fromObjectId": from, "toObjectId": to, "associationType": kind, "associationRemoved": removed, "isPrimaryAssociation": false,
	})
}

// Forget deletes a contact for ever, for privacy.
func (s *Server) Forget(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.types["contacts"].objects, id)
	s.tell(s.types["contacts"], id, "privacyDeletion", s.o.Now(), nil)
}

// HoldIndex lets searches miss the next n changes, until ReleaseIndex.
func (s *Server) HoldIndex(stream string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.types[stream].held = n
}

// ReleaseIndex lets searches see everything.
func (s *Server) ReleaseIndex(stream string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.types[stream]
	t.held = 0
	for _, o := range t.objects {
		if o.merged == 0 {
			t.index(o)
		}
	}
}

// IDs are those of the objects that are neither archived nor merged, in order.
func (s *Server) IDs(stream string) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.types[stream].ids(false)
}

// ChangedAt is when an object last changed.
func (s *Server) ChangedAt(stream string, id int64) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.types[stream].objects[id].changed
}

func (t *objectType) ids(archived bool) []int64 {
	var out []int64
	for id, o := range t.objects {
		if o.merged == 0 && o.archived.IsZero() != archived {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// typeOf finds the type that a path names, and checks that the account has given the app the scope.
func (s *Server) typeOf(r *http.Request) (*objectType, *Refusal) {
	t := s.types[r.PathValue("type")]
	if t == nil {
		return nil, &Refusal{Status: 404, Category: "OBJECT_NOT_FOUND", Message: "Unable to infer object type from: " + r.PathValue("type")}
	}
	if s.scopes != nil && !slices.Contains(s.scopes, t.scope) {
		return nil, &Refusal{
			Status: 403, Category: "MISSING_SCOPES", Context: map[string][]string{"requiredGranularScopes": {t.scope}},
			Message: "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: https://developers.hubspot.com/scopes.",
		}
	}
	return t, nil
}

// show is an object as answers have it. Those that are always there come with the properties asked for.
func (t *objectType) show(o *object, names []string) map[string]any {
	properties := map[string]string{}
	for _, name := range append([]string{"createdate", t.modified, "hs_object_id"}, names...) {
		if value, ok := o.properties[name]; ok {
			properties[name] = value
		}
	}
	out := map[string]any{
		"id": strconv.FormatInt(o.id, 10), "properties": properties, "archived": !o.archived.IsZero(),
		"createdAt": o.created.UTC().Format(millisecond), "updatedAt": o.changed.UTC().Format(millisecond),
	}
	if !o.archived.IsZero() {
		out["archivedAt"] = o.archived.UTC().Format(millisecond)
	}
	return out
}

// list pages through all objects in the order of their IDs.
func (s *Server) list(w http.ResponseWriter, r *http.Request) *Refusal {
	t, refused := s.typeOf(r)
	if refused == nil {
		refused = onlyParameters(r, "limit", "after", "properties", "archived", "associations", "propertiesWithHistory")
	}
	if refused != nil {
		return refused
	}
	q := r.URL.Query()
	limit, after := 10, int64(0)
	var err error
	if v := q.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > 100 {
			return invalid("limit must be between 1 and 100")
		}
	}
	if v := q.Get("after"); v != "" {
		if after, err = strconv.ParseInt(v, 10, 64); err != nil {
			return invalid("after is not a paging token of this list")
		}
	}
	if v := q.Get("archived"); v != "" && v != "true" && v != "false" {
		return invalid("archived must be true or false")
	}
	var names []string
	if v := q.Get("properties"); v != "" {
		names = strings.Split(v, ",")
	}
	ids := t.ids(q.Get("archived") == "true")
	ids = slices.DeleteFunc(ids, func(id int64) bool { return id <= after })
	results, answer := []any{}, map[string]any{}
	for i, id := range ids {
		if i == limit {
			next := strconv.FormatInt(ids[i-1], 10)
			answer["paging"] = map[string]any{"next": map[string]any{"after": next, "link": fmt.Sprintf("https://api.hubapi.com%s?after=%s", r.URL.Path, next)}}
			break
		}
		results = append(results, t.show(t.objects[id], names))
	}
	answer["results"] = results
	return s.write(w, 200, answer)
}

// batchRead reads objects by ID; one that was merged is found as the one that is left.
func (s *Server) batchRead(w http.ResponseWriter, r *http.Request) *Refusal {
	t, refused := s.typeOf(r)
	if refused == nil {
		refused = onlyParameters(r, "archived")
	}
	if refused != nil {
		return refused
	}
	var body struct {
		Inputs                []struct{ ID string } `json:"inputs"`
		Properties            []string              `json:"properties"`
		PropertiesWithHistory []string              `json:"propertiesWithHistory"`
		IDProperty            *string               `json:"idProperty"`
	}
	if _, refused := decode(r, &body); refused != nil {
		return refused
	}
	switch {
	case body.Inputs == nil || body.Properties == nil || body.PropertiesWithHistory == nil:
		return invalid("inputs, properties and propertiesWithHistory are required")
	case len(body.Inputs) > 100:
		return invalid("The number of inputs exceeds the limit of 100")
	case body.IDProperty != nil || len(body.PropertiesWithHistory) > 0:
		return invalid("not served here")
	}
	results, missing := []any{}, []string{}
	done := map[string]bool{}
	for _, input := range body.Inputs {
		if done[input.ID] {
			return invalid("Duplicate IDs found in batch input: [%s]", input.ID)
		}
		done[input.ID] = true
		id, err := strconv.ParseInt(input.ID, 10, 64)
		if err != nil {
			return invalid("%s is not a valid ID", input.ID)
		}
		o := t.objects[id]
		for o != nil && o.merged != 0 {
			o = t.objects[o.merged]
		}
		if o == nil || !o.archived.IsZero() {
			missing = append(missing, input.ID)
			continue
		}
		results = append(results, t.show(o, body.Properties))
	}
	now := s.o.Now().UTC().Format(millisecond)
	answer := map[string]any{"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
	if len(missing) == 0 {
		return s.write(w, 200, answer)
	}
	answer["numErrors"] = 1
	answer["errors"] = []any{map[string]any{
		"status": "error", "category": "OBJECT_NOT_FOUND", "message": "Could not get some " + t.name + " objects, they may be deleted or not exist. Check that ids are valid.",
		"context": map[string]any{"ids": missing}, "errors": []any{}, "links": map[string]string{},
	}}
	s.o.Returned.Return(strconv.Itoa(http.StatusMultiStatus))
	return s.write(w, http.StatusMultiStatus, answer)
}

func (s *Server) properties(w http.ResponseWriter, r *http.Request) *Refusal {
	t, refused := s.typeOf(r)
	if refused == nil {
		refused = onlyParameters(r, "archived", "dataSensitivity")
	}
	if refused != nil {
		return refused
	}
	results := []any{}
	for _, name := range t.properties {
		results = append(results, map[string]any{
			"name": name, "label": name, "type": "string", "fieldType": "text", "description": "", "groupName": "information", "options": []any{},
		})
	}
	return s.write(w, 200, map[string]any{"results": results})
}
