package oauth

import (
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// refusal says what an answer without a token means (RFC 6749, section 5.2). The status decides what the endpoint can't say of itself,
// its code the rest; nothing of the answer but a code that is known is repeated (I7).
func (r Request) refusal(op string, res *http.Response, body []byte, now time.Time) *connectors.Error {
	status := res.StatusCode
	fail := func(kind connectors.Kind, format string, args ...any) *connectors.Error {
		e := connectors.Errorf(kind, op, format, args...)
		e.Wait = outbound.RetryAfter(res.Header.Get("Retry-After"), now)
		return e
	}
	text := http.StatusText(status)
	switch {
	case status == http.StatusTooManyRequests:
		return fail(connectors.RateLimited, "HTTP 429: the token endpoint is called too often")
	case status == http.StatusRequestTimeout, status >= 500:
		return fail(connectors.Unavailable, "HTTP %d %s", status, text)
	case status/100 == 3:
		return fail(connectors.Unavailable, "HTTP %d: the token endpoint redirects elsewhere, which is not followed", status)
	}
	isJSON := connectors.CheckPayload(op, body) == nil
	code := ""
	if r.ErrorCode != nil {
		code = r.ErrorCode(status, body)
	}
	if code == "" && isJSON {
		code = gjson.GetBytes(body, "error").Str
	}
	if kind, ok := kinds[code]; ok {
		return fail(kind, "%s (%s)", advice(code, r), code)
	}
	switch {
	case status/100 == 2:
		return fail(connectors.Unavailable, "HTTP %d with an answer that is no token: perhaps a maintenance page", status)
	case status == http.StatusUnauthorized:
		return fail(connectors.Unauthorized, "HTTP 401: the app does not accept the credentials: check the app's own, or connect the account again")
	case status == http.StatusNotFound, status == http.StatusGone:
		return fail(connectors.NotFound, "HTTP %d: there is no token endpoint at that address", status)
	case !isJSON:
		return fail(connectors.Unavailable, "HTTP %d with an answer that is not JSON: something before the token endpoint may have sent it", status)
	case status == http.StatusForbidden:
		return fail(connectors.Forbidden, "HTTP 403: the app may not get tokens of this account")
	}
	return fail(connectors.Invalid, "HTTP %d %s: the token endpoint refuses the request, without a reason that is known", status, text)
}

// kinds are those of the error codes of RFC 6749 (sections 5.2 and 4.1.2.1), and of RFC 8628.
var kinds = map[string]connectors.Kind{
	"invalid_grant":           connectors.Unauthorized,
	"access_denied":           connectors.Unauthorized,
	"invalid_client":          connectors.Unauthorized,
	"unauthorized_client":     connectors.Forbidden,
	"invalid_scope":           connectors.Forbidden,
	"invalid_request":         connectors.Invalid,
	"unsupported_grant_type":  connectors.Invalid,
	"server_error":            connectors.Unavailable,
	"temporarily_unavailable": connectors.Unavailable,
	"slow_down":               connectors.RateLimited,
}

// advice says in words what a code asks for.
func advice(code string, r Request) string {
	switch code {
	case "invalid_grant", "access_denied":
		if r.RefreshToken != "" {
			return "the refresh token was revoked, has expired or was used before: connect the account again"
		}
		return "the app refuses what was sent to prove the account: set the connection again, and check its key and certificate and this machine's clock"
	case "invalid_client":
		if r.ClientSecret != "" {
			return "the app's own credentials are refused: correct its client ID and secret"
		}
		return "the client is not known, or what was sent to prove it is refused: correct the client ID, and check its key and certificate"
	case "unauthorized_client":
		return "the app is not allowed to get tokens in this way: allow it where the app is registered"
	case "invalid_scope":
		return "the app is not granted the scope that is asked for: grant it where the app is registered, and connect the account again"
	case "slow_down":
		return "the token endpoint is called too often"
	case "server_error", "temporarily_unavailable":
		return "the token endpoint can't answer now"
	}
	return "the token endpoint does not understand the request"
}
