package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"tributary/connectors/amazon"
	"tributary/connectors/bigquery"
	"tributary/connectors/bigquery/bigquerytest"
	"tributary/connectors/connectortest"
	"tributary/connectors/duckdb"
	"tributary/connectors/eventbridge"
	"tributary/connectors/eventbridge/eventbridgetest"
	"tributary/connectors/httpapi"
	"tributary/connectors/kafka"
	"tributary/connectors/mongodb"
	"tributary/connectors/mongodb/mongodbtest"
	"tributary/connectors/mysql"
	"tributary/connectors/object"
	"tributary/connectors/object/objecttest"
	"tributary/connectors/postgres"
	"tributary/connectors/pubsub"
	"tributary/connectors/pubsub/pubsubtest"
	"tributary/connectors/redshift"
	"tributary/connectors/redshift/redshifttest"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
	"tributary/internal/mariadbtest"
	"tributary/internal/pgtest"
	"tributary/tests/stack"
)

// place is a destination of the matrix, with a server of its own.
type place struct {
	name, connector string
	connection      any // nil: it needs none
	settings        map[string]any
	// table is the setting that names the table. "": there are none, and nothing is replaced.
	table string
	// arrived is what is there, in the table where there are any.
	arrived func(t *testing.T, table string) tally
	// again counts what is there more than once and must not be (I3). Nil: nothing may be. Where a system recognises only what the engine
	// repeats, and not what the app sends again, that is the same ordinal; where it recognises nothing, there is no such thing.
	again func(t *testing.T) int
}

// Tables of a place.
const (
	changes = "hooks"  // each change is a row
	latest  = "latest" // each object is a row
)

// anything may be there again, with the same ID for the reader to recognise.
func anything(*testing.T) int { return 0 }

// everyPlace starts a server for each destination. The servers live in the test's process and outlive the workers.
func everyPlace(t *testing.T, s *stack.Stack) []place {
	all := []place{
		postgresPlace(t), mariadbPlace(t), duckdbPlace(s), bigqueryPlace(t), mongodbPlace(t), snowflakePlace(t), redshiftPlace(t), s3Place(t), gcsPlace(t), kafkaPlace(t), pubsubPlace(t),
		eventbridgePlace(t), httpPlace(t), datastreamPlace(t, s),
	}
	if admin := os.Getenv(mysqlVariable); admin != "" {
		all = append(all, mysqlPlace("mysql", mariadbtest.On(t, admin)))
	}
	return all
}

// mysqlVariable has the URL of an administrator of a MySQL; see internal/tools/mysql.sh.
const mysqlVariable = "TRIBUTARY_TEST_MYSQL"

func postgresPlace(t *testing.T) place {
	dsn := pgtest.Database(t)
	return place{name: "postgres", connector: "postgres", connection: postgres.Connection{URL: dsn}, table: "table",
		arrived: func(t *testing.T, table string) tally { return rowsOf(t, dsn, table, "_id") }}
}

