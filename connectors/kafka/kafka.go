// Package kafka produces records to topics of Apache Kafka, version 2.4 or later, or whatever speaks its protocol.
//
// Docs: docs/destinations/kafka.md.
package kafka

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/template"
)

// Settings is what a block may say.
type Settings struct {
	Topic       string      `json:"topic,omitempty" jsonschema:"description=Name of the topic; {stream} {integration} and {user} stand for the record's,default={stream}"`
	Create      bool        `json:"create,omitempty" jsonschema:"description=Make topics that are missing,default=false"`
	NewTopic    NewTopic    `json:"new_topic,omitzero" jsonschema:"description=How topics are made"`
	Compression Compression `json:"compression,omitempty" jsonschema:"description=How batches are compressed; a broker that is too old for it gets snappy,enum=none,enum=gzip,enum=snappy,enum=lz4,enum=zstd,default=zstd"`
	BatchBytes  int32       `json:"batch_bytes,omitempty" jsonschema:"description=The topics' max.message.bytes: bounds a batch of records and a single one before compression,default=1000012,minimum=1024,maximum=67108864"`
	Timeout     string      `json:"timeout,omitempty" jsonschema:"description=How long a record may take until all in-sync replicas have it: from 1s to 60s,default=10s"`
}

// NewTopic is how topics are made; 0 leaves it to the broker's own settings.
type NewTopic struct {
	Partitions  int32             `json:"partitions,omitempty" jsonschema:"description=Partitions; the broker's num.partitions where it is left out,minimum=1,maximum=10000"`
	Replication int16             `json:"replication,omitempty" jsonschema:"description=Replicas; the broker's default.replication.factor where it is left out,minimum=1,maximum=32"`
	Config      map[string]string `json:"config,omitempty" jsonschema:"description=Settings of the topic such as retention.ms"`
}

// Compression names a codec.
type Compression string

// codecs by name, each with what is used where the broker does not know it.
var codecs = map[Compression][]kgo.CompressionCodec{
	"none":   {kgo.NoCompression()},
	"gzip":   {kgo.GzipCompression()},
	"snappy": {kgo.SnappyCompression()},
	"lz4":    {kgo.Lz4Compression()},
	"zstd":   {kgo.ZstdCompression(), kgo.SnappyCompression()},
}

const (
	defaultTimeout = 10 * time.Second
	minTimeout     = time.Second
	maxTimeout     = time.Minute
	// maxBackoff is the longest pause between the client's own attempts.
	maxBackoff = 500 * time.Millisecond
	// defaultBatch is what clients of Kafka take for a batch; brokers take 1,048,588 by default.
	// https://kafka.apache.org/documentation/#brokerconfigs_message.max.bytes
	defaultBatch = 1_000_012
	minBatch     = 1 << 10
	maxBatch     = 64 << 20
	// maxTopic is the longest name of a topic. https://kafka.apache.org/documentation/#topicconfigs names its characters in the error of
	// INVALID_TOPIC_EXCEPTION: ASCII letters, digits, dot, underscore and dash.
	maxTopic = 249
)

// Definition describes the connector. Destinations opened from one Definition with the same connection and settings of producing share a client.
func Definition() connectors.Definition {
	var clients lifetime.Shared[*cluster]
	return connectors.Definition{
		Name:  "kafka",
		Title: "Apache Kafka",
		Doc: "Produces each record to a topic, keyed by the object so that its changes stay in order, acknowledged by all in-sync replicas. " +
			"Headers say what it is; a record may come again with the same ID.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, &clients)
		},
	}
}

