// Package sandbox is the sandbox shop: a stand-in for a Shopify store that `make demo`, tests and chaos runs talk to
// instead of the real one.
//
// It speaks the part of Shopify's GraphQL Admin API that stands in schema.graphql, refuses everything else, charges
// query costs, and sends signed webhooks with the vendor's headers and retries. It keeps a ledger of every webhook and of every node
// that it served, so that what arrived at the other end can be compared with what was sent. It is not for production
// and holds everything in memory.
package sandbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// Stream is one of the shop's collections.
type Stream string

const (
	Customers Stream = "customers"
	Orders    Stream = "orders"
	Products  Stream = "products"
)

// What is made beside them: draft orders, collections and left checkouts have lives of their own, the others belong to a product or an order.
const (
	DraftOrders     Stream = "draft_orders"
	Collections     Stream = "collections"
	Checkouts       Stream = "checkouts"
	Variants        Stream = "variants"
	InventoryItems  Stream = "inventory_items"
	InventoryLevels Stream = "inventory_levels"
	Fulfillments    Stream = "fulfillments"
	Refunds         Stream = "refunds"
)

// Streams lists the collections that Generate changes.
var Streams = []Stream{Customers, Orders, Products}

// kept are all that have lives of their own.
var kept = []Stream{Customers, Orders, Products, DraftOrders, Collections, Checkouts}

// Options say what the shop is like. The zero value is a small empty shop without limits.
type Options struct {
	// Seed decides every generated name, price and choice.
	Seed uint64
	// Domain is the shop's name; empty = "sandbox-shop.myshopify.com".
	Domain string
	// AccessToken is what a caller must send, ClientSecret what webhooks are signed with; empty = "shpat_sandbox",
	// "shpss_sandbox".
	AccessToken, ClientSecret string
	// ClientID names the app; empty = "sandbox-app". Expiring gives AccessToken an hour and a refresh token, and Elsewhere says that the shop is not one
	// of the app's own organization, which may not use the client credentials grant.
	ClientID            string
	Expiring, Elsewhere bool
	// Scopes are the app's access scopes; nil = those of all that the shop has.
	Scopes []string
	// Customers, Orders and Products are how many of each there are at the start, made before webhooks begin.
	Customers, Orders, Products         int
	DraftOrders, Collections, Checkouts int
	// Start is when the oldest of them was made; zero = 2026-01-05. The next ones follow Step apart; 0 = 1 s, negative = all at Start.
	Start time.Time
	Step  time.Duration
	// Throttle is the bucket of query points; zero = unlimited.
	Throttle Throttle
	// Depth is how many objects can be paged through before the query must be narrowed; 0 = 25,000, the vendor's
	// (https://shopify.dev/docs/api/usage/limits).
	Depth int
	// Enveloped puts a webhook's object under its stream's name, {"customers": {...}}, as some proxies of Shopify do; the
	// vendor sends the bare object.
	Enveloped bool
	// Retries are the waits before each further attempt at a webhook; nil = 8 within 4 hours, the vendor's
	// (https://shopify.dev/docs/apps/build/webhooks/troubleshooting-webhooks). A webhook that fails them all is lost, and
	// its subscription is removed.
	Retries []time.Duration
	// Timeout bounds an attempt; 0 = 5 s, the vendor's.
	Timeout time.Duration
	// Concurrency is how many webhooks are under way at once; 0 = 16.
	Concurrency int
	// BulkTime is how long a bulk operation runs; 0 = it is finished when it is looked at.
	BulkTime time.Duration
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// Shop is the sandbox shop; it serves POST /admin/api/{version}/graphql.json.
type Shop struct {
	options Options
	schema  *ast.Schema
	bucket  *bucket
	sender  *sender

	mu          sync.Mutex
	rng         *rand.Rand
	secret      string
	collections map[Stream]*collection
	latest      time.Time // updated_at never falls: the vendor's clock is one
	subs        []*subscription
	nextSub     int64
	withhold    int
	hold        int
	faults      Faults
	served      map[Served]struct{}
	lastChild   int64           // of fulfillments and refunds
	parents     map[int64]int64 // their orders
	bulk        bulkOperations
	tokens      tokens
}

var _ http.Handler = (*Shop)(nil)

// New opens the shop. Close it.
func New(o Options) *Shop {
	if o.Domain == "" {
		o.Domain = "sandbox-shop.myshopify.com"
	}
	if o.AccessToken == "" {
		o.AccessToken = "shpat_sandbox"
	}
	if o.ClientSecret == "" {
		o.ClientSecret = "shpss_sandbox"
	}
	if o.ClientID == "" {
		o.ClientID = "sandbox-app"
	}
	if o.Scopes == nil {
		o.Scopes = []string{
			"read_customers", "read_orders", "read_products", "read_inventory", "read_locations", "read_fulfillments", "read_draft_orders",
		}
	}
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	}
	if o.Step == 0 {
		o.Step = time.Second
	}
	if o.Depth == 0 {
		o.Depth = 25_000
	}
	if o.Retries == nil {
		o.Retries = []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Concurrency == 0 {
		o.Concurrency = 16
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Shop{
		options:     o,
		schema:      loadSchema(),
		rng:         rand.New(rand.NewPCG(o.Seed, 0x5a4d)),
		secret:      o.ClientSecret,
		collections: make(map[Stream]*collection),
		nextSub:     1_105_296_130_336,
		served:      make(map[Served]struct{}),
		parents:     make(map[int64]int64),
		tokens:      tokens{ends: make(map[string]time.Time)},
	}
	for i, stream := range kept {
		s.collections[stream] = newCollection(7_845_692_539_040 + int64(i)*1_000_000_000)
	}
	s.lastChild = 5_212_334_080_000
	if o.Expiring {
		s.grant(o.AccessToken, true)
	}
	s.bucket = newBucket(o.Throttle, o.Now)
	s.fill(map[Stream]int{
		Customers: o.Customers, Orders: o.Orders, Products: o.Products,
		DraftOrders: o.DraftOrders, Collections: o.Collections, Checkouts: o.Checkouts,
	})
	s.sender = newSender(o)
	s.sender.onLost = s.removeSubscription
	return s
}

// Close ends all deliveries; pending ones stay pending in the ledger.
func (s *Shop) Close() { s.sender.close() }

// Domain is the shop's name.
func (s *Shop) Domain() string { return s.options.Domain }

// AccessToken is what a caller must send.
func (s *Shop) AccessToken() string { return s.options.AccessToken }

// ClientSecret is what webhooks are signed with now.
func (s *Shop) ClientSecret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}

// ClientID names the app.
func (s *Shop) ClientID() string { return s.options.ClientID }

// RotateSecret signs later changes with another secret.
func (s *Shop) RotateSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = secret
}

