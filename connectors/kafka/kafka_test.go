package kafka_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/kafka"
)

// loopback is where the test's brokers are.
var loopback = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}

// brokers starts a cluster in the process.
func brokers(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.DefaultNumPartitions(3)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func plaintext(c *kfake.Cluster) kafka.Connection {
	return kafka.Connection{Brokers: c.ListenAddrs(), TLS: "off"}
}

func open(t testing.TB, def connectors.Definition, c kafka.Connection, s kafka.Settings) connectors.Destination {
	t.Helper()
	d, err := def.OpenDestination(connectors.Config{Settings: raw(t, s), Connection: raw(t, c), Mode: connectors.Append, Env: loopback})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// opened is open with a Close at the end of the test.
func opened(t testing.TB, c kafka.Connection, s kafka.Settings) connectors.Destination {
	t.Helper()
	d := open(t, kafka.Definition(), c, s)
	t.Cleanup(func() { d.Close() })
	return d
}

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// consume reads topics, without names all, from the beginning to their ends, each partition in order, past a proxy where there is one.
func consume(t testing.TB, c *kfake.Cluster, past *toxiproxy.Proxy, topics ...string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableClientMetrics(), kgo.MetadataMinAge(10 * time.Millisecond)}
	if past != nil {
		options = append(options, kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, past.Upstream)
		}))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if topics == nil {
		res, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range res.Topics {
			topics = append(topics, *topic.Topic)
		}
	}
	left := 0
	for _, topic := range topics {
		for _, p := range c.PartitionInfos(topic) {
			left += int(p.HighWatermark)
		}
	}
	client.AddConsumeTopics(topics...)
	var all []*kgo.Record
	for left > len(all) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

// answer has brokers answer each such request with the code. At a login kfake itself would close the connection.
// https://kafka.apache.org/protocol#sasl_handshake
func answer(c *kfake.Cluster, request kmsg.Key, code *kerr.Error) {
	if request != kmsg.SASLHandshake && request != kmsg.SASLAuthenticate {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{request}, TopLevel: request == kmsg.InitProducerID, Err: code, Count: -1})
		return
	}
	c.ControlKey(int16(request), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		res := req.ResponseKind()
		switch res := res.(type) {
		case *kmsg.SASLHandshakeResponse:
			res.ErrorCode, res.SupportedMechanisms = code.Code, []string{"OAUTHBEARER"}
		case *kmsg.SASLAuthenticateResponse:
			res.ErrorCode, res.ErrorMessage = code.Code, kmsg.StringPtr("Authentication failed, not with "+canary)
		}
		return res, nil, true
	})
}

// refuseLogins refuses whoever logs in.
func refuseLogins(c *kfake.Cluster) { answer(c, kmsg.SASLAuthenticate, kerr.SaslAuthenticationFailed) }

// refuseMechanisms answers that the cluster offers other mechanisms.
func refuseMechanisms(c *kfake.Cluster) {
	answer(c, kmsg.SASLHandshake, kerr.UnsupportedSaslMechanism)
}

// canary is a secret that must show nowhere.
const canary = "canary-7f3a"

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == "tributary-"+name {
			return string(h.Value)
		}
	}
	return ""
}

func row(r *kgo.Record) connectortest.Row {
	version, _ := strconv.ParseInt(header(r, "version"), 10, 64)
	return connectortest.Row{
		Installation: header(r, "installation"), Stream: header(r, "stream"), ID: header(r, "id"), Key: string(r.Key),
		Op: connectors.Op(header(r, "op")), Version: version, Data: string(r.Value),
	}
}

// proxied is a listener that says it is where the proxy is.
type proxied struct {
	net.Listener
	addr net.Addr
}

func (p proxied) Addr() net.Addr { return p.addr }

// behindProxy starts a cluster whose broker is reached, and names itself, through a proxy that can cut connections and refuse new ones.
func behindProxy(t *testing.T, options ...kfake.Opt) (*kfake.Cluster, *toxiproxy.Proxy) {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", "")
	c := brokers(t, append(options, kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		if err != nil {
			return nil, err
		}
		proxy.Upstream = l.Addr().String()
		if err := proxy.Start(); err != nil {
			return nil, err
		}
		addr, err := net.ResolveTCPAddr("tcp", proxy.Listen)
		return proxied{l, addr}, err
	}))...)
	t.Cleanup(proxy.Stop)
	return c, proxy
}

