// Package hubspot reads a HubSpot account: by webhooks, by polling the CRM API, or both.
//
// Webhooks are thin. They come for all accounts of an app at one URL, each event with the portal ID of its account; a block takes the events
// as they come, or has the objects read that they are about. Polls and such completed webhooks read objects in the same way, so that they agree
// byte for byte, in key and version.
//
// API: https://developers.hubspot.com/docs/guides/crm/using-object-apis, https://developers.hubspot.com/docs/api/webhooks
package hubspot

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tributary/connectors"
	"tributary/connectors/oauth"
	"tributary/connectors/outbound"
)

// Settings are a block's settings.
type Settings struct {
	Receive    string              `json:"receive,omitempty" jsonschema:"description=What a webhook becomes: event keeps it as it came; object reads the whole object that it is about,enum=event,enum=object,default=event"`
	Properties map[string][]string `json:"properties,omitempty" jsonschema:"description=The properties that objects are read with by stream; all of a stream that is not named"`
	PageSize   int                 `json:"page_size,omitempty" jsonschema:"description=Most objects asked for at once,default=100,minimum=1,maximum=100"`
	Overlap    string              `json:"overlap,omitempty" jsonschema:"description=How far a poll reaches back before the newest change seen so that what HubSpot indexes late is not missed (such as 5m),default=5m"`
	Deletions  string              `json:"deletions,omitempty" jsonschema:"description=How often polls read the list of archived objects for deletes (such as 1h); never leaves them out,default=1h"`
}

// Connection is what is stored for an account: the tokens that it gave an app by OAuth, or the token of its own private app.
type Connection struct {
	PortalID     int64  `json:"portal_id" jsonschema:"description=The account's ID (Hub ID): webhooks and budgets go by it,required,minimum=1"`
	AccessToken  string `json:"access_token" jsonschema:"description=Access token: of OAuth or of a private app,required,format=password"`
	RefreshToken string `json:"refresh_token,omitempty" jsonschema:"description=Refresh token of OAuth; a private app has none,format=password"`
	ExpiresAt    string `json:"expires_at,omitempty" jsonschema:"description=When the access token of OAuth expires as RFC 3339,format=date-time"`
	RenewAt      string `json:"renew_at,omitempty" jsonschema:"description=When the access token is to be renewed as RFC 3339; set by renewing,format=date-time"`
	APIURL       string `json:"api_url,omitempty" jsonschema:"description=Base URL to call instead of https://api.hubapi.com: for a proxy,format=uri"`
}

// App is what the operator stores of an app: it signs webhooks, renews tokens and manages subscriptions.
type App struct {
	AppID        int64  `json:"app_id" jsonschema:"description=The app's ID,required,minimum=1"`
	ClientID     string `json:"client_id,omitempty" jsonschema:"description=The app's client ID: tokens are renewed with it"`
	ClientSecret string `json:"client_secret" jsonschema:"description=The app's client secret: webhooks are signed with it and tokens renewed,required,format=password"`

	PreviousClientSecret      string `json:"previous_client_secret,omitempty" jsonschema:"description=The client secret before a rotation: accepted until previous_client_secret_until,format=password"`
	PreviousClientSecretUntil string `json:"previous_client_secret_until,omitempty" jsonschema:"description=When the previous secret stops to be accepted as RFC 3339,format=date-time"`
	OnlyV3                    bool   `json:"only_v3,omitempty" jsonschema:"description=Refuse webhooks that have a signature of version 1 only: it covers no time"`

	DeveloperAPIKey string              `json:"developer_api_key,omitempty" jsonschema:"description=Developer API key: subscriptions are managed with it; without it they are set up by hand,format=password"`
	Properties      map[string][]string `json:"webhook_properties,omitempty" jsonschema:"description=The properties by stream whose changes HubSpot is to send; a few well-known ones of a stream that is not named"`
	APIURL          string              `json:"api_url,omitempty" jsonschema:"description=Base URL to call instead of https://api.hubapi.com: for a proxy,format=uri"`
}

const (
	apiHost          = "api.hubapi.com"
	defaultOverlap   = 5 * time.Minute
	defaultDeletions = time.Hour
	// maxPage is the vendor's for batch reads, with which each page is read:
	// https://developers.hubspot.com/docs/guides/crm/using-object-apis
	maxPage = 100
	// concurrency is how many calls to one account run at once.
	concurrency = 4
)

// Budgets of an account: https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines. Accounts may have more than the first,
// which their answers tell.
var (
	generalBudget = connectors.Budget{Calls: 110, Per: 10 * time.Second, Concurrent: concurrency}
	searchBudget  = connectors.Budget{Name: "search", Calls: 5, Per: time.Second, Concurrent: concurrency}
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name:  "hubspot",
		Title: "HubSpot",
		Doc: "Contacts, companies, deals, tickets, other CRM objects, engagements and custom objects of a HubSpot account, by webhooks and by " +
			"polling. Custom objects are streams by their type ID, such as 2-3465404. Connect an account by OAuth or with a private app's token; " +
			"webhooks need the app's own credentials, stored once by the operator.",
		Settings:   Settings{},
		Connection: Connection{},
		App:        App{},
		Renewal:    &connectors.Renewal{Due: renewalDue, Expires: expires, Renew: renew},
		Streams:    describeStreams(),
		AnyStream:  true,
		AppWide:    true,
		Records:    recordFacts, Limits: limitFacts,
		OpenSource: func(c connectors.Config) (any, error) { return open(c) },
		Polls:      true,
		Receives:   true,
		AccountOf:  accountOf,
		Budget:     generalBudget,
	}
}