// fragilePlace is a PostgreSQL that can go down.
func fragilePlace(t *testing.T) (place, *toxiproxy.Proxy) {
	p := postgresPlace(t)
	pg, err := pgx.ParseConfig(p.connection.(postgres.Connection).URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := connectortest.Proxy(t, net.JoinHostPort(pg.Host, strconv.Itoa(int(pg.Port))))
	host, port, _ := net.SplitHostPort(proxy.Listen)
	number, _ := strconv.Atoi(port)
	p.name = "down"
	p.connection = postgres.Connection{Host: host, Port: number, Database: pg.Database, User: pg.User, Password: pg.Password, SSLMode: "disable"}
	return p, proxy
}

func mariadbPlace(t *testing.T) place { return mysqlPlace("mariadb", mariadbtest.Database(t)) }

// mysqlPlace is the database of a URL, for a connector of that dialect.
func mysqlPlace(connector, raw string) place {
	return place{name: connector, connector: connector, table: "table", connection: mysql.Connection{URL: raw},
		arrived: func(t *testing.T, table string) tally {
			db, err := mariadbtest.Open(raw)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			rows, err := db.Query("SELECT _id, data FROM " + table)
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
	return place{name: "duckdb", connector: "duckdb", settings: map[string]any{"path": file}, table: "table", arrived: func(t *testing.T, table string) tally {
		var files duckdb.Files
		_, rows, err := files.Query(context.Background(), filepath.Join(s.Config.Dir, file), "SELECT _id, CAST(data AS VARCHAR) FROM "+table, 1_000_000)
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
	return place{name: "bigquery", connector: "bigquery", settings: map[string]any{"dataset": bigquerytest.Dataset, "json": "string"}, table: "table",
		connection: bigquery.Connection{Key: server.Key(server.REST), Endpoint: "http://" + server.REST, WriteEndpoint: "http://" + server.Write},
		arrived: func(t *testing.T, table string) tally {
			out := tally{}
			server.Read(t, "_installation", func(name string, row map[string]*string) {
				if strings.HasSuffix(strings.Trim(name, `"`), table) {
					out[thingOf(*row["_id"], []byte(*row["data"]))]++
				}
			})
			return out
		},
		again: func(t *testing.T) int {
			var ordinals []string
			server.Read(t, "_installation", func(name string, row map[string]*string) {
				if strings.HasSuffix(name, changes) {
					ordinals = append(ordinals, *row["_epoch"]+" "+*row["_ordinal"])
				}
			})
			return repeated(ordinals)
		}}
}

func mongodbPlace(t *testing.T) place {
	const database = "crm"
	server := mongodbtest.New(t, nil)
	return place{name: "mongodb", connector: "mongodb", settings: map[string]any{"raw": true}, table: "collection",
		connection: mongodb.Connection{Host: server.Addr, TLS: "off", Database: database},
		arrived: func(_ *testing.T, table string) tally {
			out := tally{}
			for _, doc := range server.Documents(database, table) {
				out[thingOf(doc.Lookup("_record_id").StringValue(), []byte(doc.Lookup("raw").StringValue()))]++
			}
			return out
		}}
}

func snowflakePlace(t *testing.T) place {
	server := snowflaketest.New(t, &snowflaketest.Returned{})
	return place{name: "snowflake", connector: "snowflake",
		settings: map[string]any{"database": snowflaketest.Database, "schema": snowflaketest.Schema, "names": "exact", "json": "string"}, table: "table",
		connection: snowflake.Connection{Account: snowflaketest.Account, User: snowflaketest.User, Password: snowflaketest.Password, Warehouse: snowflaketest.Warehouse, Host: server.URL},
		arrived: func(t *testing.T, table string) tally {
			out := tally{}
			server.Read(t, "_installation", func(name string, row map[string]*string) {
				if strings.HasSuffix(strings.Trim(name, `"`), table) {
					out[thingOf(*row["_id"], []byte(*row["data"]))]++
				}
			})
			return out
		}}
}

func redshiftPlace(t *testing.T) place {
	server := redshifttest.New(t, "id", "secret", "password", nil)
	host, port, err := net.SplitHostPort(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	return place{name: "redshift", connector: "redshift", settings: map[string]any{"json": "text"}, table: "table",
		connection: redshift.Connection{Host: host, Port: number, Database: redshifttest.Database, User: redshifttest.User, Password: "password", SSLMode: "disable",
			Bucket: redshifttest.Bucket, Region: redshifttest.Region, IAMRole: redshifttest.Role, Endpoint: server.Endpoint,
			Credentials: amazon.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}},
		arrived: func(t *testing.T, table string) tally { return rowsOf(t, server.DSN, table, "_id") }}
}

func s3Place(t *testing.T) place {
	server := objecttest.NewS3(t, nil)
	return lakePlace("s3", server.Objects, object.S3Connection{
		Bucket: objecttest.Bucket, Credentials: amazon.Credentials{AccessKeyID: objecttest.KeyID, SecretAccessKey: objecttest.Secret}, Endpoint: server.URL,
	})
}

func gcsPlace(t *testing.T) place {
	server := objecttest.NewGCS(t, nil, nil)
	key := objecttest.KeyFile(objecttest.ServiceKey(), server.URL+"/token")
	return lakePlace("gcs", server.Objects, object.GCSConnection{Bucket: objecttest.Bucket, ServiceAccountKey: key, Endpoint: server.URL})
}

// lakePlace is a bucket. An ordinal is there once in each run of the installation, which the name of an object tells.
func lakePlace(connector string, objects func(testing.TB) map[string][]byte, connection any) place {
	// each is given every line, with what its object's name has before the ordinal: folder, lane and epoch.
	each := func(t *testing.T, f func(series string, line []byte)) {
		t.Helper()
		for name, content := range objects(t) {
			name, ok := strings.CutSuffix(name, ".ndjson.gz")
			if !ok {
				t.Errorf("%s: an object of nobody's", name)
				continue
			}
			z, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(text) {
				f(name[:strings.LastIndexByte(name, '.')], line)
			}
		}
	}
	return place{name: connector, connector: connector, settings: map[string]any{"compression": "gzip"}, connection: connection,
		arrived: func(t *testing.T, _ string) tally {
			out := tally{}
			each(t, func(_ string, line []byte) {
				out[thingOf(gjson.GetBytes(line, "_id").Str, []byte(gjson.GetBytes(line, "data").Raw))]++
			})
			return out
		},
		again: func(t *testing.T) int {
			var ordinals []string
			each(t, func(series string, line []byte) {
				ordinals = append(ordinals, series+" "+gjson.GetBytes(line, "_ordinal").Raw)
			})
			return repeated(ordinals)
		}}
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
		arrived: func(t *testing.T, _ string) tally {
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
		arrived: func(*testing.T, string) tally {
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
		arrived: func(*testing.T, string) tally {
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
		arrived: func(*testing.T, string) tally {
			mu.Lock()
			defer mu.Unlock()
			return got
		}}
}

func datastreamPlace(t *testing.T, s *stack.Stack) place {
	e, raw := newSigner(t)
	return place{name: "datastream", connector: "datastream", connection: raw, settings: map[string]any{"url": e.URL}, again: anything,
		arrived: func(t *testing.T, _ string) tally {
			if e.changed != 0 || len(e.bad) != 0 {
				t.Errorf("Data Stream: %d changed, %d bad signatures %q", e.changed, len(e.bad), e.bad)
			}
			return e.tally()
		}}
}