func TestDestination(t *testing.T) {
	// Long enough for a busy machine, and what a broken connection costs each time.
	settings := kafka.Settings{Create: true, Timeout: "2s"}
	users := []kfake.Opt{
		kfake.EnableSASL(), kfake.EnableACLs(), kfake.SeedTopics(1, "fixed"), kfake.Superuser("PLAIN", "admin", "right"), kfake.Superuser("SCRAM-SHA-512", "admin", "right"),
		kfake.User("PLAIN", "reader", canary, kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "*", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationRead, Allow: true}),
	}
	failing := func(kind connectors.Kind, s kafka.Settings, mechanism kafka.SASL, user string, changes ...any) connectortest.FailingDestination {
		return connectortest.FailingDestination{Kind: kind, Open: func(t *testing.T) connectors.Destination {
			options := users
			if mechanism == "" {
				options = nil
			}
			cluster := brokers(t, options...)
			c := plaintext(cluster)
			if c.SASL, c.User = mechanism, user; mechanism != "" {
				c.Password = canary
			}
			for _, change := range changes {
				switch change := change.(type) {
				case func(*kfake.Cluster):
					change(cluster)
				case func(*kafka.Connection):
					change(&c)
				}
			}
			return open(t, kafka.Definition(), c, s)
		}}
	}
	brokersAre := func(addresses ...string) func(*kafka.Connection) {
		return func(c *kafka.Connection) { c.Brokers = addresses }
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:    []connectors.Mode{connectors.Append},
		Once:     connectortest.ByID,
		Records:  5_000,
		AnyBytes: true,
		Refuses:  func(data []byte) bool { return len(data) > 1_000_012 },
		Canary:   canary,
		Leaves: []goleak.Option{ // a proxy that is stopped while it has bytes in hand never lets go of them
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
			// kfake doesn't wait for its connections when it closes them
			goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read.func1"),
		},
		Failing: map[string]connectortest.FailingDestination{
			"wrong password, plain": failing(connectors.Unauthorized, settings, "plain", "admin", refuseLogins),
			"wrong password, scram": failing(connectors.Unauthorized, settings, "scram-sha-512", "admin", refuseLogins),
			"closed after a login":  failing(connectors.Unavailable, settings, "plain", "admin"),
			"no such mechanism":     failing(connectors.Invalid, settings, "scram-sha-256", "admin", refuseMechanisms),
			"may not write":         failing(connectors.Forbidden, kafka.Settings{Topic: "fixed", Timeout: "1s"}, "plain", "reader"),
			"may not create":        failing(connectors.Forbidden, kafka.Settings{Topic: "other", Create: true, Timeout: "1s"}, "plain", "reader"),
			"no topic":              failing(connectors.NotFound, kafka.Settings{Topic: "missing", Timeout: "1s"}, "", ""),
			"too many replicas":     failing(connectors.Invalid, kafka.Settings{Topic: "t", Create: true, NewTopic: kafka.NewTopic{Replication: 9}, Timeout: "1s"}, "", ""),
			"no login":              failing(connectors.Unavailable, settings, "plain", "admin", func(c *kafka.Connection) { c.SASL, c.User, c.Password = "", "", "" }),
			"no server":             failing(connectors.Unavailable, settings, "plain", "admin", brokersAre("127.0.0.1:1")),
			"no such host":          failing(connectors.Unavailable, settings, "plain", "admin", brokersAre("nowhere.invalid:9092")),
			"no TLS":                failing(connectors.Unavailable, settings, "plain", "admin", func(c *kafka.Connection) { c.TLS = "on" }),
			"inside the network": {Kind: connectors.Invalid, Open: func(t *testing.T) connectors.Destination {
				c := plaintext(brokers(t))
				c.SASL, c.User, c.Password = "plain", "ada", canary
				d, err := kafka.Definition().OpenDestination(connectors.Config{Connection: raw(t, c), Settings: raw(t, settings)})
				if err != nil {
					t.Fatal(err)
				}
				return d
			}},
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			if connection := os.Getenv(liveVariable); connection != "" {
				return live(t, json.RawMessage(connection))
			}
			c, proxy := behindProxy(t)
			def := kafka.Definition()
			return connectortest.DestinationPlace{
				Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
					return open(t, def, plaintext(c), settings)
				},
				Rows: func(t *testing.T) []connectortest.Row {
					var rows []connectortest.Row
					for _, r := range consume(t, c, proxy) {
						rows = append(rows, row(r))
					}
					return rows
				},
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
