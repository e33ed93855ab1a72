package shopify

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest/clock"
	"tributary/internal/sandbox"
)

func renewed(t *testing.T, conn Connection, app any, env connectors.Env) (Connection, error) {
	t.Helper()
	c := connectors.Config{Connection: raw(t, conn), Env: env}
	if app != nil {
		c.App = raw(t, app)
	}
	out, err := Definition().Renewal.Renew(t.Context(), c)
	if err != nil {
		return Connection{}, err
	}
	got, err := connectors.Decode[Connection](out)
	if err != nil {
		t.Fatal(err)
	}
	return got, nil
}

func checks(t *testing.T, shop *sandbox.Shop, conn Connection, env connectors.Env) error {
	t.Helper()
	env.Transport = handlerTransport{shop}
	src, err := open(connectors.Config{Connection: raw(t, conn), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return src.Check(t.Context())
}

// An offline token of an hour is renewed by its refresh token, which is another one afterwards.
func TestRefreshTokensRenew(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Expiring: true, Now: clock.Now})
	env := connectors.Env{Transport: handlerTransport{shop}, Now: clock.Now}
	conn := Connection{
		Shop: shop.Domain(), AccessToken: shop.AccessToken(), RefreshToken: shop.RefreshToken(),
		ExpiresAt: clock.Now().Add(time.Hour).Format(time.RFC3339), PreviousClientSecret: "old", PreviousClientSecretUntil: "2026-04-01T00:00:00Z",
	}
	app := App{ClientID: shop.ClientID(), ClientSecret: shop.ClientSecret()}
	r := Definition().Renewal
	if at := r.Due(raw(t, conn)); !at.Equal(clock.Now().Add(45 * time.Minute)) {
		t.Errorf("due at %s", at)
	}
	if at := r.Expires(raw(t, conn)); !at.Equal(clock.Now().Add(time.Hour)) {
		t.Errorf("expires at %s", at)
	}
	clock.Advance(2 * time.Hour)
	if err := checks(t, shop, conn, env); kind(err) != connectors.Unauthorized {
		t.Errorf("after its hour: %v, want unauthorized", err)
	}
	next, err := renewed(t, conn, app, env)
	if err != nil {
		t.Fatal(err)
	}
	if next.AccessToken == conn.AccessToken || next.RefreshToken == conn.RefreshToken || next.RefreshToken != shop.RefreshToken() {
		t.Errorf("the tokens are %+v", next)
	}
	want := conn
	want.AccessToken, want.RefreshToken, want.ExpiresAt = next.AccessToken, next.RefreshToken, clock.Now().Add(time.Hour).Format(time.RFC3339)
	if next != want {
		t.Errorf("%+v, want %+v: what is not of the token stays", next, want)
	}
	// The answer is lost, and so the same token is sent again; then the new one is used.
	again, err := renewed(t, conn, app, env)
	if err != nil {
		t.Fatalf("a lost answer: %v", err)
	}
	if err := checks(t, shop, again, env); err != nil {
		t.Errorf("the new token: %v", err)
	}
	if _, err := renewed(t, conn, app, env); kind(err) != connectors.Unauthorized || !strings.Contains(err.Error(), "connect the account again") {
		t.Errorf("a refresh token whose successor is used: %v, want unauthorized", err)
	}
	clock.Advance(91 * 24 * time.Hour)
	if _, err := renewed(t, again, app, env); kind(err) != connectors.Unauthorized {
		t.Errorf("a refresh token of 91 days: %v, want unauthorized", err)
	}
}

