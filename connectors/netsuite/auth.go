package netsuite

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tributary/connectors"
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
		return tokenBased{conn, now}.sign, nil
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

// tokenBased signs with OAuth 1.0a (RFC 5849), HMAC-SHA256, as the vendor's token-based authentication wants it:
// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157652573296.html
type tokenBased struct {
	conn Connection
	now  func() time.Time
}

func (t tokenBased) sign(req *http.Request, vendor *url.URL) error {
	params := [][2]string{
		{"oauth_consumer_key", t.conn.ConsumerKey},
		{"oauth_nonce", rand.Text()},
		{"oauth_signature_method", "HMAC-SHA256"},
		{"oauth_timestamp", strconv.FormatInt(t.now().Unix(), 10)},
		{"oauth_token", t.conn.TokenID},
		{"oauth_version", "1.0"},
	}
	header := `OAuth realm="` + normalAccount(t.conn.Account) + `"`
	for _, p := range params {
		header += "," + p[0] + `="` + percent(p[1]) + `"`
	}
	// The realm is no part of what is signed (section 3.4.1.3.1), the query is.
	for key, values := range vendor.Query() {
		for _, v := range values {
			params = append(params, [2]string{key, v})
		}
	}
	mac := hmac.New(sha256.New, []byte(percent(t.conn.ConsumerSecret)+"&"+percent(t.conn.TokenSecret)))
	mac.Write([]byte(baseString(req.Method, vendor, params)))
	req.Header.Set("Authorization", header+`,oauth_signature="`+percent(base64.StdEncoding.EncodeToString(mac.Sum(nil)))+`"`)
	return nil
}

// baseString is what is signed: RFC 5849, section 3.4.1.
func baseString(method string, u *url.URL, params [][2]string) string {
	pairs := make([]string, 0, len(params))
	for _, p := range params {
		pairs = append(pairs, percent(p[0])+"="+percent(p[1]))
	}
	slices.Sort(pairs)
	return method + "&" + percent(u.Scheme+"://"+strings.ToLower(u.Host)+u.EscapedPath()) + "&" + percent(strings.Join(pairs, "&"))
}

// percent encodes all but the unreserved characters: RFC 5849, section 3.6.
func percent(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b.WriteByte(c)
		default:
			b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
		}
	}
	return b.String()
}
