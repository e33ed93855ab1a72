package netsuite

import (
	"context"
	"encoding/json"
	"time"

	"tributary/connectors"
	"tributary/connectors/oauth"
)

const opRenew = "renew token"

// due tells when an access token is to be renewed: one that there is not yet, at once. Token-based authentication has none.
func due(connection json.RawMessage) time.Time {
	return deadline(connection, func(c Connection) string { return c.RenewAt })
}

func expires(connection json.RawMessage) time.Time {
	return deadline(connection, func(c Connection) string { return c.ExpiresAt })
}

func deadline(connection json.RawMessage, of func(Connection) string) time.Time {
	c, err := connectors.Decode[Connection](connection)
	if err != nil || c.PrivateKey == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, of(c))
	if err != nil || c.AccessToken == "" {
		return time.Unix(0, 0)
	}
	return at
}

// renew gets an access token, which lives for 60 minutes, by an assertion.
// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_162755359851.html
func renew(ctx context.Context, c connectors.Config) (json.RawMessage, error) {
	conn, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	s, err := signerOf(conn)
	if err != nil {
		return nil, err
	}
	root, transport, err := reach(conn, c.Env)
	if err != nil {
		return nil, err
	}
	endpoint := root.path(tokenPath)
	assertion, err := s.assertion(endpoint.vendor.String(), c.Env.Time())
	if err != nil {
		return nil, err
	}
	token, err := oauth.ClientCredentials(ctx, oauth.Request{
		URL: endpoint.called.String(), Assertion: assertion, Transport: transport, Now: c.Env.Time,
	})
	if err != nil {
		return nil, err
	}
	conn.AccessToken = token.AccessToken
	conn.ExpiresAt = token.ExpiresAt.Format(time.RFC3339)
	conn.RenewAt = token.RenewAt.Format(time.RFC3339)
	raw, err := json.Marshal(conn)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, opRenew, "the connection cannot be written")
	}
	return raw, nil
}
