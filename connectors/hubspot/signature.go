package hubspot

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tributary/connectors"
)

// tolerance is how far the time of a signature may be from our clock: https://developers.hubspot.com/docs/api/webhooks/validating-requests
const tolerance = 5 * time.Minute

// authenticate compares on the raw bytes, before anything else looks at them (I13). HubSpot sends a signature of version 3, which covers method,
// URL, body and time, beside the older one of version 1, which covers the body. Where the newer one is there, the older one does not count.
func (s *source) authenticate(d connectors.Delivery) error {
	refuse := func(message string) error {
		return connectors.Errorf(connectors.Unauthorized, "receive", "%s", message)
	}
	if len(s.secrets) == 0 {
		return refuse("there is no client_secret of the app: webhooks can't be checked; store the app's credentials")
	}
	if len(d.Header.Values(headerV3)) > 0 {
		return s.authenticateV3(d, refuse)
	}
	if s.onlyV3 {
		return refuse("want a signature of version 3 (" + headerV3 + ")")
	}
	got, ok := one(d.Header, headerV1)
	version, known := one(d.Header, headerVersion)
	if !ok || !known || version != "v1" {
		return refuse("want one " + headerV3 + ", or one " + headerV1 + " of version v1")
	}
	want, err := hex.DecodeString(got)
	if err != nil || len(want) != sha256.Size || strings.ToLower(got) != got {
		return refuse(headerV1 + " is not 64 hexadecimal digits")
	}
	for _, key := range s.secrets.Valid(s.now()) {
		sum := sha256.New()
		sum.Write(key)
		sum.Write(d.Body)
		if hmac.Equal(sum.Sum(nil), want) {
			return nil
		}
	}
	return refuse("the signature does not fit the body: check the app's client_secret")
}

const (
	headerV3      = "X-HubSpot-Signature-v3"
	headerTime    = "X-HubSpot-Request-Timestamp"
	headerV1      = "X-HubSpot-Signature"
	headerVersion = "X-HubSpot-Signature-Version"
)

func (s *source) authenticateV3(d connectors.Delivery, refuse func(string) error) error {
	got, ok := one(d.Header, headerV3)
	stamp, timed := one(d.Header, headerTime)
	if !ok || !timed {
		return refuse("want one " + headerV3 + " and one " + headerTime)
	}
	want, err := base64.StdEncoding.Strict().DecodeString(got)
	if err != nil || len(want) != sha256.Size {
		return refuse(headerV3 + " is not base64 of 32 bytes")
	}
	millis, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || strconv.FormatInt(millis, 10) != stamp {
		return refuse(headerTime + " is not a number of milliseconds")
	}
	fits := false
	for _, key := range s.secrets.Valid(s.now()) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(d.Method + decodeURI(d.URL)))
		mac.Write(d.Body)
		mac.Write([]byte(stamp))
		fits = fits || hmac.Equal(mac.Sum(nil), want)
	}
	if !fits {
		return refuse("the signature does not fit the request: check the app's client_secret, and that HubSpot calls the very URL that is the public one")
	}
	// Only now, so that nobody learns our clock by asking.
	if at := time.UnixMilli(millis); s.now().Sub(at).Abs() > tolerance {
		return refuse("the signature's time is more than 5 minutes away: a replay, or the clock is wrong")
	}
	return nil
}

// one is a header that must be there once.
func one(h http.Header, name string) (string, bool) {
	values := h.Values(name)
	if len(values) != 1 || values[0] == "" {
		return "", false
	}
	return values[0], true
}

// decodeURI decodes those characters of a URL that the vendor signs decoded.
func decodeURI(uri string) string { return signedDecoded.Replace(uri) }

// https://developers.hubspot.com/docs/api/webhooks/validating-requests
var signedDecoded = strings.NewReplacer(
	"%3A", ":", "%3a", ":", "%2F", "/", "%2f", "/", "%3F", "?", "%3f", "?", "%40", "@", "%21", "!", "%24", "$", "%27", "'",
	"%28", "(", "%29", ")", "%2A", "*", "%2a", "*", "%2C", ",", "%2c", ",", "%3B", ";", "%3b", ";",
)
