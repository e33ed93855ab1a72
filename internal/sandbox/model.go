package sandbox

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The shapes are the vendor's: a webhook carries the REST resource (https://shopify.dev/docs/api/webhooks), a query the GraphQL
// object. They name and nest the same things differently, and write the same moment in different zones.

// shopZone is the zone in which webhooks write times; GraphQL writes UTC.
var shopZone = time.FixedZone("", -5*60*60)

func restTime(t time.Time) string { return t.In(shopZone).Format(time.RFC3339) }
func nodeTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func gid(kind string, id int64) string { return fmt.Sprintf("gid://shopify/%s/%d", kind, id) }

// cents is an amount of the shop's currency.
type cents int64

func (c cents) String() string { return fmt.Sprintf("%d.%02d", int64(c)/100, int64(c)%100) }

const currency = "USD"

func money(c cents) fields { return fields{"amount": c.String(), "currencyCode": currency} }
func moneyBag(c cents) fields {
	return fields{"shopMoney": money(c), "presentmentMoney": money(c)}
}

// customer is a buyer.
type customer struct {
	id                         int64
	created, updated           time.Time
	first, last, email, phone  string
	tags, note, state          string
	orders                     int
	spent                      cents
	verified, taxExempt        bool
	street, city, zone, postal string
}

func (c *customer) key() int64           { return c.id }
func (c *customer) updatedAt() time.Time { return c.updated }

type restAddress struct {
	ID           int64   `json:"id"`
	CustomerID   int64   `json:"customer_id"`
	FirstName    string  `json:"first_name"`
	LastName     string  `json:"last_name"`
	Company      *string `json:"company"`
	Address1     string  `json:"address1"`
	Address2     *string `json:"address2"`
	City         string  `json:"city"`
	Province     string  `json:"province"`
	ProvinceCode string  `json:"province_code"`
	Country      string  `json:"country"`
	CountryCode  string  `json:"country_code"`
	CountryName  string  `json:"country_name"`
	Zip          string  `json:"zip"`
	Phone        string  `json:"phone"`
	Name         string  `json:"name"`
	Default      bool    `json:"default"`
}

func (c *customer) address() restAddress {
	return restAddress{
		ID: c.id + 7, CustomerID: c.id, FirstName: c.first, LastName: c.last, Address1: c.street, City: c.city,
		Province: c.zone[3:], ProvinceCode: c.zone[:2], Country: "United States", CountryCode: "US", CountryName: "United States",
		Zip: c.postal, Phone: c.phone, Name: c.first + " " + c.last, Default: true,
	}
}

func (c *customer) addressNode() fields {
	return fields{
		"id": gid("MailingAddress", c.id+7) + "?model_name=CustomerAddress", "firstName": c.first, "lastName": c.last, "company": nil,
		"address1": c.street, "address2": nil, "city": c.city, "province": c.zone[3:], "provinceCode": c.zone[:2],
		"country": "United States", "countryCodeV2": "US", "zip": c.postal, "phone": c.phone,
	}
}

// restCustomer is the whole resource. Which fields an app's webhooks carry is up to the API version of its webhooks: from 2025-01 on the vendor
// leaves out some, such as tags
// (https://shopify.dev/changelog/new-customer-s-webhook-and-changes-to-existing-customer-s-webhooks-payload).
type restCustomer struct {
	ID                  int64         `json:"id"`
	Email               string        `json:"email"`
	CreatedAt           string        `json:"created_at"`
	UpdatedAt           string        `json:"updated_at"`
	FirstName           string        `json:"first_name"`
	LastName            string        `json:"last_name"`
	OrdersCount         int           `json:"orders_count"`
	State               string        `json:"state"`
	TotalSpent          string        `json:"total_spent"`
	LastOrderID         *int64        `json:"last_order_id"`
	Note                string        `json:"note"`
	VerifiedEmail       bool          `json:"verified_email"`
	MultipassIdentifier *string       `json:"multipass_identifier"`
	TaxExempt           bool          `json:"tax_exempt"`
	Tags                string        `json:"tags"`
	LastOrderName       *string       `json:"last_order_name"`
	Currency            string        `json:"currency"`
	Phone               string        `json:"phone"`
	Addresses           []restAddress `json:"addresses"`
	TaxExemptions       []string      `json:"tax_exemptions"`
	AdminGraphqlAPIID   string        `json:"admin_graphql_api_id"`
	DefaultAddress      restAddress   `json:"default_address"`
}

