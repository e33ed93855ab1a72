package magento

import "tributary/connectors"

// recordFacts say what a record is.
var recordFacts = []connectors.Fact{
	{Name: "data", Doc: "The object as the shop answered, byte for byte."},
	{Name: "key", Doc: "`entity_id`, which products, customers, carts and categories call `id`; of `stock` `source_code/sku`."},
	{Name: "version", Doc: "`updated_at` in microseconds. It is in whole seconds: of two changes within one the later arrival stands, as always of " +
		"`stock`, which has no version."},
	{Name: "ID", Doc: "A hash of stream, key, version and object: the shop has no IDs of changes. Of `stock` a hash of stream, key, object and " +
		"when the poll began that saw it so first."},
}

// limitFacts are the limits that are known, and what is done about each.
var limitFacts = []connectors.Fact{
	{Name: "*Web API Input Limits*: Maximum Page Size, off by default and 300 when on", Doc: "`page_size` is 100; a page that is refused as too large is asked for again in smaller ones"},
	{Name: "requests at once: each is a process that the shop's customers wait for", Doc: "all installations of a shop share `concurrency`, 2 unless the connection says otherwise"},
	{Name: "`429` and `503` of a cache, firewall or maintenance mode", Doc: "waits what `Retry-After` says, and backs off"},
	{Name: "pages of many products or categories are slow, because the shop loads them one by one", Doc: "a page that takes longer than 2 minutes is given up: lower `page_size`"},
	{Name: "one answer, 401, to a bearer token that it does not accept and to a right that lacks", Doc: "the list of modules is asked for, which an integration with any right may read and nobody else: its answer tells them " +
		"apart"},
	{Name: "up to 2.3.2 categories come all at once and unsorted", Doc: "they are sorted by Tributary, and a page of them is taken"},
	{Name: "64 MiB a page", Doc: "a smaller page is asked for"},
}
