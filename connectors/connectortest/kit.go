package connectortest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tributary/connectors"
)

// What the tests of connectors share besides the suites.

// Loopback lets a connector reach this machine, where the tests' servers are.
func Loopback() connectors.Env {
	return connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}
}

// JSON is a value as settings and connections are given.
func JSON(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Proxy puts a proxy before an address, which can cut connections and refuse new ones: it stops, and starts again.
func Proxy(t testing.TB, address string) *toxiproxy.Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", address)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	return proxy
}

// ProxyServer puts a proxy before a server, whose host and port become the proxy's.
func ProxyServer(t testing.TB, host *string, port *int) *toxiproxy.Proxy {
	t.Helper()
	proxy := Proxy(t, net.JoinHostPort(*host, strconv.Itoa(*port)))
	at, err := net.ResolveTCPAddr("tcp", proxy.Listen)
	if err != nil {
		t.Fatal(err)
	}
	*host, *port = at.IP.String(), at.Port
	return proxy
}

// Behind says that a place is reached through proxies, which Break stops and Heal starts.
func (p DestinationPlace) Behind(proxies ...*toxiproxy.Proxy) DestinationPlace {
	p.Break = func(*testing.T) {
		for _, proxy := range proxies {
			proxy.Stop()
		}
	}
	p.Heal = func(t *testing.T) {
		for _, proxy := range proxies {
			if err := proxy.Start(); err != nil {
				t.Error(err)
			}
		}
	}
	return p
}

// Batch makes a batch of n records of a stream, from an ordinal up, each of an object of its own.
func Batch(mode connectors.Mode, stream string, first, n int) connectors.Batch {
	b := connectors.Batch{Installation: "i/ada", Integration: "i", User: "ada", Epoch: "epoch", Lane: "warehouse", First: int64(first), Next: int64(first + n), Mode: mode}
	for i := first; i < first+n; i++ {
		b.Records = append(b.Records, connectors.Record{
			ID: fmt.Sprint("id", i), Key: fmt.Sprint("key", i), Stream: stream, Op: connectors.Upsert, Version: int64(i + 1), Ordinal: int64(i), Data: []byte(`{"a":1}`),
		})
	}
	return b
}

// Write writes a batch and wants all of it durable.
func Write(t testing.TB, d connectors.Destination, b connectors.Batch) {
	t.Helper()
	r, err := d.Write(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	wantDurable(t, r)
}

func wantDurable(t testing.TB, r connectors.Result) {
	t.Helper()
	for i, o := range r.Outcomes {
		if o != connectors.Durable {
			t.Fatalf("record %d: outcome %d, %s", i, o, r.Reasons[i])
		}
	}
}

// Check is what a destination says of its credentials and settings.
func Check(t testing.TB, d connectors.Destination) error {
	t.Helper()
	return d.(connectors.Checker).Check(t.Context())
}

// TestConfigs opens destinations by the configs that texts stand for. Each is refused as Invalid with what is wanted in the message, or where that is "" opens. No
// message has the word canary in it, as which the texts have their secrets.
func TestConfigs(t *testing.T, def connectors.Definition, config func(text string) connectors.Config, want map[string]string) {
	t.Helper()
	for text, part := range want {
		d, err := def.OpenDestination(config(text))
		if part != "" {
			if e := WantError(t, err, connectors.Invalid, part); strings.Contains(e.Error(), "canary") {
				t.Errorf("%s: the error tells the secret: %v", text, e)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// WantError wants an error of a kind that says all the parts. It returns the error for what else is to be checked.
func WantError(t testing.TB, err error, kind connectors.Kind, parts ...string) *connectors.Error {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("got %v, want an error of kind %s", err, kind)
		return &connectors.Error{}
	}
	for _, part := range parts {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("%q does not say %q", e.Error(), part)
		}
	}
	return e
}