func (c *customer) rest() any {
	return restCustomer{
		ID: c.id, Email: c.email, CreatedAt: restTime(c.created), UpdatedAt: restTime(c.updated), FirstName: c.first, LastName: c.last,
		OrdersCount: c.orders, State: c.state, TotalSpent: c.spent.String(), Note: c.note, VerifiedEmail: c.verified,
		TaxExempt: c.taxExempt, Tags: c.tags, Currency: currency, Phone: c.phone, Addresses: []restAddress{c.address()},
		TaxExemptions: []string{}, AdminGraphqlAPIID: gid("Customer", c.id), DefaultAddress: c.address(),
	}
}

func (c *customer) node() fields {
	return fields{
		"id": gid("Customer", c.id), "legacyResourceId": fmt.Sprint(c.id), "createdAt": nodeTime(c.created), "updatedAt": nodeTime(c.updated),
		"displayName": c.first + " " + c.last, "firstName": c.first, "lastName": c.last,
		"defaultEmailAddress": fields{"emailAddress": c.email, "marketingState": "NOT_SUBSCRIBED"},
		"defaultPhoneNumber":  fields{"phoneNumber": c.phone, "marketingState": "NOT_SUBSCRIBED"},
		"verifiedEmail":       c.verified, "state": strings.ToUpper(c.state), "note": c.note, "tags": []any{c.tags}, "locale": "en",
		"taxExempt": c.taxExempt, "numberOfOrders": fmt.Sprint(c.orders), "amountSpent": money(c.spent), "defaultAddress": c.addressNode(),
	}
}

// product is something for sale, with a variant for each size.
type product struct {
	id                        int64
	created, updated          time.Time
	title, vendor, kind, tags string
	html, status              string
	price                     cents
	stock                     []int // by variant
}

var sizes = []string{"S", "M", "L", "XL"}

func (p *product) key() int64           { return p.id }
func (p *product) updatedAt() time.Time { return p.updated }
func (p *product) handle() string       { return fmt.Sprintf("product-%d", p.id) }

type restVariant struct {
	ID                int64   `json:"id"`
	ProductID         int64   `json:"product_id"`
	Title             string  `json:"title"`
	Price             string  `json:"price"`
	Position          int     `json:"position"`
	InventoryPolicy   string  `json:"inventory_policy"`
	CompareAtPrice    *string `json:"compare_at_price"`
	Option1           string  `json:"option1"`
	CreatedAt         string  `json:"created_at"`
	UpdatedAt         string  `json:"updated_at"`
	Taxable           bool    `json:"taxable"`
	Barcode           *string `json:"barcode"`
	SKU               string  `json:"sku"`
	InventoryQuantity int     `json:"inventory_quantity"`
	AdminGraphqlAPIID string  `json:"admin_graphql_api_id"`
}

type restProduct struct {
	ID                int64         `json:"id"`
	Title             string        `json:"title"`
	BodyHTML          string        `json:"body_html"`
	Vendor            string        `json:"vendor"`
	ProductType       string        `json:"product_type"`
	CreatedAt         string        `json:"created_at"`
	Handle            string        `json:"handle"`
	UpdatedAt         string        `json:"updated_at"`
	PublishedAt       string        `json:"published_at"`
	TemplateSuffix    *string       `json:"template_suffix"`
	PublishedScope    string        `json:"published_scope"`
	Tags              string        `json:"tags"`
	Status            string        `json:"status"`
	AdminGraphqlAPIID string        `json:"admin_graphql_api_id"`
	Variants          []restVariant `json:"variants"`
}

