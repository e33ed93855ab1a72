package webhook

// presets holds what is known of senders; it is never changed. An ID stands here only where the sender's is unique and
// the same in each redelivery, a key only where a stream's records are about objects.
var presets = map[string]Settings{
	// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
	"github": {
		Signature: &Signature{Header: "X-Hub-Signature-256", Prefix: "sha256="},
		ID:        &Field{Header: "X-GitHub-Delivery"},
		Type:      &Field{Header: "X-GitHub-Event"},
	},
	// https://developers.intercom.com/docs/references/webhooks/webhook-models
	"intercom": {
		Signature:  &Signature{Header: "X-Hub-Signature", Algorithm: "hmac-sha1", Prefix: "sha1="},
		ID:         &Field{Body: ".id"},
		Type:       &Field{Body: ".topic"},
		Stream:     &Field{Body: ".data.item.type"},
		Key:        &Field{Body: ".data.item.id"},
		Version:    &Field{Body: ".data.item.updated_at", Unit: "seconds"},
		OccurredAt: &Field{Body: ".created_at", Unit: "seconds"},
		Deletes:    []string{"company.deleted", "contact.deleted", "conversation.deleted"},
	},
	// https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks, in the CloudEvents format that is the
	// only one from May 2026 on.
	"quickbooks": {
		Signature:  &Signature{Header: "Intuit-Signature", Encoding: "base64"},
		Records:    ".[]",
		ID:         &Field{Body: ".id"},
		Type:       &Field{Body: ".type"},
		OccurredAt: &Field{Body: ".time"},
	},
	// https://docs.slack.dev/authentication/verifying-requests-from-slack
	"slack": {
		Signature: &Signature{
			Header: "X-Slack-Signature", Prefix: "v0=", Content: "v0:{timestamp}:{body}",
			Timestamp: &Timestamp{Header: "X-Slack-Request-Timestamp"},
		},
		ID:         &Field{Body: ".event_id"},
		Type:       &Field{Body: ".type"},
		Stream:     &Field{Body: ".event.type"},
		OccurredAt: &Field{Body: ".event_time", Unit: "seconds"},
		Challenge:  "slack",
	},
	// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
	"standard-webhooks": {
		Signature: &Signature{
			Header: "Webhook-Signature", Encoding: "base64", Prefix: "v1,", Separator: " ", Key: "base64",
			Content: "{id}.{timestamp}.{body}", ID: "Webhook-Id", Timestamp: &Timestamp{Header: "Webhook-Timestamp"},
		},
		ID:         &Field{Header: "Webhook-Id"},
		Type:       &Field{Body: ".type"},
		OccurredAt: &Field{Body: ".timestamp"},
	},
	// https://docs.stripe.com/webhooks/signature and https://docs.stripe.com/api/events/object. An object carries no
	// time of its change, so the event's orders the changes, to the second.
	"stripe": {
		Signature: &Signature{
			Header: "Stripe-Signature", Prefix: "v1=", Separator: ",", Content: "{timestamp}.{body}",
			Timestamp: &Timestamp{Prefix: "t="},
		},
		ID:         &Field{Body: ".id"},
		Type:       &Field{Body: ".type"},
		Stream:     &Field{Body: ".data.object.object"},
		Key:        &Field{Body: ".data.object.id"},
		Version:    &Field{Body: ".created", Unit: "seconds"},
		OccurredAt: &Field{Body: ".created", Unit: "seconds"},
		// customer.subscription.deleted is missing on purpose: it says that the subscription has ended.
		Deletes: []string{
			"coupon.deleted", "customer.deleted", "customer.source.deleted", "customer.tax_id.deleted",
			"invoice.deleted", "invoiceitem.deleted", "plan.deleted", "price.deleted", "product.deleted",
		},
	},
	// https://woocommerce.com/document/webhooks/. A delivery's ID is a hash of the webhook and the second: two
	// changes in one second share it. It still tells two deletions of one object apart, whose payloads are equal.
	"woocommerce": {
		Signature:  &Signature{Header: "X-WC-Webhook-Signature", Encoding: "base64"},
		ID:         &Field{Header: "X-WC-Webhook-Delivery-ID"},
		IDRepeats:  true,
		Type:       &Field{Header: "X-WC-Webhook-Topic"},
		Stream:     &Field{Header: "X-WC-Webhook-Resource"},
		Key:        &Field{Body: ".id"},
		Version:    &Field{Body: ".date_modified_gmt"},
		OccurredAt: &Field{Body: ".date_modified_gmt"},
		Deletes:    []string{"coupon.deleted", "customer.deleted", "order.deleted", "product.deleted"},
		Challenge:  "woocommerce",
	},
	// https://developer.zendesk.com/documentation/webhooks/verifying. The ID is the invocation's, not the body's: a
	// trigger's body is what its author makes it.
	"zendesk": {
		Signature: &Signature{
			Header: "X-Zendesk-Webhook-Signature", Encoding: "base64", Content: "{timestamp}{body}",
			Timestamp: &Timestamp{Header: "X-Zendesk-Webhook-Signature-Timestamp"},
		},
		ID:         &Field{Header: "X-Zendesk-Webhook-Invocation-Id"},
		Type:       &Field{Body: ".type"},
		OccurredAt: &Field{Body: ".time"},
	},
}
