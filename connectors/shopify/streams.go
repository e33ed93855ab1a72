package shopify

import "github.com/tidwall/gjson"

const (
	money   = `{ amount currencyCode }`
	bag     = `{ shopMoney ` + money + ` }`
	address = `{ firstName lastName company address1 address2 city province provinceCode country countryCodeV2 zip phone }`
)

// privacyStream takes the requests that Shopify must be able to make of every public app. They are set up with the app and not by
// subscription, but may lead to an installation's URL: https://shopify.dev/docs/apps/build/privacy-law-compliance
const privacyStream = "privacy"

// streams are the collections that can be polled. What they hold: https://shopify.dev/docs/api/admin-graphql/latest
var streams = []stream{
	{
		name:     "customers",
		doc:      "Buyers: contact details, state, tags, number of orders and amount spent.",
		root:     "customers",
		node:     "Customer",
		scopes:   []string{"read_customers"},
		sortKeys: "CustomerSortKeys",
		selection: `id updatedAt createdAt legacyResourceId displayName firstName lastName
			defaultEmailAddress { emailAddress marketingState } defaultPhoneNumber { phoneNumber marketingState }
			verifiedEmail state note tags locale taxExempt numberOfOrders amountSpent ` + money + ` defaultAddress ` + address,
		pageSize: 150,
		topics:   []string{"CUSTOMERS_CREATE", "CUSTOMERS_UPDATE", "CUSTOMERS_DELETE"},
	},
	{
		name:     "orders",
		doc:      "Sales with their first 10 lines when polled (lineItems.pageInfo says whether there are more) and all lines by webhook.",
		root:     "orders",
		node:     "Order",
		scopes:   []string{"read_orders", "read_customers"},
		sortKeys: "OrderSortKeys",
		selection: `id updatedAt createdAt processedAt closedAt cancelledAt cancelReason legacyResourceId name email phone note tags test confirmed
			currencyCode presentmentCurrencyCode displayFinancialStatus displayFulfillmentStatus taxesIncluded sourceName
			totalPriceSet ` + bag + ` subtotalPriceSet ` + bag + ` totalTaxSet ` + bag + ` totalDiscountsSet ` + bag + `
			customer { id } shippingAddress ` + address,
		nested: nested{"lineItems", 10, `id name title variantTitle sku vendor quantity currentQuantity requiresShipping taxable
			originalUnitPriceSet ` + bag},
		pageSize: 20,
		topics:   []string{"ORDERS_CREATE", "ORDERS_UPDATED", "ORDERS_DELETE"},
	},
	{
		name:     "products",
		doc:      "Goods with their first 10 variants when polled (variants.pageInfo says whether there are more) and all variants by webhook.",
		root:     "products",
		node:     "Product",
		scopes:   []string{"read_products"},
		sortKeys: "ProductSortKeys",
		selection: `id updatedAt createdAt publishedAt legacyResourceId title handle descriptionHtml vendor productType status tags templateSuffix
			isGiftCard totalInventory tracksInventory hasOnlyDefaultVariant onlineStoreUrl
			priceRangeV2 { minVariantPrice ` + money + ` maxVariantPrice ` + money + ` }`,
		nested:   nested{"variants", 10, `id title sku barcode price compareAtPrice position inventoryQuantity taxable createdAt updatedAt`},
		pageSize: 50,
		topics:   []string{"PRODUCTS_CREATE", "PRODUCTS_UPDATE", "PRODUCTS_DELETE"},
	},
	{
		name:     variantStream,
		doc:      "What is sold of a product: its sizes and colours with price and stock. By webhook they come out of their product's.",
		way:      byID,
		root:     "productVariants",
		node:     "ProductVariant",
		scopes:   []string{"read_products"},
		sortKeys: "ProductVariantSortKeys",
		selection: `id updatedAt createdAt legacyResourceId title displayName sku barcode price compareAtPrice position availableForSale
			inventoryQuantity inventoryPolicy taxable selectedOptions { name value } product { id } inventoryItem { id }`,
		pageSize: 200,
		topics:   []string{"PRODUCTS_CREATE", "PRODUCTS_UPDATE", "PRODUCTS_DELETE"},
	},
	{
		name:   "inventory_items",
		doc:    "What is stocked of a variant: SKU, cost, customs data.",
		way:    byID,
		root:   "inventoryItems",
		node:   "InventoryItem",
		scopes: []string{"read_inventory"},
		selection: `id updatedAt createdAt legacyResourceId sku tracked requiresShipping countryCodeOfOrigin provinceCodeOfOrigin
			harmonizedSystemCode unitCost ` + money,
		pageSize: 250,
		topics:   []string{"INVENTORY_ITEMS_CREATE", "INVENTORY_ITEMS_UPDATE", "INVENTORY_ITEMS_DELETE"},
	},
	{
		name:   levelStream,
		doc:    "How many of an item there are at a location. The key is the item's number, a dash and the location's.",
		way:    ofLocations,
		root:   "inventoryLevels",
		node:   "InventoryLevel",
		scopes: []string{"read_inventory", "read_locations"},
		selection: `id updatedAt createdAt item { id } location { id name }
			quantities(names: ["available", "committed", "damaged", "incoming", "on_hand", "quality_control", "reserved", "safety_stock"]) { name quantity updatedAt }`,
		pageSize: 200,
		topics:   []string{"INVENTORY_LEVELS_CONNECT", "INVENTORY_LEVELS_UPDATE", "INVENTORY_LEVELS_DISCONNECT"},
		keyOf: func(body gjson.Result) (string, bool) {
			item, ok := idOf(body.Get("inventory_item_id"))
			location, ok2 := idOf(body.Get("location_id"))
			return item + "-" + location, ok && ok2
		},
	},
	{
		name:   "fulfillments",
		doc:    "Parcels of orders with their first 10 lines when polled (fulfillmentLineItems.pageInfo says whether there are more).",
		way:    ofOrders,
		root:   "fulfillments",
		node:   "Fulfillment",
		scopes: []string{"read_fulfillments", "read_orders", "read_locations"},
		selection: `id updatedAt createdAt legacyResourceId name status displayStatus inTransitAt deliveredAt estimatedDeliveryAt requiresShipping
			totalQuantity trackingInfo { company number url } location { id } order { id }`,
		nested:   nested{"fulfillmentLineItems", 10, `id quantity lineItem { id }`},
		pageSize: 35,
		orders:   50, // most have one
		topics:   []string{"FULFILLMENTS_CREATE", "FULFILLMENTS_UPDATE"},
	},
	{
		name:   refundStream,
		doc:    "Money paid back of orders, with the first 10 lines when polled (refundLineItems.pageInfo says whether there are more).",
		way:    ofOrders,
		root:   "refunds",
		node:   "Refund",
		scopes: []string{"read_orders"},
		selection: `id updatedAt createdAt legacyResourceId note totalRefundedSet ` + bag + ` order { id }
			transactions(first: 5) { nodes { id kind status gateway processedAt amountSet ` + bag + ` } }`,
		nested:   nested{"refundLineItems", 10, `quantity restockType lineItem { id } subtotalSet ` + bag + ` totalTaxSet ` + bag},
		pageSize: 10,
		orders:   100, // most have none
		topics:   []string{"REFUNDS_CREATE"},
	},
	{
		name:     "draft_orders",
		doc:      "Orders that a merchant prepares, with their first 10 lines when polled (lineItems.pageInfo says whether there are more).",
		root:     "draftOrders",
		node:     "DraftOrder",
		scopes:   []string{"read_draft_orders", "read_customers"},
		sortKeys: "DraftOrderSortKeys",
		selection: `id updatedAt createdAt completedAt invoiceSentAt invoiceUrl legacyResourceId name status email phone note2 tags currencyCode
			taxesIncluded taxExempt totalPriceSet ` + bag + ` subtotalPriceSet ` + bag + ` totalTaxSet ` + bag + `
			customer { id } order { id } shippingAddress ` + address,
		nested:   nested{"lineItems", 10, `id name title variantTitle sku vendor quantity requiresShipping taxable originalUnitPriceSet ` + bag},
		pageSize: 20,
		topics:   []string{"DRAFT_ORDERS_CREATE", "DRAFT_ORDERS_UPDATE", "DRAFT_ORDERS_DELETE"},
	},
	{
		name:     "collections",
		doc:      "Groups of products, put together by hand or by rules.",
		root:     "collections",
		node:     "Collection",
		scopes:   []string{"read_products"},
		sortKeys: "CollectionSortKeys",
		selection: `id updatedAt legacyResourceId title handle descriptionHtml sortOrder templateSuffix productsCount { count precision }
			ruleSet { appliedDisjunctively rules { column relation condition } }`,
		pageSize: 200,
		topics:   []string{"COLLECTIONS_CREATE", "COLLECTIONS_UPDATE", "COLLECTIONS_DELETE"},
	},
	{
		name:     "checkouts",
		doc:      "Checkouts: those that were left when polled, every one by webhook. Polled ones hold their first 10 lines (lineItems.pageInfo).",
		way:      byID,
		root:     "abandonedCheckouts",
		node:     "AbandonedCheckout",
		scopes:   []string{"read_orders", "read_customers"},
		sortKeys: "AbandonedCheckoutSortKeys",
		selection: `id updatedAt createdAt completedAt abandonedCheckoutUrl name note taxesIncluded discountCodes
			totalPriceSet ` + bag + ` subtotalPriceSet ` + bag + ` totalTaxSet ` + bag + ` customer { id } shippingAddress ` + address,
		nested:   nested{"lineItems", 10, `id title variantTitle sku quantity originalUnitPriceSet ` + bag},
		pageSize: 20,
		topics:   []string{"CHECKOUTS_CREATE", "CHECKOUTS_UPDATE", "CHECKOUTS_DELETE"},
	},
}

const (
	variantStream = "variants"
	levelStream   = "inventory_levels"
	refundStream  = "refunds"
)
