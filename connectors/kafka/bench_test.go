package kafka_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"tributary/connectors"
	"tributary/connectors/kafka"
)

// BenchmarkWrite compares the destination with its floor: the same messages produced by hand with the client's defaults.
func BenchmarkWrite(b *testing.B) {
	const size = 50_000
	keys := make([]string, size)
	for i := range keys {
		keys[i] = fmt.Sprintf("gid://shop/Product/%016x", uint64(i)*11400714819323198485)
	}
	batch := batchOf(keys...)
	for i := range batch.Records {
		batch.Records[i].Data = []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	}
	// What is kept would fill the memory.
	place := func(b *testing.B) *kfake.Cluster {
		return brokers(b, kfake.SeedTopics(3, "orders"), kfake.BlackholeProduce())
	}
	b.Run("floor", func(b *testing.B) {
		client, err := kgo.NewClient(kgo.SeedBrokers(place(b).ListenAddrs()...), kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.DisableClientMetrics())
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		for b.Loop() {
			for i := range batch.Records {
				r := &batch.Records[i]
				headers := []kgo.RecordHeader{
					{Key: "tributary-id", Value: []byte(r.ID)}, {Key: "tributary-stream", Value: []byte(r.Stream)}, {Key: "tributary-op", Value: []byte(r.Op)},
					{Key: "tributary-version", Value: []byte(strconv.FormatInt(r.Version, 10))}, {Key: "tributary-installation", Value: []byte(batch.Installation)},
					{Key: "tributary-user", Value: []byte(batch.User)}, {Key: "tributary-received-at", Value: []byte(r.ReceivedAt.UTC().Format(time.RFC3339Nano))},
				}
				m := &kgo.Record{Topic: "orders", Key: []byte(r.Key), Value: r.Data, Timestamp: r.ReceivedAt, Headers: headers}
				client.Produce(context.Background(), m, func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
				})
			}
			if err := client.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		rate(b, size)
	})
	b.Run("destination", func(b *testing.B) {
		d := open(b, kafka.Definition(), plaintext(place(b)), kafka.Settings{})
		defer d.Close()
		for b.Loop() {
			if r, err := d.Write(context.Background(), batch); err != nil || r.Outcomes[size-1] != connectors.Durable {
				b.Fatal(err)
			}
		}
		rate(b, size)
	})
}

// BenchmarkOne is how long a single record takes.
func BenchmarkOne(b *testing.B) {
	d := open(b, kafka.Definition(), plaintext(brokers(b, kfake.SeedTopics(3, "orders"), kfake.BlackholeProduce())), kafka.Settings{})
	defer d.Close()
	for b.Loop() {
		if _, err := d.Write(context.Background(), batchOf("a")); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed()/time.Microsecond)/float64(b.N), "µs/record")
}

func rate(b *testing.B, records int) {
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
