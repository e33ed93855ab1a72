package eventbridge

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/tidwall/gjson"
	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/documented"
	"tributary/connectors/eventbridge/eventbridgetest"
)

// loopback is where the test's servers are.
var loopback = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}

const (
	keyID  = "AKIAIOSFODNN7EXAMPLE"
	canary = "wJalrXUtnFEMI-canary-of-the-secret"
)

// returned are the errors that the tests' servers have answered with.
var returned = eventbridgetest.Documented()

// TestMain fails when an error that the test server documents was never returned.
func TestMain(m *testing.M) { os.Exit(documented.Run(m, returned)) }

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// at is a connection to a server.
func at(url string) Connection {
	return Connection{Region: eventbridgetest.Region, Endpoint: url, Credentials: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: canary}}
}

func block(t testing.TB, c Connection, s Settings) connectors.Config {
	return connectors.Config{Settings: raw(t, s), Connection: raw(t, c), Mode: connectors.Append, Layout: connectors.LayoutRaw, Env: loopback}
}

func openAt(t testing.TB, c Connection, s Settings) connectors.Destination {
	t.Helper()
	d, err := Definition().OpenDestination(block(t, c, s))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opened opens a destination that is closed with the test.
func opened(t testing.TB, c Connection, s Settings) connectors.Destination {
	t.Helper()
	d := openAt(t, c, s)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// serve starts a server with the bus changes and the bucket overflowing.
func serve(t testing.TB) *eventbridgetest.Server {
	t.Helper()
	s := eventbridgetest.New(t, keyID, canary, returned)
	s.CreateBus("changes")
	s.CreateBucket(t, "overflowing")
	return s
}

// row reads an event back. get reads the object that an event points to.
func row(t testing.TB, detail string, get func(url string) []byte) connectortest.Row {
	t.Helper()
	m := gjson.Get(detail, "metadata")
	version, err := strconv.ParseInt(m.Get("version").Str, 10, 64)
	if err != nil || !gjson.Valid(detail) {
		t.Errorf("not an event of ours: %.300s", detail)
	}
	data := ""
	// The payload is looked for by what stands around it: reading it as JSON would lose the white space around it.
	if _, rest, found := strings.Cut(detail, `,"data":`); found {
		data = strings.TrimSuffix(rest, "}")
	} else if at := gjson.Get(detail, "data_at.url").Str; at != "" {
		data = string(get(at))
	}
	return connectortest.Row{
		Installation: m.Get("installation").Str, Stream: m.Get("stream").Str, ID: m.Get("id").Str, Key: m.Get("key").Str,
		Op: connectors.Op(m.Get("op").Str), Version: version, Data: data,
	}
}

func rows(t testing.TB, s *eventbridgetest.Server) []connectortest.Row {
	t.Helper()
	var all []connectortest.Row
	for _, e := range s.Events() {
		all = append(all, row(t, e.Detail, func(url string) []byte {
			bucket, name, _ := strings.Cut(strings.TrimPrefix(url, "s3://"), "/")
			return s.Object(t, bucket, name)
		}))
	}
	return all
}

func TestConformance(t *testing.T) {
	server := serve(t)
	server.Deny("events:PutEvents")
	failing := func(change func(*Connection, *Settings)) func(*testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			c, s := at(server.URL), Settings{Bus: "changes"}
			change(&c, &s)
			return openAt(t, c, s)
		}
	}
	settings := Settings{Bus: "changes", Overflow: "s3://overflowing/large", Concurrency: 4}
	apart := func(t *testing.T) connectortest.DestinationPlace { return placeApart(t, settings) }
	if liveBus().Connection != "" {
		apart = nil
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:   []connectors.Mode{connectors.Append},
		Once:    connectortest.ByID,
		Records: 3_000,
		Apart:   apart,
		Canary:  canary,
		// EventBridge takes whole numbers of 64 bits.
		Refuses: func(data []byte) bool { return strings.Contains(string(data), "123456789012345678901234567890") },
		Poison:  []byte(`{"n": 18446744073709551616}`),
		Leaves: []goleak.Option{
			// Of the proxy, when it is stopped while bytes are on their way: its Stop loses the end that waits on the other one.
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		},
		Failing: map[string]connectortest.FailingDestination{
			"no right":      {Kind: connectors.Forbidden, Open: failing(func(*Connection, *Settings) {})},
			"no bus":        {Kind: connectors.NotFound, Open: failing(func(_ *Connection, s *Settings) { s.Bus = "nowhere" })},
			"wrong secret":  {Kind: connectors.Unauthorized, Open: failing(func(c *Connection, _ *Settings) { c.SecretAccessKey += "x" })},
			"unknown key":   {Kind: connectors.Unauthorized, Open: failing(func(c *Connection, _ *Settings) { c.AccessKeyID = "AKIAUNKNOWN" })},
			"expired token": {Kind: connectors.Unauthorized, Open: failing(func(c *Connection, _ *Settings) { c.SessionToken = canary })},
			"unknown role": {Kind: connectors.Unauthorized, Open: failing(func(c *Connection, _ *Settings) {
				c.RoleARN = "arn:aws:iam::123456789012:role/unknown"
			})},
			"no server":    {Kind: connectors.Unavailable, Open: failing(func(c *Connection, _ *Settings) { c.Endpoint = "http://127.0.0.1:1" })},
			"no such host": {Kind: connectors.Unavailable, Open: failing(func(c *Connection, _ *Settings) { c.Endpoint = "https://nowhere.invalid" })},
			"inside the network": {Kind: connectors.Invalid, Open: func(t *testing.T) connectors.Destination {
				d := openAt(t, at(server.URL), Settings{Bus: "changes"}).(*destination)
				// The endpoint passed when it was saved, and leads into the operator's network when it is dialled (I14).
				a, err := newAccount(at(server.URL), connectors.Env{})
				if err != nil {
					t.Fatal(err)
				}
				d.account = a
				return d
			}},
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			if live := liveBus(); live.Connection != "" {
				return livePlace(t, live)
			}
			return fakePlace(t, settings)
		},
	})
}

