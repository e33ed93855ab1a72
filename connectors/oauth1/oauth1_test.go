package oauth1

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The example of RFC 5849, section 3.4.1.1, whose parameters are those of section 3.4.1.3.1.
func TestBaseString(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("http://EXAMPLE.COM:80/request")
	if err != nil {
		t.Fatal(err)
	}
	params := [][2]string{
		{"b5", "=%3D"}, {"a3", "a"}, {"c@", ""}, {"a2", "r b"},
		{"oauth_consumer_key", "9djdj82h48djs9d2"}, {"oauth_token", "kkk9d7dh3k39sjv7"}, {"oauth_signature_method", "HMAC-SHA1"},
		{"oauth_timestamp", "137131201"}, {"oauth_nonce", "7d8f3e4a"}, {"c2", ""}, {"a3", "2 q"},
	}
	const want = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26" +
		"oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26" +
		"oauth_token%3Dkkk9d7dh3k39sjv7"
	if got := baseString("POST", u, params); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Section 3.4.1.2: the scheme's own port is not named, any other is.
func TestBaseURI(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"https://Shop.example.com:443/a%20b":  "https://shop.example.com/a%20b",
		"https://shop.example.com:8443/?q=1":  "https://shop.example.com:8443/",
		"http://shop.example.com:443/x":       "http://shop.example.com:443/x",
		"https://shop.example.com":            "https://shop.example.com/",
		"http://shop.example.com:80/rest/all": "http://shop.example.com/rest/all",
	} {
		u, err := url.Parse(given)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURI(u); got != want {
			t.Errorf("%s is %s, want %s", given, got, want)
		}
	}
	if got := baseURI((&url.URL{Scheme: "https", Host: "example.com"}).JoinPath("rest", "V1")); got != "https://example.com/rest/V1" {
		t.Errorf("a joined path gives %s", got)
	}
}

// A name that begins another sorts before it, whatever follows the = of both: "a" before "a-b", though "-" is before "=".
func TestParametersAreSortedByName(t *testing.T) {
	t.Parallel()
	got := baseString("GET", &url.URL{Scheme: "https", Host: "example.com"}, [][2]string{{"a-b", "1"}, {"a", "2"}})
	if !strings.HasSuffix(got, "&a%3D2%26a-b%3D1") {
		t.Error(got)
	}
}

// What a request is signed with, and that each has a nonce of its own. That the signature is right is checked by the stand-ins of those who sign.
func TestSign(t *testing.T) {
	t.Parallel()
	c := Credentials{ConsumerKey: "key", ConsumerSecret: "s&cret", Token: "token", TokenSecret: "other", Realm: "1234567_SB1"}
	nonces := map[string]bool{}
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/?"+Query(url.Values{"at": {"2026-03-01 12:00:00"}}), nil)
		if err != nil {
			t.Fatal(err)
		}
		if req.URL.RawQuery != "at=2026-03-01%2012%3A00%3A00" {
			t.Errorf("the query is %s", req.URL.RawQuery)
		}
		c.Sign(req, req.URL, time.Unix(1772366400, 0))
		header := req.Header.Get("Authorization")
		for _, part := range []string{
			`OAuth realm="1234567_SB1",`, `oauth_consumer_key="key"`, `oauth_timestamp="1772366400"`, `oauth_signature_method="HMAC-SHA256"`, `oauth_signature="`,
		} {
			if !strings.Contains(header, part) {
				t.Errorf("%s lacks %s", header, part)
			}
		}
		if strings.Contains(header, "s&cret") || strings.Contains(header, "other") {
			t.Error("a secret is sent")
		}
		_, nonce, _ := strings.Cut(header, `oauth_nonce="`)
		nonce, _, _ = strings.Cut(nonce, `"`)
		nonces[nonce] = true
	}
	if len(nonces) != 3 {
		t.Errorf("%d nonces for 3 requests", len(nonces))
	}
}
