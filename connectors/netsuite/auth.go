package netsuite

import (
	"net/http"
	"net/url"
	"time"

	"tributary/connectors"
	"tributary/connectors/oauth1"
)

// authorize signs a request that the vendor knows under the URL vendor.
type authorize func(req *http.Request, vendor *url.URL) error

// authorization chooses by what the connection holds.
func authorization(conn Connection, now func() time.Time) (authorize, error) {
	oauth2 := conn.ClientID != "" || conn.CertificateID != "" || conn.PrivateKey != ""
	token := conn.ConsumerKey != "" || conn.ConsumerSecret != "" || conn.TokenID != "" || conn.TokenSecret != ""
	switch {
	case oauth2 == token:
		return nil, invalid("want either client_id, certificate_id and private_key, or consumer_key, consumer_secret, token_id and token_secret in the connection")
	case token:
		if conn.ConsumerKey == "" || conn.ConsumerSecret == "" || conn.TokenID == "" || conn.TokenSecret == "" {
			return nil, invalid("token-based authentication needs consumer_key, consumer_secret, token_id and token_secret in the connection")
		}
		// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157652573296.html
		credentials := oauth1.Credentials{
			ConsumerKey: conn.ConsumerKey, ConsumerSecret: conn.ConsumerSecret, Token: conn.TokenID, TokenSecret: conn.TokenSecret,
			Realm: normalAccount(conn.Account),
		}
		return func(req *http.Request, vendor *url.URL) error {
			credentials.Sign(req, vendor, now())
			return nil
		}, nil
	}
	if _, err := signerOf(conn); err != nil {
		return nil, err
	}
	return func(req *http.Request, _ *url.URL) error {
		if conn.AccessToken == "" {
			return connectors.Errorf(connectors.Unavailable, name, "there is no access token yet: it is got when the connection is renewed")
		}
		req.Header.Set("Authorization", "Bearer "+conn.AccessToken)
		return nil
	}, nil
}