// fakePlace is a bus of a server in this process, behind a proxy.
func fakePlace(t *testing.T, settings Settings) connectortest.DestinationPlace {
	server := serve(t)
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop()), t.Name(),
		"127.0.0.1:0", strings.TrimPrefix(server.URL, "http://"))
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	def := Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
			d, err := def.OpenDestination(block(t, at("http://"+proxy.Listen), settings))
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Rows:  func(t *testing.T) []connectortest.Row { return rows(t, server) },
		Break: func(*testing.T) { proxy.Stop() },
		Heal: func(t *testing.T) {
			if err := proxy.Start(); err != nil {
				t.Error(err)
			}
		},
	}
}

// TestStandInApart serves a bus to the process that measures the largest batch.
func TestStandInApart(t *testing.T) {
	connectortest.ServeApart(t, func(t *testing.T) connectortest.StandIn {
		server := serve(t)
		return connectortest.StandIn{Where: []string{server.URL}, Rows: func(t *testing.T) []connectortest.Row { return rows(t, server) }}
	})
}

// placeApart is its bus.
func placeApart(t *testing.T, settings Settings) connectortest.DestinationPlace {
	standIn := connectortest.StartApart(t)
	def := Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
			d, err := def.OpenDestination(block(t, at(standIn.Where[0]), settings))
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Rows: standIn.Rows,
	}
}

// batch makes n records of as many keys as told, in turn.
func batch(n, keys int) connectors.Batch {
	b := connectors.Batch{Installation: "i/ada", Integration: "i", User: "ada", Epoch: "e", Lane: "l", Next: int64(n)}
	for i := range n {
		b.Records = append(b.Records, connectors.Record{
			ID: fmt.Sprint("id", i), Stream: "orders", Key: fmt.Sprint("key", i%keys), Op: connectors.Upsert, Version: int64(i), Ordinal: int64(i), Data: fmt.Appendf(nil, `{"n": %d}`, i),
		})
	}
	return b
}
