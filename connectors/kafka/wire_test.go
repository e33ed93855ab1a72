package kafka_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/kafka"
)

// batchOf makes a batch of one record a key given, numbered by version.
func batchOf(keys ...string) connectors.Batch {
	b := connectors.Batch{Installation: "shop/ada", Integration: "shop", User: "ada", Epoch: "e", Lane: "topics", Next: int64(len(keys)), Mode: connectors.Append}
	for i, key := range keys {
		b.Records = append(b.Records, connectors.Record{
			ID: fmt.Sprint("evt-", i), Stream: "orders", Key: key, Op: connectors.Upsert, Version: int64(i + 1), Ordinal: int64(i),
			ReceivedAt: time.Date(2026, 11, 22, 3, 0, 1, 0, time.UTC), Data: fmt.Appendf(nil, `{"n": %d}`, i),
		})
	}
	return b
}

// write writes a batch and wants the records at the indexes rejected and all others durable.
func write(t *testing.T, d connectors.Destination, b connectors.Batch, rejected ...int) connectors.Result {
	t.Helper()
	r, err := d.Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range r.Outcomes {
		want := connectors.Durable
		if slices.Contains(rejected, i) {
			want = connectors.Rejected
		}
		if o != want {
			t.Fatalf("record %d: outcome %d (%s), want %d", i, o, r.Reasons[i], want)
		}
	}
	return r
}

// Everything on the wire, to the letter: consumers depend on it.
func TestMessage(t *testing.T) {
	t.Parallel()
	c := brokers(t)
	b := batchOf("7", "", "8")
	b.Records[0].OccurredAt = time.Date(2026, 11, 22, 4, 0, 0, 123000, time.FixedZone("", 3600))
	b.Records[1].ReceivedAt = time.Time{}
	b.Records[2].Op, b.Records[2].Data = connectors.Delete, []byte{} // as a segment gives it
	before := time.Now().Truncate(time.Millisecond)
	write(t, opened(t, plaintext(c), kafka.Settings{Topic: "{integration}.{stream}", Create: true}), b)
	byID := make(map[string]string)
	for _, r := range consume(t, c, nil, "shop.orders") {
		text := fmt.Sprintf("%q=%q", r.Key, r.Value)
		if r.Key == nil {
			text = "no key " + text
		}
		if r.Value == nil {
			text = "no value " + text
		}
		for _, h := range r.Headers {
			text += fmt.Sprintf(" %s=%s", h.Key, h.Value)
		}
		switch id := header(r, "id"); {
		case id == "evt-1" && (r.Timestamp.Before(before) || r.Timestamp.After(time.Now())):
			t.Errorf("%s has the time %v", id, r.Timestamp)
		case id != "evt-1" && !r.Timestamp.Equal(b.Records[0].ReceivedAt):
			t.Errorf("%s has the time %v", id, r.Timestamp)
		default:
			byID[id] = text
		}
	}
	const same = " tributary-installation=shop/ada tributary-user=ada"
	for id, want := range map[string]string{
		"evt-0": `"7"="{\"n\": 0}" tributary-id=evt-0 tributary-stream=orders tributary-op=upsert tributary-version=1` + same + ` tributary-occurred-at=2026-11-22T03:00:00.000123Z tributary-received-at=2026-11-22T03:00:01Z`,
		"evt-1": `no key ""="{\"n\": 1}" tributary-id=evt-1 tributary-stream=orders tributary-op=upsert tributary-version=2` + same,
		"evt-2": `no value "8"="" tributary-id=evt-2 tributary-stream=orders tributary-op=delete tributary-version=3` + same + ` tributary-received-at=2026-11-22T03:00:01Z`,
	} {
		if byID[id] != want {
			t.Errorf("%s:\n got %s\nwant %s", id, byID[id], want)
		}
	}
}

