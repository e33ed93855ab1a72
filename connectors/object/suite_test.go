package object

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/tidwall/gjson"
	"go.uber.org/goleak"
	"gocloud.dev/blob"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/documented"
	"tributary/connectors/object/objecttest"
)

// loopback is where the tests' servers are.
var loopback = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}

// openOn opens a destination.
func openOn(t testing.TB, def connectors.Definition, connection any, s Settings) *destination {
	t.Helper()
	d, err := def.OpenDestination(connectors.Config{Settings: raw(t, s), Connection: raw(t, connection), Mode: connectors.Append, Layout: connectors.LayoutRaw, Env: loopback})
	if err != nil {
		t.Fatal(err)
	}
	return d.(*destination)
}

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// proxied puts a proxy before a server, which can cut connections and refuse new ones.
func proxied(t testing.TB, upstream string) *toxiproxy.Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", upstream)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	return proxy
}

// line is a record as it stands in a file.
type line struct {
	Installation, Stream, ID, Key, Op string
	Version, Ordinal                  int64
	OccurredAt, ReceivedAt            *time.Time
	Data                              string
}

// parquetLine is a line's columns in a Parquet file.
type parquetLine struct {
	Installation string     `parquet:"_installation"`
	Stream       string     `parquet:"_stream"`
	ID           string     `parquet:"_id"`
	Key          string     `parquet:"_key"`
	Op           string     `parquet:"_op"`
	Version      int64      `parquet:"_version"`
	OccurredAt   *time.Time `parquet:"_occurred_at,timestamp(microsecond)"`
	ReceivedAt   *time.Time `parquet:"_received_at,timestamp(microsecond)"`
	Ordinal      int64      `parquet:"_ordinal"`
	Data         *string    `parquet:"data"`
}

