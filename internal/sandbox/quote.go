package sandbox

import (
	"fmt"
	"strings"
	"time"
)

// quote is a draft order, or a checkout that was left: lines that nobody has paid yet.
type quote struct {
	id               int64
	created, updated time.Time
	number           int
	buyer            *customer
	lines            []line
	note, status     string
}

func (q *quote) subtotal() (sum cents) {
	for _, l := range q.lines {
		sum += l.price * cents(l.quantity)
	}
	return sum
}

func (q *quote) tax() cents { return q.subtotal() * 8 / 100 }

func (q *quote) key() int64           { return q.id }
func (q *quote) updatedAt() time.Time { return q.updated }

// lineNodes are the lines of a kind of line item; each kind has its own fields, and the schema picks.
func (q *quote) lineNodes(kind string) nested {
	out := make(nested, len(q.lines))
	for i, l := range q.lines {
		out[i] = fields{
			"id": gid(kind, q.id*8+int64(i)), "name": l.title + " - " + l.size, "title": l.title, "variantTitle": l.size, "sku": "SKU-" + l.size,
			"vendor": nil, "quantity": l.quantity, "requiresShipping": true, "taxable": true, "originalUnitPriceSet": moneyBag(l.price),
		}
	}
	return out
}

func (q *quote) restLines(kind string) []restLine {
	var out []restLine
	for i, l := range q.lines {
		id := q.id*8 + int64(i)
		out = append(out, restLine{
			ID: id, Title: l.title, VariantTitle: l.size, Name: l.title + " - " + l.size, Quantity: l.quantity, Price: l.price.String(),
			SKU: "SKU-" + l.size, Taxable: true, RequiresShipping: true, AdminGraphqlAPIID: gid(kind, id),
		})
	}
	return out
}

// draft is a quote that a merchant wrote.
type draft struct{ quote }

type restDraft struct {
	ID                int64        `json:"id"`
	Note              string       `json:"note"`
	Email             string       `json:"email"`
	TaxesIncluded     bool         `json:"taxes_included"`
	Currency          string       `json:"currency"`
	InvoiceSentAt     *string      `json:"invoice_sent_at"`
	CreatedAt         string       `json:"created_at"`
	UpdatedAt         string       `json:"updated_at"`
	TaxExempt         bool         `json:"tax_exempt"`
	CompletedAt       *string      `json:"completed_at"`
	Name              string       `json:"name"`
	Status            string       `json:"status"`
	LineItems         []restLine   `json:"line_items"`
	InvoiceURL        string       `json:"invoice_url"`
	TotalPrice        string       `json:"total_price"`
	SubtotalPrice     string       `json:"subtotal_price"`
	TotalTax          string       `json:"total_tax"`
	OrderID           *int64       `json:"order_id"`
	AdminGraphqlAPIID string       `json:"admin_graphql_api_id"`
	Customer          restCustomer `json:"customer"`
}

func (d *draft) name() string { return fmt.Sprintf("#D%d", d.number) }

func (d *draft) invoice() string {
	return fmt.Sprintf("https://sandbox-shop.example/invoices/%d", d.id)
}

func (d *draft) rest() any {
	return restDraft{
		ID: d.id, Note: d.note, Email: d.buyer.email, Currency: currency, CreatedAt: restTime(d.created), UpdatedAt: restTime(d.updated),
		Name: d.name(), Status: d.status, LineItems: d.restLines("DraftOrderLineItem"), InvoiceURL: d.invoice(),
		TotalPrice: (d.subtotal() + d.tax()).String(), SubtotalPrice: d.subtotal().String(), TotalTax: d.tax().String(),
		AdminGraphqlAPIID: gid("DraftOrder", d.id), Customer: d.buyer.rest().(restCustomer),
	}
}

func (d *draft) node() fields {
	return fields{
		"id": gid("DraftOrder", d.id), "legacyResourceId": fmt.Sprint(d.id), "createdAt": nodeTime(d.created), "updatedAt": nodeTime(d.updated),
		"completedAt": nil, "invoiceSentAt": nil, "invoiceUrl": d.invoice(), "name": d.name(), "status": strings.ToUpper(d.status), "email": d.buyer.email,
		"phone": nil, "note2": d.note, "tags": []any{}, "currencyCode": currency, "taxesIncluded": false, "taxExempt": false,
		"totalPriceSet": moneyBag(d.subtotal() + d.tax()), "subtotalPriceSet": moneyBag(d.subtotal()), "totalTaxSet": moneyBag(d.tax()),
		"customer": d.buyer.node(), "order": nil, "shippingAddress": d.buyer.addressNode(), "lineItems": d.lineNodes("DraftOrderLineItem"),
	}
}

// checkout is a quote that a buyer has left.
type checkout struct{ quote }

type restCheckout struct {
	ID                   int64        `json:"id"`
	Token                string       `json:"token"`
	Email                string       `json:"email"`
	CreatedAt            string       `json:"created_at"`
	UpdatedAt            string       `json:"updated_at"`
	Note                 string       `json:"note"`
	Currency             string       `json:"currency"`
	CompletedAt          *string      `json:"completed_at"`
	LineItems            []restLine   `json:"line_items"`
	Name                 string       `json:"name"`
	AbandonedCheckoutURL string       `json:"abandoned_checkout_url"`
	SubtotalPrice        string       `json:"subtotal_price"`
	TotalTax             string       `json:"total_tax"`
	TotalPrice           string       `json:"total_price"`
	Customer             restCustomer `json:"customer"`
}

func (c *checkout) name() string { return fmt.Sprintf("#%d", c.id) }

func (c *checkout) recovery() string {
	return fmt.Sprintf("https://sandbox-shop.example/checkouts/%x/recover", c.id)
}

func (c *checkout) rest() any {
	return restCheckout{
		ID: c.id, Token: fmt.Sprintf("%032x", c.id), Email: c.buyer.email, CreatedAt: restTime(c.created), UpdatedAt: restTime(c.updated), Note: c.note,
		Currency: currency, LineItems: c.restLines("LineItem"), Name: c.name(), AbandonedCheckoutURL: c.recovery(),
		SubtotalPrice: c.subtotal().String(), TotalTax: c.tax().String(), TotalPrice: (c.subtotal() + c.tax()).String(),
		Customer: c.buyer.rest().(restCustomer),
	}
}

func (c *checkout) node() fields {
	return fields{
		"id": gid("AbandonedCheckout", c.id), "name": c.name(), "createdAt": nodeTime(c.created), "updatedAt": nodeTime(c.updated), "completedAt": nil,
		"abandonedCheckoutUrl": c.recovery(), "note": c.note, "taxesIncluded": false, "discountCodes": []any{},
		"totalPriceSet": moneyBag(c.subtotal() + c.tax()), "subtotalPriceSet": moneyBag(c.subtotal()), "totalTaxSet": moneyBag(c.tax()),
		"customer": c.buyer.node(), "shippingAddress": c.buyer.addressNode(), "lineItems": c.lineNodes("AbandonedCheckoutLineItem"),
	}
}