// accountOf is the portal ID; an unreadable connection has none.
func accountOf(connection json.RawMessage) string {
	c, err := connectors.Decode[Connection](connection)
	if err != nil || c.PortalID <= 0 {
		return ""
	}
	return strconv.FormatInt(c.PortalID, 10)
}

// source is an opened account, an app, or an account of an app: what is missing is refused when it is needed.
type source struct {
	api       *client // calls with the account's token; nil without a connection
	portal    string
	objects   bool // webhooks become whole objects
	pageSize  int
	overlap   time.Duration
	deletions time.Duration // 0 = never
	fields    *fields
	now       func() time.Time
	// streams are the ones that the block reads, nil where that is not known.
	streams []string
	// app is 0 where no credentials of an app are given.
	app     int64
	secrets oauth.Secrets
	onlyV3  bool
}

var (
	_ connectors.Source     = (*source)(nil)
	_ connectors.Pacer      = (*source)(nil)
	_ connectors.Receiver   = (*source)(nil)
	_ connectors.Completer  = (*source)(nil)
	_ connectors.Checker    = (*source)(nil)
	_ connectors.Subscriber = (*subscriber)(nil)
)

func open(c connectors.Config) (any, error) {
	const op = "hubspot"
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	s := &source{now: c.Env.Time, streams: c.Streams}
	if err := s.set(settings); err != nil {
		return nil, err
	}
	if c.Connection != nil {
		conn, err := connectors.Decode[Connection](c.Connection)
		if err != nil {
			return nil, err
		}
		if conn.PortalID <= 0 || conn.AccessToken == "" {
			return nil, connectors.Errorf(connectors.Invalid, op, "connection fields portal_id and access_token: both are needed")
		}
		if s.api, err = newClient(conn.APIURL, c.Env, conn.AccessToken, conn.RefreshToken); err != nil {
			return nil, err
		}
		s.api.token = conn.AccessToken
		s.portal = accountOf(c.Connection)
	}
	if c.App == nil {
		return s, nil
	}
	app, err := connectors.Decode[App](c.App)
	if err != nil {
		return nil, err
	}
	if app.AppID <= 0 {
		return nil, connectors.Errorf(connectors.Invalid, op, "app field app_id: want the app's ID")
	}
	s.app, s.onlyV3 = app.AppID, app.OnlyV3
	if s.secrets, err = oauth.SigningSecrets(op, "app field previous_client_secret_until",
		app.ClientSecret, app.PreviousClientSecret, app.PreviousClientSecretUntil); err != nil {
		return nil, err
	}
	if app.DeveloperAPIKey == "" {
		return s, nil
	}
	return newSubscriber(s, app, c.Env)
}

// set takes over a block's settings.
func (s *source) set(settings Settings) error {
	const op = "hubspot"
	switch settings.Receive {
	case "", "event":
	case "object":
		s.objects = true
	default:
		return connectors.Errorf(connectors.Invalid, op, "settings field receive: want event or object")
	}
	s.pageSize = maxPage
	if settings.PageSize != 0 {
		s.pageSize = settings.PageSize
	}
	if s.pageSize < 1 || s.pageSize > maxPage {
		return connectors.Errorf(connectors.Invalid, op, "settings field page_size: want 1 to %d", maxPage)
	}
	var err error
	s.overlap = defaultOverlap
	if settings.Overlap != "" {
		if s.overlap, err = time.ParseDuration(settings.Overlap); err != nil || s.overlap < 0 || s.overlap > 24*time.Hour {
			return connectors.Errorf(connectors.Invalid, op, "settings field overlap: want a duration from 0s to 24h, such as 5m")
		}
	}
	s.deletions = defaultDeletions
	switch settings.Deletions {
	case "":
	case "never":
		s.deletions = 0
	default:
		if s.deletions, err = time.ParseDuration(settings.Deletions); err != nil || s.deletions < time.Second || s.deletions > 30*24*time.Hour {
			return connectors.Errorf(connectors.Invalid, op, "settings field deletions: want a duration from 1s to 720h, such as 1h, or never")
		}
	}
	s.fields, err = newFields(settings.Properties)
	return err
}

// newClient calls the vendor, or the URL that is to be called in its place.
func newClient(apiURL string, env connectors.Env, secrets ...string) (*client, error) {
	base, transport, err := reach(apiURL, env)
	if err != nil {
		return nil, err
	}
	c := &client{base: base, now: env.Time, http: &http.Client{
		Transport: transport,
		// A redirect would carry the credentials to whoever it names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, secret := range secrets {
		if secret != "" {
			c.secrets = append(c.secrets, secret)
		}
	}
	return c, nil
}

// reach gives the base URL and the way to it. The vendor's host is reached as the operator says; a URL that a user gave never leads into the
// operator's network (I14).
func reach(apiURL string, env connectors.Env) (*url.URL, http.RoundTripper, error) {
	base := &url.URL{Scheme: "https", Host: apiHost}
	user := outbound.Transport(outbound.Options{Allowed: env.Networks, Concurrency: concurrency, MaxBody: maxBody + 1})
	switch {
	case apiURL != "":
		if err := outbound.CheckURL(apiURL, env.Networks); err != nil {
			return nil, nil, connectors.Errorf(connectors.Invalid, "hubspot", "field api_url: %s", err)
		}
		given, err := url.Parse(apiURL)
		if err != nil || given.RawQuery != "" {
			return nil, nil, connectors.Errorf(connectors.Invalid, "hubspot", "field api_url: want a base URL without a query")
		}
		return given, user, nil
	case env.Transport != nil:
		return base, env.Transport, nil
	}
	return base, user, nil
}