// read reads a file as docs/destinations/s3.md says.
func read(t testing.TB, name string, content []byte) []line {
	t.Helper()
	var r io.Reader = bytes.NewReader(content)
	switch {
	case strings.HasSuffix(name, ".parquet"):
		rows, err := parquet.Read[parquetLine](bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var lines []line
		for _, r := range rows {
			l := line{r.Installation, r.Stream, r.ID, r.Key, r.Op, r.Version, r.Ordinal, r.OccurredAt, r.ReceivedAt, ""}
			if r.Data != nil {
				l.Data = *r.Data
			}
			lines = append(lines, l)
		}
		return lines
	case strings.HasSuffix(name, ".ndjson.gz"):
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r = z
	case strings.HasSuffix(name, ".ndjson.zst"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer z.Close()
		r = z
	case !strings.HasSuffix(name, ".ndjson"):
		t.Fatalf("%s: an object of no known format", name)
	}
	var lines []line
	text := bufio.NewScanner(r)
	text.Buffer(nil, 16<<20)
	for text.Scan() {
		lines = append(lines, parseLine(t, text.Text()))
	}
	if err := text.Err(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return lines
}

// parseLine reads a line, which must have each field once and no other.
func parseLine(t testing.TB, text string) line {
	t.Helper()
	if !gjson.Valid(text) {
		t.Fatalf("not JSON: %.200q", text)
	}
	var l line
	at := func(v gjson.Result) *time.Time {
		if v.Type == gjson.Null {
			return nil
		}
		at, err := time.Parse("2006-01-02T15:04:05.000000Z", v.Str)
		if err != nil {
			t.Fatal(err)
		}
		return &at
	}
	known := ""
	gjson.Parse(text).ForEach(func(name, v gjson.Result) bool {
		known += name.Str + " "
		switch name.Str {
		case "_installation":
			l.Installation = v.Str
		case "_stream":
			l.Stream = v.Str
		case "_id":
			l.ID = v.Str
		case "_key":
			l.Key = v.Str
		case "_op":
			l.Op = v.Str
		case "_version":
			l.Version = v.Int()
		case "_occurred_at":
			l.OccurredAt = at(v)
		case "_received_at":
			l.ReceivedAt = at(v)
		case "_ordinal":
			l.Ordinal = v.Int()
		case "data":
			l.Data = v.Raw
		case "data_raw":
			l.Data = v.Str
		}
		return true
	})
	const all = "_installation _stream _id _key _op _version _occurred_at _received_at _ordinal "
	if known != all && known != all+"data " && known != all+"data data_raw " {
		t.Fatalf("the fields are %s", known)
	}
	return l
}

// rowsOf are the records of all objects.
func rowsOf(t testing.TB, objects map[string][]byte) []connectortest.Row {
	t.Helper()
	var rows []connectortest.Row
	for name, content := range objects {
		for _, l := range read(t, name, content) {
			rows = append(rows, connectortest.Row{Installation: l.Installation, Stream: l.Stream, ID: l.ID, Key: l.Key, Op: connectors.Op(l.Op), Version: l.Version, Data: l.Data})
		}
	}
	return rows
}

// leaves of proxies that are stopped while they have bytes in hand.
var leaves = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
}

const (
	canary = "canary-5c1e"
	bucket = objecttest.Bucket
	keyID  = objecttest.KeyID
	secret = objecttest.Secret
)

// s3Returned and gcsReturned are the errors that the stand-ins returned: all that they document, when all tests have run.
var s3Returned, gcsReturned = objecttest.DocumentedS3(), objecttest.DocumentedGCS()

func TestMain(m *testing.M) { os.Exit(documented.Run(m, s3Returned, gcsReturned)) }

func s3Connection(s *objecttest.S3) S3Connection {
	return S3Connection{Bucket: bucket, Endpoint: s.URL, Credentials: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}}
}

func gcsConnection(s *objecttest.GCS) GCSConnection {
	return GCSConnection{Bucket: bucket, ServiceAccountKey: objecttest.KeyFile(objecttest.ServiceKey(), s.URL+"/token"), Endpoint: s.URL}
}

// live is a folder of a real bucket, where the environment has a connection that names one, as JSON. The folder is emptied after the test.
func live(t *testing.T, def connectors.Definition, variable string, s Settings) (place connectortest.DestinationPlace, ok bool) {
	connection := json.RawMessage(os.Getenv(variable))
	if len(connection) == 0 {
		return place, false
	}
	root := "tributary-test/" + uuid.NewString() + "/"
	s.Path = root + defaultPath
	reader := openOn(t, def, connection, s)
	each := func(use func(ctx context.Context, name string) error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for objects := reader.bucket.List(&blob.ListOptions{Prefix: root}); ; {
			o, err := objects.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				err = use(ctx, o.Key)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() {
		each(reader.bucket.Delete)
		reader.Close()
	})
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, mode connectors.Mode) connectors.Destination { return openOn(t, def, connection, s) },
		Rows: func(t *testing.T) []connectortest.Row {
			all := make(map[string][]byte)
			each(func(ctx context.Context, name string) (err error) {
				all[name], err = reader.bucket.ReadAll(ctx, name)
				return err
			})
			return rowsOf(t, all)
		},
	}, true
}

func TestS3(t *testing.T) {
	for _, s := range []Settings{{}, {Format: "parquet"}} {
		t.Run(s.Format, func(t *testing.T) { testS3(t, s) })
	}
}

