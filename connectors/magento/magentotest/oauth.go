package magentotest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// signed verifies a request by https://www.rfc-editor.org/rfc/rfc5849 over the URL by which the shop was called. As the shop does, it reads a + in
// the query as a plus sign.
func (s *Server) signed(r *http.Request, header, known string) *failure {
	deny := func(message string) *failure { return &failure{status: http.StatusUnauthorized, message: message} }
	got := map[string]string{}
	for _, part := range strings.Split(strings.TrimPrefix(header, "OAuth "), ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		text, err := url.PathUnescape(strings.Trim(value, `"`))
		if !ok || err != nil || !strings.HasPrefix(name, "oauth_") {
			return deny("The header Authorization is malformed.")
		}
		got[name] = text
	}
	at, err := strconv.ParseInt(got["oauth_timestamp"], 10, 64)
	nonce := got["oauth_timestamp"] + " " + got["oauth_nonce"]
	switch {
	case got["oauth_version"] != "1.0":
		return deny("The OAuth version is not supported.")
	case len(got["oauth_consumer_key"]) == 0 || got["oauth_consumer_key"] != ConsumerKey:
		return deny(noConsumer)
	case err != nil || time.Unix(at, 0).After(s.Now().Add(time.Minute)):
		return deny(badTime)
	case got["oauth_nonce"] == "" || s.nonces[nonce]:
		return deny(usedNonce)
	case got["oauth_token"] != s.token:
		return deny(noToken)
	case got["oauth_signature_method"] != "HMAC-SHA256":
		return deny("Signature method is not supported")
	}
	signature, err := base64.StdEncoding.DecodeString(got["oauth_signature"])
	delete(got, "oauth_signature")
	var pairs []string
	for name, value := range got {
		pairs = append(pairs, escape(name)+"="+escape(value))
	}
	for _, part := range strings.Split(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(part, "=")
		name, errName := url.PathUnescape(name)
		value, errValue := url.PathUnescape(value)
		if errName != nil || errValue != nil {
			return deny(badSign)
		}
		pairs = append(pairs, escape(name)+"="+escape(value))
	}
	sort.Strings(pairs)
	mac := hmac.New(sha256.New, []byte(escape(ConsumerSecret)+"&"+escape(AccessTokenSecret)))
	mac.Write([]byte(r.Method + "&" + escape(known) + "&" + escape(strings.Join(pairs, "&"))))
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return deny(badSign)
	}
	s.nonces[nonce] = true
	return nil
}

// escape is percent-encoding as https://www.rfc-editor.org/rfc/rfc5849#section-3.6 has it.
func escape(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~").Replace(url.QueryEscape(s))
}
