// Package helpdesk is a connector to start from: it polls the tickets of a help desk.
//
// The API is one that many apps have. GET <url>/tickets?updated_at=T&after_id=N&limit=L answers
// {"tickets": [...], "has_more": true}: at most L tickets whose (updated_at, id) is greater than (T, N), in that order.
package helpdesk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Settings of a block.
type Settings struct {
	URL      string `json:"url" jsonschema:"required,format=uri,description=Base URL of the API such as https://desk.example.com/v1"`
	PageSize int    `json:"page_size,omitempty" jsonschema:"description=Most tickets asked for at once,default=100,minimum=1,maximum=1000"`
}

// Connection is what is stored for an account.
type Connection struct {
	Token string `json:"token" jsonschema:"required,format=password,description=API token; it is sent as a bearer token"`
}

const (
	stream = "tickets"
	// maxBody bounds a page in bytes.
	maxBody = 16 << 20
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name: "helpdesk", Title: "Help desk", Doc: "Tickets of a help desk, polled in the order of their changes.",
		Settings: Settings{}, Connection: Connection{},
		Streams: []connectors.Stream{{Name: stream, Doc: "Requests of customers.", Polls: true}},
		Records: recordFacts, Limits: limitFacts,
		OpenSource: func(c connectors.Config) (any, error) { return open(c) },
		Polls:      true,
	}
}

type source struct {
	tickets  string // URL of the list
	token    string
	pageSize int
	http     *http.Client
	now      func() time.Time
}

var (
	_ connectors.Source  = (*source)(nil)
	_ connectors.Checker = (*source)(nil)
)

func open(c connectors.Config) (*source, error) {
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	conn, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	// A user gives the URL: it is judged here, and by outbound's client each time that it connects (I14).
	if err := outbound.CheckURL(settings.URL, c.Env.Networks); err != nil {
		return nil, err
	}
	base, _ := url.Parse(settings.URL) // CheckURL has parsed it
	if strings.Contains(settings.URL, "?") || conn.Token == "" || settings.PageSize < 0 || settings.PageSize > 1000 {
		return nil, connectors.Errorf(connectors.Invalid, "helpdesk", "want a url without a query, a token, and a page_size of 1 to 1000")
	}
	client := outbound.Client(outbound.Options{Allowed: c.Env.Networks, MaxBody: maxBody})
	return &source{base.JoinPath(stream).String(), conn.Token, cmp.Or(settings.PageSize, 100), client, c.Env.Time}, nil
}

// Check proves URL and token by reading one ticket.
func (s *source) Check(ctx context.Context) error {
	_, err := s.Fetch(ctx, connectors.FetchRequest{Stream: stream, Limit: 1})
	return err
}

// get asks for the tickets whose (updated_at, id) is greater than (after, id), and returns an answer that is valid JSON. Errors
// quote nothing of an answer: it may repeat the token (I7).
func (s *source) get(ctx context.Context, op string, after time.Time, id int64, limit int) ([]byte, error) {
	query := fmt.Sprintf("?updated_at=%s&after_id=%d&limit=%d", after.UTC().Format(time.RFC3339Nano), id, limit)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.tickets+query, nil)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, op, "the url is not valid")
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := s.http.Do(req)
	if err != nil {
		return nil, outbound.AsError(op, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		e := connectors.Errorf(kindOf(res.StatusCode), op, "HTTP %d %s", res.StatusCode, http.StatusText(res.StatusCode))
		e.Wait = outbound.RetryAfter(res.Header.Get("Retry-After"), s.now())
		return nil, e
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

// kindOf chooses the kind with care: it alone decides what the engine does (I9).
func kindOf(status int) connectors.Kind {
	switch {
	case status == http.StatusUnauthorized:
		return connectors.Unauthorized // waits until somebody connects the account again
	case status == http.StatusForbidden:
		return connectors.Forbidden
	case status == http.StatusTooManyRequests:
		return connectors.RateLimited // comes again after Wait
	case status == http.StatusNotFound, status == http.StatusGone, status/100 == 3:
		return connectors.NotFound // redirects are not followed: the token is for this host alone
	case status == http.StatusRequestTimeout, status >= 500, status < 300:
		return connectors.Unavailable // backs off
	}
	return connectors.Invalid // stops and says so
}
