package shopify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

const (
	// maxBody bounds an answer after decompression. 250 orders with their lines are a few MiB.
	maxBody = 32 << 20
	// maxRefusal bounds what is read of an answer that is not 200.
	maxRefusal = 64 << 10
	// callTimeout bounds a call, the body included, whatever the caller's context allows.
	callTimeout = 60 * time.Second
)

// client calls one shop's GraphQL Admin API.
type client struct {
	endpoint *url.URL
	token    string
	http     *http.Client
	now      func() time.Time
	secrets  []string // what an error must never repeat (I7)
}

func newClient(endpoint *url.URL, conn Connection, h *http.Client, now func() time.Time) *client {
	c := &client{endpoint: endpoint, token: conn.AccessToken, http: h, now: now}
	for _, secret := range []string{conn.AccessToken, conn.RefreshToken, conn.ClientSecret, conn.PreviousClientSecret} {
		if secret != "" {
			c.secrets = append(c.secrets, secret)
		}
	}
	return c
}

// answer is what a query gave: well-formed JSON without errors.
type answer struct {
	body []byte
	// at is the shop's clock, or ours where it does not tell.
	at time.Time
	// pace is how long to leave the shop alone before the same is asked again.
	pace time.Duration
}

// call runs a query and returns the whole answer's body.
func (c *client) call(ctx context.Context, op, query string, variables map[string]any) ([]byte, error) {
	a, err := c.ask(ctx, op, query, variables)
	return a.body, err
}

// ask runs a query.
func (c *client) ask(ctx context.Context, op, query string, variables map[string]any) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return answer{}, connectors.Errorf(connectors.Invalid, op, "the query's variables are not valid JSON")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String(), bytes.NewReader(request))
	if err != nil {
		return answer{}, connectors.Errorf(connectors.Invalid, op, "the shop's URL is not valid")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Shopify-Access-Token", c.token)
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, outbound.AsError(op, err)
	}
	defer res.Body.Close()
	limit := int64(maxBody + 1)
	if res.StatusCode != http.StatusOK {
		limit = maxRefusal
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit))
	var over *http.MaxBytesError
	switch {
	case res.StatusCode != http.StatusOK:
		return answer{}, c.refusal(op, res, body)
	case len(body) > maxBody, errors.As(err, &over):
		return answer{}, connectors.Errorf(connectors.TooLarge, op, "the shop's answer is larger than %d MiB", maxBody>>20)
	case err != nil:
		return answer{}, outbound.AsError(op, err)
	}
	if connectors.CheckPayload(op, body) != nil || body[0] != '{' {
		return answer{}, connectors.Errorf(connectors.Unavailable, op, "the shop answered with something else than a whole JSON object: perhaps a maintenance page")
	}
	if err := c.queryError(op, body); err != nil {
		return answer{}, err
	}
	at, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		at = c.now()
	}
	return answer{body: body, at: at.UTC(), pace: pace(gjson.GetBytes(body, "extensions.cost"))}, nil
}

// refusal classifies an answer that is not 200. https://shopify.dev/docs/api/usage/response-codes
func (c *client) refusal(op string, res *http.Response, body []byte) error {
	fail := func(kind connectors.Kind, message string) error {
		if said := c.said(body); said != "" {
			message += fmt.Sprintf(" (Shopify says: %s)", said)
		}
		return connectors.Errorf(kind, op, "HTTP %d: %s", res.StatusCode, message)
	}
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized:
		return fail(connectors.Unauthorized, "the access token is not accepted: the app may have been uninstalled; connect the shop again")
	case code == http.StatusPaymentRequired:
		return fail(connectors.Forbidden, "the shop is frozen until its owner pays Shopify")
	case code == http.StatusForbidden:
		return fail(connectors.Forbidden, "the app may not do this: grant it the access scopes that it needs")
	case code == http.StatusNotFound:
		return fail(connectors.NotFound, "there is no such shop or API version: check the connection's shop and the setting api_version")
	case code/100 == 3:
		return fail(connectors.NotFound, "the shop redirects elsewhere: check the connection's shop, it may have been renamed")
	case code == http.StatusRequestTimeout, code == http.StatusLocked, code >= 500:
		// 423: locked for a while after repeated breaches of the limits.
		e := connectors.Errorf(connectors.Unavailable, op, "HTTP %d: the shop is not available now", code)
		e.Wait = outbound.RetryAfter(res.Header.Get("Retry-After"), c.now())
		return e
	case code == http.StatusRequestEntityTooLarge:
		return fail(connectors.TooLarge, "the request is too large")
	case code == http.StatusTooManyRequests:
		e := connectors.Errorf(connectors.RateLimited, op, "HTTP 429: too many calls")
		e.Wait = max(outbound.RetryAfter(res.Header.Get("Retry-After"), c.now()), minWait)
		return e
	case code == 430:
		return fail(connectors.Forbidden, "Shopify takes the calls for an attack and refuses them")
	default:
		return fail(connectors.Invalid, "the request is refused")
	}
}

