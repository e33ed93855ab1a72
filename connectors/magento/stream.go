package magento

import "tributary/connectors"

// stream is how the objects of a kind are found.
type stream struct {
	name, doc string
	// path of the search below /V1/.
	path string
	// id is the field of an object that holds what searches call entity_id. "": it has none, and no time of its change either: it is stock.
	id string
	// resource is what the integration must be granted, by its name in the shop's ACL.
	resource string
}

// Paths, fields and resources: https://developer.adobe.com/commerce/webapi/rest/quick-reference/
var streams = []stream{
	{"orders", "Orders with their items, addresses, payment and status history.", "orders", "entity_id", "Magento_Sales::actions_view"},
	{"customers", "Customers with their addresses.", "customers/search", "id", "Magento_Customer::customer"},
	{"products", "Products of every type, with their attributes.", "products", "id", "Magento_Catalog::products"},
	{"invoices", "Invoices of orders.", "invoices", "entity_id", "Magento_Sales::sales_invoice"},
	{"shipments", "Shipments of orders.", "shipments", "entity_id", "Magento_Sales::shipment"},
	{"creditmemos", "Credit memos of orders.", "creditmemos", "entity_id", "Magento_Sales::sales_creditmemo"},
	{"carts", "Carts of customers and guests, those that became orders too.", "carts/search", "id", "Magento_Cart::manage"},
	{"categories", "Categories of the catalog.", "categories/list", "id", "Magento_Catalog::categories"},
	{"stock", "Quantities by source and SKU. Each poll reads all of them.", "inventory/source-items", "", "Magento_InventoryApi::source"},
}

func described() []connectors.Stream {
	var out []connectors.Stream
	for _, s := range streams {
		out = append(out, connectors.Stream{Name: s.name, Doc: s.doc, Polls: true, Needs: "`" + s.resource + "`"})
	}
	return out
}

func lookup(op, name string) (stream, error) {
	for _, s := range streams {
		if s.name == name {
			return s, nil
		}
	}
	return stream{}, connectors.Errorf(connectors.NotFound, op, "there is no such stream: `starter connectors describe magento` lists them")
}