func (p *product) variantID(i int) int64 { return p.id*8 + int64(i) }
func (p *product) sku(i int) string      { return fmt.Sprintf("SKU-%d-%s", p.id%1_000_000, sizes[i]) }

func (p *product) restVariant(i int) restVariant {
	return restVariant{
		ID: p.variantID(i), ProductID: p.id, Title: sizes[i], Price: p.price.String(), Position: i + 1, InventoryPolicy: "deny",
		Option1: sizes[i], CreatedAt: restTime(p.created), UpdatedAt: restTime(p.updated), Taxable: true, SKU: p.sku(i),
		InventoryQuantity: p.stock[i], AdminGraphqlAPIID: gid("ProductVariant", p.variantID(i)),
	}
}

func (p *product) variantNode(i int) fields {
	return fields{
		"id": gid("ProductVariant", p.variantID(i)), "legacyResourceId": fmt.Sprint(p.variantID(i)), "title": sizes[i],
		"displayName": p.title + " - " + sizes[i], "sku": p.sku(i), "barcode": nil, "price": p.price.String(), "compareAtPrice": nil,
		"position": i + 1, "inventoryQuantity": p.stock[i], "inventoryPolicy": "DENY", "availableForSale": p.stock[i] > 0, "taxable": true,
		"selectedOptions": []fields{{"name": "Size", "value": sizes[i]}}, "createdAt": nodeTime(p.created), "updatedAt": nodeTime(p.updated),
	}
}

func (p *product) rest() any {
	r := restProduct{
		ID: p.id, Title: p.title, BodyHTML: p.html, Vendor: p.vendor, ProductType: p.kind, CreatedAt: restTime(p.created), Handle: p.handle(),
		UpdatedAt: restTime(p.updated), PublishedAt: restTime(p.created), PublishedScope: "web", Tags: p.tags, Status: p.status,
		AdminGraphqlAPIID: gid("Product", p.id),
	}
	for i := range p.stock {
		r.Variants = append(r.Variants, p.restVariant(i))
	}
	return r
}

func (p *product) node() fields {
	total := 0
	variants := make([]fields, len(p.stock))
	for i, n := range p.stock {
		total += n
		variants[i] = p.variantNode(i)
	}
	return fields{
		"id": gid("Product", p.id), "legacyResourceId": fmt.Sprint(p.id), "createdAt": nodeTime(p.created), "updatedAt": nodeTime(p.updated),
		"publishedAt": nodeTime(p.created), "title": p.title, "handle": p.handle(), "descriptionHtml": p.html, "vendor": p.vendor,
		"productType": p.kind, "status": strings.ToUpper(p.status), "tags": []any{p.tags}, "templateSuffix": nil, "isGiftCard": false,
		"totalInventory": total, "tracksInventory": true, "hasOnlyDefaultVariant": len(p.stock) == 1,
		"onlineStoreUrl": "https://sandbox-shop.example/products/" + p.handle(),
		"priceRangeV2":   fields{"minVariantPrice": money(p.price), "maxVariantPrice": money(p.price)},
		"variants":       nested(variants),
	}
}

