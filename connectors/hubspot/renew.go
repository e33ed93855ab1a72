package hubspot

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/oauth"
)

// renewBefore is how long before its end a token is renewed whose lifetime is not known; HubSpot's live for 30 minutes.
const renewBefore = 10 * time.Minute

// renewalDue is when an account's access token is to be renewed; that of a private app does not expire. HubSpot counts refused calls, so that a
// 401 is no way to find out.
func renewalDue(connection json.RawMessage) time.Time {
	c, err := connectors.Decode[Connection](connection)
	if err != nil || c.RefreshToken == "" {
		return time.Time{}
	}
	if at, err := time.Parse(time.RFC3339, c.RenewAt); err == nil {
		return at
	}
	if ends := expires(connection); !ends.Equal(longAgo) {
		return ends.Add(-renewBefore)
	}
	return longAgo
}

// longAgo is when a token has stopped to work whose end nobody knows.
var longAgo = time.Unix(1, 0)

// expires is when an account's access token stops to work.
func expires(connection json.RawMessage) time.Time {
	c, err := connectors.Decode[Connection](connection)
	if err != nil || c.RefreshToken == "" {
		return time.Time{}
	}
	if at, err := time.Parse(time.RFC3339, c.ExpiresAt); err == nil {
		return at
	}
	return longAgo
}

// renew exchanges the refresh token: https://developers.hubspot.com/docs/api/oauth/tokens
func renew(ctx context.Context, c connectors.Config) (json.RawMessage, error) {
	const op = "renew"
	conn, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	app, err := connectors.Decode[App](c.App)
	if err != nil {
		return nil, err
	}
	if app.ClientID == "" || app.ClientSecret == "" {
		return nil, connectors.Errorf(connectors.Forbidden, op, "the app's client_id and client_secret are needed: store the app's credentials")
	}
	// The app's own URL, never the connection's: the secret is the operator's.
	base, transport, err := reach(app.APIURL, c.Env)
	if err != nil {
		return nil, err
	}
	token, err := oauth.Refresh(ctx, oauth.Request{
		URL: base.JoinPath("oauth", "v1", "token").String(), ClientID: app.ClientID, ClientSecret: app.ClientSecret,
		RefreshToken: conn.RefreshToken, Transport: transport, Now: c.Env.Time, ErrorCode: tokenError,
	})
	if err != nil {
		return nil, err
	}
	conn.AccessToken, conn.RefreshToken = token.AccessToken, token.RefreshToken
	conn.ExpiresAt, conn.RenewAt = token.ExpiresAt.Format(time.RFC3339), token.RenewAt.Format(time.RFC3339)
	return json.Marshal(conn)
}

// tokenError reads the vendor's own codes of refusal.
func tokenError(status int, body []byte) string {
	if status/100 != 4 || status == http.StatusTooManyRequests || connectors.CheckPayload("", body) != nil {
		return ""
	}
	switch gjson.GetBytes(body, "status").Str {
	case "BAD_REFRESH_TOKEN", "BAD_AUTH_CODE":
		return "invalid_grant"
	case "BAD_CLIENT_ID", "BAD_CLIENT_SECRET":
		return "invalid_client"
	case "BAD_GRANT_TYPE":
		return "unsupported_grant_type"
	}
	return ""
}
