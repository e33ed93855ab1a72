package sandbox

import (
	"math/rand/v2"
	"slices"
	"sort"
	"time"
)

// object is one state of what the shop has. It never changes: an update makes another.
type object interface {
	key() int64
	updatedAt() time.Time
	// rest is the webhook's shape, node the GraphQL one.
	rest() any
	node() fields
}

// idStep is the distance between the vendor's IDs, which share their low bits.
const idStep = 32_768

// collection keeps objects by ID and the order of their changes: along log, updated never falls, so that a page by UPDATED_AT is a
// stretch of it. An entry whose sequence is no longer its object's is skipped and goes at the next compaction.
type collection struct {
	nextID  int64
	nextSeq int
	byID    map[int64]place
	ids     []int64 // ascending; deleted ones are skipped
	log     []change
	hidden  map[int]struct{} // sequences that no query sees yet
}

type place struct {
	object
	seq int
}

type change struct {
	seq     int
	id      int64
	updated time.Time
}

func newCollection(firstID int64) *collection {
	return &collection{nextID: firstID, byID: make(map[int64]place), hidden: make(map[int]struct{})}
}

func (c *collection) newID() int64 {
	id := c.nextID
	c.nextID += idStep
	return id
}

func (c *collection) get(id int64) (object, bool) {
	p, ok := c.byID[id]
	return p.object, ok
}

func (c *collection) put(o object, hide bool) {
	c.nextSeq++
	if _, known := c.byID[o.key()]; !known {
		c.ids = append(c.ids, o.key())
	}
	c.byID[o.key()] = place{o, c.nextSeq}
	c.log = append(c.log, change{c.nextSeq, o.key(), o.updatedAt()})
	if hide {
		c.hidden[c.nextSeq] = struct{}{}
	}
	if len(c.log) > 2*len(c.byID)+1000 {
		c.log = slices.DeleteFunc(c.log, func(e change) bool { return c.byID[e.id].seq != e.seq })
	}
}

func (c *collection) remove(id int64) { delete(c.byID, id) }

func (c *collection) live() []int64 {
	return slices.DeleteFunc(slices.Clone(c.ids), func(id int64) bool {
		_, ok := c.byID[id]
		return !ok
	})
}

// random picks a live object; it gives up in a collection that is mostly deleted.
func (c *collection) random(rng *rand.Rand) (int64, bool) {
	for range 16 {
		if len(c.ids) == 0 {
			return 0, false
		}
		id := c.ids[rng.IntN(len(c.ids))]
		if _, ok := c.byID[id]; ok {
			return id, true
		}
	}
	return 0, false
}

// position is where a page ended, in either order.
type position struct {
	ID    int64 `json:"last_id"`
	Seq   int   `json:"last_value"`
	Depth int   `json:"depth"`
}

// page returns up to n objects after a position and whether more follow.
func (c *collection) page(f filter, byID bool, after position, n int) (found []place, more bool) {
	take := func(id int64, seq int) bool {
		p, ok := c.byID[id]
		_, hidden := c.hidden[p.seq]
		if !ok || hidden || seq != 0 && p.seq != seq || !f.matches(id, p.updatedAt()) {
			return false
		}
		if len(found) == n {
			more = true
			return true
		}
		found = append(found, p)
		return false
	}
	if byID {
		from := max(after.ID+1, f.minID)
		i, _ := slices.BinarySearch(c.ids, from)
		for ; i < len(c.ids) && !more; i++ {
			take(c.ids[i], 0)
		}
		return found, more
	}
	i := sort.Search(len(c.log), func(i int) bool {
		return c.log[i].seq > after.Seq && !c.log[i].updated.Before(f.minUpdated)
	})
	for ; i < len(c.log) && !more; i++ {
		if !f.maxUpdated.IsZero() && c.log[i].updated.After(f.maxUpdated) {
			break
		}
		take(c.log[i].id, c.log[i].seq)
	}
	return found, more
}
