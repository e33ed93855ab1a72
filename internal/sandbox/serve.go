package sandbox

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

var adminPath = regexp.MustCompile(`^/admin/api/(\d{4}-(?:01|04|07|10))/graphql\.json$`)

// maxPage is the vendor's: https://shopify.dev/docs/api/usage/limits
const maxPage = 250

// ServeHTTP answers POST /admin/api/{version}/graphql.json.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := adminPath.FindStringSubmatch(r.URL.Path)
	if m == nil || r.Method != http.MethodPost {
		writeJSON(w, http.StatusNotFound, map[string]any{"errors": "Not Found"})
		return
	}
	w.Header().Set("X-Shopify-API-Version", m[1])
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Shopify-Access-Token")), []byte(s.options.AccessToken)) != 1 {
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
	writeJSON(w, http.StatusOK, s.query(req.Query, req.Variables))
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

func (s *Shop) query(query string, variables map[string]any) response {
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
	a.run(op, vars, func(f *ast.Field, args map[string]any) (any, error) { return s.resolve(&a, f, args) })
	left = s.bucket.refund(max(0, requested-a.cost))
	return response{
		Data: a.data.Bytes(), Errors: a.errors,
		Extensions: &extensions{Cost: s.bucket.extension(requested, &a.cost, left), Search: a.warnings},
	}
}

func (s *Shop) resolve(a *answer, f *ast.Field, args map[string]any) (any, error) {
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
	case string(Customers), string(Orders), string(Products):
		return s.list(a, Stream(f.Name), args)
	}
	return nil, &fault{message: "Field '" + f.Name + "' is not served by the sandbox shop"}
}

// granted says whether the app may read a stream; the right to write includes it.
func (s *Shop) granted(stream Stream) bool {
	return slices.Contains(s.options.Scopes, "read_"+string(stream)) || slices.Contains(s.options.Scopes, "write_"+string(stream))
}

func (s *Shop) list(a *answer, stream Stream, args map[string]any) (any, error) {
	if !s.granted(stream) {
		return nil, &fault{"ACCESS_DENIED", fmt.Sprintf("Access denied for %s field. Required access: `read_%s` access scope.", stream, stream)}
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
		warned := searchWarning{Path: []string{string(stream)}, Query: search}
		for _, w := range warnings {
			warned.Warnings = append(warned.Warnings, map[string]any{"field": "query", "message": w, "code": "invalid_field"})
		}
		a.warnings = append(a.warnings, warned)
	}
	sortKey, _ := args["sortKey"].(string)

	s.mu.Lock()
	found, more := s.collections[stream].page(f, sortKey != "UPDATED_AT", after, first)
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