type destination struct {
	settings Settings
	timeout  time.Duration
	topic    template.Template
	cluster  *cluster
	release  func() error
	gate     lifetime.Gate
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

func open(c connectors.Config, clients *lifetime.Shared[*cluster]) (connectors.Destination, error) {
	s, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	if c.Mode != "" && c.Mode != connectors.Append {
		return nil, connectors.Errorf(connectors.Invalid, "mode", "%q is not possible: a topic only gets changes appended; compact it to keep the last one a key", c.Mode)
	}
	timeout, topic, err := s.complete()
	if err != nil {
		return nil, err
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	options, err := connection.options(c.Env.Networks, timeout)
	if err != nil {
		return nil, err
	}
	options = append(options, s.options(timeout)...)
	// What shapes the client is its name: a secret that was rotated opens another one.
	name := strings.Join([]string{string(s.Compression), strconv.Itoa(int(s.BatchBytes)), timeout.String(), string(c.Connection)}, "\x00")
	cl, release, err := clients.Acquire(name, func() (*cluster, error) { return newCluster(options) })
	if err != nil {
		return nil, err
	}
	return &destination{settings: s, timeout: timeout, topic: topic, cluster: cl, release: release}, nil
}

// complete checks the settings and fills in defaults.
func (s *Settings) complete() (timeout time.Duration, topic template.Template, err error) {
	invalid := func(format string, args ...any) (time.Duration, template.Template, error) {
		return 0, topic, connectors.Errorf(connectors.Invalid, "settings", format, args...)
	}
	if topic, err = template.Parse("topic", cmp.Or(s.Topic, "{stream}"), "stream", "integration", "user"); err != nil {
		return 0, topic, err
	}
	if name := topic.Expand(func(string) string { return "x" }); topicName(name) != name {
		return invalid("topic %q: want at most %d letters, digits, dots, dashes and underscores, and not __ at the beginning", s.Topic, maxTopic)
	}
	s.Compression = cmp.Or(s.Compression, "zstd")
	if codecs[s.Compression] == nil {
		return invalid("compression %q: want none, gzip, snappy, lz4 or zstd", s.Compression)
	}
	s.BatchBytes = cmp.Or(s.BatchBytes, defaultBatch)
	if s.BatchBytes < minBatch || s.BatchBytes > maxBatch {
		return invalid("batch_bytes: want %d to %d", minBatch, maxBatch)
	}
	if !s.Create && (s.NewTopic.Partitions != 0 || s.NewTopic.Replication != 0 || s.NewTopic.Config != nil) {
		return invalid("new_topic is only for create: true")
	}
	if s.NewTopic.Partitions < 0 || s.NewTopic.Replication < 0 {
		return invalid("new_topic: partitions and replication must be 1 or more")
	}
	timeout = defaultTimeout
	if s.Timeout != "" {
		timeout, err = time.ParseDuration(s.Timeout)
	}
	if err != nil || timeout < minTimeout || timeout > maxTimeout {
		return invalid("timeout: want a duration from %v to %v, such as 10s", minTimeout, maxTimeout)
	}
	return timeout, topic, nil
}

// options are the client's that follow from the settings.
func (s *Settings) options(timeout time.Duration) []kgo.Opt {
	return []kgo.Opt{
		kgo.ProducerBatchCompression(slices.Clone(codecs[s.Compression])...), // which the client changes
		kgo.ProducerBatchMaxBytes(s.BatchBytes),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		// A batch that is given up may be there all the same: it comes again with the same IDs (I3).
		kgo.AllowIdempotentProduceCancellation(),
		kgo.ProducerLinger(0),
		kgo.ProduceRequestTimeout(timeout),
		kgo.RetryTimeout(timeout),
		kgo.RequestTimeoutOverhead(timeout),
		// Longer pauses are the engine's. Where the leaders are is asked as often, or a broken connection would cost five seconds.
		kgo.MetadataMinAge(maxBackoff),
		kgo.UnknownTopicRetries(2),
		kgo.RetryBackoffFn(func(failures int) time.Duration {
			return min(maxBackoff, 50*time.Millisecond<<min(failures, 10)) + rand.N(50*time.Millisecond)
		}),
	}
}

// topicName makes a legal name. Names that begin with __ are Kafka's own.
func topicName(name string) string {
	legal := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	fit := template.Fit(name, maxTopic, "-", legal)
	if fit == "" || fit == "." || fit == ".." || strings.HasPrefix(fit, "__") {
		return template.Fit("topic "+name, maxTopic, "-", legal)
	}
	return fit
}

// Write produces the batch's records. Those of one key are in one partition, in their order: where one comes again, because it was
// refused or failed, what follows it comes again behind it.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	w := &writing{destination: d, batch: &b, result: connectors.NewResult(len(b.Records)), topics: make([]string, len(b.Records))}
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return w.result, err
	}
	defer leave()
	if len(b.Records) == 0 {
		return w.result, nil
	}
	names := make(map[string]string) // of topics by stream
	for i := range b.Records {
		r := &b.Records[i]
		if names[r.Stream] == "" {
			names[r.Stream] = topicName(d.topic.Expand(func(variable string) string { return template.Value(&b, r, variable) }))
		}
		w.topics[i] = names[r.Stream]
	}
	if err := d.prepare(ctx, w.topics); err != nil {
		return w.result, err
	}
	all := make([]int, len(b.Records))
	for i := range all {
		all[i] = i
	}
	w.send(ctx, all)
	if w.err != nil {
		if errors.Is(w.err, kerr.UnknownTopicOrPartition) || errors.Is(w.err, kerr.UnknownTopicID) {
			// The client would never know the topic under its next ID.
			d.cluster.PurgeTopicsFromProducing(slices.Sorted(maps.Values(names))...)
		}
		w.keepOrder()
		return w.result, w.err
	}
	return w.result, nil
}