// A record that is too large for the topic is found among its neighbours and rejected; they are written, and those of its key behind what
// came before them (I4).
func TestTooLarge(t *testing.T) {
	t.Parallel()
	c := brokers(t)
	d := opened(t, plaintext(c), kafka.Settings{Topic: "small", Create: true, Compression: "none", NewTopic: kafka.NewTopic{Partitions: 2, Config: map[string]string{"max.message.bytes": "2000"}}})
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprint("key-", i%7))
	}
	b := batchOf(keys...)
	for _, i := range []int{37, 38, 150} {
		b.Records[i].Data = []byte(`"secret-` + strings.Repeat("x", 3000) + `"`)
	}
	b.Records[100].Data = bytes.Repeat([]byte("y"), 1_100_000) // beyond the client's own bound
	r := write(t, d, b, 37, 38, 100, 150)
	for i, reason := range r.Reasons {
		if !strings.Contains(reason, "max.message.bytes") || strings.Contains(reason, "secret") {
			t.Errorf("record %d: %s", i, reason)
		}
	}
	wantInOrder(t, c, "small", 196)
}

// wantInOrder wants a topic to hold so many records, and the last word of each to stand in the order of its key.
func wantInOrder(t *testing.T, c *kfake.Cluster, topic string, records int) {
	t.Helper()
	type place struct{ partition, offset int64 }
	last := make(map[string]place)
	key, version := make(map[string]string), make(map[string]string)
	for _, r := range consume(t, c, nil, topic) {
		id := header(r, "id")
		if p := (place{int64(r.Partition), r.Offset}); p.offset >= last[id].offset {
			last[id] = p
		}
		key[id], version[id] = string(r.Key), fmt.Sprintf("%9s", header(r, "version"))
	}
	ids := make([]string, 0, len(last))
	for id := range last {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(key[a]+version[a], key[b]+version[b]) })
	for i := 1; i < len(ids); i++ {
		a, b := ids[i-1], ids[i]
		if key[a] == key[b] && (last[a].partition != last[b].partition || last[a].offset >= last[b].offset) {
			t.Errorf("%s stands at %v and %s, which is later, at %v", a, last[a], b, last[b])
		}
	}
	if len(ids) != records {
		t.Errorf("%d records, want %d", len(ids), records)
	}
}

// Whatever brokers answer on the way, every record arrives, and the last word of each stands in the order of its key (I3, I4).
func TestOrderUnderRandomFailures(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	c := brokers(t)
	d := opened(t, plaintext(c), kafka.Settings{Topic: "orders", Create: true, BatchBytes: 1024, Timeout: "2s"})
	var mu sync.Mutex
	for _, code := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.MessageTooLarge, kerr.KafkaStorageError, kerr.UnknownServerError} {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: code, Count: 8, When: func(kmsg.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(12) == 0
		}})
	}
	var keys []string
	for i := range 400 {
		keys = append(keys, fmt.Sprint("key-", i%23))
	}
	rejected := 0
	b := batchOf(keys...)
	for attempt := 0; len(b.Records) > 0; attempt++ {
		r, err := d.Write(t.Context(), b)
		var left []connectors.Record
		for i, o := range r.Outcomes {
			switch o {
			case connectors.Again:
				left = append(left, b.Records[i])
			case connectors.Rejected: // the fault struck when it was alone
				rejected++
			}
		}
		if (err == nil) != (len(left) == 0) || attempt > 500 {
			t.Fatalf("attempt %d: %d records left beside %v", attempt, len(left), err)
		}
		b.Records = left
	}
	if rejected > 8 {
		t.Errorf("%d records rejected", rejected)
	}
	wantInOrder(t, c, "orders", 400-rejected)
}