// An app of one's own shops gets a token by its client ID and secret, and needs none to begin with.
func TestClientCredentialsGetAToken(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Now: clock.Now})
	server := httptest.NewServer(shop)
	t.Cleanup(server.Close)
	env := connectors.Env{Networks: loopback(t), Now: clock.Now}
	conn := Connection{Shop: shop.Domain(), ClientID: shop.ClientID(), ClientSecret: shop.ClientSecret(), AdminURL: server.URL}
	r := Definition().Renewal
	if at := r.Due(raw(t, conn)); at.IsZero() || at.After(clock.Now()) {
		t.Errorf("without a token it is due at %s", at)
	}
	next, err := renewed(t, conn, nil, env)
	if err != nil {
		t.Fatal(err)
	}
	if next.AccessToken == "" || next.RefreshToken != "" || next.ExpiresAt != clock.Now().Add(24*time.Hour).Format(time.RFC3339) {
		t.Errorf("%+v", next)
	}
	if err := checks(t, shop, next, env); err != nil {
		t.Errorf("the token: %v", err)
	}
	if _, err := open(connectors.Config{Connection: raw(t, conn), Env: env}); kind(err) != connectors.Invalid || !strings.Contains(err.Error(), "client_id") {
		t.Errorf("opened before it got its token: %v", err)
	}
	env.Networks = nil
	if _, err := renewed(t, conn, nil, env); kind(err) != connectors.Invalid {
		t.Errorf("inside the operator's network: %v, want invalid", err)
	}
}

func TestRenewalsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options sandbox.Options
		conn    func(*Connection)
		want    connectors.Kind
	}{
		"another's shop":  {sandbox.Options{Elsewhere: true}, func(*Connection) {}, connectors.Forbidden},
		"wrong secret":    {sandbox.Options{}, func(c *Connection) { c.ClientSecret = "shpss_canary" }, connectors.Unauthorized},
		"no secret":       {sandbox.Options{}, func(c *Connection) { c.ClientSecret = "" }, connectors.Invalid},
		"no refresh left": {sandbox.Options{Expiring: true}, func(c *Connection) { c.RefreshToken = "shprt_canary" }, connectors.Unauthorized},
		"no shop":         {sandbox.Options{}, func(c *Connection) { c.Shop = "thief.example" }, connectors.Invalid},
	} {
		shop := newShop(t, c.options)
		conn := Connection{Shop: shop.Domain(), ClientID: shop.ClientID(), ClientSecret: shop.ClientSecret()}
		c.conn(&conn)
		_, err := renewed(t, conn, nil, connectors.Env{Transport: handlerTransport{shop}})
		if kind(err) != c.want || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestTokensThatHoldForEver(t *testing.T) {
	t.Parallel()
	r := Definition().Renewal
	for _, conn := range []string{`{"shop":"example","access_token":"t","client_secret":"s"}`, `{"shop":"example","access_token":"t","expires_at":"2020-01-01T00:00:00Z"}`, "nonsense"} {
		if at := r.Due(json.RawMessage(conn)); !at.IsZero() {
			t.Errorf("%s is due at %s", conn, at)
		}
	}
}

// Webhooks of an app of many merchants are signed with the operator's secret, and with the one before while both are in use.
func TestWebhooksOfAnAppOfMany(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	c := capture(t)
	all := openShop(t, shop, Settings{}, connectors.Env{})
	if _, err := all.Subscribe(t.Context(), connectors.SubscribeRequest{URL: c.URL, Streams: []string{"customers"}}); err != nil {
		t.Fatal(err)
	}
	shop.Create(sandbox.Customers)
	d := c.next(t)
	clock := clock.New()
	until := clock.Now().Add(time.Hour).Format(time.RFC3339)
	for name, a := range map[string]struct {
		app  App
		fits bool
	}{
		"its own":         {App{ClientID: "x", ClientSecret: shop.ClientSecret()}, true},
		"the one before":  {App{ClientID: "x", ClientSecret: "new", PreviousClientSecret: shop.ClientSecret(), PreviousClientSecretUntil: until}, true},
		"another":         {App{ClientID: "x", ClientSecret: "new"}, false},
		"too long before": {App{ClientID: "x", ClientSecret: "new", PreviousClientSecret: shop.ClientSecret(), PreviousClientSecretUntil: clock.Now().Format(time.RFC3339)}, false},
	} {
		src, err := open(connectors.Config{
			Connection: raw(t, Connection{Shop: shop.Domain(), AccessToken: "t"}), App: raw(t, a.app), Env: connectors.Env{Now: clock.Now},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Receive(t.Context(), d); (err == nil) != a.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}
