// Package shopify reads a Shopify store: by webhooks, by polling the GraphQL Admin API, or both.
//
// Polled records carry the GraphQL node, received ones the webhook's body, each byte for byte (I8); Key and Version agree between the
// two, so that one change seen both ways is recognised. Polling can't see deletions; webhooks can.
// API: https://shopify.dev/docs/api/admin-graphql, https://shopify.dev/docs/apps/build/webhooks
package shopify

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/connectors/oauth"
)

// Settings are a block's settings.
type Settings struct {
	APIVersion string `json:"api_version,omitempty" jsonschema:"description=Version of the Admin API: 2025-10 or later,default=2026-07"`
	PageSize   int    `json:"page_size,omitempty" jsonschema:"description=Most records asked for at once. Shopify charges a query for every object it may return: larger pages may be refused as too costly,minimum=1,maximum=250"`
	Overlap    string `json:"overlap,omitempty" jsonschema:"description=How far a poll reaches back before the newest change seen so that what Shopify indexes late is not missed (such as 2m),default=2m"`
	Bulk       string `json:"bulk,omitempty" jsonschema:"description=Whether a first read uses Shopify's bulk operations: auto does so once it is large; never reads by pages; always starts with one. Fulfillments and refunds are always read by pages,enum=auto,enum=never,enum=always,default=auto"`
}

// Connection is what is stored for a shop.
type Connection struct {
	Shop        string `json:"shop" jsonschema:"description=The shop's own domain such as example.myshopify.com,required"`
	AccessToken string `json:"access_token,omitempty" jsonschema:"description=Admin API access token of the app in this shop; left out where client_id and client_secret get it,format=password"`
	// RefreshToken and ClientID renew the token.
	RefreshToken string `json:"refresh_token,omitempty" jsonschema:"description=Refresh token of an access token that expires; it is replaced with each renewal,format=password"`
	ExpiresAt    string `json:"expires_at,omitempty" jsonschema:"description=When the access token expires as RFC 3339; kept up to date by renewals,format=date-time"`
	ClientID     string `json:"client_id,omitempty" jsonschema:"description=The app's client ID: with client_secret it renews tokens. Without a refresh_token it gets tokens of a day by the client credentials grant"`
	// ClientSecret signs webhooks; a connection that is only polled can do without.
	ClientSecret              string `json:"client_secret,omitempty" jsonschema:"description=The app's client secret: webhooks are signed with it,format=password"`
	PreviousClientSecret      string `json:"previous_client_secret,omitempty" jsonschema:"description=The client secret before a rotation: accepted until previous_client_secret_until,format=password"`
	PreviousClientSecretUntil string `json:"previous_client_secret_until,omitempty" jsonschema:"description=When the previous secret stops to be accepted as RFC 3339. Shopify may sign with it for an hour after a rotation,format=date-time"`
	AdminURL                  string `json:"admin_url,omitempty" jsonschema:"description=Base URL to call instead of https://<shop>: for a sandbox shop or a proxy,format=uri"`
}

const (
	defaultVersion = "2026-07"
	// oldestVersion is the first whose webhook subscriptions have a uri:
	// https://shopify.dev/changelog/consolidate-webhook-graphql-surfaces
	oldestVersion  = "2025-10"
	defaultOverlap = 2 * time.Minute
	// maxPage and maxDepth are the vendor's: https://shopify.dev/docs/api/usage/limits
	maxPage  = 250
	maxDepth = 25_000
	// concurrency is how many calls to one shop run at once.
	concurrency = 4
)

