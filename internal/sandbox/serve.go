package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

var adminPath = regexp.MustCompile(`^/admin/api/(\d{4}-(?:01|04|07|10))/graphql\.json$`)

// maxPage is the vendor's: https://shopify.dev/docs/api/usage/limits
const maxPage = 250

// ServeHTTP answers POST /admin/api/{version}/graphql.json.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if file := filePath.FindStringSubmatch(r.URL.Path); file != nil {
		s.serveFile(w, r, file[1])
		return
	}
	if r.URL.Path == "/admin/oauth/access_token" {
		s.serveToken(w, r)
		return
	}
	m := adminPath.FindStringSubmatch(r.URL.Path)
	if m == nil || r.Method != http.MethodPost {
		writeJSON(w, http.StatusNotFound, map[string]any{"errors": "Not Found"})
		return
	}
	w.Header().Set("X-Shopify-API-Version", m[1])
	if !s.accepts(r.Header.Get("X-Shopify-Access-Token")) {
		writeJSON(w, http.StatusUnauthorized, map[string]any{"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"})
		return
	}
	if w = s.spoil(w, r); w == nil {
		return
	}
	var req struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&req); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]any{"errors": "Bad Request"})
		return
	}
	// The date is the shop's own: a caller may tell its clock by it.
	w.Header().Set("Date", s.options.Now().UTC().Format(http.TimeFormat))
	writeJSON(w, http.StatusOK, s.query(call{version: m[1], host: r.Host, plain: r.TLS == nil}, req.Query, req.Variables))
}

type response struct {
	Data       json.RawMessage `json:"data,omitempty"`
	Errors     []gqlError      `json:"errors,omitempty"`
	Extensions *extensions     `json:"extensions,omitempty"`
}

type extensions struct {
	Cost   costExtension   `json:"cost"`
	Search []searchWarning `json:"search,omitempty"`
}

// call is what a query's answer depends on besides its words.
type call struct {
	version string
	host    string
	plain   bool // no TLS
}

func (s *Shop) query(by call, query string, variables map[string]any) response {
	op, vars, problems := parse(s.schema, query, variables)
	if problems != nil {
		return response{Errors: problems}
	}
	requested := requestedCost(op, vars)
	if requested > maxQueryCost {
		return response{Errors: []gqlError{{
			Message:    fmt.Sprintf("Query cost is %d, which exceeds the single query max cost limit (%d).", requested, maxQueryCost),
			Extensions: map[string]any{"code": "MAX_COST_EXCEEDED", "cost": requested, "maxCost": maxQueryCost},
		}}}
	}
	left, ok := s.bucket.take(requested)
	if !ok || s.draw(func(f Faults) float64 { return f.Throttle }) {
		return response{
			Errors:     []gqlError{{Message: "Throttled", Extensions: map[string]any{"code": "THROTTLED"}}},
			Extensions: &extensions{Cost: s.bucket.extension(requested, nil, left)},
		}
	}
	var a answer
	a.run(op, vars, func(f *ast.Field, args map[string]any) (any, error) { return s.resolve(&a, by, f, args) })
	left = s.bucket.refund(max(0, requested-a.cost))
	return response{
		Data: a.data.Bytes(), Errors: a.errors,
		Extensions: &extensions{Cost: s.bucket.extension(requested, &a.cost, left), Search: a.warnings},
	}
}

