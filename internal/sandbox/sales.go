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