var (
	shopDomain = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}\.myshopify\.com$`)
	apiVersion = regexp.MustCompile(`^20\d\d-(01|04|07|10)$`)
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name:  "shopify",
		Title: "Shopify",
		Doc: "Customers, orders, products, variants, inventory, fulfillments, refunds, draft orders, collections and checkouts of a Shopify store, by " +
			"webhooks and by polling the GraphQL Admin API. Create an app in Shopify's Dev Dashboard, grant it the access scopes of the streams, install it in the " +
			"shop, and store its client ID and secret as the connection; or store an access token. Shopify hands out orders older than 60 days only to apps with " +
			"read_all_orders.",
		Settings:   Settings{},
		Connection: Connection{},
		App:        App{},
		Renewal:    renewal,
		Streams:    describeStreams(),
		Records:    recordFacts, Limits: limitFacts,
		OpenSource: func(c connectors.Config) (any, error) { return open(c) },
		Polls:      true,
		Receives:   true,
		AccountOf:  accountOf,
		// Shopify counts points, not calls, and says itself how long to wait; this keeps many installations from
		// crowding one shop while its answer is on the way.
		Budget: connectors.Budget{Calls: 20, Per: time.Second, Concurrent: concurrency},
	}
}

// accountOf is the shop's domain; an unreadable connection has none.
func accountOf(connection json.RawMessage) string {
	c, err := connectors.Decode[Connection](connection)
	if err != nil {
		return ""
	}
	return normalShop(c.Shop)
}

// normalShop takes what people paste: any case, with a scheme or a slash, or the bare handle.
func normalShop(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	s = strings.TrimSuffix(s, "/")
	if s != "" && !strings.Contains(s, ".") {
		s += ".myshopify.com"
	}
	return s
}

// source is an opened shop.
type source struct {
	*client
	shop     string
	secrets  oauth.Secrets
	pageSize int // 0 = the stream's own
	depth    int // how deep a query may be paged
	version  string
	bulk     bulkMode
	// bulkAfter is how many records a first read has had by pages before a bulk operation takes over.
	bulkAfter int
	// ownURL says that the shop is called at the connection's admin_url.
	ownURL  bool
	overlap time.Duration
	// streams are the ones that the block reads, nil where that is not known.
	streams []string
}

var (
	_ connectors.Source     = (*source)(nil)
	_ connectors.Receiver   = (*source)(nil)
	_ connectors.Subscriber = (*source)(nil)
	_ connectors.Checker    = (*source)(nil)
)

func open(c connectors.Config) (*source, error) {
	const op = "shopify"
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	conn, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	s := &source{
		shop: normalShop(conn.Shop), pageSize: settings.PageSize, depth: maxDepth, overlap: defaultOverlap, streams: c.Streams, bulkAfter: bulkAfter,
		ownURL: conn.AdminURL != "",
	}
	base, h, err := reach(conn, c.Env)
	if err != nil {
		return nil, err
	}
	if conn.AccessToken == "" {
		return nil, connectors.Errorf(connectors.Invalid, op,
			"connection field access_token is missing: store one, or a client_id and client_secret, of which one is got before the connection is used")
	}
	if s.pageSize < 0 || s.pageSize > maxPage {
		return nil, connectors.Errorf(connectors.Invalid, op, "settings field page_size: want 1 to %d", maxPage)
	}
	if settings.Overlap != "" {
		if s.overlap, err = time.ParseDuration(settings.Overlap); err != nil || s.overlap < 0 || s.overlap > 24*time.Hour {
			return nil, connectors.Errorf(connectors.Invalid, op, "settings field overlap: want a duration from 0s to 24h, such as 2m")
		}
	}
	if s.bulk = bulkMode(cmp.Or(settings.Bulk, string(bulkAuto))); !slices.Contains([]bulkMode{bulkAuto, bulkNever, bulkAlways}, s.bulk) {
		return nil, connectors.Errorf(connectors.Invalid, op, "settings field bulk: want auto, never or always")
	}
	version := cmp.Or(settings.APIVersion, defaultVersion)
	if !apiVersion.MatchString(version) || version < oldestVersion {
		return nil, connectors.Errorf(connectors.Invalid, op, "settings field api_version: want %s or a later quarter, such as %s", oldestVersion, defaultVersion)
	}
	s.version = version
	app, err := connectors.Decode[App](c.App)
	if err != nil {
		return nil, err
	}
	if conn.ClientSecret == "" { // webhooks of an app of many merchants are signed with the operator's
		conn.ClientSecret, conn.PreviousClientSecret, conn.PreviousClientSecretUntil = app.ClientSecret, app.PreviousClientSecret, app.PreviousClientSecretUntil
	}
	if s.secrets, err = oauth.SigningSecrets(op, "connection field previous_client_secret_until",
		conn.ClientSecret, conn.PreviousClientSecret, conn.PreviousClientSecretUntil); err != nil {
		return nil, err
	}
	s.client = newClient(base.JoinPath("admin", "api", version, "graphql.json"), conn, h, c.Env.Time)
	return s, nil
}
