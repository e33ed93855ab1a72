package sandbox

import (
	"fmt"
	"strings"
	"time"
)

// parcel is a fulfillment: what left the house of an order.
type parcel struct {
	id               int64
	created, updated time.Time
	status           string // REST word; GraphQL has it in capitals
	tracking         string
}

// parcelOf is a parcel with its order, which the vendor names in both shapes.
type parcelOf struct {
	*order
	parcel
}

func (f parcelOf) key() int64           { return f.parcel.id }
func (f parcelOf) updatedAt() time.Time { return f.parcel.updated }

type restParcel struct {
	ID                int64      `json:"id"`
	OrderID           int64      `json:"order_id"`
	Status            string     `json:"status"`
	CreatedAt         string     `json:"created_at"`
	Service           string     `json:"service"`
	UpdatedAt         string     `json:"updated_at"`
	TrackingCompany   string     `json:"tracking_company"`
	ShipmentStatus    *string    `json:"shipment_status"`
	LocationID        int64      `json:"location_id"`
	LineItems         []restLine `json:"line_items"`
	TrackingNumber    string     `json:"tracking_number"`
	TrackingNumbers   []string   `json:"tracking_numbers"`
	Name              string     `json:"name"`
	AdminGraphqlAPIID string     `json:"admin_graphql_api_id"`
}

func (f parcelOf) name() string { return f.order.name() + ".1" }

func (f parcelOf) rest() any {
	return restParcel{
		ID: f.parcel.id, OrderID: f.order.id, Status: f.status, CreatedAt: restTime(f.parcel.created), Service: "manual",
		UpdatedAt: restTime(f.parcel.updated), TrackingCompany: "Tributary Post", LocationID: warehouses[0].id, LineItems: f.restLines(),
		TrackingNumber: f.tracking, TrackingNumbers: []string{f.tracking}, Name: f.name(), AdminGraphqlAPIID: gid("Fulfillment", f.parcel.id),
	}
}

func (f parcelOf) node() fields {
	total := 0
	lines := make(nested, len(f.lines))
	for i, l := range f.lines {
		total += l.quantity
		lines[i] = fields{"id": gid("FulfillmentLineItem", f.parcel.id*8+int64(i)), "quantity": l.quantity, "lineItem": fields{"id": f.lineGID(i)}}
	}
	return fields{
		"__typename": "Fulfillment", "id": gid("Fulfillment", f.parcel.id), "legacyResourceId": fmt.Sprint(f.parcel.id),
		"createdAt": nodeTime(f.parcel.created), "updatedAt": nodeTime(f.parcel.updated), "inTransitAt": nil, "deliveredAt": nil,
		"estimatedDeliveryAt": nil, "name": f.name(), "status": strings.ToUpper(f.status), "displayStatus": "FULFILLED", "requiresShipping": true,
		"totalQuantity": total, "trackingInfo": []fields{{"company": "Tributary Post", "number": f.tracking, "url": nil}},
		"location": warehouses[0].node(), "order": fields{"id": gid("Order", f.order.id)}, "fulfillmentLineItems": lines,
	}
}

// repayment is a refund.
type repayment struct {
	id      int64
	created time.Time
	note    string
}

type repaymentOf struct {
	*order
	repayment
}

func (r repaymentOf) key() int64           { return r.repayment.id }
func (r repaymentOf) updatedAt() time.Time { return r.repayment.created }

type restRepayment struct {
	ID                int64               `json:"id"`
	OrderID           int64               `json:"order_id"`
	CreatedAt         string              `json:"created_at"`
	Note              string              `json:"note"`
	UserID            *int64              `json:"user_id"`
	ProcessedAt       string              `json:"processed_at"`
	Restock           bool                `json:"restock"`
	AdminGraphqlAPIID string              `json:"admin_graphql_api_id"`
	RefundLineItems   []restRepaymentLine `json:"refund_line_items"`
}

type restRepaymentLine struct {
	ID          int64    `json:"id"`
	Quantity    int      `json:"quantity"`
	LineItemID  int64    `json:"line_item_id"`
	RestockType string   `json:"restock_type"`
	Subtotal    string   `json:"subtotal"`
	TotalTax    string   `json:"total_tax"`
	LineItem    restLine `json:"line_item"`
}

