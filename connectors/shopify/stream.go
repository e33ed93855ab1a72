package shopify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// way is how a stream is read between two polls.
type way int

const (
	// byUpdated reads the root field in the order of the changes.
	byUpdated way = iota
	// byID reads the root field in the order of the IDs, because the vendor sorts it by nothing that changes.
	byID
	// ofOrders reads what belongs to orders: the orders that changed, in the order of their IDs, and then the children that changed.
	ofOrders
	// ofLocations reads what belongs to locations, one location after the other.
	ofLocations
)

// stream is a collection of the shop.
type stream struct {
	name string
	doc  string
	way  way
	// root is the GraphQL field that lists it, or for children the list within an order.
	root string
	// node is the GraphQL type.
	node string
	// scopes must be granted to poll it; webhooks need the first one.
	scopes []string
	// sortKeys is the GraphQL type of the collection's sortKey; empty: it has none, and lists by ID.
	sortKeys string
	// selection is what a polled record holds. id and updatedAt stand first, where scanning finds them at once.
	selection string
	// nested is a connection within it, of which a page holds the first few.
	nested nested
	// pageSize keeps a page below the 1,000 points that a query may cost, an object counting one and a connection two and its first:
	// https://shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits
	pageSize int
	// orders is how many orders are looked through at once for children; one with its list of bare children costs two points.
	orders int
	// topics are what webhooks say of it, as GraphQL spells them:
	// https://shopify.dev/docs/api/admin-graphql/latest/enums/WebhookSubscriptionTopic
	topics []string
	// keyOf finds the key and its number in a webhook's body; nil: it is the field id.
	keyOf func(body gjson.Result) (string, bool)
}

// nested is a connection within an object.
type nested struct {
	name      string
	first     int
	selection string
}

func describeStreams() []connectors.Stream {
	var out []connectors.Stream
	for _, s := range streams {
		out = append(out, connectors.Stream{Name: s.name, Doc: s.doc, Polls: true, Receives: true, Needs: "`" + strings.Join(s.scopes, "`, `") + "`"})
	}
	return append(out, connectors.Stream{
		Name:     privacyStream,
		Doc:      "Requests to hand out or erase a customer's or a shop's data (customers/data_request, customers/redact, shop/redact).",
		Receives: true,
	})
}

func names() (out []string) {
	for _, s := range streams {
		out = append(out, s.name)
	}
	return out
}

func lookup(op, name string) (stream, error) {
	if i := slices.IndexFunc(streams, func(s stream) bool { return s.name == name }); i >= 0 {
		return streams[i], nil
	}
	return stream{}, connectors.Errorf(connectors.Invalid, op, "stream %q can't be polled; these can: %s", connectors.Clip(name, 100), strings.Join(names(), ", "))
}

// fields is the selection of a page.
func (s stream) fields() string {
	if s.nested.name == "" {
		return s.selection
	}
	return fmt.Sprintf("%s %s(first: %d) { nodes { %s } pageInfo { hasNextPage } }", s.selection, s.nested.name, s.nested.first, s.nested.selection)
}

// query asks for a page of the stream, or for children of the orders that have changed.
func (s stream) query() string {
	root, fields := s.root, s.fields()
	sortKeys := s.sortKeys
	if s.way == ofOrders {
		root, fields, sortKeys = "orders", "id updatedAt "+s.root+" { id updatedAt }", "OrderSortKeys"
	}
	if sortKeys == "" {
		return fmt.Sprintf(`query Page($first: Int!, $after: String, $query: String) {
			%s(first: $first, after: $after, query: $query) { nodes { %s } pageInfo { hasNextPage endCursor } }
		}`, root, fields)
	}
	return fmt.Sprintf(`query Page($first: Int!, $after: String, $query: String, $sortKey: %s!) {
		%s(first: $first, after: $after, query: $query, sortKey: $sortKey) { nodes { %s } pageInfo { hasNextPage endCursor } }
	}`, sortKeys, root, fields)
}

// bulks says whether a bulk operation can read it: none takes a connection within a list, and the children of orders are lists with connections.
func (s stream) bulks() bool { return s.way != ofOrders }

// topicName is how webhooks spell a topic: INVENTORY_LEVELS_UPDATE is inventory_levels/update. Only of the topics that streams have.
func topicName(topic string) string {
	if i := strings.LastIndexByte(topic, '_'); i > 0 {
		topic = topic[:i] + "/" + topic[i+1:]
	}
	return strings.ToLower(topic)
}