// What a broker answers becomes the kind that the table says, for the lane or for the record, and there is no code in the table that no broker answers here.
// Each is answered to the request to which the protocol has it: https://kafka.apache.org/protocol#protocol_api_keys
func TestAnswersOfBrokers(t *testing.T) {
	t.Parallel()
	answered := make(map[*kerr.Error]bool)
	for request, codes := range map[kmsg.Key]map[*kerr.Error]connectors.Kind{
		kmsg.Produce: {
			kerr.TopicAuthorizationFailed: connectors.Forbidden, kerr.ClusterAuthorizationFailed: connectors.Forbidden, kerr.InvalidTopicException: connectors.Invalid,
			kerr.InvalidRequiredAcks: connectors.Invalid, kerr.PolicyViolation: connectors.Invalid, kerr.UnsupportedCompressionType: connectors.Invalid,
			kerr.UnsupportedForMessageFormat: connectors.Invalid, kerr.UnsupportedVersion: connectors.Invalid, kerr.InvalidRequest: connectors.Invalid,
			kerr.NotEnoughReplicas: connectors.Unavailable, kerr.NotLeaderForPartition: connectors.Unavailable, kerr.UnknownTopicOrPartition: connectors.Unavailable,
			kerr.UnknownTopicID: connectors.Unavailable, kerr.KafkaStorageError: connectors.Unavailable, kerr.LogDirNotFound: connectors.Unavailable,
			kerr.OutOfOrderSequenceNumber: connectors.Unavailable, kerr.UnknownProducerID: connectors.Unavailable, kerr.InvalidProducerEpoch: connectors.Unavailable,
			kerr.InvalidProducerIDMapping: connectors.Unavailable, kerr.UnknownServerError: connectors.Unknown,
			kerr.MessageTooLarge: "", kerr.RecordListTooLarge: "", kerr.InvalidRecord: "", kerr.InvalidTimestamp: "",
		},
		kmsg.InitProducerID: {
			kerr.ClusterAuthorizationFailed: connectors.Forbidden, kerr.TransactionalIDAuthorizationFailed: connectors.Forbidden,
			kerr.CoordinatorLoadInProgress: connectors.Unavailable,
		},
		kmsg.CreateTopics: {
			kerr.ClusterAuthorizationFailed: connectors.Forbidden, kerr.TopicAuthorizationFailed: connectors.Forbidden, kerr.InvalidTopicException: connectors.Invalid,
			kerr.InvalidPartitions: connectors.Invalid, kerr.InvalidReplicationFactor: connectors.Invalid, kerr.InvalidConfig: connectors.Invalid,
			kerr.PolicyViolation: connectors.Invalid, kerr.InvalidRequest: connectors.Invalid, kerr.ThrottlingQuotaExceeded: connectors.RateLimited,
			kerr.NotController: connectors.Unavailable,
		},
		kmsg.SASLHandshake:    {kerr.UnsupportedSaslMechanism: connectors.Invalid, kerr.IllegalSaslState: connectors.Unauthorized},
		kmsg.SASLAuthenticate: {kerr.SaslAuthenticationFailed: connectors.Unauthorized},
	} {
		for code, want := range codes {
			answered[code] = true
			t.Run(request.Name()+"/"+code.Message, func(t *testing.T) {
				t.Parallel()
				options := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "ada", canary)}
				if request != kmsg.CreateTopics {
					options = append(options, kfake.SeedTopics(1, "orders"))
				}
				c := brokers(t, options...)
				answer(c, request, code)
				connection := plaintext(c)
				connection.SASL, connection.User, connection.Password = "plain", "ada", canary
				d := opened(t, connection, kafka.Settings{Create: true, Timeout: "1s"})
				r, err := d.Write(t.Context(), batchOf("a", "b", "a"))
				if want == "" {
					if err != nil || len(r.Reasons) != 3 || !strings.Contains(r.Reasons[2], code.Message) {
						t.Errorf("got %v and %v", err, r.Reasons)
					}
					return
				}
				if e := connectortest.WantError(t, err, want); e != nil && strings.Contains(e.Error(), canary) {
					t.Errorf("the password shows: %v", e)
				}
				if slices.ContainsFunc(r.Outcomes, func(o connectors.Outcome) bool { return o != connectors.Again }) {
					t.Errorf("outcomes %v", r.Outcomes)
				}
			})
		}
	}
	for _, code := range kafka.Codes() {
		if !answered[code] {
			t.Errorf("no broker answers with %s", code.Message)
		}
	}
}

