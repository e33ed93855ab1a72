package webhook

import "tributary/connectors"

// recordFacts say what a record is.
var recordFacts = []connectors.Fact{
	{Name: "data", Doc: "The body as the sender sent it, byte for byte, or with `records` the element of it."},
	{Name: "key", Doc: "What `key` says; without one every record is an event of its own."},
	{Name: "version", Doc: "What `version` says: a whole number as it is, a time in microseconds; else none, and the later arrival stands."},
	{Name: "ID", Doc: "The sender's, where `id` says so, at most 512 bytes; else, and with `id_repeats`, a hash of stream, type, ID, key, " +
		"version and payload."},
}

// limitFacts are the limits that are known, and what is done about each.
var limitFacts = []connectors.Fact{
	{Name: "a signed time may be 5 minutes off, or what `tolerance` says", Doc: "refused beyond (401)"},
	{Name: "50,000 records a body, 1,000 levels of nesting, 16 signatures a header", Doc: "refused (400, and 401 for the last)"},
	{Name: "senders give up after a while and tell nobody", Doc: "what was accepted is kept on disk before the 200; what was not is for the sender to send again"},
}
