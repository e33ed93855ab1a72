package shopify

import "tributary/connectors"

// recordFacts say what a record is.
var recordFacts = []connectors.Fact{
	{Name: "data", Doc: "What Shopify sent, byte for byte: of a webhook the body, the REST shape; of a poll the GraphQL node."},
	{Name: "key", Doc: "The object's number, the same of both; of a level `<item>-<location>`."},
	{Name: "version", Doc: "`updated_at`, which polls call `updatedAt`, in microseconds; of a delete `X-Shopify-Triggered-At`. Shopify's times are " +
		"whole seconds: of two changes within one the later arrival stands."},
	{Name: "ID", Doc: "Of a webhook a hash of event ID, topic, key and body; of a poll a hash of stream, key, version and node."},
}

// limitFacts are the limits that are known, and what is done about each.
var limitFacts = []connectors.Fact{
	{Name: "query points by plan, and 1,000 a query", Doc: "every answer says how many are left: the next page waits until they suffice; `THROTTLED` is waited out; a page that " +
		"costs too much is asked for in half"},
	{Name: "25,000 objects a query", Doc: "another query begins at the last change or ID before that; inventory levels are halved in time until they fit"},
	{Name: "250 objects a page", Doc: "`page_size` is the stream's own, below it and below 1,000 points"},
	{Name: "5 bulk operations of an app in a shop at a time, one before version 2026-01", Doc: "waits a minute and asks again"},
	{Name: "a bulk operation's file dies after 7 days", Doc: "another operation is started behind the last ID read"},
	{Name: "a subscription is removed after 8 failures in a row", Doc: "subscriptions are checked and made again while it runs"},
	{Name: "8 retries of a webhook in 4 hours", Doc: "with trigger `both` polls find what was lost"},
}
