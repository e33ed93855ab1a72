package magento_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
)

// Each part of the credentials counts, and what is said of one that is wrong tells what to do.
func TestCredentialsThatAreRefused(t *testing.T) {
	t.Parallel()
	const resource = "Magento_Sales::actions_view"
	for name, c := range map[string]struct {
		connect func(string) magento.Connection
		change  func(*magento.Connection)
		kind    connectors.Kind
		says    string
	}{
		"a consumer key":         {signing, func(c *magento.Connection) { c.ConsumerKey = "other" }, connectors.Unauthorized, "integration is active"},
		"a consumer secret":      {signing, func(c *magento.Connection) { c.ConsumerSecret = "a%b c&d" }, connectors.Unauthorized, "signature"},
		"an access token":        {signing, func(c *magento.Connection) { c.AccessToken = "other" }, connectors.Unauthorized, "token does not exist"},
		"an access token secret": {signing, func(c *magento.Connection) { c.AccessTokenSecret = "other" }, connectors.Unauthorized, "signature"},
		"a bearer token":         {bearer, func(c *magento.Connection) { c.AccessToken = "other" }, connectors.Unauthorized, "the access token is not accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := magentotest.New(t, returned)
			conn := c.connect(s.URL)
			c.change(&conn)
			_, err := openWith(t, s, conn, magento.Settings{}).(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
			connectortest.WantError(t, err, c.kind, c.says)
		})
	}
	for name, connect := range map[string]func(string) magento.Connection{"a right": signing, "a right, bearer": bearer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := magentotest.New(t, returned)
			s.Deny(resource)
			_, err := openWith(t, s, connect(s.URL), magento.Settings{}).(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
			connectortest.WantError(t, err, connectors.Forbidden, "isn't authorized to access "+resource, "grant the integration the resource "+resource)
			if strings.Contains(err.Error(), "token") {
				t.Errorf("the token is as it should be: %v", err)
			}
		})
	}
	t.Run("bearer tokens off", func(t *testing.T) {
		t.Parallel()
		s := magentotest.New(t, returned)
		s.Bearer = false
		_, err := openWith(t, s, bearer(s.URL), magento.Settings{}).(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
		connectortest.WantError(t, err, connectors.Unauthorized, resource, "allows access tokens as bearer tokens")
	})
}

// Whether a bearer token is accepted is told by another request. Where its answer says nothing, the token may still be right; where it has none, it comes again.
func TestAnswersToWhoSendsABearerToken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		kind   connectors.Kind
		says   string
	}{
		"a guest":       {401, `{"message":"The consumer isn't authorized to access %resources."}`, connectors.Unauthorized, "not accepted"},
		"a member":      {200, ` ["Magento_Store"]`, connectors.Forbidden, "grant the integration"},
		"no list":       {200, `<html>`, connectors.Forbidden, "or, if it has that, check"},
		"a firewall":    {403, ``, connectors.Forbidden, "or, if it has that, check"},
		"maintenance":   {503, ``, connectors.Unavailable, "HTTP 503"},
		"too much":      {429, ``, connectors.Unavailable, "HTTP 429"},
		"broken off":    {0, ``, connectors.Unavailable, "fetch orders"},
		"a large guest": {401, strings.Repeat(" ", 1<<20), connectors.Unauthorized, "not accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "7")
				switch {
				case r.URL.Path == "/rest/all/V1/orders":
					w.WriteHeader(http.StatusUnauthorized)
					_, _ = w.Write([]byte(`{"message":"The consumer isn't authorized to access %resources.","parameters":{"resources":"Magento_Sales::actions_view"}}`))
				case r.URL.Path != "/rest/all/V1/modules" || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "Bearer "+magentotest.AccessToken:
					t.Errorf("asked for %s", r.URL)
				case c.status == 0:
					panic(http.ErrAbortHandler)
				default:
					w.WriteHeader(c.status)
					_, _ = w.Write([]byte(c.body))
				}
			}))
			t.Cleanup(server.Close)
			_, err := openWith(t, magentotest.New(t, returned), bearer(server.URL), magento.Settings{}).(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
			connectortest.WantError(t, err, c.kind, c.says)
			if wait := connectors.AsError("", err).Wait; c.status > 403 && wait != 7*time.Second {
				t.Errorf("comes again after %s", wait)
			}
		})
	}
}

func TestWhatTheShopRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings magento.Settings
		path     string
		change   func(*magentotest.Server)
		kind     connectors.Kind
		says     string
	}{
		"a store view":    {magento.Settings{Store: "french"}, "", nil, connectors.NotFound, "store view french"},
		"a path":          {magento.Settings{}, "/shop", nil, connectors.NotFound, "check the connection's url"},
		"a large page":    {magento.Settings{PageSize: 301}, "", func(s *magentotest.Server) { s.PageLimit = 300 }, connectors.TooLarge, "Maximum SearchCriteria pageSize is 300"},
		"all maintenance": {magento.Settings{}, "", (*magentotest.Server).Maintain, connectors.Unavailable, "maintenance"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := magentotest.New(t, returned)
			if c.change != nil {
				c.change(s)
			}
			_, err := openWith(t, s, signing(s.URL+c.path), c.settings).(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
			connectortest.WantError(t, err, c.kind, c.says)
		})
	}
}

// What the connector gives no cause for has its kind as well.
func TestDocumentedErrorsHaveTheirKind(t *testing.T) {
	t.Parallel()
	for message, kind := range map[string]connectors.Kind{
		"The nonce is already being used by the consumer with ID 1":                                  connectors.Unavailable,
		"Access token has been revoked":                                                              connectors.Unauthorized,
		"Incorrect timestamp value in the oauth_timestamp parameter":                                 connectors.Unauthorized,
		`"%fieldName" is required. Enter and try again.`:                                             connectors.Invalid,
		`The "%value" value's type is invalid. The "%type" type was expected. Verify and try again.`: connectors.Invalid,
		"Internal Error. Details are available in Magento log file. Report ID: webapi-69a42b2c":      connectors.Unavailable,
	} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			s := magentotest.New(t, returned)
			source := open(t, s, magento.Settings{})
			s.Fail(message)
			_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
			connectortest.WantError(t, err, kind, strings.TrimSuffix(message, "."))
			s.Fail("")
			var cursor []byte
			connectortest.Poll(t, source, "orders", &cursor)
		})
	}
}

// Answers of shops, and of what stands before them, that the stand-in does not give.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		kind   connectors.Kind
		says   string
	}{
		"parameters by number": {400, `{"message":"Invalid attribute name: %1 of %2","parameters":["x","y"]}`, connectors.Invalid, "Invalid attribute name: x of y"},
		"parameters by name":   {400, `{"message":"\"%fieldName\" is required.","parameters":{"fieldName":"searchCriteria"}}`, connectors.Invalid, `"searchCriteria" is required`},
		"a problem of OAuth":   {401, `{"oauth_problem":"The signature is invalid"}`, connectors.Unauthorized, "signature"},
		"a firewall":           {403, `<html>`, connectors.Forbidden, "firewall"},
		"a redirect":           {301, ``, connectors.NotFound, "redirects"},
		"too large":            {413, ``, connectors.TooLarge, "page_size"},
		"a report":             {500, `{"message":"Internal Error. Details are available in Magento log file. Report ID: webapi-1"}`, connectors.Unavailable, "webapi-1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://elsewhere.example.com/")
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			t.Cleanup(server.Close)
			_, err := openWith(t, magentotest.New(t, returned), signing(server.URL), magento.Settings{}).(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "orders"})
			connectortest.WantError(t, err, c.kind, c.says)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	good := signing("https://shop.example.com")
	for name, c := range map[string]struct {
		settings string
		change   func(*magento.Connection)
		says     string
	}{
		"no url":                {`{}`, func(c *magento.Connection) { c.URL = "" }, "url"},
		"a url inside":          {`{}`, func(c *magento.Connection) { c.URL = "https://127.0.0.1/" }, "inside the network"},
		"a url with a query":    {`{}`, func(c *magento.Connection) { c.URL = "https://shop.example.com/?store=x" }, "without a query"},
		"http":                  {`{}`, func(c *magento.Connection) { c.URL = "http://shop.example.com/" }, "url"},
		"no token":              {`{}`, func(c *magento.Connection) { c.AccessToken = "" }, "access_token"},
		"no consumer secret":    {`{}`, func(c *magento.Connection) { c.ConsumerSecret = "" }, "consumer_secret"},
		"no token secret":       {`{}`, func(c *magento.Connection) { c.AccessTokenSecret = "" }, "access_token_secret"},
		"too many at once":      {`{}`, func(c *magento.Connection) { c.Concurrency = 21 }, "concurrency"},
		"a store that is a way": {`{"store": "../x"}`, nil, "store"},
		"a page too large":      {`{"page_size": 1001}`, nil, "page_size"},
		"an overlap of nothing": {`{"overlap": "soon"}`, nil, "overlap"},
		"an unknown setting":    {`{"size": 1}`, nil, "size"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := good
			if c.change != nil {
				c.change(&conn)
			}
			_, err := magento.Definition().OpenSource(connectors.Config{Settings: []byte(c.settings), Connection: raw(t, conn)})
			connectortest.WantError(t, err, connectors.Invalid, c.says)
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("a secret shows in %v", err)
			}
		})
	}
}

