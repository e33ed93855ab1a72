package sandbox

import (
	"math"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// Throttle is a bucket of query points: https://shopify.dev/docs/api/usage/limits. The vendor's standard plan is {2000, 100}.
type Throttle struct {
	Maximum float64
	Restore float64 // points a second
}

// maxQueryCost is what a single query may cost at most, on every plan.
const maxQueryCost = 1000

// bucket holds what is left of the points.
type bucket struct {
	limits Throttle
	now    func() time.Time

	mu   sync.Mutex
	left float64
	at   time.Time
}

func newBucket(t Throttle, now func() time.Time) *bucket {
	return &bucket{limits: t, now: now, left: t.Maximum, at: now()}
}

// take spends points, or says how many there are and that they do not suffice.
func (b *bucket) take(requested int) (left float64, ok bool) {
	if b.limits.Maximum == 0 {
		return math.Inf(1), true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.left = min(b.limits.Maximum, b.left+max(0, now.Sub(b.at).Seconds())*b.limits.Restore)
	b.at = now
	if b.left+1e-6 < float64(requested) { // what was restored is a sum of fractions
		return b.left, false
	}
	b.left -= float64(requested)
	return b.left, true
}

// refund gives back what a query asked for and did not use.
func (b *bucket) refund(points int) (left float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.limits.Maximum, b.left+float64(points))
	return b.left
}

// costExtension is what the vendor reports beside every answer.
type costExtension struct {
	Requested int      `json:"requestedQueryCost"`
	Actual    *int     `json:"actualQueryCost"`
	Status    throttle `json:"throttleStatus"`
}

type throttle struct {
	Maximum float64 `json:"maximumAvailable"`
	Current float64 `json:"currentlyAvailable"`
	Restore float64 `json:"restoreRate"`
}

func (b *bucket) extension(requested int, actual *int, left float64) costExtension {
	t := b.limits
	if t.Maximum == 0 {
		t, left = Throttle{20_000, 1_000}, 20_000
	}
	return costExtension{requested, actual, throttle{t.Maximum, math.Floor(left), t.Restore}}
}

// requestedCost is the most that a query can cost: an object is a point, a scalar nothing, a connection two and what as many nodes cost
// as it asks for, a mutation ten.
// Model: https://shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits, which leaves the exact size of a connection open; this is the
// dearer reading.
func requestedCost(op *ast.OperationDefinition, vars map[string]any) int {
	cost := selectionCost(op.SelectionSet, vars)
	if op.Operation == ast.Mutation {
		cost += 10
	}
	return cost
}

func selectionCost(set ast.SelectionSet, vars map[string]any) (sum int) {
	for _, f := range selected(set) {
		if len(f.SelectionSet) == 0 || f.Name == "pageInfo" {
			continue
		}
		if ids, ok := f.ArgumentMap(vars)["ids"].([]any); ok {
			sum += len(ids) * (1 + selectionCost(f.SelectionSet, vars))
			continue
		}
		if !strings.HasSuffix(f.Definition.Type.Name(), "Connection") {
			sum += 1 + selectionCost(f.SelectionSet, vars)
			continue
		}
		first := integer(f.ArgumentMap(vars)["first"])
		per := 0
		for _, sub := range selected(f.SelectionSet) {
			switch sub.Name {
			case "nodes":
				per = 1 + selectionCost(sub.SelectionSet, vars)
			case "edges":
				per = selectionCost(sub.SelectionSet, vars)
			}
		}
		sum += 2 + first*per
	}
	return sum
}
