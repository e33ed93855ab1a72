package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// derived lists what belongs to products and orders, by ID. What the index holds back is not there yet.
func (s *Shop) derived(stream Stream) (out []place) {
	from := Products
	if stream == Fulfillments || stream == Refunds {
		from = Orders
	}
	c := s.collections[from]
	for _, id := range c.live() {
		at := c.byID[id]
		if _, hidden := c.hidden[at.seq]; hidden {
			continue
		}
		add := func(o object) { out = append(out, place{o, at.seq}) }
		switch o := at.object.(type) {
		case *order:
			for _, child := range childrenOf(o, stream) {
				add(child)
			}
		case *product:
			for i := range o.stock {
				switch stream {
				case Variants:
					add(variantOf{o, i})
				case InventoryItems:
					add(itemOf{o, i})
				case InventoryLevels:
					for _, w := range warehouses {
						add(levelOf{o, i, w})
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b place) int { return cmp.Compare(a.key(), b.key()) })
	return out
}

// childrenOf lists an order's fulfillments or refunds.
func childrenOf(o object, stream Stream) (out []object) {
	switch o := o.(*order); stream {
	case Fulfillments:
		for _, p := range o.parcels {
			out = append(out, parcelOf{o, p})
		}
	case Refunds:
		for _, r := range o.repayments {
			out = append(out, repaymentOf{o, r})
		}
	}
	return out
}

// pageOf returns up to n of places, which are ordered by ID, after one, and whether more follow.
func pageOf(places []place, f filter, after int64, n int) (found []place, more bool) {
	for _, p := range places {
		if p.key() <= after || !f.matches(p.key(), p.updatedAt()) {
			continue
		}
		if len(found) == n {
			return found, true
		}
		found = append(found, p)
	}
	return found, false
}

// Key is how webhooks and queries together name an object: its ID, or for an inventory level its item's and its location's.
func Key(stream Stream, id int64) string {
	if stream == InventoryLevels {
		return fmt.Sprintf("%d-%d", id/2, warehouses[id%2].id)
	}
	return strconv.FormatInt(id, 10)
}

// FirstOf is the ID of the first object of a derived stream that belongs to a product.
func FirstOf(stream Stream, productID int64) int64 {
	p := &product{id: productID, stock: []int{0}}
	switch stream {
	case Variants:
		return p.variantID(0)
	case InventoryItems:
		return p.itemID(0)
	}
	return levelOf{p, 0, warehouses[0]}.key()
}
