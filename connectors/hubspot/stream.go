package hubspot

import (
	"regexp"
	"slices"

	"tributary/connectors"
)

// stream is an object type.
type stream struct {
	name string // as the API's paths have it
	id   string // the type's ID: https://developers.hubspot.com/docs/guides/crm/using-object-apis
	doc  string
	// legacy is how webhooks call it by a name of its own, such as contact.creation; "" = object.creation with the type's ID.
	legacy string
	// modified is the property that says when an object last changed.
	modified string
	// watched are the properties whose changes webhooks tell unless the operator names others. HubSpot takes a subscription a property.
	watched []string
}

const lastModified = "hs_lastmodifieddate"

// streams are the object types that HubSpot has itself.
var streams = []stream{
	{"contacts", "0-1", "People.", "contact", "lastmodifieddate", []string{"email", "firstname", "lastname", "phone", "mobilephone", "jobtitle", "company", "lifecyclestage", "hs_lead_status", "hubspot_owner_id"}},
	{"companies", "0-2", "Organisations.", "company", lastModified, []string{"name", "domain", "phone", "city", "country", "industry", "lifecyclestage", "hs_lead_status", "hubspot_owner_id"}},
	{"deals", "0-3", "Transactions on their way through a pipeline.", "deal", lastModified, []string{"dealname", "amount", "closedate", "dealstage", "pipeline", "dealtype", "hubspot_owner_id"}},
	{"tickets", "0-5", "Requests of customers.", "ticket", lastModified, []string{"subject", "content", "hs_pipeline", "hs_pipeline_stage", "hs_ticket_priority", "hs_ticket_category", "hubspot_owner_id"}},
	{"products", "0-7", "What is for sale.", "product", lastModified, []string{"name", "description", "price", "hs_sku", "hs_recurring_billing_period"}},
	{"line_items", "0-8", "Products of a deal or quote.", "line_item", lastModified, []string{"name", "quantity", "price", "amount", "discount", "hs_product_id"}},
	{"quotes", "0-14", "Offers with prices.", "", lastModified, []string{"hs_title", "hs_status", "hs_expiration_date", "hubspot_owner_id"}},
	{"calls", "0-48", "Engagements: calls.", "", lastModified, []string{"hs_call_title", "hs_call_body", "hs_call_status", "hs_call_duration", "hubspot_owner_id"}},
	{"emails", "0-49", "Engagements: one-to-one emails.", "", lastModified, []string{"hs_email_status", "hs_email_direction", "hubspot_owner_id"}},
	{"meetings", "0-47", "Engagements: meetings.", "", lastModified, []string{"hs_meeting_title", "hs_meeting_outcome", "hs_meeting_start_time", "hs_meeting_end_time", "hubspot_owner_id"}},
	{"notes", "0-46", "Engagements: notes.", "", lastModified, []string{"hs_note_body", "hubspot_owner_id"}},
	{"tasks", "0-27", "Engagements: tasks.", "", lastModified, []string{"hs_task_subject", "hs_task_body", "hs_task_status", "hs_task_priority", "hubspot_owner_id"}},
	{"communications", "0-18", "Engagements: messages by SMS, WhatsApp and LinkedIn.", "", lastModified, []string{"hs_communication_channel_type", "hubspot_owner_id"}},
	{"postal_mail", "0-116", "Engagements: letters.", "", lastModified, []string{"hs_postal_mail_body", "hubspot_owner_id"}},
	{"leads", "0-136", "Contacts and companies that may become customers.", "", lastModified, []string{"hs_lead_name", "hs_pipeline_stage", "hubspot_owner_id"}},
	{"orders", "0-123", "Orders.", "", lastModified, []string{"hs_order_name", "hs_fulfillment_status", "hs_total_price"}},
	{"carts", "0-142", "Carts.", "", lastModified, []string{"hs_cart_name", "hs_total_price"}},
	{"invoices", "0-53", "Invoices.", "", lastModified, []string{"hs_invoice_status", "hs_amount_billed", "hs_due_date"}},
	{"subscriptions", "0-69", "Recurring payments.", "", lastModified, []string{"hs_name", "hs_status", "hs_last_payment_amount"}},
	{"commerce_payments", "0-101", "Payments.", "", lastModified, []string{"hs_latest_status", "hs_initial_amount"}},
	{"appointments", "0-421", "Appointments.", "", lastModified, []string{"hs_appointment_name", "hs_appointment_start", "hs_appointment_end"}},
	{"courses", "0-410", "Courses.", "", lastModified, []string{"hs_course_name"}},
	{"listings", "0-420", "Properties to buy or rent.", "", lastModified, []string{"hs_name", "hs_price"}},
	{"services", "0-162", "Services for customers.", "", lastModified, []string{"hs_name", "hs_pipeline_stage", "hs_status"}},
}

// customType is what a custom object type may be called: its ID, such as 2-3465404, or its qualified name, such as p123_car or p_car.
// https://developers.hubspot.com/docs/guides/api/crm/objects/custom-objects
var customType = regexp.MustCompile(`^([0-9]{1,3}-[0-9]{1,18}|p[0-9]{0,18}_[A-Za-z0-9_]{1,100})$`)

func describeStreams() []connectors.Stream {
	var out []connectors.Stream
	for _, s := range streams {
		out = append(out, connectors.Stream{Name: s.name, Doc: s.doc, Polls: true, Receives: true, Needs: s.needs()})
	}
	return out
}

// needs is the scope that reading a stream needs.
func (s stream) needs() string {
	switch s.name {
	case "tickets":
		return "`tickets`"
	case "products":
		return "`e-commerce`"
	case "commerce_payments":
		return "`crm.objects.commercepayments.read`"
	case "calls", "emails", "meetings", "notes", "tasks", "communications", "postal_mail":
		return "`crm.objects.contacts.read` and what the account asks for besides"
	}
	return "`crm.objects." + s.name + ".read`"
}

func lookup(op, name string) (stream, error) {
	if i := slices.IndexFunc(streams, func(s stream) bool { return s.name == name }); i >= 0 {
		return streams[i], nil
	}
	if !customType.MatchString(name) {
		return stream{}, connectors.Errorf(connectors.Invalid, op,
			"there is no stream %q: want one such as contacts, or a custom object's type such as 2-3465404 or p_car", connectors.Clip(name, 100))
	}
	if s, ok := streamOf(name); ok {
		return stream{}, connectors.Errorf(connectors.Invalid, op, "stream %q is called %s", name, s.name)
	}
	s := stream{name: name, modified: lastModified}
	if name[0] != 'p' {
		s.id = name
	}
	return s, nil
}

// streamOf finds the stream of an object type ID.
func streamOf(id string) (stream, bool) {
	i := slices.IndexFunc(streams, func(s stream) bool { return s.id == id })
	if i < 0 {
		return stream{}, false
	}
	return streams[i], true
}