// A shop is one account however its URL is written.
func TestAccount(t *testing.T) {
	t.Parallel()
	of := magento.Definition().AccountOf
	for _, url := range []string{"https://shop.example.com", "https://Shop.example.com/", "https://shop.example.com:443"} {
		if got := of(raw(t, magento.Connection{URL: url})); got != "shop.example.com" {
			t.Errorf("%q is account %q", url, got)
		}
	}
	if got := of(raw(t, magento.Connection{URL: "https://example.com/shop/"})); got != "example.com/shop" {
		t.Errorf("a shop below a path is account %q", got)
	}
	if got := of([]byte("[")); got != "" {
		t.Errorf("an unreadable connection has the account %q", got)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		deny    []string
		streams []string
		kind    connectors.Kind // "" = all is well
		says    string
	}{
		"all rights":           {nil, []string{"orders", "stock"}, "", ""},
		"the right it needs":   {[]string{"Magento_Sales::actions_view"}, []string{"customers"}, "", ""},
		"a right it lacks":     {[]string{"Magento_Sales::shipment"}, []string{"orders", "shipments"}, connectors.Forbidden, "Magento_Sales::shipment"},
		"an unknown stream":    {nil, []string{"unicorns"}, connectors.NotFound, "no such stream"},
		"by itself":            {[]string{"Magento_Sales::actions_view"}, nil, "", ""},
		"by itself, no rights": {resources(), nil, connectors.Forbidden, "Magento_Sales::actions_view"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := magentotest.New(t, returned)
			for _, r := range c.deny {
				s.Deny(r)
			}
			err := openWith(t, s, signing(s.URL), magento.Settings{}, c.streams...).(connectors.Checker).Check(t.Context())
			if c.kind == "" && err != nil {
				t.Error(err)
			} else if c.kind != "" {
				connectortest.WantError(t, err, c.kind, c.says)
			}
		})
	}
	t.Run("by itself, wrong credentials", func(t *testing.T) {
		t.Parallel()
		s := magentotest.New(t, returned)
		conn := signing(s.URL)
		conn.ConsumerSecret = "other"
		connectortest.WantError(t, openWith(t, s, conn, magento.Settings{}).(connectors.Checker).Check(t.Context()), connectors.Unauthorized)
	})
}

// resources are those of all streams.
func resources() []string {
	return strings.Fields(`Magento_Sales::actions_view Magento_Customer::customer Magento_Catalog::products Magento_Sales::sales_invoice
		Magento_Sales::shipment Magento_Sales::sales_creditmemo Magento_Cart::manage Magento_Catalog::categories Magento_InventoryApi::source`)
}
