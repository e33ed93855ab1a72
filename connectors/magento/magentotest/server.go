// Package magentotest is a server that speaks as much of a Magento shop's REST API as the connector uses: searches of orders, customers, products,
// invoices, shipments, credit memos, carts, categories and source items, with bearer tokens and OAuth 1.0a. Products and categories have names by store
// view. It refuses unknown store views, paths,
// criteria and fields, and credentials and rights that are missing, with the shop's own messages. What a search leaves unsorted comes in any order, and
// a page past the last one repeats it.
//
// What it answers follows
//   - https://developer.adobe.com/commerce/webapi/rest/use-rest/performing-searches/ (criteria)
//   - https://developer.adobe.com/commerce/webapi/get-started/gs-web-api-response/ (errors)
//   - https://developer.adobe.com/commerce/webapi/get-started/authentication/gs-authentication-token/ (bearer tokens, off since 2.4.4)
//   - https://developer.adobe.com/commerce/webapi/get-started/authentication/gs-authentication-oauth/ (OAuth 1.0a)
//   - https://developer.adobe.com/commerce/webapi/get-started/api-security/ (input limits)
//   - https://github.com/magento/magento2/issues/25619 (pages past the last one)
//   - https://github.com/magento/magento2/issues/23342 and https://github.com/magento/magento2/issues/25740 (categories of versions up to 2.3.2)
//   - https://github.com/magento/magento2/issues/36811 (who is let in as nobody lacks the resource)
//   - https://github.com/magento/magento2/blob/2.4-develop/app/code/Magento/Authorization/Model/ResourceModel/Rules.php and
//     https://github.com/magento/magento2/blob/2.4-develop/app/code/Magento/Backend/etc/webapi.xml (who may list modules)
//   - https://github.com/magento/magento2/blob/2.4-develop/app/code/Magento/Webapi/Controller/PathProcessor.php (store views in paths)
//   - https://developer.adobe.com/commerce/webapi/rest/quick-reference/generate-local/ (what a path may name: default, a store view, all) and
//     https://github.com/magento/magento2/blob/2.4-develop/dev/tests/api-functional/testsuite/Magento/Catalog/Api/ProductRepositoryMultiStoreTest.php
//     (a product's name in one view, and in the others)
package magentotest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/connectors/connectortest/clock"
	"tributary/connectors/connectortest/documented"
)

// Credentials of the shop's one integration.
const (
	ConsumerKey       = "consumer-key"
	ConsumerSecret    = "canary-consumer-secret"
	AccessToken       = "canary-access-token"
	AccessTokenSecret = "canary-access-token-secret"
)

// entity is a kind of object.
type entity struct {
	path     string
	id       string // the name of entity_id in an answer
	resource string
}

// entities by the names that tests use.
var entities = map[string]entity{
	"orders":      {"orders", "entity_id", "Magento_Sales::actions_view"},
	"customers":   {"customers/search", "id", "Magento_Customer::customer"},
	"products":    {"products", "id", "Magento_Catalog::products"},
	"invoices":    {"invoices", "entity_id", "Magento_Sales::sales_invoice"},
	"shipments":   {"shipments", "entity_id", "Magento_Sales::shipment"},
	"creditmemos": {"creditmemos", "entity_id", "Magento_Sales::sales_creditmemo"},
	"carts":       {"carts/search", "id", "Magento_Cart::manage"},
	"categories":  {"categories/list", "id", "Magento_Catalog::categories"},
	"stock":       {"inventory/source-items", "", "Magento_InventoryApi::source"},
}

// views are the shop's store views, and all, the admin's scope.
var views = map[string]bool{defaults: true, "default": true, "german": true}

