package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"tributary/connectors/amazon"
	"tributary/connectors/bigquery"
	"tributary/connectors/bigquery/bigquerytest"
	"tributary/connectors/duckdb"
	"tributary/connectors/eventbridge"
	"tributary/connectors/eventbridge/eventbridgetest"
	"tributary/connectors/httpapi"
	"tributary/connectors/kafka"
	"tributary/connectors/mysql"
	"tributary/connectors/object"
	"tributary/connectors/postgres"
	"tributary/connectors/pubsub"
	"tributary/connectors/pubsub/pubsubtest"
	"tributary/connectors/redshift"
	"tributary/connectors/redshift/redshifttest"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
	"tributary/connectors/webhook"
	"tributary/internal/mariadbtest"
	"tributary/internal/pgtest"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// place is a destination of the matrix, with a server of its own.
type place struct {
	name, connector string
	connection      any // nil: it needs none
	settings        map[string]any
	// arrived is what is there.
	arrived func(t *testing.T) tally
	// again counts what is there more than once and must not be (I3). Nil: nothing may be. Where a system recognises only what the engine
	// repeats, and not what the app sends again, that is the same ordinal; where it recognises nothing, there is no such thing.
	again func(t *testing.T) int
}

// anything may be there again, with the same ID for the reader to recognise.
func anything(*testing.T) int { return 0 }

const matrixKills = 8

// TestEveryDestinationAtOnce has one installation write to every destination, while its worker is killed again and again, one
// destination is down for the whole time and one answers slowly: the others are complete, each record once (I3, I4, I11).
func TestEveryDestinationAtOnce(t *testing.T) {
	t.Parallel()
	s := stack.OpenStores(t, func(s *stack.Setup) { s.TaskTime = time.Second })
	s.Connect(vault.User(s.User), "webhook", webhook.Connection{Secret: hookSecret})
	down, wire := fragilePlace(t)
	places := append(matrix(t, s), down)
	var blocks strings.Builder
	for _, p := range places {
		connection := ""
		if p.connection != nil {
			s.ConnectAs(vault.Operator, p.connector, p.name, p.connection)
			connection = "connection: " + p.name + ", "
		}
		settings, err := json.Marshal(p.settings)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&blocks, "  - {name: %s, %sconnector: %s, hidden: true, mode: append, settings: %s}\n",
			p.name, connection, p.connector, settings)
	}
	s.Define(`
name: everywhere
source:
  connector: webhook
  settings: {preset: github, key: {body: .key}}
  trigger: realtime
  streams: [orders]
destinations:
` + blocks.String())
	play := role{Worker: true, Receiver: true, Config: s.Config, Temporal: s.Temporal, Seed: 1}
	victim := spawn(t, play)
	in := s.Install("everywhere", s.User, workflows.Timing{Events: 200, Heartbeat: time.Second, Backoff: 50 * time.Millisecond, MaxBackoff: time.Second})
	wire.Stop()
	load := startSending(t, in.HookURL, 7, 4, 40*time.Millisecond, 300)
	rng := rand.New(rand.NewPCG(7, 7))
	for range matrixKills {
		time.Sleep(time.Duration(300+rng.IntN(1200)) * time.Millisecond) // the load runs meanwhile
		victim.kill()
		victim = spawn(t, play)
	}
	defer load.still(t, settleTime)()
	acked, _ := load.acknowledged()
	settled := func(but string) func(workflows.Status) bool {
		return func(st workflows.Status) bool {
			for _, l := range st.Lanes {
				if l.Name != but && l.Lag != 0 {
					return false
				}
			}
			return st.Received >= int64(len(acked))
		}
	}
	st := s.Await(in.ID, settleTime, "all but the one that is down", settled("down"))
	for _, l := range st.Lanes {
		if l.Name == "down" && (l.Delivered != 0 || l.Lag != st.Received) {
			t.Errorf("the destination that is down got %d of %d, %d wait", l.Delivered, st.Received, l.Lag)
		}
	}
	if err := wire.Start(); err != nil {
		t.Fatal(err)
	}
	s.Await(in.ID, settleTime, "the one that was down", settled(""))
	victim.kill() // it has the DuckDB file open
	for _, p := range places {
		got := p.arrived(t)
		missing, surplus := acked.diff(got)
		if p.again != nil {
			surplus = p.again(t)
			for thing := range got {
				if acked[thing] == 0 {
					surplus++
				}
			}
		}
		if missing != 0 || surplus != 0 {
			t.Errorf("%s: %d of %d missing, %d never acknowledged, changed or doubled", p.name, missing, len(acked), surplus)
		}
	}
	t.Logf("%d records in each of %d destinations over %d kills", len(acked), len(places), matrixKills)
}

// matrix starts a server for each destination. The servers live in the test's process and outlive the workers.
func matrix(t *testing.T, s *stack.Stack) []place {
	return []place{
		postgresPlace(t), mariadbPlace(t), duckdbPlace(s), bigqueryPlace(t), snowflakePlace(t), redshiftPlace(t), s3Place(t), kafkaPlace(t), pubsubPlace(t),
		eventbridgePlace(t), httpPlace(t), datastreamPlace(t, s),
	}
}