func (s *Shop) resolve(a *answer, by call, f *ast.Field, args map[string]any) (any, error) {
	switch f.Name {
	case "shop":
		return fields{"id": gid("Shop", 548380009), "name": "Sandbox Shop", "myshopifyDomain": s.options.Domain, "currencyCode": currency}, nil
	case "currentAppInstallation":
		scopes := make([]fields, len(s.options.Scopes))
		for i, scope := range s.options.Scopes {
			scopes[i] = fields{"handle": scope}
		}
		return fields{"accessScopes": scopes}, nil
	case "webhookSubscriptions":
		return s.listSubscriptions(args)
	case "webhookSubscriptionCreate":
		return s.createSubscription(args)
	case "webhookSubscriptionDelete":
		return s.deleteSubscription(args)
	case "bulkOperationRunQuery":
		return s.runBulk(by, args)
	case "bulkOperations":
		return s.listBulk(by, args)
	case "currentBulkOperation":
		return s.currentBulk(by), nil
	case "locations":
		return s.listLocations(args)
	case "node":
		id, _ := args["id"].(string)
		return s.byGID(by, id), nil
	case "nodes":
		ids, _ := args["ids"].([]any)
		if len(ids) > maxPage {
			return nil, &fault{"MAX_INPUT_SIZE_EXCEEDED", fmt.Sprintf("The input array size of %d is greater than the maximum allowed of %d.", len(ids), maxPage)}
		}
		out := make([]any, len(ids))
		for i, id := range ids {
			text, _ := id.(string)
			out[i] = s.byGID(by, text)
		}
		return out, nil
	}
	if stream, ok := roots[f.Name]; ok {
		return s.list(a, stream, f.Name, args)
	}
	return nil, &fault{message: "Field '" + f.Name + "' is not served by the sandbox shop"}
}

// roots are the fields that list a stream.
var roots = map[string]Stream{
	"customers": Customers, "orders": Orders, "products": Products, "productVariants": Variants, "inventoryItems": InventoryItems,
	"draftOrders": DraftOrders, "collections": Collections, "abandonedCheckouts": Checkouts,
}

// rights are the scopes that a stream needs, to be read and to be told of by webhook, where they are not read_<stream>:
// https://shopify.dev/docs/api/usage/access-scopes
var rights = map[Stream][]string{
	Variants: {"read_products"}, Collections: {"read_products"}, InventoryItems: {"read_inventory", "read_products"},
	InventoryLevels: {"read_inventory"}, Fulfillments: {"read_fulfillments"}, Refunds: {"read_orders"}, Checkouts: {"read_orders"},
}

// granted says whether the app may read a stream; the right to write includes it.
func (s *Shop) granted(stream Stream) bool {
	either := rights[stream]
	if either == nil {
		either = []string{"read_" + string(stream)}
	}
	return slices.ContainsFunc(either, s.scope)
}

func (s *Shop) scope(right string) bool {
	return slices.Contains(s.options.Scopes, right) || slices.Contains(s.options.Scopes, "write_"+strings.TrimPrefix(right, "read_"))
}

func (s *Shop) list(a *answer, stream Stream, field string, args map[string]any) (any, error) {
	if !s.granted(stream) {
		return nil, &fault{"ACCESS_DENIED", fmt.Sprintf("Access denied for %s field. Required access: `%s` access scope.", field, scopeOf(stream))}
	}
	first, after, err := paging(args)
	if err != nil {
		return nil, err
	}
	if after.Depth+first > s.options.Depth {
		return nil, &fault{"BAD_REQUEST", fmt.Sprintf("Pagination is limited to %d objects; narrow the query.", s.options.Depth)}
	}
	search, _ := args["query"].(string)
	f, warnings := parseSearch(search)
	if warnings != nil {
		warned := searchWarning{Path: []string{field}, Query: search}
		for _, w := range warnings {
			warned.Warnings = append(warned.Warnings, map[string]any{"field": "query", "message": w, "code": "invalid_field"})
		}
		a.warnings = append(a.warnings, warned)
	}
	sortKey, _ := args["sortKey"].(string)

	s.mu.Lock()
	var found []place
	var more bool
	if c, ok := s.collections[stream]; ok {
		found, more = c.page(f, sortKey != "UPDATED_AT", after, first)
	} else {
		found, more = pageOf(s.derived(stream), f, after.ID, first)
	}
	s.mu.Unlock()

	c := connection{more: more}
	for i, p := range found {
		c.nodes = append(c.nodes, p.node())
		c.cursors = append(c.cursors, encodeCursor(position{ID: p.key(), Seq: p.seq, Depth: after.Depth + i + 1}))
	}
	c.written = func(i int, node []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.served[Served{stream, found[i].key(), sha256.Sum256(node)}] = struct{}{}
	}
	return c, nil
}

func scopeOf(stream Stream) string {
	if either := rights[stream]; either != nil {
		return either[0]
	}
	return "read_" + string(stream)
}

