package magento

import (
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// refusal classifies an answer that is not 200. An error has a message with %names in it and the parameters for them:
// https://developer.adobe.com/commerce/webapi/get-started/gs-web-api-response/
func (c *client) refusal(op string, st stream, res *http.Response, body []byte) error {
	status := res.StatusCode
	said := c.said(body)
	fail := func(kind connectors.Kind, message string) *connectors.Error {
		if said != "" {
			message += " (the shop says: " + said + ")"
		}
		e := connectors.Errorf(kind, op, "HTTP %d: %s", status, message)
		e.Wait = outbound.RetryAfter(res.Header.Get("Retry-After"), c.now())
		return e
	}
	switch low := strings.ToLower(said); {
	case status == http.StatusTooManyRequests:
		return fail(connectors.RateLimited, "the shop, or what stands before it, has had enough requests")
	// A right that lacks is 401, too. So is a bearer token that is not known or not allowed: it makes the caller a guest, who lacks the right.
	case status == http.StatusUnauthorized && strings.Contains(low, "authorized to access"):
		message := "grant the integration the resource " + st.resource
		if c.signing == nil {
			message += ", or, if it has that, give a token that is valid, and allow access tokens as bearer tokens in the shop or give the consumer's key too"
		}
		return fail(connectors.Forbidden, message)
	case status == http.StatusUnauthorized:
		return fail(connectors.Unauthorized, "the credentials are not accepted: check that the integration is active, then set the connection again")
	case status == http.StatusForbidden:
		return fail(connectors.Forbidden, "the shop, or a firewall before it, does not let Tributary in: allow it, and grant the resource "+st.resource)
	case status == http.StatusNotFound, status == http.StatusGone:
		return fail(connectors.NotFound, "check the connection's url, that there is a store view "+c.store+", and that the module of the stream is installed")
	case status/100 == 3:
		return fail(connectors.NotFound, "the shop redirects elsewhere: set url to its base URL as the shop itself has it, with https and www if it has that")
	case status == http.StatusRequestEntityTooLarge, status == http.StatusBadRequest && strings.Contains(low, "maximum searchcriteria pagesize"):
		return fail(connectors.TooLarge, "the page is larger than the shop allows: lower page_size, or raise the shop's Maximum Page Size")
	case status == http.StatusRequestTimeout, status >= 500, status < 300:
		return fail(connectors.Unavailable, "the shop has no answer now: perhaps it is in maintenance")
	}
	return fail(connectors.Invalid, "the shop refuses the search")
}

// said is the message of an error with its parameters put in, without what must not be shown; "" where there is none.
func (c *client) said(body []byte) string {
	if connectors.CheckPayload("", body) != nil {
		return ""
	}
	message := gjson.GetBytes(body, "message").Str
	if message == "" {
		message = gjson.GetBytes(body, "oauth_problem").Str
	}
	message = c.redact(message)
	parameters := gjson.GetBytes(body, "parameters")
	if parameters.IsObject() || parameters.IsArray() {
		n := 0
		parameters.ForEach(func(name, value gjson.Result) bool {
			n++
			placeholder := "%" + name.String()
			if parameters.IsArray() {
				placeholder = "%" + string(rune('0'+min(n, 9)))
			}
			// Both are cut, or parameters that hold the names of others would let a small answer fill the memory.
			if placeholder != "%" {
				message = strings.ReplaceAll(connectors.Clip(message, 1000), placeholder, connectors.Clip(c.redact(value.String()), 200))
			}
			return n < 9
		})
	}
	return strings.TrimSuffix(connectors.Clip(message, 300), ".")
}

// redact is done before anything is cut: half a secret would not be recognised.
func (c *client) redact(text string) string {
	for _, secret := range c.secrets {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text
}