func testS3(t *testing.T, s Settings) {
	failing := func(change func(c *S3Connection)) func(t *testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			c := s3Connection(objecttest.NewS3(t, s3Returned))
			change(&c)
			return openOn(t, S3(), c, s)
		}
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:  []connectors.Mode{connectors.Append},
		Once:   connectortest.ByName,
		Poison: []byte(`{"a": nonsense}`),
		Canary: canary,
		Memory: 3, // the stand-in holds what it is sent
		Leaves: leaves,
		Failing: map[string]connectortest.FailingDestination{
			"wrong secret": {Kind: connectors.Unauthorized, Open: failing(func(c *S3Connection) { c.SecretAccessKey = canary })},
			"unknown key":  {Kind: connectors.Unauthorized, Open: failing(func(c *S3Connection) { c.AccessKeyID, c.SecretAccessKey = "AKIANOBODY", canary })},
			"no bucket":    {Kind: connectors.NotFound, Open: failing(func(c *S3Connection) { c.Bucket = "nowhere" })},
			"no server": {Kind: connectors.Unavailable, Open: failing(func(c *S3Connection) {
				c.Endpoint, c.SecretAccessKey = "http://127.0.0.1:1", canary
			})},
			"no such host": {Kind: connectors.Unavailable, Open: failing(func(c *S3Connection) {
				c.Endpoint, c.SecretAccessKey = "https://nowhere.invalid", canary
			})},
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			if place, ok := live(t, S3(), "TRIBUTARY_TEST_S3", s); ok {
				return place
			}
			server, def := objecttest.NewS3(t, s3Returned), S3()
			proxy := proxied(t, hostOf(t, server.URL))
			c := s3Connection(server)
			c.Endpoint = "http://" + proxy.Listen
			return connectortest.DestinationPlace{
				Open:  func(t *testing.T, mode connectors.Mode) connectors.Destination { return openOn(t, def, c, s) },
				Rows:  func(t *testing.T) []connectortest.Row { return rowsOf(t, server.Objects(t)) },
				Break: func(*testing.T) { proxy.Stop() },
				Heal:  func(t *testing.T) { heal(t, proxy) },
			}
		},
	})
}

func hostOf(t testing.TB, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func heal(t *testing.T, p *toxiproxy.Proxy) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Error(err)
	}
}

func TestGCS(t *testing.T) {
	for _, s := range []Settings{{Compression: "zstd"}, {Format: "parquet", Compression: "none"}} {
		t.Run(s.Format, func(t *testing.T) { testGCS(t, s) })
	}
}

func testGCS(t *testing.T, s Settings) {
	failing := func(change func(s *objecttest.GCS, c *GCSConnection)) func(t *testing.T) connectors.Destination {
		return func(t *testing.T) connectors.Destination {
			server := objecttest.NewGCS(t, nil, gcsReturned)
			c := gcsConnection(server)
			change(server, &c)
			return openOn(t, GCS(), c, s)
		}
	}
	connectortest.TestDestination(t, connectortest.DestinationHarness{
		Modes:  []connectors.Mode{connectors.Append},
		Once:   connectortest.ByName,
		Poison: []byte(`{"a": nonsense}`),
		Canary: "PRIVATE KEY",
		Memory: 6, // the stand-in holds what it is sent, not compressed in one case, and copies it while it reads it
		Leaves: leaves,
		Failing: map[string]connectortest.FailingDestination{
			"another's key": {Kind: connectors.Unauthorized, Open: failing(func(s *objecttest.GCS, c *GCSConnection) {
				c.ServiceAccountKey = objecttest.KeyFile(objecttest.StrangerKey(), s.URL+"/token")
			})},
			"no bucket": {Kind: connectors.NotFound, Open: failing(func(_ *objecttest.GCS, c *GCSConnection) { c.Bucket = "nowhere" })},
			"no server": {Kind: connectors.Unavailable, Open: failing(func(_ *objecttest.GCS, c *GCSConnection) { c.Endpoint = "http://127.0.0.1:1" })},
			"no token server": {Kind: connectors.Unavailable, Open: failing(func(_ *objecttest.GCS, c *GCSConnection) {
				c.ServiceAccountKey = objecttest.KeyFile(objecttest.ServiceKey(), "http://127.0.0.1:1/token")
			})},
		},
		New: func(t *testing.T) connectortest.DestinationPlace {
			if place, ok := live(t, GCS(), "TRIBUTARY_TEST_GCS", s); ok {
				return place
			}
			var proxy *toxiproxy.Proxy
			server, def := objecttest.NewGCS(t, func(upstream string) string {
				proxy = proxied(t, upstream)
				return proxy.Listen
			}, gcsReturned), GCS()
			c := gcsConnection(server)
			c.Endpoint = "http://" + proxy.Listen
			return connectortest.DestinationPlace{
				Open:  func(t *testing.T, mode connectors.Mode) connectors.Destination { return openOn(t, def, c, s) },
				Rows:  func(t *testing.T) []connectortest.Row { return rowsOf(t, server.Objects(t)) },
				Break: func(*testing.T) { proxy.Stop() },
				Heal:  func(t *testing.T) { heal(t, proxy) },
			}
		},
	})
}