// minWait is what a rate limit without a usable time costs.
const minWait = time.Second

// said is the vendor's own short explanation, without what must not be shown; empty where there is none.
func (c *client) said(body []byte) string {
	if connectors.CheckPayload("", body) != nil {
		return ""
	}
	switch errs := gjson.GetBytes(body, "errors"); {
	case errs.Type == gjson.String:
		return c.redact(errs.Str)
	case errs.IsArray():
		return c.redact(errs.Get("0.message").Str)
	}
	return ""
}

// redact takes secrets out of a vendor's text and clips it.
func (c *client) redact(text string) string {
	for _, secret := range c.secrets {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return connectors.Clip(text, 300)
}

// queryError classifies the errors inside a 200. https://shopify.dev/docs/api/admin-graphql#status_and_error_codes
func (c *client) queryError(op string, body []byte) error {
	errs := gjson.GetBytes(body, "errors")
	if !errs.Exists() || errs.Type == gjson.Null {
		return c.searchError(op, body)
	}
	message := c.said(body)
	if message == "" {
		message = "no reason given"
	}
	code := errs.Get("0.extensions.code").Str
	switch code {
	case "THROTTLED":
		e := connectors.Errorf(connectors.RateLimited, op, "the shop's query points are used up")
		e.Wait = throttleWait(gjson.GetBytes(body, "extensions.cost"))
		return e
	case "ACCESS_DENIED":
		return connectors.Errorf(connectors.Forbidden, op, "%s", message)
	case "SHOP_INACTIVE":
		return connectors.Errorf(connectors.Forbidden, op, "the shop is not active: %s", message)
	case "MAX_COST_EXCEEDED":
		return connectors.Errorf(connectors.TooLarge, op, "the page costs more points than Shopify allows: %s", message)
	case "INTERNAL_SERVER_ERROR", "TIMEOUT", "SERVICE_UNAVAILABLE":
		return connectors.Errorf(connectors.Unavailable, op, "Shopify failed: %s", message)
	}
	if strings.HasPrefix(message, badCursor) {
		return &connectors.Error{Kind: connectors.CursorExpired, Op: op, Message: message, Err: errBadCursor}
	}
	return connectors.Errorf(connectors.Invalid, op, "Shopify refuses the query: %s", message)
}

// badCursor is how the vendor words a cursor that it can't continue from; it has no code of its own.
const badCursor = "Invalid cursor"

var errBadCursor = errors.New("bad cursor")

// searchError notices a filter that the vendor left out of the search: without it a poll would read everything each time.
// https://shopify.dev/docs/api/usage/search-syntax
func (c *client) searchError(op string, body []byte) error {
	warning := gjson.GetBytes(body, "extensions.search.#.warnings|@flatten|0.message")
	if warning.Exists() {
		return connectors.Errorf(connectors.Invalid, op, "Shopify does not understand the filter: %s", c.redact(warning.Str))
	}
	return nil
}

// throttleWait is how long the bucket needs until it holds what the query asks for.
// https://shopify.dev/docs/api/usage/limits
func throttleWait(cost gjson.Result) time.Duration {
	lacking := cost.Get("requestedQueryCost").Float() - cost.Get("throttleStatus.currentlyAvailable").Float()
	rate := cost.Get("throttleStatus.restoreRate").Float()
	if !(rate > 0) || !(lacking > 0) {
		return minWait
	}
	return refill(lacking, rate)
}

// refill is how long a bucket needs for so many points.
func refill(points, rate float64) time.Duration {
	seconds := points / rate
	if !(seconds < connectors.MaxWait.Seconds()) {
		return connectors.MaxWait
	}
	return max(time.Duration(math.Ceil(seconds*1000))*time.Millisecond, minWait)
}

// pace is how long to wait before a query of the same cost, so that it is not refused. When the bucket holds too little for another it is left
// to fill to the half, which several pages then use up: one wait for them all. https://shopify.dev/docs/api/usage/limits
func pace(cost gjson.Result) time.Duration {
	requested := cost.Get("requestedQueryCost").Float()
	status := cost.Get("throttleStatus")
	left, rate := status.Get("currentlyAvailable").Float(), status.Get("restoreRate").Float()
	if !status.IsObject() || !(rate > 0) || !(left < requested) {
		return 0
	}
	return refill(max(requested, status.Get("maximumAvailable").Float()/2)-left, rate)
}