// writing is a Write under way.
type writing struct {
	*destination
	batch  *connectors.Batch
	topics []string // by record
	result connectors.Result
	err    *connectors.Error
}

// send produces records and settles what became of them. Of a batch that a broker refuses for what is in it, each record gets the error:
// the halves are sent until the record is found.
func (w *writing) send(ctx context.Context, group []int) {
	var refused []int
	for n, err := range w.produce(ctx, group) {
		i := group[n]
		switch {
		case err == nil:
			w.result.Durable(i, i+1)
		case refusal(err) == "":
			w.err = connectors.Weightier(w.err, w.cluster.failed("produce", err))
		case len(group) == 1:
			w.result.Reject(i, refusal(err))
		default:
			refused = append(refused, i)
		}
	}
	if len(refused) == 0 || w.err != nil {
		return
	}
	again := w.followers(group, refused)
	for half := range slices.Chunk(again, max(1, (len(again)+1)/2)) {
		if w.err == nil {
			w.send(ctx, half)
		}
	}
}

// errStalled ends a produce in which nothing was acknowledged for as long as a record may take.
var errStalled = &connectors.Error{Kind: connectors.Unavailable, Op: "produce", Message: "the in-sync replicas did not acknowledge in time"}

// produce returns the error of each record of the group. The client's own timeout is no use: it counts from the record's time.
func (w *writing) produce(ctx context.Context, group []int) []error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(w.timeout, func() { cancel(errStalled) })
	defer stalled.Stop()
	errs := make([]error, len(group))
	var all sync.WaitGroup
	all.Add(len(group))
	for n, i := range group {
		w.cluster.Produce(ctx, message(w.batch, &w.batch.Records[i], w.topics[i]), func(_ *kgo.Record, err error) {
			stalled.Reset(w.timeout)
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				err = lifetime.Ended(ctx, err)
			}
			errs[n] = err
			all.Done()
		})
	}
	all.Wait()
	return errs
}

// followers are the records of the group that are sent again when those of refused are: these, and what comes behind them in their key.
func (w *writing) followers(group, refused []int) []int {
	type object struct{ topic, key string }
	behind := make(map[object]bool)
	var again []int
	for _, i := range group {
		is := len(refused) > 0 && refused[0] == i
		if is {
			refused = refused[1:]
		}
		o := object{w.topics[i], w.batch.Records[i].Key}
		if is || behind[o] {
			again = append(again, i)
			behind[o] = o.key != ""
		}
	}
	return again
}

// keepOrder lets what stands behind a record that comes again come again, too.
func (w *writing) keepOrder() {
	var all, again []int
	for i, o := range w.result.Outcomes {
		all = append(all, i)
		if o == connectors.Again {
			again = append(again, i)
		}
	}
	for _, i := range w.followers(all, again) {
		if w.result.Outcomes[i] == connectors.Durable {
			w.result.Outcomes[i] = connectors.Again
		}
	}
}

// message is the record on the wire. Its time is when it was received: a topic's retention must not throw away what happened long ago.
func message(b *connectors.Batch, r *connectors.Record, topic string) *kgo.Record {
	m := &kgo.Record{Topic: topic, Timestamp: r.ReceivedAt, Headers: make([]kgo.RecordHeader, 0, 8)}
	values := make([]byte, 0, 2*len(time.RFC3339Nano)+32+len(r.Key)+len(r.ID)+len(r.Stream)+len(b.Installation)+len(b.User))
	// add keeps a value that was appended to values.
	add := func(name string, appended []byte) {
		m.Headers = append(m.Headers, kgo.RecordHeader{Key: name, Value: appended[len(values):len(appended):len(appended)]})
		values = appended
	}
	add("tributary-id", append(values, r.ID...))
	add("tributary-stream", append(values, r.Stream...))
	add("tributary-op", append(values, r.Op...))
	add("tributary-version", strconv.AppendInt(values, r.Version, 10))
	add("tributary-installation", append(values, b.Installation...))
	add("tributary-user", append(values, b.User...))
	if !r.OccurredAt.IsZero() {
		add("tributary-occurred-at", r.OccurredAt.UTC().AppendFormat(values, time.RFC3339Nano))
	}
	if !r.ReceivedAt.IsZero() {
		add("tributary-received-at", r.ReceivedAt.UTC().AppendFormat(values, time.RFC3339Nano))
	}
	if len(r.Data) > 0 { // else null: an empty value is no tombstone
		m.Value = r.Data
	}
	if r.Key != "" {
		m.Key = append(values, r.Key...)[len(values):]
	}
	return m
}

// Close ends running writes as Unavailable.
func (d *destination) Close() error {
	d.gate.Close()
	return d.release()
}
