package helpdesk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/examples/helpdesk"
)

// TestSource runs the suite that every source passes.
func TestSource(t *testing.T) {
	t.Parallel()
	connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
		d := newDesk(t, 25)
		return connectortest.SourceApp{
			Transport: http.DefaultTransport,
			Open:      func(env connectors.Env) (any, error) { return open(t, d, env) },
			Secrets:   []string{token},
			Now:       d.clock,
			Stream:    "tickets",
			Limit:     5,
			Keys:      d.keys,
			Change:    func() (string, int64) { return d.change(time.Second) },
			Late:      d.late,
		}
	}})
}

// open opens the connector on a desk. The client that it makes for itself is part of what is tested, so env.Transport gets the
// requests from a relay, in a network that the operator allows.
func open(t *testing.T, d *desk, env connectors.Env) (connectors.Source, error) {
	relay := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(d.url) },
		Transport: env.Transport,
		ErrorLog:  log.New(io.Discard, "", 0), // the suite breaks connections on purpose
	})
	t.Cleanup(relay.Close)
	env.Networks = []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}
	return openURL(relay.URL+"/v1", env)
}

func openURL(url string, env connectors.Env) (connectors.Source, error) {
	source, err := helpdesk.Definition().OpenSource(connectors.Config{
		Settings:   json.RawMessage(fmt.Sprintf(`{"url": %q}`, url)),
		Connection: json.RawMessage(fmt.Sprintf(`{"token": %q}`, token)),
		Env:        env,
	})
	if err != nil {
		return nil, err
	}
	return source.(connectors.Source), nil
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for settings, connection := range map[string]string{
		`{}`:                                     `{"token": "x"}`,
		`{"url": "https://desk.example.com/v1"}`: `{}`,
		`{"url": "https://desk.example.com/v1?tenant=1"}`:           `{"token": "x"}`,
		`{"url": "https://desk.example.com/v1", "page_size": 1001}`: `{"token": "x"}`,
		`{"url": "https://desk.example.com/v1", "size": 10}`:        `{"token": "x"}`,
		`{"url": "https://127.0.0.1/v1"}`:                           `{"token": "x"}`,
	} {
		_, err := helpdesk.Definition().OpenSource(connectors.Config{Settings: json.RawMessage(settings), Connection: json.RawMessage(connection)})
		var e *connectors.Error
		if !errors.As(err, &e) || e.Kind != connectors.Invalid {
			t.Errorf("%s with %s: got %v, want kind invalid", settings, connection, err)
		}
	}
}

// What a name leads to is judged when it is dialled (I14): here the operator allows ::1, and the desk listens on 127.0.0.1.
func TestANameDoesNotLeadInside(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	allowed := []*net.IPNet{{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}}
	source, err := openURL("http://localhost:"+d.url.Port()+"/v1", connectors.Env{Networks: allowed})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: "tickets"}); err == nil {
		t.Error("the desk was reached")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	source, err := open(t, newDesk(t, 1), connectors.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if err := source.(connectors.Checker).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// The page has the tables of the Definition: of streams, records, limits and fields.
func TestPage(t *testing.T) {
	t.Parallel()
	connectortest.TestSourcePage(t, connectortest.SourcePage{
		Definition: helpdesk.Definition(), Path: "README.md", Connection: helpdesk.Connection{Token: token},
	})
}

// The definition is one that a registry takes.
func TestDefinition(t *testing.T) {
	t.Parallel()
	if _, err := connectors.NewRegistry(helpdesk.Definition()); err != nil {
		t.Error(err)
	}
}