func postgresPlace(t *testing.T) place {
	dsn := pgtest.Database(t)
	return place{name: "postgres", connector: "postgres", connection: postgres.Connection{URL: dsn}, settings: map[string]any{"table": "hooks"},
		arrived: func(t *testing.T) tally { return rowsOf(t, dsn, "hooks", "_id") }}
}

// fragilePlace is a PostgreSQL that can go down.
func fragilePlace(t *testing.T) (place, *toxiproxy.Proxy) {
	p := postgresPlace(t)
	pg, err := pgx.ParseConfig(p.connection.(postgres.Connection).URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := proxyTo(t, net.JoinHostPort(pg.Host, strconv.Itoa(int(pg.Port))))
	host, port, _ := net.SplitHostPort(proxy.Listen)
	number, _ := strconv.Atoi(port)
	p.name = "down"
	p.connection = postgres.Connection{Host: host, Port: number, Database: pg.Database, User: pg.User, Password: pg.Password, SSLMode: "disable"}
	return p, proxy
}

func mariadbPlace(t *testing.T) place {
	raw := mariadbtest.Database(t)
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(u.Port())
	password, _ := u.User.Password()
	return place{name: "mariadb", connector: "mariadb", settings: map[string]any{"table": "hooks"},
		connection: mysql.Connection{Host: u.Hostname(), Port: port, Database: strings.TrimPrefix(u.Path, "/"), User: u.User.Username(), Password: password},
		arrived: func(t *testing.T) tally {
			db, err := mariadbtest.Open(raw)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			rows, err := db.Query("SELECT _id, data FROM hooks")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			out := tally{}
			for rows.Next() {
				var id string
				var data []byte
				if err := rows.Scan(&id, &data); err != nil {
					t.Fatal(err)
				}
				out[thingOf(id, data)]++
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return out
		}}
}

func duckdbPlace(s *stack.Stack) place {
	const file = "matrix.duckdb"
	return place{name: "duckdb", connector: "duckdb", settings: map[string]any{"path": file, "table": "hooks"}, arrived: func(t *testing.T) tally {
		var files duckdb.Files
		_, rows, err := files.Query(context.Background(), filepath.Join(s.Config.Dir, file), "SELECT _id, CAST(data AS VARCHAR) FROM hooks", 1_000_000)
		if err != nil {
			t.Fatal(err)
		}
		out := tally{}
		for _, row := range rows {
			out[thingOf(fmt.Sprint(row[0]), []byte(fmt.Sprint(row[1])))]++
		}
		return out
	}}
}

func bigqueryPlace(t *testing.T) place {
	server := bigquerytest.New(t, nil)
	return place{name: "bigquery", connector: "bigquery", settings: map[string]any{"dataset": bigquerytest.Dataset, "table": "hooks", "json": "string"},
		connection: bigquery.Connection{Key: server.Key(server.REST), Endpoint: "http://" + server.REST, WriteEndpoint: "http://" + server.Write},
		arrived: func(t *testing.T) tally {
			out := tally{}
			server.Read(t, "_installation", func(_ string, row map[string]*string) { out[thingOf(*row["_id"], []byte(*row["data"]))]++ })
			return out
		},
		again: func(t *testing.T) int {
			var ordinals []string
			server.Read(t, "_installation", func(_ string, row map[string]*string) { ordinals = append(ordinals, *row["_ordinal"]) })
			return repeated(ordinals)
		}}
}

func snowflakePlace(t *testing.T) place {
	server := snowflaketest.New(t, &snowflaketest.Returned{})
	return place{name: "snowflake", connector: "snowflake",
		settings:   map[string]any{"database": snowflaketest.Database, "schema": snowflaketest.Schema, "names": "exact", "json": "string", "table": "hooks"},
		connection: snowflake.Connection{Account: snowflaketest.Account, User: snowflaketest.User, Password: snowflaketest.Password, Warehouse: snowflaketest.Warehouse, Host: server.URL},
		arrived: func(t *testing.T) tally {
			out := tally{}
			server.Read(t, "_installation", func(_ string, row map[string]*string) { out[thingOf(*row["_id"], []byte(*row["data"]))]++ })
			return out
		}}
}

func redshiftPlace(t *testing.T) place {
	server := redshifttest.New(t, "id", "secret", "password")
	host, port, err := net.SplitHostPort(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	return place{name: "redshift", connector: "redshift", settings: map[string]any{"json": "text", "table": "hooks"},
		connection: redshift.Connection{Host: host, Port: number, Database: redshifttest.Database, User: redshifttest.User, Password: "password", SSLMode: "disable",
			Bucket: redshifttest.Bucket, Region: redshifttest.Region, IAMRole: redshifttest.Role, Endpoint: server.Endpoint,
			Credentials: amazon.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}},
		arrived: func(t *testing.T) tally { return rowsOf(t, server.DSN, "hooks", "_id") }}
}

func s3Place(t *testing.T) place {
	const bucket = "lake"
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(server.Close)
	return place{name: "s3", connector: "s3", settings: map[string]any{"compression": "gzip"},
		connection: object.S3Connection{Bucket: bucket, Credentials: amazon.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, Endpoint: server.URL},
		arrived: func(t *testing.T) tally {
			out := tally{}
			for _, line := range lines(t, backend, bucket) {
				out[thingOf(gjson.GetBytes(line, "_id").Str, []byte(gjson.GetBytes(line, "data").Raw))]++
			}
			return out
		},
		again: func(t *testing.T) int {
			var ordinals []string
			for _, line := range lines(t, backend, bucket) {
				ordinals = append(ordinals, gjson.GetBytes(line, "_ordinal").Raw)
			}
			return repeated(ordinals)
		}}
}

// lines are those of all files in a bucket.
func lines(t *testing.T, backend gofakes3.Backend, bucket string) (all [][]byte) {
	t.Helper()
	list, err := backend.ListBucket(bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		if !strings.HasSuffix(o.Key, ".ndjson.gz") {
			continue
		}
		got, err := backend.GetObject(bucket, o.Key, nil)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(got.Contents)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Collect(bytes.Lines(text))...)
	}
	return all
}

// repeated counts what is in a list more than once.
func repeated(list []string) (n int) {
	slices.Sort(list)
	for i := 1; i < len(list); i++ {
		if list[i] == list[i-1] {
			n++
		}
	}
	return n
}

func kafkaPlace(t *testing.T) place {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return place{name: "kafka", connector: "kafka", settings: map[string]any{"topic": "hooks", "create": true}, again: anything,
		connection: kafka.Connection{Brokers: cluster.ListenAddrs(), TLS: "off"},
		arrived: func(t *testing.T) tally {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			left := int64(0)
			for _, p := range cluster.PartitionInfos("hooks") {
				left += p.HighWatermark
			}
			c, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ConsumeTopics("hooks"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			out := tally{}
			for left > 0 {
				fetched := c.PollFetches(ctx)
				if err := fetched.Err(); err != nil {
					t.Fatal(err)
				}
				for _, r := range fetched.Records() {
					left--
					for _, h := range r.Headers {
						if h.Key == "tributary-id" {
							out[thingOf(string(h.Value), r.Value)]++
						}
					}
				}
			}
			return out
		}}
}

func pubsubPlace(t *testing.T) place {
	server := pubsubtest.New(t, pubsubtest.Options{Emulator: true})
	server.CreateTopic(t, "projects/acme-data/topics/hooks", nil)
	return place{name: "pubsub", connector: "pubsub", settings: map[string]any{"project": "acme-data", "topic": "hooks"}, again: anything,
		connection: pubsub.Connection{Endpoint: "http://" + server.Addr},
		arrived: func(*testing.T) tally {
			out := tally{}
			for _, m := range server.Messages() {
				out[thingOf(m.Attributes["id"], m.Data)]++
			}
			return out
		}}
}

func eventbridgePlace(t *testing.T) place {
	server := eventbridgetest.New(t, "id", "secret", nil)
	server.CreateBus("changes")
	return place{name: "eventbridge", connector: "eventbridge", settings: map[string]any{"bus": "changes"}, again: anything,
		connection: eventbridge.Connection{Region: eventbridgetest.Region, Credentials: amazon.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, Endpoint: server.URL},
		arrived: func(*testing.T) tally {
			out := tally{}
			for _, e := range server.Events() {
				out[thingOf(gjson.Get(e.Detail, "metadata.id").Str, []byte(gjson.Get(e.Detail, "data").Raw))]++
			}
			return out
		}}
}

// httpPlace is the slow one.
func httpPlace(t *testing.T) place {
	var mu sync.Mutex
	got := tally{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond) // as slow as a service across the world
		mu.Lock()
		defer mu.Unlock()
		got[thingOf(r.Header.Get("X-Id"), body)]++
	}))
	t.Cleanup(server.Close)
	return place{name: "http", connector: "http", again: anything, connection: httpapi.Connection{Token: "token"},
		settings: map[string]any{"url": server.URL, "path": "/records", "headers": map[string]string{"X-Id": "{id}"}},
		arrived: func(*testing.T) tally {
			mu.Lock()
			defer mu.Unlock()
			return got
		}}
}

func datastreamPlace(t *testing.T, s *stack.Stack) place {
	e, raw := newSigner(t)
	return place{name: "datastream", connector: "datastream", connection: raw, settings: map[string]any{"url": e.URL}, again: anything,
		arrived: func(t *testing.T) tally {
			if e.changed != 0 || len(e.bad) != 0 {
				t.Errorf("Data Stream: %d changed, %d bad signatures %q", e.changed, len(e.bad), e.bad)
			}
			return e.tally()
		}}
}
