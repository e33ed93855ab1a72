package hubspot

import "tributary/connectors"

// recordFacts say what a record is.
var recordFacts = []connectors.Fact{
	{Name: "data", Doc: "The object as the batch read gives it, byte for byte, whether a poll or a webhook told of it. With `receive: event` a " +
		"webhook's is the event as it came, one of the array that HubSpot sent."},
	{Name: "key", Doc: "The object's ID; of an association both ends and the type: `101/202/CONTACT_TO_COMPANY`."},
	{Name: "version", Doc: "The last modification (`lastmodifieddate` of contacts, else `hs_lastmodifieddate`) in microseconds; after a webhook of " +
		"its restoring, that time at least. Of an event `occurredAt` in microseconds, less one; of a delete `occurredAt` itself."},
	{Name: "ID", Doc: "A hash of stream, key, version and object. Of an event a hash of account, app, subscription, event, time, object, " +
		"property, value, and the ends of an association."},
}

// limitFacts are the limits that are known, and what is done about each.
var limitFacts = []connectors.Fact{
	{Name: "110 calls in 10 s an account and app, or more", Doc: "one budget for all installations of the account; answers' headers say what it is now"},
	{Name: "5 searches a second an account", Doc: "a budget of its own"},
	{Name: "calls a day", Doc: "waits an hour at a time until it is over"},
	{Name: "10,000 results a search", Doc: "each page is a search of its own"},
	{Name: "100 objects a batch read, 3,000 characters a search", Doc: "pages of 100, names of properties with the batch read only"},
	{Name: "1,000 subscriptions an app", Doc: "refused before any is made"},
}
