package shopify

import (
	"fmt"
	"slices"
	"strings"

	"tributary/connectors"
)

// stream is a collection of the shop.
type stream struct {
	name string
	doc  string
	// scopes must be granted to poll it; webhooks need the first one.
	scopes []string
	// sortKeys is the GraphQL type of the collection's sortKey.
	sortKeys string
	// selection is what a polled record holds. id and updatedAt stand first, where scanning finds them at once.
	selection string
	// pageSize keeps a page below the 1,000 points that a query may cost, an object counting one and a connection two and its first:
	// https://shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits
	pageSize int
	// topics are what webhooks say of it, as GraphQL spells them.
	topics []string
}

const (
	money   = `{ amount currencyCode }`
	bag     = `{ shopMoney ` + money + ` }`
	address = `{ firstName lastName company address1 address2 city province provinceCode country countryCodeV2 zip phone }`
)

// streams are the collections that can be polled.
var streams = []stream{
	{
		name:     "customers",
		doc:      "Buyers: contact details, state, tags, number of orders and amount spent.",
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
		scopes:   []string{"read_orders", "read_customers"},
		sortKeys: "OrderSortKeys",
		selection: `id updatedAt createdAt processedAt closedAt cancelledAt cancelReason legacyResourceId name email phone note tags test confirmed
			currencyCode presentmentCurrencyCode displayFinancialStatus displayFulfillmentStatus taxesIncluded sourceName
			totalPriceSet ` + bag + ` subtotalPriceSet ` + bag + ` totalTaxSet ` + bag + ` totalDiscountsSet ` + bag + `
			customer { id } shippingAddress ` + address + `
			lineItems(first: 10) {
				nodes { id name title variantTitle sku vendor quantity currentQuantity requiresShipping taxable originalUnitPriceSet ` + bag + ` }
				pageInfo { hasNextPage }
			}`,
		pageSize: 20,
		topics:   []string{"ORDERS_CREATE", "ORDERS_UPDATED", "ORDERS_DELETE"},
	},
	{
		name:     "products",
		doc:      "Goods with their first 10 variants when polled (variants.pageInfo says whether there are more) and all variants by webhook.",
		scopes:   []string{"read_products"},
		sortKeys: "ProductSortKeys",
		selection: `id updatedAt createdAt publishedAt legacyResourceId title handle descriptionHtml vendor productType status tags templateSuffix
			isGiftCard totalInventory tracksInventory hasOnlyDefaultVariant onlineStoreUrl
			priceRangeV2 { minVariantPrice ` + money + ` maxVariantPrice ` + money + ` }
			variants(first: 10) {
				nodes { id title sku barcode price compareAtPrice position inventoryQuantity taxable createdAt updatedAt }
				pageInfo { hasNextPage }
			}`,
		pageSize: 50,
		topics:   []string{"PRODUCTS_CREATE", "PRODUCTS_UPDATE", "PRODUCTS_DELETE"},
	},
}

// privacyStream takes the requests that Shopify must be able to make of every public app. They are set up with the app and not by
// subscription, but may lead to an installation's URL: https://shopify.dev/docs/apps/build/privacy-law-compliance
const privacyStream = "privacy"

func describeStreams() []connectors.Stream {
	var out []connectors.Stream
	for _, s := range streams {
		out = append(out, connectors.Stream{Name: s.name, Doc: s.doc, Polls: true, Receives: true})
	}
	return append(out, connectors.Stream{
		Name:     privacyStream,
		Doc:      "Requests to hand out or erase a customer's or a shop's data (customers/data_request, customers/redact, shop/redact).",
		Receives: true,
	})
}

func lookup(op, name string) (stream, error) {
	if i := slices.IndexFunc(streams, func(s stream) bool { return s.name == name }); i >= 0 {
		return streams[i], nil
	}
	return stream{}, connectors.Errorf(connectors.Invalid, op, "stream %q can't be polled; customers, orders and products can", connectors.Clip(name, 100))
}

// query asks for a page of the stream.
func (s stream) query() string {
	return fmt.Sprintf(`query Page($first: Int!, $after: String, $query: String, $sortKey: %s!) {
		%s(first: $first, after: $after, query: $query, sortKey: $sortKey) { nodes { %s } pageInfo { hasNextPage endCursor } }
	}`, s.sortKeys, s.name, s.selection)
}

// topicName is how webhooks spell a topic: CUSTOMERS_CREATE is customers/create.
func topicName(topic string) string {
	return strings.ToLower(strings.Replace(topic, "_", "/", 1))
}
