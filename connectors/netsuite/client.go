package netsuite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

const (
	// maxBody bounds an answer in bytes: 1,000 rows of a record type with hundreds of custom fields are some MiB.
	maxBody = 64 << 20
	// maxRefusal bounds what is read of an answer that is not 200.
	maxRefusal = 64 << 10
	// callTimeout bounds a call, the body included, whatever the caller's context allows. The vendor itself gives up after 15 minutes.
	callTimeout = 60 * time.Second
)

// client runs SuiteQL in one account.
type client struct {
	suiteql   roots
	authorize authorize
	http      *http.Client
	now       func() time.Time
	secrets   []string // what an error must never repeat (I7)
}

func newClient(conn Connection, env connectors.Env) (*client, error) {
	root, transport, err := reach(conn, env)
	if err != nil {
		return nil, err
	}
	c := &client{suiteql: root.path(suiteqlPath), now: env.Time}
	// A redirect would carry the credentials to whoever it names.
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if c.authorize, err = authorization(conn, env.Time); err != nil {
		return nil, err
	}
	for _, secret := range []string{conn.PrivateKey, conn.AccessToken, conn.ConsumerSecret, conn.TokenSecret, conn.TokenID} {
		if secret != "" {
			c.secrets = append(c.secrets, secret)
		}
	}
	return c, nil
}

// call runs a query of at most limit rows and returns the whole answer, which is a JSON object. op names it in errors.
func (c *client) call(ctx context.Context, op, query string, limit int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]string{"q": query})
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, op, "the query cannot be sent as JSON")
	}
	called, vendor := *c.suiteql.called, *c.suiteql.vendor
	// Offset 0 always: what is read next lies behind the last row, not at a number of rows that changes meanwhile.
	called.RawQuery = "limit=" + strconv.Itoa(limit) + "&offset=0"
	vendor.RawQuery = called.RawQuery
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, called.String(), bytes.NewReader(request))
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, op, "the account's URL is not valid")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Prefer", "transient")
	if err := c.authorize(req, &vendor); err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, outbound.AsError(op, err)
	}
	defer res.Body.Close()
	bound := int64(maxBody + 1)
	if res.StatusCode != http.StatusOK {
		bound = maxRefusal
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, bound))
	var over *http.MaxBytesError
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, c.refusal(op, res, body)
	case len(body) > maxBody, errors.As(err, &over):
		return nil, connectors.Errorf(connectors.TooLarge, op, "the page is larger than %d MiB", maxBody>>20)
	case err != nil:
		return nil, outbound.AsError(op, err)
	}
	if connectors.CheckPayload(op, body) != nil || !strings.HasPrefix(strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"), "{") {
		return nil, connectors.Errorf(connectors.Unavailable, op, "the answer is not a whole JSON object: perhaps a maintenance page")
	}
	return body, nil
}