// A topic that is deleted while the client knows it is noticed, and made again where that is allowed.
func TestTopicVanishes(t *testing.T) {
	t.Parallel()
	c := brokers(t)
	d := opened(t, plaintext(c), kafka.Settings{Create: true, Timeout: "2s"})
	write(t, d, batchOf("a"))
	if err := c.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		r, err := d.Write(t.Context(), batchOf("a", "b"))
		if err == nil && r.Outcomes[1] == connectors.Durable {
			break
		}
		if connectortest.WantError(t, err, connectors.Unavailable); time.Now().After(deadline) {
			t.Fatal("the topic does not come back")
		}
	}
	if n := len(consume(t, c, nil, "orders")); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

// Check looks and changes nothing; a Write then makes the topic as the settings say.
func TestCreate(t *testing.T) {
	t.Parallel()
	c := brokers(t, kfake.NumBrokers(3))
	d := opened(t, plaintext(c), kafka.Settings{Topic: "orders", Create: true, NewTopic: kafka.NewTopic{Partitions: 5, Replication: 2, Config: map[string]string{"cleanup.policy": "compact"}}})
	if err := d.(connectors.Checker).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.TopicInfo("orders") != nil {
		t.Fatal("a check has made the topic")
	}
	write(t, d, batchOf("a"))
	info := c.TopicInfo("orders")
	if info == nil || len(c.PartitionInfos("orders")) != 5 || info.NumReplicas != 2 || info.Configs["cleanup.policy"] == nil || *info.Configs["cleanup.policy"] != "compact" {
		t.Errorf("the topic is %+v", info)
	}
	if err := d.(connectors.Checker).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A user that may write to its topic and nothing else is enough.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	c := brokers(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.SeedTopics(1, "orders"), kfake.Superuser("PLAIN", "admin", "admin"),
		kfake.User("PLAIN", "ada", canary, kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "orders", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationWrite, Allow: true}))
	connection := plaintext(c)
	connection.SASL, connection.User, connection.Password = "plain", "ada", canary
	d := opened(t, connection, kafka.Settings{Topic: "orders"})
	if err := d.(connectors.Checker).Check(t.Context()); err != nil {
		t.Error(err)
	}
	write(t, d, batchOf("a"))
}

// Every login, over TLS with an authority of the operator's own.
func TestLogins(t *testing.T) {
	t.Parallel()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	defer certified.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw}))
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			c := brokers(t, kfake.TLS(&tls.Config{Certificates: certified.TLS.Certificates}), kfake.EnableSASL(), kfake.Superuser(mechanism, "ada", canary))
			connection := kafka.Connection{Brokers: c.ListenAddrs(), CA: authority, SASL: kafka.SASL(strings.ToLower(mechanism)), User: "ada", Password: canary}
			write(t, opened(t, connection, kafka.Settings{Create: true}), batchOf("a"))
			connection.CA = ""
			_, err := opened(t, connection, kafka.Settings{Create: true, Timeout: "1s"}).Write(t.Context(), batchOf("a"))
			connectortest.WantError(t, err, connectors.Unavailable, "authority that is not trusted")
		})
	}
}

// What every codec writes can be read, and is smaller than without one.
func TestCompression(t *testing.T) {
	t.Parallel()
	sizes := make(map[kafka.Compression]int64)
	for _, codec := range []kafka.Compression{"none", "gzip", "snappy", "lz4", "zstd"} {
		c := brokers(t, kfake.SeedTopics(1, "orders"))
		b := batchOf(make([]string, 500)...)
		for i := range b.Records {
			b.Records[i].Data = []byte(`"` + strings.Repeat("abcdefgh", 100) + `"`)
		}
		write(t, opened(t, plaintext(c), kafka.Settings{Compression: codec}), b)
		for _, r := range consume(t, c, nil, "orders") {
			if !bytes.Equal(r.Value, b.Records[0].Data) {
				t.Fatalf("%s: %d bytes came back", codec, len(r.Value))
			}
		}
		sizes[codec] = c.PartitionInfos("orders")[0].NumBytes
		if codec != "none" && sizes[codec] > sizes["none"]/4 {
			t.Errorf("%s takes %d of %d bytes", codec, sizes[codec], sizes["none"])
		}
	}
}
