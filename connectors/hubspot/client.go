package hubspot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

const (
	// maxBody bounds an answer after decompression. 100 contacts with all of 500 properties are a few MiB.
	maxBody = 64 << 20
	// maxRefusal bounds what is read of an answer that is not a success.
	maxRefusal = 64 << 10
	// callTimeout bounds a call, the body included, whatever the caller's context allows.
	callTimeout = 60 * time.Second
)

// client calls the API: with an account's token, or with the key of the app's developer.
type client struct {
	base    *url.URL
	token   string // sent as a bearer token
	key     string // or as the parameter hapikey
	http    *http.Client
	now     func() time.Time
	secrets []string // what an error must never repeat (I7)
}

// answer is a success of the API.
type answer struct {
	body    []byte
	date    time.Time // the vendor's clock; zero = unknown
	allowed *connectors.Budget
}

// call sends a request and returns an answer whose body is a JSON object, or empty where the status is 204. body is nil or becomes JSON.
func (c *client) call(ctx context.Context, op, method string, query url.Values, body any, path ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target := c.base.JoinPath(path...)
	if c.key != "" {
		if query == nil {
			query = url.Values{}
		}
		query.Set("hapikey", c.key)
	}
	target.RawQuery = query.Encode()
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return answer{}, connectors.Errorf(connectors.Invalid, op, "the request is not valid JSON")
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return answer{}, connectors.Errorf(connectors.Invalid, op, "the API's URL is not valid")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, outbound.AsError(op, err)
	}
	defer res.Body.Close()
	return c.read(op, res)
}

func (c *client) read(op string, res *http.Response) (answer, error) {
	success := res.StatusCode/100 == 2
	limit := int64(maxBody + 1)
	if !success {
		limit = maxRefusal
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit))
	var over *http.MaxBytesError
	switch {
	case !success:
		return answer{}, c.refusal(op, res, body)
	case len(body) > maxBody, errors.As(err, &over):
		return answer{}, connectors.Errorf(connectors.TooLarge, op, "the answer is larger than %d MiB", maxBody>>20)
	case err != nil:
		return answer{}, outbound.AsError(op, err)
	case res.StatusCode == http.StatusNoContent:
		return answer{}, nil
	case connectors.CheckPayload(op, body) != nil || body[0] != '{':
		return answer{}, connectors.Errorf(connectors.Unavailable, op, "HubSpot answered with something else than a whole JSON object: perhaps a maintenance page")
	}
	out := answer{body: body, allowed: allowedBy(res.Header)}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		out.date = date
	}
	return out, nil
}

// allowedBy reads what the account is allowed from the headers that every answer has but those of searches.
// https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
func allowedBy(h http.Header) *connectors.Budget {
	calls, err := strconv.Atoi(h.Get("X-HubSpot-RateLimit-Max"))
	if err != nil || calls < 1 || calls > 100_000 {
		return nil
	}
	millis, err := strconv.Atoi(h.Get("X-HubSpot-RateLimit-Interval-Milliseconds"))
	if err != nil || millis < 1 || millis > int(time.Hour/time.Millisecond) {
		return nil
	}
	return &connectors.Budget{Calls: calls, Per: time.Duration(millis) * time.Millisecond, Concurrent: concurrency}
}

// refusal classifies an answer that is no success. https://developers.hubspot.com/docs/api/error-handling
func (c *client) refusal(op string, res *http.Response, body []byte) error {
	fail := func(kind connectors.Kind, message string) *connectors.Error {
		if said := c.said(body); said != "" {
			message += fmt.Sprintf(" (HubSpot says: %s)", said)
		}
		e := connectors.Errorf(kind, op, "HTTP %d: %s", res.StatusCode, message)
		e.Wait = outbound.RetryAfter(res.Header.Get("Retry-After"), c.now())
		return e
	}
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized && c.key != "":
		return fail(connectors.Unauthorized, "the app's developer_api_key is not accepted: store the key of the developer account that the app belongs to")
	case code == http.StatusUnauthorized:
		return fail(connectors.Unauthorized, "the access token is not accepted: the app may have been uninstalled; connect the account again")
	case code == http.StatusForbidden:
		return fail(connectors.Forbidden, "the app may not do this"+c.redact(missingScopes(body)))
	case code == http.StatusNotFound:
		e := fail(connectors.NotFound, "there is no such thing: the account may not have this object type")
		e.Err = errAbsent
		return e
	case code/100 == 3:
		return fail(connectors.NotFound, "HubSpot redirects elsewhere, which is not followed")
	case code == http.StatusRequestEntityTooLarge:
		return fail(connectors.TooLarge, "the request is too large")
	case code == http.StatusTooManyRequests:
		e := fail(connectors.RateLimited, "too many calls")
		if e.Wait == 0 {
			e.Wait = policyWait(body)
		}
		return e
	case code == http.StatusLocked: // for two seconds, says the vendor
		e := fail(connectors.Unavailable, "the object is locked for a moment")
		e.Wait = max(e.Wait, 2*time.Second)
		return e
	case code == 477:
		return fail(connectors.Unavailable, "HubSpot is moving the account to another data centre")
	case code == http.StatusRequestTimeout, code >= 500:
		return fail(connectors.Unavailable, "HubSpot is not available now")
	case code == http.StatusConflict:
		e := fail(connectors.Invalid, "there is such a thing already")
		e.Err = errConflict
		return e
	}
	return fail(connectors.Invalid, "the request is refused")
}

// What HubSpot itself says of a thing.
var (
	errConflict = errors.New("conflict")
	errAbsent   = errors.New("absent")
)

// policyWait is how long the limit that was reached lasts, where the answer does not say so itself. The daily limit ends at midnight in the
// account's time zone, which nobody tells: an hour is a call an hour until then.
// https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
func policyWait(body []byte) time.Duration {
	policy := ""
	if connectors.CheckPayload("", body) == nil {
		policy = gjson.GetBytes(body, "policyName").Str
	}
	switch policy {
	case "DAILY":
		return time.Hour
	case "SECONDLY":
		return time.Second
	}
	return 10 * time.Second
}

// missingScopes names what a 403 of category MISSING_SCOPES asks for.
func missingScopes(body []byte) string {
	if connectors.CheckPayload("", body) != nil {
		return ""
	}
	var scopes []string
	for _, path := range []string{"errors.#.context.requiredGranularScopes|@flatten", "errors.#.context.requiredScopes|@flatten", "context.missingScopes"} {
		for _, scope := range gjson.GetBytes(body, path).Array() {
			if scopeName(scope.Str) && len(scopes) < 10 {
				scopes = append(scopes, scope.Str)
			}
		}
	}
	if scopes == nil {
		return ": grant it the scope for reading this object type, and connect the account again"
	}
	return ": grant it " + strings.Join(scopes, " or ") + ", and connect the account again"
}

// scopeName keeps anything but a scope's name out of a message.
func scopeName(s string) bool {
	return s != "" && len(s) <= 100 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// said is the vendor's own explanation, without what must not be shown; empty where there is none.
func (c *client) said(body []byte) string {
	if connectors.CheckPayload("", body) != nil {
		return ""
	}
	return c.redact(gjson.GetBytes(body, "message").Str)
}

// redact takes secrets out of a vendor's text and clips it.
func (c *client) redact(text string) string {
	for _, secret := range c.secrets {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return connectors.Clip(text, 300)
}
