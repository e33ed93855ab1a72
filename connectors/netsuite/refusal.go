package netsuite

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// minWait is what a rate limit without a usable time costs: a request of somebody else has to end.
const minWait = 2 * time.Second

// busy are the codes of an account or user that has as many requests under way as it may have, whatever the status.
// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/bridgehead_1525252812.html
var busy = []string{"CONCURRENCY_LIMIT_EXCEEDED", "SSS_REQUEST_LIMIT_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "USER_REQUEST_LIMIT_EXCEEDED"}

// refusal classifies an answer that is not 200 by its status, and where that says little by the error code.
// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_156570709583.html
func (c *client) refusal(op string, res *http.Response, body []byte) error {
	status := res.StatusCode
	code, detail := c.said(body)
	fail := func(kind connectors.Kind, message string) *connectors.Error {
		if detail != "" {
			message += " (NetSuite says: " + detail + ")"
		}
		e := connectors.Errorf(kind, op, "HTTP %d: %s", status, message)
		e.Wait = outbound.RetryAfter(res.Header.Get("Retry-After"), c.now())
		return e
	}
	low := strings.ToLower(detail)
	switch {
	case status == http.StatusTooManyRequests, slices.Contains(busy, code):
		e := fail(connectors.RateLimited, "the account has as many requests under way as it may have")
		e.Wait = max(e.Wait, minWait)
		return e
	case status == http.StatusUnauthorized, code == "INVALID_LOGIN":
		return fail(connectors.Unauthorized, "the credentials are not accepted: look at the Login Audit Trail in NetSuite, then set the connection again")
	case status == http.StatusForbidden, code == "INSUFFICIENT_PERMISSION", code == "PERMISSION_VIOLATION":
		return fail(connectors.Forbidden, "the role may not do this: grant it REST Web Services, SuiteAnalytics Workbook and the record types of the streams")
	case status == http.StatusNotFound, status == http.StatusGone:
		return fail(connectors.NotFound, "there is no such account: check the connection's account, and that REST web services are enabled in it")
	case status/100 == 3:
		return fail(connectors.NotFound, "the account redirects elsewhere: check the connection's account")
	case status == http.StatusRequestTimeout, status >= 500, status < 300:
		return fail(connectors.Unavailable, "NetSuite has no answer now")
	case status == http.StatusRequestEntityTooLarge:
		return fail(connectors.TooLarge, "the request is too large")
	case strings.Contains(low, "record ") && strings.Contains(low, "was not found"):
		return fail(connectors.NotFound, "there is no such record type, or the role may not see it; deletions need the permission Deleted Records")
	case code == "UNEXPECTED_ERROR":
		return fail(connectors.Unavailable, "NetSuite failed")
	}
	return fail(connectors.Invalid, "the query is refused")
}

// said is the vendor's code and explanation, without what must not be shown; empty where there is none.
func (c *client) said(body []byte) (code, detail string) {
	if connectors.CheckPayload("", body) != nil {
		return "", ""
	}
	// RESTlets answer {"error": {"code": ..., "message": ...}}, and a proxy of them might.
	first := gjson.GetBytes(body, `o:errorDetails.0`)
	code, detail = first.Get("o:errorCode").Str, first.Get("detail").Str
	if code == "" {
		code, detail = gjson.GetBytes(body, "error.code").Str, gjson.GetBytes(body, "error.message").Str
	}
	for _, secret := range c.secrets {
		detail = strings.ReplaceAll(detail, secret, "[secret]")
	}
	return code, connectors.Clip(detail, 300)
}
