package shopify

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/oauth"
	"tributary/connectors/outbound"
)

// Tokens that expire come in two ways. An app of many merchants has an offline token of an hour and a refresh token, which is replaced each time:
// https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/offline-access-tokens. An app of one's own shops gets a token for a
// day by its client ID and secret: https://shopify.dev/docs/apps/build/authentication-authorization/client-credentials-grant

// renewBefore is how long before its end a token is renewed.
const renewBefore = 15 * time.Minute

// App is what the operator stores once for an app that many merchants install.
type App struct {
	ClientID                  string `json:"client_id" jsonschema:"description=The app's client ID,required"`
	ClientSecret              string `json:"client_secret" jsonschema:"description=The app's client secret: it renews tokens and signs webhooks,required,format=password"`
	PreviousClientSecret      string `json:"previous_client_secret,omitempty" jsonschema:"description=The client secret before a rotation: webhooks signed with it are accepted until previous_client_secret_until,format=password"`
	PreviousClientSecretUntil string `json:"previous_client_secret_until,omitempty" jsonschema:"description=When the previous secret stops to be accepted as RFC 3339,format=date-time"`
}

// renewal renews connections that have a refresh token or a client ID; others hold for ever.
var renewal = &connectors.Renewal{Due: due, Expires: expires, Renew: renew}

// longAgo is when a token that was never got has expired.
var longAgo = time.Unix(1, 0).UTC()

func due(connection json.RawMessage) time.Time {
	ends := expires(connection)
	if ends.IsZero() || ends.Equal(longAgo) {
		return ends
	}
	return ends.Add(-renewBefore)
}

func expires(connection json.RawMessage) time.Time {
	c, err := connectors.Decode[Connection](connection)
	if err != nil || c.RefreshToken == "" && c.ClientID == "" {
		return time.Time{}
	}
	ends, err := time.Parse(time.RFC3339, c.ExpiresAt)
	if err != nil || c.AccessToken == "" {
		return longAgo
	}
	return ends.UTC()
}

// renew gets another token.
func renew(ctx context.Context, c connectors.Config) (json.RawMessage, error) {
	conn, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	app, err := connectors.Decode[App](c.App)
	if err != nil {
		return nil, err
	}
	if conn.ClientID != "" {
		app.ClientID, app.ClientSecret = conn.ClientID, conn.ClientSecret
	}
	if app.ClientID == "" || app.ClientSecret == "" {
		return nil, connectors.Errorf(connectors.Invalid, "renew the token",
			"tokens that expire need the app's client ID and secret: store them in the connection, or once for all with `starter connection set shopify --app`")
	}
	base, client, err := reach(conn, c.Env)
	if err != nil {
		return nil, err
	}
	request := oauth.Request{
		URL: base.JoinPath("admin", "oauth", "access_token").String(), ClientID: app.ClientID, ClientSecret: app.ClientSecret,
		RefreshToken: conn.RefreshToken, ErrorCode: tokenError, Transport: client.Transport, Now: c.Env.Now,
	}
	exchange := oauth.Refresh
	if conn.RefreshToken == "" {
		exchange = oauth.ClientCredentials
	}
	token, err := exchange(ctx, request)
	if err != nil {
		return nil, err
	}
	conn.AccessToken, conn.RefreshToken = token.AccessToken, token.RefreshToken
	conn.ExpiresAt = token.ExpiresAt.Format(time.RFC3339)
	out, err := json.Marshal(conn)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "renew the token", "the connection is not valid JSON")
	}
	return out, nil
}

// tokenError translates Shopify's own words. A refresh token that is no more, of an app that was uninstalled too, is answered with 401 invalid_request.
func tokenError(status int, body []byte) string {
	if connectors.CheckPayload("", body) != nil {
		return ""
	}
	switch code := gjson.GetBytes(body, "error").Str; {
	case status == http.StatusUnauthorized && code == "invalid_request":
		return "invalid_grant"
	case code == "shop_not_permitted", code == "app_not_installed":
		return "unauthorized_client"
	}
	return ""
}

// reach is where a shop is called and with what. The vendor's hosts are reached as the operator says; a URL that a user gave never leads into the
// operator's network (I14). The domain decides who gets the token, so that nothing but the vendor's own passes.
func reach(conn Connection, env connectors.Env) (*url.URL, *http.Client, error) {
	const op = "shopify"
	shop := normalShop(conn.Shop)
	if !shopDomain.MatchString(shop) {
		return nil, nil, connectors.Errorf(connectors.Invalid, op, "connection field shop: want the shop's own domain, such as example.myshopify.com")
	}
	base := &url.URL{Scheme: "https", Host: shop}
	h := outbound.Client(outbound.Options{Allowed: env.Networks, Concurrency: concurrency, Timeout: callTimeout, MaxBody: maxBody + 1})
	switch {
	case conn.AdminURL != "":
		if err := outbound.CheckURL(conn.AdminURL, env.Networks); err != nil {
			return nil, nil, connectors.Errorf(connectors.Invalid, op, "connection field admin_url: %s", err)
		}
		var err error
		if base, err = url.Parse(conn.AdminURL); err != nil || base.RawQuery != "" {
			return nil, nil, connectors.Errorf(connectors.Invalid, op, "connection field admin_url: want a base URL without a query")
		}
	case env.Transport != nil:
		// A redirect would carry the access token to whoever it names.
		h = &http.Client{Transport: env.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return base, h, nil
}
