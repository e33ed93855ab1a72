package httpapi_test

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/httpapi"
)

// canary is a secret that must show nowhere.
const canary = "canary-7f3a"

// loopback is where the test's servers are.
var loopback = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}

// call is a request as the API got it.
type call struct {
	method, path string
	header       http.Header
	body         string
}

// api is a JSON API that wants a token, keeps what it gets and lets a function answer; nil: 201.
type api struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
}

func serve(t testing.TB, answer func(http.ResponseWriter, call)) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		c := call{r.Method, r.URL.RequestURI(), r.Header, string(body)}
		a.mu.Lock()
		a.calls = append(a.calls, c)
		a.mu.Unlock()
		if answer != nil {
			answer(w, c)
		} else {
			w.WriteHeader(http.StatusCreated)
		}
	}))
	a.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.Start()
	t.Cleanup(a.Close)
	return a
}

func (a *api) received() []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]call(nil), a.calls...)
}

func status(code int) func(http.ResponseWriter, call) {
	return func(w http.ResponseWriter, _ call) {
		w.WriteHeader(code)
		io.WriteString(w, `{"error": "not with `+canary+`"}`)
	}
}

func config(t testing.TB, settings, connection any) connectors.Config {
	t.Helper()
	return connectors.Config{Settings: raw(t, settings), Connection: raw(t, connection), Mode: connectors.Append, Env: loopback}
}

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, settings, connection any) connectors.Destination {
	t.Helper()
	d, err := httpapi.Definition().OpenDestination(config(t, settings, connection))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opened is open with a Close at the end of the test.
func opened(t testing.TB, settings any) connectors.Destination {
	t.Helper()
	d := open(t, settings, nil)
	t.Cleanup(func() { d.Close() })
	return d
}

// row reads a record out of the headers that the suite's settings ask for.
func row(t *testing.T, c call) connectortest.Row {
	text := func(name string) string {
		s, err := url.PathUnescape(c.header.Get(name))
		if err != nil {
			t.Errorf("header %s: %v", name, err)
		}
		return s
	}
	version, err := strconv.ParseInt(text("X-Version"), 10, 64)
	if err != nil {
		t.Error(err)
	}
	return connectortest.Row{
		Installation: text("X-Installation"), Stream: text("X-Stream"), ID: text("X-Id"), Key: text("X-Key"),
		Op: connectors.Op(text("X-Op")), Version: version, Data: c.body,
	}
}

// token is what the API of the suite wants.
var token = httpapi.Connection{Token: canary}

// settings of the suite have all that a record is told in headers.
func settings(url string) httpapi.Settings {
	return httpapi.Settings{
		URL: url, Request: httpapi.Request{Path: "/records/{stream}"}, Check: "/me",
		Headers: map[string]string{
			"X-Installation": "{installation}", "X-Stream": "{stream}", "X-Id": "{id}", "X-Key": "{key}", "X-Op": "{op}", "X-Version": "{version}",
		},
	}
}

// rows are the records that the API got with the token.
func rows(t *testing.T, a *api) []connectortest.Row {
	var rows []connectortest.Row
	for _, c := range a.received() {
		if c.header.Get("Authorization") != "Bearer "+canary {
			t.Error("a request without the token")
		}
		rows = append(rows, row(t, c))
	}
	return rows
}

// TestStandInApart serves the API to the process that measures the largest batch.
func TestStandInApart(t *testing.T) {
	connectortest.ServeApart(t, func(t *testing.T) connectortest.StandIn {
		a := serve(t, nil)
		return connectortest.StandIn{Where: []string{a.URL}, Rows: func(t *testing.T) []connectortest.Row { return rows(t, a) }}
	})
}

// placeApart is that API.
func placeApart(t *testing.T) connectortest.DestinationPlace {
	standIn := connectortest.StartApart(t)
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
			return open(t, settings(standIn.Where[0]), token)
		},
		Rows: standIn.Rows,
	}
}

func TestDestination(t *testing.T) {
	answering := func(code int, kind connectors.Kind) connectortest.FailingDestination {
		return connectortest.FailingDestination{Kind: kind, Open: func(t *testing.T) connectors.Destination {
			return open(t, settings(serve(t, status(code)).URL), token)
		}}
	}
	at := func(url string) connectortest.FailingDestination {
		return connectortest.FailingDestination{Kind: connectors.Unavailable, Open: func(t *testing.T) connectors.Destination {
			return open(t, settings(url), token)
		}}
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:    []connectors.Mode{connectors.Append},
		Once:     connectortest.ByID,
		AnyBytes: true,
		Records:  1_000,
		Canary:   canary,
		Leaves: []goleak.Option{ // a proxy that is stopped while it has bytes in hand never lets go of them
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		},
		Failing: map[string]connectortest.FailingDestination{
			"401": answering(401, connectors.Unauthorized), "402": answering(402, connectors.Forbidden), "403": answering(403, connectors.Forbidden),
			"404": answering(404, connectors.NotFound), "405": answering(405, connectors.Invalid), "407": answering(407, connectors.Unauthorized),
			"408": answering(408, connectors.Unavailable), "410": answering(410, connectors.Gone), "302": answering(302, connectors.Invalid),
			"429": answering(429, connectors.RateLimited), "500": answering(500, connectors.Unavailable), "503": answering(503, connectors.Unavailable),
			"600": answering(600, connectors.Unknown), "no server": at("http://127.0.0.1:1"), "no such host": at("https://nowhere.invalid"),
		},
		Apart: placeApart,
		New: func(t *testing.T) connectortest.DestinationPlace {
			a := serve(t, nil)
			server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
			proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", a.Listener.Addr().String())
			if err := proxy.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(proxy.Stop)
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
					return open(t, settings("http://"+proxy.Listen), token)
				},
				Rows:  func(t *testing.T) []connectortest.Row { return rows(t, a) },
				Break: func(*testing.T) { proxy.Stop() },
				Heal: func(t *testing.T) {
					if err := proxy.Start(); err != nil {
						t.Error(err)
					}
				},
			}
		},
	})
}
