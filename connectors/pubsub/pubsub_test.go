package pubsub

import (
	"encoding/json"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/documented"
	"tributary/connectors/pubsub/pubsubtest"
)

// loopback is where the test's servers are.
var loopback = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}

const project = "acme-data"

// returned are the errors that the tests' servers have answered with.
var returned = pubsubtest.Documented()

// TestMain fails when an error that the test server documents was never returned.
func TestMain(m *testing.M) { os.Exit(documented.Run(m, returned)) }

func path(topic string) string { return "projects/" + project + "/topics/" + topic }

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// config is of a block of the operator's.
func config(t testing.TB, c Connection, s Settings) connectors.Config {
	return connectors.Config{Settings: raw(t, s), Connection: raw(t, c), Operator: true, Mode: connectors.Append, Layout: connectors.LayoutRaw, Env: loopback}
}

// opened opens a destination that is closed with the test.
func opened(t testing.TB, c Connection, s Settings) connectors.Destination {
	t.Helper()
	d, err := Definition().OpenDestination(config(t, c, s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func emulator(addr string) Connection { return Connection{Endpoint: "http://" + addr} }

// rows are the messages as the suite compares them.
func rows(t testing.TB, s *pubsubtest.Server) []connectortest.Row {
	t.Helper()
	var all []connectortest.Row
	for _, m := range s.Messages() {
		all = append(all, row(t, m.Attributes, m.Data))
	}
	return all
}

func row(t testing.TB, a map[string]string, data []byte) connectortest.Row {
	t.Helper()
	version, err := strconv.ParseInt(a["version"], 10, 64)
	if err != nil || a["content_type"] != "application/json" {
		t.Errorf("attributes %v", a)
	}
	return connectortest.Row{Installation: a["installation"], Stream: a["stream"], ID: a["id"], Key: a["key"], Op: connectors.Op(a["op"]), Version: version, Data: string(data)}
}

// breakable puts a proxy before a server, which can cut connections and refuse new ones.
func breakable(t *testing.T, addr string) *toxiproxy.Proxy {
	t.Helper()
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop()), t.Name(), "127.0.0.1:0", addr)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	return proxy
}

// The suite gives each record a key of its own, and with ordering keys each is a request.
func TestConformance(t *testing.T) {
	t.Run("ordered", func(t *testing.T) { conformance(t, Settings{Project: project, Topic: "changes"}, 800) })
	t.Run("unordered", func(t *testing.T) {
		conformance(t, Settings{Project: project, Topic: "changes", Unordered: true}, 4_000)
	})
}

func conformance(t *testing.T, settings Settings, records int) {
	key := newKey(t)
	broken := func(c Connection, s Settings) func(*testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			d, err := Definition().OpenDestination(config(t, c, s))
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	server := pubsubtest.New(t, pubsubtest.Options{Returned: returned})
	server.CreateTopic(t, path("closed"), nil)
	server.Deny(path("closed"), pubsubtest.Publish, pubsubtest.Get)
	place := fakePlace
	apart := func(t *testing.T) connectortest.DestinationPlace { return placeApart(t, settings) }
	if os.Getenv(liveVariable) != "" {
		place, apart = livePlace, nil
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:    []connectors.Mode{connectors.Append},
		Once:     connectortest.ByID,
		Records:  records,
		Apart:    apart,
		AnyBytes: true,
		Canary:   key.canary,
		Leaves: []goleak.Option{
			// Of the proxy, when it is stopped while bytes are on their way: its Stop loses the end that waits on the other one.
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		},
		Failing: map[string]connectortest.FailingDestination{
			"no topic":           {Kind: connectors.NotFound, Open: broken(emulator(server.Addr), Settings{Project: project, Topic: "nowhere"})},
			"no right":           {Kind: connectors.Forbidden, Open: broken(emulator(server.Addr), Settings{Project: project, Topic: "closed"})},
			"no server":          {Kind: connectors.Unavailable, Open: broken(Connection{Endpoint: "https://127.0.0.1:1", ServiceAccount: key.json}, settings)},
			"no such host":       {Kind: connectors.Unavailable, Open: broken(Connection{Endpoint: "https://nowhere.invalid", ServiceAccount: key.json}, settings)},
			"no TLS":             {Kind: connectors.Unavailable, Open: broken(Connection{Endpoint: "https://" + server.Addr, ServiceAccount: key.json}, settings)},
			"refused by key":     {Kind: connectors.Unauthorized, Open: refusing(key, settings)},
			"inside the network": {Kind: connectors.Invalid, Open: inside(key, settings)},
		},
		New: func(t *testing.T) connectortest.DestinationPlace { return place(t, settings) },
	})
}
