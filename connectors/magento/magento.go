// Package magento polls a shop of Magento Open Source or Adobe Commerce over its REST API, in the order of changes.
//
// Every page is a search of its own that begins behind the last object read, in the order of (updated_at, entity_id), and only the first page of a
// search is ever read. So objects that change meanwhile shift nothing, and it does not matter what an endpoint answers past its last page, which
// differs (https://github.com/magento/magento2/issues/25619). The shop has no webhooks of its own.
//
// API: https://developer.adobe.com/commerce/webapi/rest/use-rest/performing-searches/
package magento

import (
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"time"

	"tributary/connectors"
)

// Settings are a block's settings.
type Settings struct {
	Store    string `json:"store,omitempty" jsonschema:"description=Code of the store view in whose scope products and categories are read such as default; all is the admin's scope,default=all"`
	PageSize int    `json:"page_size,omitempty" jsonschema:"description=Most objects asked for at once; a shop with input limits takes no more than its Maximum Page Size,default=100,minimum=1,maximum=1000"`
	Overlap  string `json:"overlap,omitempty" jsonschema:"description=How far a poll reaches back before the newest change seen so that what the shop commits late is not missed (such as 5m),default=5m"`
}

// Connection is what is stored for a shop: its URL and the credentials of an integration, with which requests are signed, or an access token alone,
// which is sent as a bearer token.
type Connection struct {
	URL               string `json:"url" jsonschema:"required,format=uri,description=Base URL of the shop as the shop knows it such as https://shop.example.com"`
	AccessToken       string `json:"access_token" jsonschema:"required,format=password,description=Access token of the integration. By itself it is sent as a bearer token"`
	AccessTokenSecret string `json:"access_token_secret,omitempty" jsonschema:"format=password,description=OAuth 1.0a: access token secret"`
	ConsumerKey       string `json:"consumer_key,omitempty" jsonschema:"description=OAuth 1.0a: consumer key"`
	ConsumerSecret    string `json:"consumer_secret,omitempty" jsonschema:"format=password,description=OAuth 1.0a: consumer secret"`
	Concurrency       int    `json:"concurrency,omitempty" jsonschema:"description=Most streams of this shop read at once; all its installations share it,default=2,minimum=1,maximum=20"`
}

const (
	name = "magento"
	// defaultStore is the admin's scope, which is in every shop of 2.3 and later, whatever its store views are called; without one in the path a
	// shop takes its default view: https://github.com/magento/magento2/blob/2.4-develop/app/code/Magento/Webapi/Controller/PathProcessor.php
	defaultStore   = "all"
	defaultPage    = 100
	maxPage        = 1000
	defaultOverlap = 5 * time.Minute
	maxOverlap     = 24 * time.Hour
	// concurrency is low: the shop's customers wait for the same processes.
	concurrency    = 2
	maxConcurrency = 20
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name:  name,
		Title: "Magento / Adobe Commerce",
		Doc: "Orders, customers, products, invoices, shipments, credit memos, carts, categories and stock of a Magento Open Source or Adobe Commerce " +
			"shop, polled in the order of their changes. Create an integration in the Admin, grant it the resources of the streams, and give its " +
			"consumer key and secret and its access token and secret: requests are signed with OAuth 1.0a.",
		Settings:   Settings{},
		Connection: Connection{},
		Streams:    described(),
		Records:    recordFacts, Limits: limitFacts,
		OpenSource: func(c connectors.Config) (any, error) { return open(c) },
		Polls:      true,
		AccountOf:  accountOf,
		Budget:     connectors.Budget{Concurrent: concurrency},
	}
}

// source is an opened shop.
type source struct {
	*client
	pageSize int
	overlap  time.Duration
	budget   connectors.Budget
	// streams are the ones that the block reads, nil where that is not known.
	streams []string
}

var (
	_ connectors.Source  = (*source)(nil)
	_ connectors.Pacer   = (*source)(nil)
	_ connectors.Checker = (*source)(nil)
)

// storeCode is a store view's code as the shop allows it.
var storeCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,31}$`)

func open(c connectors.Config) (*source, error) {
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	conn, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	s := &source{
		pageSize: cmp.Or(settings.PageSize, defaultPage), overlap: defaultOverlap, streams: c.Streams,
		budget: connectors.Budget{Concurrent: cmp.Or(conn.Concurrency, concurrency)},
	}
	store := cmp.Or(settings.Store, defaultStore)
	switch {
	case !storeCode.MatchString(store):
		return nil, invalid("settings field store: want the code of a store view, such as default, or all")
	case s.pageSize < 1 || s.pageSize > maxPage:
		return nil, invalid("settings field page_size: want 1 to %d", maxPage)
	case conn.Concurrency < 0 || conn.Concurrency > maxConcurrency:
		return nil, invalid("connection field concurrency: want 1 to %d", maxConcurrency)
	}
	if settings.Overlap != "" {
		if s.overlap, err = time.ParseDuration(settings.Overlap); err != nil || s.overlap < 0 || s.overlap > maxOverlap {
			return nil, invalid("settings field overlap: want a duration from 0s to 24h, such as 5m")
		}
	}
	s.client, err = newClient(conn, store, c.Env)
	return s, err
}

// Budget is what the shop's owner allows Tributary to ask for at once.
func (s *source) Budget(connectors.FetchRequest) connectors.Budget { return s.budget }

func invalid(format string, args ...any) error {
	return connectors.Errorf(connectors.Invalid, name, format, args...)
}

// accountOf is the shop's host and path; an unreadable connection has none.
func accountOf(connection json.RawMessage) string {
	c, err := connectors.Decode[Connection](connection)
	if err != nil {
		return ""
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Host), ":443") + strings.TrimRight(u.Path, "/")
}
