package magento

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/oauth1"
	"tributary/connectors/outbound"
)

const (
	// maxBody bounds an answer in bytes: an order with hundreds of items is some hundred KiB.
	maxBody = 64 << 20
	// maxRefusal bounds what is read of an answer that is not 200.
	maxRefusal = 64 << 10
	// callTimeout bounds a call, the body included, whatever the caller's context allows. A page of products can take the shop long.
	callTimeout = 2 * time.Minute
)

// client searches one shop.
type client struct {
	api     *url.URL // of a store view, up to /V1
	store   string
	http    *http.Client
	now     func() time.Time
	token   string // sent as a bearer token, where requests are not signed
	signing *oauth1.Credentials
	secrets []string // what an error must never repeat (I7)
}

func newClient(conn Connection, store string, env connectors.Env) (*client, error) {
	// A user gives the URL: it is judged here, and by outbound's client each time that it connects (I14).
	if err := outbound.CheckURL(conn.URL, env.Networks); err != nil {
		return nil, invalid("connection field url: %s", err)
	}
	base, err := url.Parse(conn.URL)
	if err != nil || strings.ContainsAny(conn.URL, "?#") || base.User != nil {
		return nil, invalid("connection field url: want the shop's base URL, such as https://shop.example.com, without a query")
	}
	base.Host = strings.ToLower(base.Host)
	c := &client{api: base.JoinPath("rest", store, "V1"), store: store, now: env.Time}
	switch signs := conn.ConsumerKey != "" || conn.ConsumerSecret != "" || conn.AccessTokenSecret != ""; {
	case conn.AccessToken == "", signs && (conn.ConsumerKey == "" || conn.ConsumerSecret == "" || conn.AccessTokenSecret == ""):
		return nil, invalid("want consumer_key, consumer_secret, access_token and access_token_secret in the connection, or access_token alone")
	case signs:
		c.signing = &oauth1.Credentials{
			ConsumerKey: conn.ConsumerKey, ConsumerSecret: conn.ConsumerSecret, Token: conn.AccessToken, TokenSecret: conn.AccessTokenSecret,
		}
	default:
		c.token = conn.AccessToken
	}
	for _, secret := range []string{conn.AccessToken, conn.AccessTokenSecret, conn.ConsumerSecret} {
		if secret != "" {
			c.secrets = append(c.secrets, secret)
		}
	}
	c.http = outbound.Client(outbound.Options{Allowed: env.Networks, Timeout: callTimeout, MaxBody: maxBody})
	return c, nil
}

// found is an answer to a search.
type found struct {
	body  []byte
	items []gjson.Result
	// total is how many objects meet the search, whatever part of them the answer holds.
	total int64
}

// whole says that the answer holds all objects that meet the search.
func (f found) whole() bool { return int64(len(f.items)) >= f.total }

// slice is an item as it stands in the answer (I8).
func (f found) slice(item gjson.Result) []byte {
	end := item.Index + len(item.Raw)
	return f.body[item.Index:end:end]
}

// find searches for objects of a stream.
func (c *client) find(ctx context.Context, op string, st stream, s search) (found, error) {
	body, err := c.get(ctx, op, st, s)
	if err != nil {
		return found{}, err
	}
	items, total := gjson.GetBytes(body, "items"), gjson.GetBytes(body, "total_count")
	f := found{body: body, total: total.Int()}
	switch {
	case total.Type != gjson.Number, !items.IsArray() && items.Type != gjson.Null:
		return f, connectors.Errorf(connectors.Unavailable, op, "the answer is no list of objects with their total_count")
	case items.IsArray():
		f.items = items.Array()
	}
	switch n := len(f.items); {
	case n > s.limit && !f.whole():
		return f, connectors.Errorf(connectors.Invalid, op, "the shop answered %d objects where %d were asked for: an extension changes its API", n, s.limit)
	case n == 0 && f.total > 0:
		return f, connectors.Errorf(connectors.Unavailable, op, "the shop counts %d objects and shows none", f.total)
	}
	return f, nil
}

func (c *client) get(ctx context.Context, op string, st stream, s search) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target := c.api.JoinPath(strings.Split(st.path, "/")...)
	target.RawQuery = s.query()
	res, err := c.call(ctx, op, target)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal)) // the status says enough where there is no body
		return nil, c.refusal(ctx, op, st, res, body)
	}
	body, err := io.ReadAll(res.Body)
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, connectors.Errorf(connectors.TooLarge, op, "the page is larger than %d MiB", maxBody>>20)
	case err != nil:
		return nil, outbound.AsError(op, err)
	case connectors.CheckPayload(op, body) != nil:
		return nil, connectors.Errorf(connectors.Unavailable, op, "the answer is not JSON: perhaps a maintenance page")
	}
	return body, nil
}

// call asks for a URL below api. Who calls it closes the body.
func (c *client) call(ctx context.Context, op string, target *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, op, "the shop's URL is not valid")
	}
	req.Header.Set("Accept", "application/json")
	if c.signing != nil {
		c.signing.Sign(req, target, c.now())
	} else {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, outbound.AsError(op, err)
	}
	return res, nil
}
