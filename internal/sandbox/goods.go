package sandbox

import (
	"fmt"
	"time"
)

// variantOf is one size of a product. It changes with its product, and its stock with it.
type variantOf struct {
	*product
	i int
}

func (v variantOf) key() int64 { return v.variantID(v.i) }

func (v variantOf) rest() any { return v.restVariant(v.i) }

func (v variantOf) node() fields {
	n := v.variantNode(v.i)
	n["product"] = fields{"id": gid("Product", v.id)}
	n["inventoryItem"] = fields{"id": gid("InventoryItem", v.itemID(v.i))}
	return n
}

// itemID is the inventory item's: the vendor has one for each variant.
func (p *product) itemID(i int) int64 { return p.variantID(i) + 2_000_000_000_000 }

// itemOf is what is stocked of a variant.
type itemOf struct {
	*product
	i int
}

func (o itemOf) key() int64 { return o.itemID(o.i) }

type restItem struct {
	ID                   int64   `json:"id"`
	SKU                  string  `json:"sku"`
	CreatedAt            string  `json:"created_at"`
	UpdatedAt            string  `json:"updated_at"`
	RequiresShipping     bool    `json:"requires_shipping"`
	Cost                 *string `json:"cost"`
	CountryCodeOfOrigin  *string `json:"country_code_of_origin"`
	ProvinceCodeOfOrigin *string `json:"province_code_of_origin"`
	HarmonizedSystemCode *string `json:"harmonized_system_code"`
	Tracked              bool    `json:"tracked"`
	AdminGraphqlAPIID    string  `json:"admin_graphql_api_id"`
}

func (o itemOf) rest() any {
	return restItem{
		ID: o.key(), SKU: o.sku(o.i), CreatedAt: restTime(o.created), UpdatedAt: restTime(o.updated), RequiresShipping: true, Tracked: true,
		AdminGraphqlAPIID: gid("InventoryItem", o.key()),
	}
}

func (o itemOf) node() fields {
	levels := make(nested, len(warehouses))
	for i, w := range warehouses {
		levels[i] = levelOf{o.product, o.i, w}.node()
	}
	return fields{
		"id": gid("InventoryItem", o.key()), "legacyResourceId": fmt.Sprint(o.key()), "createdAt": nodeTime(o.created), "updatedAt": nodeTime(o.updated),
		"sku": o.sku(o.i), "tracked": true, "requiresShipping": true, "countryCodeOfOrigin": nil, "provinceCodeOfOrigin": nil,
		"harmonizedSystemCode": nil, "unitCost": money(o.price / 2), "inventoryLevels": levels,
	}
}

// warehouse is a location that has everything in stock.
type warehouse struct {
	id    int64
	name  string
	share int // of the stock, in quarters
}

var warehouses = []warehouse{{655_441_491, "River Street", 1}, {655_441_523, "Harbor", 3}}

func (w warehouse) node() fields {
	return fields{"id": gid("Location", w.id), "name": w.name, "isActive": true}
}

// levelOf is the stock of an item at a location.
type levelOf struct {
	*product
	i  int
	at warehouse
}

// key orders the levels by item, then by location; it is the number in the level's own global ID.
func (l levelOf) key() int64 {
	if l.at.id == warehouses[0].id {
		return l.itemID(l.i) * 2
	}
	return l.itemID(l.i)*2 + 1
}

func (l levelOf) gid() string {
	return fmt.Sprintf("%s?inventory_item_id=%d", gid("InventoryLevel", l.key()), l.itemID(l.i))
}

func (l levelOf) available() int { return l.stock[l.i] * l.at.share / 4 }

type restLevel struct {
	InventoryItemID   int64  `json:"inventory_item_id"`
	LocationID        int64  `json:"location_id"`
	Available         int    `json:"available"`
	UpdatedAt         string `json:"updated_at"`
	AdminGraphqlAPIID string `json:"admin_graphql_api_id"`
}

func (l levelOf) rest() any {
	return restLevel{
		InventoryItemID: l.itemID(l.i), LocationID: l.at.id, Available: l.available(), UpdatedAt: restTime(l.updated), AdminGraphqlAPIID: l.gid(),
	}
}

func (l levelOf) node() fields {
	quantity := func(name string, n int) fields {
		return fields{"name": name, "quantity": n, "updatedAt": nodeTime(l.updated)}
	}
	return fields{
		"id": l.gid(), "createdAt": nodeTime(l.created), "updatedAt": nodeTime(l.updated),
		"item": fields{"id": gid("InventoryItem", l.itemID(l.i))}, "location": l.at.node(),
		"quantities": []fields{quantity("available", l.available()), quantity("on_hand", l.available()), quantity("committed", 0)},
	}
}

// disconnected is all that an inventory_levels/disconnect webhook carries.
type disconnected struct {
	InventoryItemID int64 `json:"inventory_item_id"`
	LocationID      int64 `json:"location_id"`
}

// announceGoods tells of what changes with a product, as the vendor does.
func (s *Shop) announceGoods(p *product, action string) {
	for i := range p.stock {
		item := itemOf{p, i}
		switch action {
		case "create", "update":
			s.announce(InventoryItems, action, item.key(), item.rest())
		default:
			s.announce(InventoryItems, action, item.key(), deleted{ID: item.key()})
		}
		for _, w := range warehouses {
			level := levelOf{p, i, w}
			switch action {
			case "create":
				s.announce(InventoryLevels, "connect", level.key(), level.rest())
			case "update":
				s.announce(InventoryLevels, "update", level.key(), level.rest())
			default:
				s.announce(InventoryLevels, "disconnect", level.key(), disconnected{item.key(), w.id})
			}
		}
	}
}

// productGroup is a collection: a group of products that a merchant has put together.
type productGroup struct {
	id               int64
	created, updated time.Time
	title, html      string
	products         int
}

func (g *productGroup) key() int64           { return g.id }
func (g *productGroup) updatedAt() time.Time { return g.updated }
func (g *productGroup) handle() string       { return fmt.Sprintf("collection-%d", g.id) }

type restGroup struct {
	ID                int64   `json:"id"`
	Handle            string  `json:"handle"`
	Title             string  `json:"title"`
	UpdatedAt         string  `json:"updated_at"`
	BodyHTML          string  `json:"body_html"`
	PublishedAt       string  `json:"published_at"`
	SortOrder         string  `json:"sort_order"`
	TemplateSuffix    *string `json:"template_suffix"`
	PublishedScope    string  `json:"published_scope"`
	AdminGraphqlAPIID string  `json:"admin_graphql_api_id"`
}

func (g *productGroup) rest() any {
	return restGroup{
		ID: g.id, Handle: g.handle(), Title: g.title, UpdatedAt: restTime(g.updated), BodyHTML: g.html, PublishedAt: restTime(g.created),
		SortOrder: "manual", PublishedScope: "web", AdminGraphqlAPIID: gid("Collection", g.id),
	}
}

func (g *productGroup) node() fields {
	return fields{
		"id": gid("Collection", g.id), "legacyResourceId": fmt.Sprint(g.id), "updatedAt": nodeTime(g.updated), "title": g.title, "handle": g.handle(),
		"descriptionHtml": g.html, "sortOrder": "MANUAL", "templateSuffix": nil,
		"productsCount": fields{"count": g.products, "precision": "EXACT"}, "ruleSet": nil,
	}
}
