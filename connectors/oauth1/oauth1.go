// Package oauth1 signs requests with OAuth 1.0a and HMAC-SHA256, for apps whose tokens do not expire: https://www.rfc-editor.org/rfc/rfc5849
//
// HMAC-SHA256 is no method of the RFC, but signs what its HMAC-SHA1 signs (section 3.4.2).
package oauth1

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
)

// Credentials are those of a client and of the token by which an account lets it in.
type Credentials struct {
	ConsumerKey, ConsumerSecret string
	Token, TokenSecret          string
	// Realm is sent where it is not empty. It is no part of what is signed (section 3.4.1.3.1).
	Realm string
}

// Sign sets the header Authorization of a request that the app knows under the URL known: the one that is called, unless a proxy stands before the
// app. The body is not signed, so that it must not be a form. Apps disagree on what + in a query means: write a space as %20 (see Query).
func (c Credentials) Sign(req *http.Request, known *url.URL, now time.Time) {
	params := [][2]string{
		{"oauth_consumer_key", c.ConsumerKey},
		{"oauth_nonce", rand.Text()},
		{"oauth_signature_method", "HMAC-SHA256"},
		{"oauth_timestamp", strconv.FormatInt(now.Unix(), 10)},
		{"oauth_token", c.Token},
		{"oauth_version", "1.0"},
	}
	var header strings.Builder
	header.WriteString("OAuth ")
	if c.Realm != "" {
		header.WriteString(`realm="` + c.Realm + `",`)
	}
	for _, p := range params {
		header.WriteString(p[0] + `="` + Percent(p[1]) + `",`)
	}
	for key, values := range known.Query() {
		for _, v := range values {
			params = append(params, [2]string{key, v})
		}
	}
	mac := hmac.New(sha256.New, []byte(Percent(c.ConsumerSecret)+"&"+Percent(c.TokenSecret)))
	mac.Write([]byte(baseString(req.Method, known, params)))
	header.WriteString(`oauth_signature="` + Percent(base64.StdEncoding.EncodeToString(mac.Sum(nil))) + `"`)
	req.Header.Set("Authorization", header.String())
}

// baseString is what is signed: section 3.4.1. Parameters are sorted by name, then by value, both encoded.
func baseString(method string, u *url.URL, params [][2]string) string {
	encoded := make([][2]string, 0, len(params))
	for _, p := range params {
		encoded = append(encoded, [2]string{Percent(p[0]), Percent(p[1])})
	}
	slices.SortFunc(encoded, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	pairs := make([]string, 0, len(encoded))
	for _, p := range encoded {
		pairs = append(pairs, p[0]+"="+p[1])
	}
	return method + "&" + Percent(baseURI(u)) + "&" + Percent(strings.Join(pairs, "&"))
}

// baseURI names the scheme's own port not: section 3.4.1.2.
func baseURI(u *url.URL) string {
	scheme, host, path := strings.ToLower(u.Scheme), strings.ToLower(u.Host), u.EscapedPath()
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	// JoinPath on a URL without a path gives one that begins with no slash, which a request adds.
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return scheme + "://" + host + path
}

// Query writes a query in which a space is %20, which every app reads alike.
func Query(values url.Values) string {
	return strings.ReplaceAll(values.Encode(), "+", "%20")
}

// Percent encodes all but the unreserved characters: section 3.6.
func Percent(s string) string {
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