// rest has no updated_at: the vendor's webhook has none.
func (r repaymentOf) rest() any {
	out := restRepayment{
		ID: r.repayment.id, OrderID: r.order.id, CreatedAt: restTime(r.repayment.created), Note: r.repayment.note,
		ProcessedAt: restTime(r.repayment.created), AdminGraphqlAPIID: gid("Refund", r.repayment.id),
	}
	for i, l := range r.restLines() {
		sum := r.lines[i].price * cents(l.Quantity)
		out.RefundLineItems = append(out.RefundLineItems, restRepaymentLine{
			ID: r.repayment.id*8 + int64(i), Quantity: l.Quantity, LineItemID: l.ID, RestockType: "no_restock", Subtotal: sum.String(),
			TotalTax: (sum * 8 / 100).String(), LineItem: l,
		})
	}
	return out
}

func (r repaymentOf) node() fields {
	lines := make(nested, len(r.lines))
	for i, l := range r.lines {
		sum := l.price * cents(l.quantity)
		lines[i] = fields{
			"quantity": l.quantity, "restockType": "NO_RESTOCK", "lineItem": fields{"id": r.lineGID(i)}, "subtotalSet": moneyBag(sum),
			"totalTaxSet": moneyBag(sum * 8 / 100),
		}
	}
	at := nodeTime(r.repayment.created)
	return fields{
		"__typename": "Refund", "id": gid("Refund", r.repayment.id), "legacyResourceId": fmt.Sprint(r.repayment.id), "createdAt": at, "updatedAt": at,
		"note": r.repayment.note, "totalRefundedSet": moneyBag(r.subtotal() + r.tax()), "order": fields{"id": gid("Order", r.order.id)},
		"refundLineItems": lines,
		"transactions": nested{{
			"id": gid("OrderTransaction", r.repayment.id+3), "kind": "REFUND", "status": "SUCCESS", "gateway": "bogus", "processedAt": at,
			"amountSet": moneyBag(r.subtotal() + r.tax()),
		}},
	}
}

// Fulfill sends a parcel of an order, which changes the order, and tells the subscribers of both. It returns the fulfillment's ID.
func (s *Shop) Fulfill(orderID int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, at, err := s.revise(orderID)
	if err != nil {
		return 0, err
	}
	id := s.nextChild(orderID)
	p := parcel{id: id, created: at, updated: at, status: "success", tracking: fmt.Sprintf("TP%d", id)}
	o.parcels = append(o.parcels[:len(o.parcels):len(o.parcels)], p)
	o.fulfilled = true
	s.settleOrder(o)
	s.announce(Fulfillments, "create", id, parcelOf{o, p}.rest())
	return id, nil
}

// Track gives an order's latest parcel another tracking number, which changes the order too.
func (s *Shop) Track(orderID int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, at, err := s.revise(orderID)
	if err != nil {
		return 0, err
	}
	if len(o.parcels) == 0 {
		return 0, fmt.Errorf("sandbox: track: order %d has no fulfillment", orderID)
	}
	o.parcels = append([]parcel(nil), o.parcels...)
	p := &o.parcels[len(o.parcels)-1]
	p.updated, p.tracking = at, fmt.Sprintf("TP%d-%d", p.id, s.rng.IntN(1_000_000))
	s.settleOrder(o)
	s.announce(Fulfillments, "update", p.id, parcelOf{o, *p}.rest())
	return p.id, nil
}

// Refund pays an order back, which changes the order, and tells the subscribers of both. It returns the refund's ID.
func (s *Shop) Refund(orderID int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, at, err := s.revise(orderID)
	if err != nil {
		return 0, err
	}
	r := repayment{id: s.nextChild(orderID), created: at, note: `"broken" ☕`}
	o.repayments = append(o.repayments[:len(o.repayments):len(o.repayments)], r)
	o.financial = "refunded"
	s.settleOrder(o)
	s.announce(Refunds, "create", r.id, repaymentOf{o, r}.rest())
	return r.id, nil
}

// revise begins another state of an order.
func (s *Shop) revise(orderID int64) (*order, time.Time, error) {
	old, ok := s.collections[Orders].get(orderID)
	if !ok {
		return nil, time.Time{}, fmt.Errorf("sandbox: there is no order %d", orderID)
	}
	o := *old.(*order)
	o.updated = s.tick()
	return &o, o.updated, nil
}

func (s *Shop) settleOrder(o *order) {
	s.collections[Orders].put(o, s.takeHold())
	s.announce(Orders, "updated", o.id, o.rest())
}

func (s *Shop) nextChild(order int64) int64 {
	s.lastChild += idStep
	s.parents[s.lastChild] = order
	return s.lastChild
}

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