var (
	firstNames = []string{"Ada", "Grace", "Joan", "Mary", "Radia", "Edsger", "Alan", "Barbara", "Ken", "Margaret"}
	lastNames  = []string{"Lovelace", "Hopper", "Clarke", "Jackson", "Perlman", "Dijkstra", "Turing", "Liskov", "Iverson", "Hamilton"}
	cities     = [][3]string{{"Portland", "OR Oregon", "97201"}, {"Austin", "TX Texas", "73301"}, {"Boston", "MA Massachusetts", "02108"}}
	goods      = []string{"Canvas Tote", "Wool Scarf", "Enamel Mug", "Linen Shirt", "Rain Jacket", "Desk Lamp"}
	makers     = []string{"Northwind", "Tributary Goods", "Harbor & Pine"}
	labels     = []string{"Test", "vip", "wholesale", "repeat"}
)

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// fresh makes a new object. Every string a merchant types may hold what is hard to carry: quotes, an emoji, markup.
func (s *Shop) fresh(stream Stream, id int64, at time.Time) object {
	switch stream {
	case Customers:
		return s.freshCustomer(id, at)
	case Orders:
		o := &order{id: id, created: at, updated: at, number: 1001 + len(s.collections[Orders].ids), financial: "pending", tags: pick(s.rng, labels)}
		for range 1 + s.rng.IntN(3) {
			o.lines = append(o.lines, line{pick(s.rng, goods), pick(s.rng, sizes), 1 + s.rng.IntN(3), cents(500 + s.rng.IntN(20_000))})
		}
		buyer, ok := s.collections[Customers].random(s.rng)
		if known, found := s.collections[Customers].get(buyer); ok && found {
			o.buyer = known.(*customer)
		} else {
			o.buyer = s.freshCustomer(id+1, at)
		}
		return o
	case DraftOrders:
		return &draft{s.freshQuote(stream, id, at, "open")}
	case Checkouts:
		return &checkout{s.freshQuote(stream, id, at, "open")}
	case Collections:
		return &productGroup{
			id: id, created: at, updated: at, title: pick(s.rng, makers) + " favorites", html: `<p>Our "best" ☕</p>`, products: s.rng.IntN(50),
		}
	default:
		p := &product{
			id: id, created: at, updated: at, title: pick(s.rng, goods), vendor: pick(s.rng, makers), kind: "Goods", tags: pick(s.rng, labels),
			html: `<p>Made to last — "really" ☕</p>`, status: "active", price: cents(500 + s.rng.IntN(20_000)),
		}
		for range 1 + s.rng.IntN(len(sizes)) {
			p.stock = append(p.stock, s.rng.IntN(100))
		}
		return p
	}
}

func (s *Shop) freshCustomer(id int64, at time.Time) *customer {
	c := &customer{
		id: id, created: at, updated: at, first: pick(s.rng, firstNames), last: pick(s.rng, lastNames), tags: pick(s.rng, labels),
		state: "invited", verified: true, phone: fmt.Sprintf("+1503555%04d", s.rng.IntN(10_000)),
		street: fmt.Sprintf("%d River Street", 1+s.rng.IntN(999)),
	}
	c.email = fmt.Sprintf("%s.%s.%d@example.com", c.first, c.last, id%1_000_000)
	place := pick(s.rng, cities)
	c.city, c.zone, c.postal = place[0], place[1], place[2]
	return c
}

func (s *Shop) freshQuote(stream Stream, id int64, at time.Time, status string) quote {
	return quote{
		id: id, created: at, updated: at, number: 1 + len(s.collections[stream].ids), buyer: s.freshCustomer(id+1, at), status: status,
		lines: []line{{pick(s.rng, goods), pick(s.rng, sizes), 1 + s.rng.IntN(3), cents(500 + s.rng.IntN(20_000))}},
	}
}

// changed makes the next state of an object.
func (s *Shop) changed(old object, at time.Time) object {
	note := fmt.Sprintf("change %d: \"called\" 📞\nagain", s.rng.IntN(1_000_000))
	switch o := old.(type) {
	case *customer:
		c := *o
		c.updated, c.note = at, note
		c.state = pick(s.rng, []string{"invited", "enabled", "disabled"})
		if s.rng.IntN(2) == 0 {
			c.orders++
			c.spent += cents(500 + s.rng.IntN(20_000))
		}
		return &c
	case *order:
		c := *o
		c.updated, c.note = at, note
		c.financial = pick(s.rng, []string{"pending", "paid", "refunded"})
		c.fulfilled = s.rng.IntN(2) == 0
		return &c
	case *draft:
		c := *o
		c.updated, c.note = at, note
		return &c
	case *checkout:
		c := *o
		c.updated, c.note = at, note
		return &c
	case *productGroup:
		c := *o
		c.updated, c.products = at, s.rng.IntN(50)
		return &c
	default:
		c := *old.(*product)
		c.updated, c.price = at, cents(500+s.rng.IntN(20_000))
		c.stock = make([]int, len(c.stock))
		for i := range c.stock {
			c.stock[i] = s.rng.IntN(100)
		}
		return &c
	}
}
