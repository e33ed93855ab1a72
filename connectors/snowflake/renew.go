package snowflake

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"tributary/connectors"
	"tributary/connectors/oauth"
	"tributary/connectors/outbound"
)

// OAuth is how a connection gets access tokens: by a refresh token that Snowflake gave (https://docs.snowflake.com/en/user-guide/oauth-custom) or the
// authorization server of an External OAuth integration, or there by the client's own credentials (https://docs.snowflake.com/en/user-guide/oauth-ext-overview).
// Snowflake's tokens live for ten minutes; a session that was begun with one outlives it.
type OAuth struct {
	OAuthToken        string `json:"oauth_token,omitempty" jsonschema:"description=OAuth access token; it is renewed where oauth_client_id and oauth_client_secret are given,format=password"`
	OAuthRefreshToken string `json:"oauth_refresh_token,omitempty" jsonschema:"description=OAuth refresh token by which access tokens are renewed; without it by the client's own credentials,format=password"`
	OAuthClientID     string `json:"oauth_client_id,omitempty" jsonschema:"description=ID of the OAuth client"`
	OAuthClientSecret string `json:"oauth_client_secret,omitempty" jsonschema:"description=Secret of the OAuth client,format=password"`
	OAuthTokenURL     string `json:"oauth_token_url,omitempty" jsonschema:"format=uri,description=Token endpoint of an External OAuth integration's authorization server; without it Snowflake's own"`
	OAuthScope        string `json:"oauth_scope,omitempty" jsonschema:"description=Scope to ask for such as session:role:LOADER"`
	// Written by Renewal.
	OAuthExpiresAt string `json:"oauth_expires_at,omitempty" jsonschema:"format=date-time,description=When the access token ends; written when it is renewed"`
	OAuthRenewAt   string `json:"oauth_renew_at,omitempty" jsonschema:"format=date-time,description=When the access token is renewed; written when it is renewed"`
}

// renews says whether the connection can get tokens.
func (o OAuth) renews() bool { return o.OAuthClientID != "" && o.OAuthClientSecret != "" }

// given says whether the connection logs in by OAuth.
func (o OAuth) given() bool { return o != OAuth{} }

// problem is what does not go together.
func (o OAuth) problem(env connectors.Env) string {
	switch {
	case (o.OAuthClientID == "") != (o.OAuthClientSecret == ""):
		return "oauth_client_id and oauth_client_secret belong together"
	case o.OAuthRefreshToken != "" && !o.renews():
		return "oauth_refresh_token needs oauth_client_id and oauth_client_secret"
	case o.OAuthToken == "" && !o.renews():
		return "oauth_token is missing"
	case o.renews() && o.OAuthRefreshToken == "" && o.OAuthTokenURL == "":
		return "give oauth_refresh_token, or the oauth_token_url of an External OAuth integration: Snowflake itself gives no tokens for a client's own credentials"
	}
	if o.OAuthTokenURL != "" {
		if err := outbound.CheckURL(o.OAuthTokenURL, env.Networks); err != nil {
			return "oauth_token_url: " + connectors.AsError("", err).Message
		}
	}
	return ""
}

// longAgo is when a token has ended whose end nobody knows.
var longAgo = time.Unix(1, 0)

func renewalDue(connection json.RawMessage) time.Time {
	return tokenTime(connection, func(o OAuth) string { return o.OAuthRenewAt })
}

func tokenExpires(connection json.RawMessage) time.Time {
	return tokenTime(connection, func(o OAuth) string { return o.OAuthExpiresAt })
}

// tokenTime reads a time of an access token that can be renewed; zero: it can't.
func tokenTime(connection json.RawMessage, of func(OAuth) string) time.Time {
	c, err := connectors.Decode[Connection](connection)
	if err != nil || !c.renews() {
		return time.Time{}
	}
	if at, err := time.Parse(time.RFC3339, of(c.OAuth)); err == nil {
		return at
	}
	return longAgo
}

// renew gets the next access token.
func renew(ctx context.Context, c connectors.Config) (json.RawMessage, error) {
	conn, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	config, err := conn.config(c.Operator, c.Env)
	if err != nil {
		return nil, err
	}
	r := oauth.Request{
		URL: conn.OAuthTokenURL, ClientID: conn.OAuthClientID, ClientSecret: conn.OAuthClientSecret, Basic: true,
		RefreshToken: conn.OAuthRefreshToken, Scope: conn.OAuthScope, Transport: config.Transporter, Now: c.Env.Time,
	}
	get := oauth.ClientCredentials
	if conn.OAuthRefreshToken != "" {
		get = oauth.Refresh
	}
	if r.URL == "" {
		r.URL = (&url.URL{Scheme: config.Protocol, Host: address(config), Path: "/oauth/token-request"}).String()
	} else {
		client := outbound.Client(outbound.Options{Allowed: c.Env.Networks})
		defer client.CloseIdleConnections()
		r.Transport = client.Transport
	}
	if idle, ok := config.Transporter.(interface{ CloseIdleConnections() }); ok {
		defer idle.CloseIdleConnections()
	}
	token, err := get(ctx, r)
	if err != nil {
		return nil, err
	}
	conn.OAuthToken, conn.OAuthRefreshToken = token.AccessToken, token.RefreshToken
	conn.OAuthExpiresAt, conn.OAuthRenewAt = token.ExpiresAt.Format(time.RFC3339), token.RenewAt.Format(time.RFC3339)
	return json.Marshal(conn)
}
