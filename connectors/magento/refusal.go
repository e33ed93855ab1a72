package magento

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// refusal classifies an answer that is not 200. An error has a message with %names in it and the parameters for them:
// https://developer.adobe.com/commerce/webapi/get-started/gs-web-api-response/
func (c *client) refusal(ctx context.Context, op string, st stream, res *http.Response, body []byte) error {
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
	// A right that lacks is 401, too.
	case status == http.StatusUnauthorized && strings.Contains(low, "authorized to access"):
		who := member
		if c.signing == nil {
			var err error
			if who, err = c.standing(ctx, op); err != nil {
				return err
			}
		}
		grant := "grant the integration the resource " + st.resource
		switch who {
		case guest:
			return fail(connectors.Unauthorized, "the access token is not accepted: "+renew)
		case member:
			return fail(connectors.Forbidden, grant)
		}
		return fail(connectors.Forbidden, grant+", or, if it has that, "+renew)
	// A request was repeated on its way. The next one has another nonce, and nothing is wrong with the credentials.
	case status == http.StatusUnauthorized && strings.Contains(low, "nonce"):
		return fail(connectors.Unavailable, "a request reached the shop twice: look for a proxy on the way that repeats requests if this goes on")
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

// renew is what helps against a bearer token that the shop does not accept.
const renew = "check that the integration is active and has rights, and that the shop allows access tokens as bearer tokens, then set the connection again, best with the " +
	"consumer's key and the secrets, which need no such allowance"

// standing is what the shop takes the sender of a bearer token for.
type standing int

const (
	unclear standing = iota
	guest            // nobody: the token is unknown, revoked or not allowed as a bearer token
	member           // an integration that has some right
)

// standing tells a bearer token that is not accepted from a right that lacks, which the shop answers alike: it takes who has no token that counts for a
// guest, who lacks all rights. But an integration that has any right may list the shop's modules: its role gets their resource besides
// (https://github.com/magento/magento2/blob/2.4-develop/app/code/Magento/Authorization/Model/ResourceModel/Rules.php,
// https://github.com/magento/magento2/blob/2.4-develop/app/code/Magento/Backend/etc/webapi.xml). An error is one that passes.
func (c *client) standing(ctx context.Context, op string) (standing, error) {
	res, err := c.call(ctx, op, c.api.JoinPath("modules"))
	if err != nil {
		return unclear, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	switch status := res.StatusCode; {
	case status == http.StatusUnauthorized:
		return guest, nil
	case status == http.StatusOK && err == nil && bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")):
		return member, nil
	case status == http.StatusTooManyRequests, status >= 500:
		e := connectors.Errorf(connectors.Unavailable, op, "HTTP %d: the shop has no answer now to whether it accepts the access token", status)
		e.Wait = outbound.RetryAfter(res.Header.Get("Retry-After"), c.now())
		return unclear, e
	}
	return unclear, nil // a firewall or an extension stands before it
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