// listLocations gives each location all of the inventory levels that it has: the field's own arguments choose among them.
func (s *Shop) listLocations(args map[string]any) (any, error) {
	if !s.scope("read_locations") {
		return nil, &fault{"ACCESS_DENIED", "Access denied for locations field. Required access: `read_locations` access scope."}
	}
	if sortKey, _ := args["sortKey"].(string); sortKey != "ID" {
		return nil, &fault{"BAD_REQUEST", "The sandbox shop lists locations by ID only."}
	}
	first, after, err := paging(args)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var c connection
	levels := s.derived(InventoryLevels)
	for _, w := range warehouses {
		if w.id <= after.ID {
			continue
		}
		if len(c.nodes) == first {
			c.more = true
			break
		}
		var here []place
		for _, p := range levels {
			if p.object.(levelOf).at.id == w.id {
				here = append(here, p)
			}
		}
		n := w.node()
		n["inventoryLevels"] = chosen{here, s}
		c.nodes = append(c.nodes, n)
		c.cursors = append(c.cursors, encodeCursor(position{ID: w.id}))
	}
	return c, nil
}

// chosen is a connection within an object whose own arguments page and filter it.
type chosen struct {
	places []place
	shop   *Shop
}

func (ch chosen) connection(args map[string]any) (connection, error) {
	if !ch.shop.granted(InventoryLevels) {
		return connection{}, &fault{"ACCESS_DENIED", "Access denied for inventoryLevels field. Required access: `read_inventory` access scope."}
	}
	first, after, err := paging(args)
	if err != nil {
		return connection{}, err
	}
	if after.Depth+first > ch.shop.options.Depth {
		return connection{}, &fault{"BAD_REQUEST", fmt.Sprintf("Pagination is limited to %d objects; narrow the query.", ch.shop.options.Depth)}
	}
	search, _ := args["query"].(string)
	f, warnings := parseSearch(search)
	if warnings != nil {
		return connection{}, &fault{"BAD_REQUEST", "inventoryLevels: " + warnings[0]}
	}
	found, more := pageOf(ch.places, f, after.ID, first)
	c := connection{more: more}
	for i, p := range found {
		c.nodes = append(c.nodes, p.node())
		c.cursors = append(c.cursors, encodeCursor(position{ID: p.key(), Depth: after.Depth + i + 1}))
	}
	return c, nil
}

// byGID finds what a global ID names; nil where there is nothing. The shop finds operations, fulfillments and refunds so.
func (s *Shop) byGID(by call, id string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if op := s.bulk.byID(id); op != nil {
		return s.bulkNode(by, op)
	}
	for _, stream := range []Stream{Fulfillments, Refunds} {
		kind := map[Stream]string{Fulfillments: "Fulfillment", Refunds: "Refund"}[stream]
		number, ok := strings.CutPrefix(id, "gid://shopify/"+kind+"/")
		if !ok {
			continue
		}
		n, _ := strconv.ParseInt(number, 10, 64)
		p, ok := s.collections[Orders].get(s.parents[n])
		if !ok {
			return nil
		}
		for _, child := range childrenOf(p, stream) {
			if child.key() == n {
				return child.node()
			}
		}
	}
	return nil
}

func paging(args map[string]any) (first int, after position, err error) {
	n := integer(args["first"])
	if n < 1 {
		return 0, position{}, &fault{"BAD_REQUEST", "you must provide one of first or last"}
	}
	if n > maxPage {
		return 0, position{}, &fault{"BAD_REQUEST", fmt.Sprintf("first cannot exceed %d", maxPage)}
	}
	if cursor, _ := args["after"].(string); cursor != "" {
		raw, err := base64.StdEncoding.DecodeString(cursor)
		if err != nil || json.Unmarshal(raw, &after) != nil {
			return 0, position{}, &fault{"", "Invalid cursor for current pagination sort."}
		}
	}
	return n, after, nil
}

// integer reads an argument that stands in the query (int64) or came as a variable (float64); 0 = absent.
func integer(v any) int {
	switch v := v.(type) {
	case int64:
		return int(v)
	case float64:
		return int(v)
	}
	return 0
}

func encodeCursor(p position) string {
	raw, err := json.Marshal(p)
	if err != nil {
		panic(err) // three integers always marshal
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, out.String()) // a caller that went away is its own affair
}