// Server is a shop. Its clock moves only when it is told to.
type Server struct {
	URL string
	// Bearer says that access tokens are allowed as bearer tokens.
	Bearer bool
	// PageLimit is the Maximum Page Size of the input limits; 0 = they are off.
	PageLimit int
	// AllCategories says that categories come as in versions up to 2.3.2: all that meet the search, in any order.
	AllCategories bool

	*clock.Clock
	http *httptest.Server

	mu          sync.Mutex
	rows        map[string][]row
	at          map[string]int // where an object is in its rows, by stream and key
	token       string         // the access token
	denied      map[string]bool
	nonces      map[string]bool
	maintenance bool
	searches    []string
	largest     int
	failing     string // what all searches are refused with; "" = nothing
	returned    *documented.Errors
}

// row is an object.
type row struct {
	id          int64
	updated     string
	sku, source string
	body        []byte
	members     string            // what else an object has
	names       map[string]string // by store view, as JSON; those that have none of their own have that of all
}

// key names a row: its ID, and of stock the source and SKU.
func (r row) key() string {
	if r.id == 0 {
		return r.source + "/" + r.sku
	}
	return strconv.FormatInt(r.id, 10)
}

// New starts a shop that ends with the test. It is noon of 1 March 2026 in it, UTC.
// returned, unless nil, counts the errors that it returns.
func New(t testing.TB, returned *documented.Errors) *Server {
	t.Helper()
	s := Start()
	t.Cleanup(s.Close)
	s.returned = returned // nobody has its URL yet
	return s
}

// Start starts a shop in which it is noon of 1 March 2026, UTC. Who calls it closes it.
func Start() *Server {
	s := &Server{
		Clock:  clock.New(),
		Bearer: true, token: AccessToken, rows: map[string][]row{}, at: map[string]int{},
		denied: map[string]bool{}, nonces: map[string]bool{},
	}
	s.http = httptest.NewServer(s)
	s.URL = s.http.URL
	return s
}

// Close ends it.
func (s *Server) Close() { s.http.Close() }

// Deny takes a resource from the integration.
func (s *Server) Deny(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[resource] = true
}

// Reauthorize ends the integration's access token and returns the one that it has instead.
func (s *Server) Reauthorize() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token += "-renewed"
	return s.token
}

// Maintain puts the shop into maintenance mode.
func (s *Server) Maintain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maintenance = true
}

// Searches are the queries that were answered, decoded.
func (s *Server) Searches() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.searches...)
}

// Largest is how many objects an answer held at most.
func (s *Server) Largest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.largest
}

// Put adds an object of a stream, or changes the one with its ID, at a time; a zero time is one that never changed. It has the members besides, each
// as JSON: "status":"pending".
func (s *Server) Put(stream string, id int64, at time.Time, members ...string) {
	updated := "0000-00-00 00:00:00"
	if !at.IsZero() {
		updated = at.UTC().Format(time.DateTime)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := row{id: id, updated: updated, members: strings.Join(append(members, `"items":[]`), ",")}
	if at, known := s.at[stream+" "+r.key()]; known {
		r.names = s.rows[stream][at].names
	}
	r.body = r.in(stream, defaults)
	s.put(stream, r.key(), r)
}

// defaults is the admin's scope: the values of views that have none of their own.
const defaults = "all"

// in is an object as a store view has it. Texts are escaped as PHP does.
func (r row) in(stream, view string) []byte {
	if r.body != nil && len(r.names) == 0 {
		return r.body
	}
	name, own := r.names[view]
	if !own {
		name, own = r.names[defaults]
	}
	if !own {
		name = fmt.Sprintf(`"Caf\u00e9 <%d> \/ 50 %%"`, r.id)
	}
	return fmt.Appendf(nil, `{"%s":%d,"increment_id":"%09d","name":%s,"price":1.50,"created_at":"2026-01-01 00:00:00","updated_at":"%s",%s}`,
		entities[stream].id, r.id, r.id, name, r.updated, r.members)
}

// Name gives a product or category that is there a name, as JSON, in a store view, at a time. In all it is the name in the views that have none of
// their own. An object has one time of change, whichever view it changed in.
func (s *Server) Name(view, stream string, id int64, at time.Time, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strconv.FormatInt(id, 10)
	i, known := s.at[stream+" "+key]
	if !views[view] || !known || stream != "products" && stream != "categories" {
		panic(fmt.Sprintf("no %s %d has a name in %s", stream, id, view))
	}
	r := s.rows[stream][i]
	if r.names == nil {
		r.names = map[string]string{}
	}
	r.names[view], r.updated = name, at.UTC().Format(time.DateTime)
	r.body = r.in(stream, defaults)
	s.put(stream, key, r)
}

// SetQuantity changes how much a source has of a SKU.
func (s *Server) SetQuantity(source, sku string, quantity int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, _ := json.Marshal(sku)
	s.put("stock", source+"/"+sku, row{sku: sku, source: source, body: fmt.Appendf(nil,
		`{"sku":%s,"source_code":"%s","quantity":%d,"status":1}`, text, source, quantity)})
}

func (s *Server) put(stream, key string, r row) {
	at, known := s.at[stream+" "+key]
	if !known {
		s.at[stream+" "+key] = len(s.rows[stream])
		s.rows[stream] = append(s.rows[stream], r)
		return
	}
	s.rows[stream][at] = r
}

// Keys are those of a stream's objects: IDs, and of stock the source and SKU.
func (s *Server) Keys(stream string) (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows[stream] {
		keys = append(keys, r.key())
	}
	return keys
}

// Objects are a stream's, as searches answer them, by key.
func (s *Server) Objects(stream string) map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]byte{}
	for _, r := range s.rows[stream] {
		out[r.key()] = r.body
	}
	return out
}

