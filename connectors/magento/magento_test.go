package magento_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/documented"
	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
)

// returned counts the errors that the stand-ins of this package return. Once all tests have run, none that is documented may be left.
var returned = magentotest.Documented()

func TestMain(m *testing.M) { os.Exit(documented.Run(m, returned)) }

// inside are the networks that the operator allows: the stand-in is in one.
var inside = []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}

func raw(t *testing.T, v any) json.RawMessage {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func signing(url string) magento.Connection {
	return magento.Connection{
		URL: url, ConsumerKey: magentotest.ConsumerKey, ConsumerSecret: magentotest.ConsumerSecret,
		AccessToken: magentotest.AccessToken, AccessTokenSecret: magentotest.AccessTokenSecret,
	}
}

func bearer(url string) magento.Connection {
	return magento.Connection{URL: url, AccessToken: magentotest.AccessToken}
}

func openWith(t *testing.T, s *magentotest.Server, conn magento.Connection, settings magento.Settings, streams ...string) any {
	t.Helper()
	v, err := magento.Definition().OpenSource(connectors.Config{
		Settings: raw(t, settings), Connection: raw(t, conn), Streams: streams, Env: connectors.Env{Now: s.Now, Networks: inside},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t *testing.T, s *magentotest.Server, settings magento.Settings) connectors.Source {
	t.Helper()
	return openWith(t, s, signing(s.URL), settings).(connectors.Source)
}

// relay lets a transport stand before a server for the client that the connector makes for itself.
func relay(t *testing.T, to string, transport http.RoundTripper) string {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which is signed
		},
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0), // the suite breaks connections on purpose
	})
	t.Cleanup(server.Close)
	return server.URL
}

// TestSource runs the suite that every source passes, with a stream of each shape and each way to authenticate.
func TestSource(t *testing.T) {
	t.Parallel()
	for stream, connect := range map[string]func(string) magento.Connection{"orders": signing, "customers": bearer, "products": signing, "categories": signing} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
				s := magentotest.New(t, returned)
				s.AllCategories = true
				for i := range int64(25) {
					s.Put(stream, i+1, s.Now().Add(time.Duration(i/3-10)*time.Second))
				}
				return app(t, s, stream, connect)
			}})
		})
	}
}

// TestSourceOfStock runs the suite with the stream that has no times.
func TestSourceOfStock(t *testing.T) {
	t.Parallel()
	connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
		s := magentotest.New(t, returned)
		for i := range 25 {
			s.SetQuantity("default", fmt.Sprint("sku ", i), 100)
		}
		a := app(t, s, "stock", signing)
		changes := 0
		a.Late, a.Timeless = nil, true
		a.Change = func() (string, int64) {
			s.Advance(time.Second)
			changes++
			sku := fmt.Sprint("sku ", (changes*7)%25)
			s.SetQuantity("default", sku, 100+changes)
			return "default/" + sku, 0
		}
		return a
	}})
}

func app(t *testing.T, s *magentotest.Server, stream string, connect func(string) magento.Connection) connectortest.SourceApp {
	changes := int64(0)
	advance := func() (int64, time.Time) {
		s.Advance(time.Second)
		changes++
		return (changes*7)%25 + 1, s.Now()
	}
	secrets := []string{magentotest.AccessToken}
	if connect("").ConsumerSecret != "" {
		secrets = append(secrets, magentotest.ConsumerSecret, magentotest.AccessTokenSecret)
	}
	return connectortest.SourceApp{
		Transport: http.DefaultTransport,
		Open: func(env connectors.Env) (any, error) {
			env.Networks = inside
			return magento.Definition().OpenSource(connectors.Config{Connection: raw(t, connect(relay(t, s.URL, env.Transport))), Env: env})
		},
		Secrets: secrets, Now: s.Now, Stream: stream, Limit: 5,
		Keys: func() []string { return s.Keys(stream) },
		Change: func() (string, int64) {
			id, at := advance()
			s.Put(stream, id, at)
			return strconv.FormatInt(id, 10), at.UnixMicro()
		},
		Late: func() (string, int64, func()) {
			id, at := advance()
			return strconv.FormatInt(id, 10), at.UnixMicro(), func() { s.Put(stream, id, at) }
		},
	}
}
