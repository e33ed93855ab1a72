package sandbox

import (
	"fmt"
	"strings"
	"time"
)

// order is a sale of lines to a customer.
type order struct {
	id               int64
	created, updated time.Time
	number           int
	buyer            *customer
	lines            []line
	financial        string // REST word; GraphQL has it in capitals
	fulfilled        bool
	tags, note       string
	parcels          []parcel
	repayments       []repayment
}

type line struct {
	title, size string
	quantity    int
	price       cents
}

func (o *order) key() int64           { return o.id }
func (o *order) updatedAt() time.Time { return o.updated }
func (o *order) name() string         { return fmt.Sprintf("#%d", o.number) }

func (o *order) subtotal() (sum cents) {
	for _, l := range o.lines {
		sum += l.price * cents(l.quantity)
	}
	return sum
}

func (o *order) tax() cents { return o.subtotal() * 8 / 100 }

type restLine struct {
	ID                int64  `json:"id"`
	Title             string `json:"title"`
	VariantTitle      string `json:"variant_title"`
	Name              string `json:"name"`
	Quantity          int    `json:"quantity"`
	Price             string `json:"price"`
	SKU               string `json:"sku"`
	Taxable           bool   `json:"taxable"`
	RequiresShipping  bool   `json:"requires_shipping"`
	AdminGraphqlAPIID string `json:"admin_graphql_api_id"`
}

type restOrder struct {
	ID                int64        `json:"id"`
	AdminGraphqlAPIID string       `json:"admin_graphql_api_id"`
	CancelReason      *string      `json:"cancel_reason"`
	CancelledAt       *string      `json:"cancelled_at"`
	ClosedAt          *string      `json:"closed_at"`
	Confirmed         bool         `json:"confirmed"`
	CreatedAt         string       `json:"created_at"`
	Currency          string       `json:"currency"`
	Email             string       `json:"email"`
	FinancialStatus   string       `json:"financial_status"`
	FulfillmentStatus *string      `json:"fulfillment_status"`
	Name              string       `json:"name"`
	Note              string       `json:"note"`
	OrderNumber       int          `json:"order_number"`
	ProcessedAt       string       `json:"processed_at"`
	SourceName        string       `json:"source_name"`
	SubtotalPrice     string       `json:"subtotal_price"`
	Tags              string       `json:"tags"`
	TaxesIncluded     bool         `json:"taxes_included"`
	Test              bool         `json:"test"`
	TotalDiscounts    string       `json:"total_discounts"`
	TotalPrice        string       `json:"total_price"`
	TotalTax          string       `json:"total_tax"`
	UpdatedAt         string       `json:"updated_at"`
	Customer          restCustomer `json:"customer"`
	LineItems         []restLine   `json:"line_items"`
	ShippingAddress   restAddress  `json:"shipping_address"`
}

func (o *order) lineGID(i int) string { return gid("LineItem", o.id*8+int64(i)) }

func (o *order) restLines() []restLine {
	var out []restLine
	for i, l := range o.lines {
		out = append(out, restLine{
			ID: o.id*8 + int64(i), Title: l.title, VariantTitle: l.size, Name: l.title + " - " + l.size, Quantity: l.quantity, Price: l.price.String(),
			SKU: "SKU-" + l.size, Taxable: true, RequiresShipping: true, AdminGraphqlAPIID: o.lineGID(i),
		})
	}
	return out
}

func (o *order) rest() any {
	r := restOrder{
		ID: o.id, AdminGraphqlAPIID: gid("Order", o.id), Confirmed: true, CreatedAt: restTime(o.created), Currency: currency,
		Email: o.buyer.email, FinancialStatus: o.financial, Name: o.name(), Note: o.note, OrderNumber: o.number,
		ProcessedAt: restTime(o.created), SourceName: "web", SubtotalPrice: o.subtotal().String(), Tags: o.tags, TotalDiscounts: "0.00",
		TotalPrice: (o.subtotal() + o.tax()).String(), TotalTax: o.tax().String(), UpdatedAt: restTime(o.updated),
		Customer: o.buyer.rest().(restCustomer), ShippingAddress: o.buyer.address(),
	}
	if o.fulfilled {
		status := "fulfilled"
		r.FulfillmentStatus = &status
	}
	r.LineItems = o.restLines()
	return r
}

func (o *order) node() fields {
	fulfillment := "UNFULFILLED"
	if o.fulfilled {
		fulfillment = "FULFILLED"
	}
	lines := make([]fields, len(o.lines))
	for i, l := range o.lines {
		lines[i] = fields{
			"id": o.lineGID(i), "name": l.title + " - " + l.size, "title": l.title, "variantTitle": l.size, "sku": "SKU-" + l.size,
			"vendor": nil, "quantity": l.quantity, "currentQuantity": l.quantity, "requiresShipping": true, "taxable": true,
			"originalUnitPriceSet": moneyBag(l.price),
		}
	}
	children := func(stream Stream) func() any {
		return func() any {
			var out []fields
			for _, child := range childrenOf(o, stream) {
				out = append(out, child.node())
			}
			return out
		}
	}
	return fields{
		"fulfillments": children(Fulfillments), "refunds": children(Refunds),
		"id": gid("Order", o.id), "legacyResourceId": fmt.Sprint(o.id), "createdAt": nodeTime(o.created), "updatedAt": nodeTime(o.updated),
		"processedAt": nodeTime(o.created), "closedAt": nil, "cancelledAt": nil, "cancelReason": nil, "name": o.name(), "email": o.buyer.email,
		"phone": nil, "note": o.note, "tags": []any{o.tags}, "test": false, "confirmed": true, "currencyCode": currency,
		"presentmentCurrencyCode": currency, "displayFinancialStatus": strings.ToUpper(o.financial), "displayFulfillmentStatus": fulfillment,
		"taxesIncluded": false, "sourceName": "web", "totalPriceSet": moneyBag(o.subtotal() + o.tax()), "subtotalPriceSet": moneyBag(o.subtotal()),
		"totalTaxSet": moneyBag(o.tax()), "totalDiscountsSet": moneyBag(0), "customer": o.buyer.node(), "shippingAddress": o.buyer.addressNode(),
		"lineItems": nested(lines),
	}
}