// ServeHTTP answers for the shop.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maintenance {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("<!doctype html><title>Service Temporarily Unavailable</title>"))
		return
	}
	if f := s.answer(w, r); f != nil {
		s.refuse(w, f)
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) *failure {
	if status, ok := messages[s.failing]; ok {
		return &failure{status: status, message: s.failing}
	}
	rest, found := strings.CutPrefix(r.URL.Path, "/rest/")
	store, path, whole := strings.Cut(rest, "/V1/")
	if !found || !whole {
		return &failure{status: http.StatusNotFound, message: noRoute}
	}
	if !views[store] {
		// What no store view is called is taken for a part of the path.
		return &failure{status: http.StatusNotFound, message: noRoute}
	}
	if path == "modules" && r.Method == http.MethodGet {
		return s.modules(w, r)
	}
	for name, e := range entities {
		if e.path != path {
			continue
		}
		if r.Method != http.MethodGet {
			return &failure{status: http.StatusNotFound, message: noRoute}
		}
		if f := s.login(r, e.resource, s.denied[e.resource]); f != nil {
			return f
		}
		return s.search(w, r, name, store)
	}
	return &failure{status: http.StatusNotFound, message: noRoute}
}

// modules lists those of the shop to whoever has any right.
func (s *Server) modules(w http.ResponseWriter, r *http.Request) *failure {
	lacks := true
	for _, e := range entities {
		lacks = lacks && s.denied[e.resource]
	}
	if f := s.login(r, "Magento_Backend::admin", lacks); f != nil {
		return f
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write([]byte(`["Magento_Store","Magento_Directory","Magento_Backend"]`))
	return nil
}

// unauthorized is said of a right that lacks.
func unauthorized(resource string) *failure {
	return &failure{status: http.StatusUnauthorized, message: denied, parameters: map[string]string{"resources": resource}}
}

// login checks who calls, and that the resource is not denied to the integration.
func (s *Server) login(r *http.Request, resource string, lacks bool) *failure {
	header := r.Header.Get("Authorization")
	if strings.HasPrefix(header, "OAuth ") {
		known := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
		if f := s.signed(r, header, known.String()); f != nil {
			return f
		}
	} else if bearer, is := strings.CutPrefix(header, "Bearer "); !is || !s.Bearer || bearer != s.token {
		// Whoever has no token that counts is a guest.
		return unauthorized(resource)
	}
	if lacks {
		return unauthorized(resource)
	}
	return nil
}
