package netsuite

import "tributary/connectors"

// recordFacts say what a record is.
var recordFacts = []connectors.Fact{
	{Name: "data", Doc: "The row as NetSuite answered, byte for byte, with `links` and one column that Tributary adds, `tributary_changed`: the " +
		"time of change as `YYYY-MM-DD HH24:MI:SS` in `time_zone`. NetSuite writes all values as texts and leaves out empty " +
		"ones. Of a delete the row of the table `deletedrecord`."},
	{Name: "key", Doc: "The internal ID, from the column `id`; of a delete `recordid`."},
	{Name: "version", Doc: "The time of change in microseconds; of a delete `deleteddate`. NetSuite's times are whole seconds: of two changes " +
		"within one the later arrival stands."},
	{Name: "ID", Doc: "A hash of stream, key, version and row: NetSuite has no IDs of changes."},
}

// limitFacts are the limits that are known, and what is done about each.
var limitFacts = []connectors.Fact{
	{Name: "100,000 results a query, 1,000 rows a page", Doc: "each page is a query of its own behind the last row read, cut to `page_size`"},
	{Name: "requests at once per account, for all integrations: 5, or 15 and more by service tier, and 10 more for each SuiteCloud Plus license", Doc: "all installations of an account share `concurrency`, 4 unless the connection says otherwise"},
	{Name: "`429`, `SSS_REQUEST_LIMIT_EXCEEDED` and the like under any status", Doc: "waits what NetSuite says, or 2 seconds, and comes again"},
	{Name: "15 minutes a request", Doc: "a page that takes longer than a minute is given up and asked for again"},
}
