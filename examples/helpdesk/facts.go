package helpdesk

import "tributary/connectors"

// recordFacts say what a record is.
var recordFacts = []connectors.Fact{
	{Name: "data", Doc: "The ticket as the help desk answered, byte for byte."},
	{Name: "key", Doc: "The ticket's `id`."},
	{Name: "version", Doc: "`updated_at` in microseconds."},
	{Name: "ID", Doc: "A hash of stream, key, version and ticket: the API has no IDs of changes."},
}

// limitFacts are the limits that are known, and what is done about each.
var limitFacts = []connectors.Fact{
	{Name: "1,000 tickets a page", Doc: "`page_size` is 100 unless the block says otherwise"},
	{Name: "`429` and `503`", Doc: "waits what `Retry-After` says, and backs off"},
	{Name: "a change may be listed a minute late", Doc: "a poll begins a minute before the newest ticket seen, or before the last poll began where that was earlier; what comes again is dropped"},
	{Name: "deleted tickets are not listed", Doc: "deletes don't come"},
	{Name: "16 MiB a page", Doc: "a smaller page is asked for"},
}