// fill makes the objects of the start, without webhooks.
func (s *Shop) fill(n map[Stream]int) {
	for _, stream := range kept {
		at := s.options.Start
		for range n[stream] {
			c := s.collections[stream]
			c.put(s.fresh(stream, c.newID(), at.Truncate(time.Second)), false)
			if s.options.Step > 0 {
				at = at.Add(s.options.Step)
			}
		}
		if at.After(s.latest) {
			s.latest = at
		}
	}
}

// tick is the time of a change: whole seconds, as the vendor's, and never falling.
func (s *Shop) tick() time.Time {
	now := s.options.Now().UTC().Truncate(time.Second)
	if now.Before(s.latest) {
		return s.latest
	}
	s.latest = now
	return now
}

// Create makes an object and tells the subscribers.
func (s *Shop) Create(stream Stream) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.create(stream)
}

// Update changes an object and tells the subscribers.
func (s *Shop) Update(stream Stream, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.collections[stream].get(id); !ok {
		return fmt.Errorf("sandbox: update %s: there is no %d", stream, id)
	}
	s.update(stream, id)
	return nil
}

// Delete removes an object and tells the subscribers.
func (s *Shop) Delete(stream Stream, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.collections[stream].get(id); !ok {
		return fmt.Errorf("sandbox: delete %s: there is no %d", stream, id)
	}
	s.remove(stream, id)
	return nil
}

func (s *Shop) create(stream Stream) int64 {
	c := s.collections[stream]
	o := s.fresh(stream, c.newID(), s.tick())
	c.put(o, s.takeHold())
	s.announce(stream, "create", o.key(), o.rest())
	if p, ok := o.(*product); ok {
		s.announceGoods(p, "create")
	}
	return o.key()
}

func (s *Shop) update(stream Stream, id int64) {
	c := s.collections[stream]
	old, _ := c.get(id)
	o := s.changed(old, s.tick())
	c.put(o, s.takeHold())
	action := "update"
	if stream == Orders {
		action = "updated" // the vendor's one irregular topic
	}
	s.announce(stream, action, id, o.rest())
	if p, ok := o.(*product); ok {
		s.announceGoods(p, "update")
	}
}

func (s *Shop) remove(stream Stream, id int64) {
	o, _ := s.collections[stream].get(id)
	s.collections[stream].remove(id)
	s.tick()
	s.announce(stream, "delete", id, deleted{ID: id})
	if p, ok := o.(*product); ok {
		s.announceGoods(p, "delete")
	}
}

// deleted is all that a delete webhook carries.
type deleted struct {
	ID int64 `json:"id"`
}

// Generate changes what is in the shop at random n times: of ten changes about three create, six update and one deletes. It
// paces them at rate a second (0 = as fast as it can) and ends early with ctx. No streams = all.
func (s *Shop) Generate(ctx context.Context, rate float64, n int, streams ...Stream) error {
	if len(streams) == 0 {
		streams = Streams
	}
	start := time.Now()
	for i := range n {
		if rate > 0 {
			due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(due)):
			}
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("sandbox: generate: stopped after %d of %d changes: %w", i, n, err)
		}
		s.change(streams)
	}
	return nil
}

func (s *Shop) change(streams []Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stream := streams[s.rng.IntN(len(streams))]
	dice := s.rng.IntN(10)
	id, ok := s.collections[stream].random(s.rng)
	switch {
	case !ok || dice < 3:
		s.create(stream)
	case dice < 9:
		s.update(stream, id)
	default:
		s.remove(stream, id)
	}
}

// IDs lists a stream's objects in the order of their IDs.
func (s *Shop) IDs(stream Stream) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.collections[stream]; ok {
		return c.live()
	}
	var ids []int64
	for _, p := range s.derived(stream) {
		ids = append(ids, p.key())
	}
	return ids
}

// UpdatedAt is when an object last changed.
func (s *Shop) UpdatedAt(stream Stream, id int64) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.collections[stream]; ok {
		if o, ok := c.get(id); ok {
			return o.updatedAt(), true
		}
		return time.Time{}, false
	}
	for _, p := range s.derived(stream) {
		if p.key() == id {
			return p.updatedAt(), true
		}
	}
	return time.Time{}, false
}

// HoldIndex keeps the next n changes out of every query until ReleaseIndex, as the vendor's search index lags behind at times.
func (s *Shop) HoldIndex(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = n
}

// ReleaseIndex makes held changes visible.
func (s *Shop) ReleaseIndex() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = 0
	for _, c := range s.collections {
		clear(c.hidden)
	}
}

func (s *Shop) takeHold() bool {
	if s.hold == 0 {
		return false
	}
	s.hold--
	return true
}
