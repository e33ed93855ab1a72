package pubsub

import (
	"context"
	"strings"
	"testing"

	officialpubsub "cloud.google.com/go/pubsub/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"tributary/connectors"
	"tributary/connectors/pubsub/pubsubtest"
)

// benchBatch makes a batch of 10,000 records with payloads of 495 bytes.
func benchBatch() connectors.Batch {
	b := batch(10_000, 10_000)
	payload := []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	for i := range b.Records {
		b.Records[i].Data = payload
	}
	return b
}

// BenchmarkWrite compares the destination with its floor: the official client's Publisher, which is given the same messages ready-made.
func BenchmarkWrite(b *testing.B) {
	for name, unordered := range map[string]bool{"ordered": false, "unordered": true} {
		b.Run(name+"/floor", func(b *testing.B) { benchFloor(b, unordered) })
		b.Run(name+"/destination", func(b *testing.B) { benchDestination(b, unordered) })
	}
}

func rate(b *testing.B, records int) {
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}

func benchDestination(b *testing.B, unordered bool) {
	server, settings := served(b)
	settings.Unordered = unordered
	d := opened(b, emulator(server.Addr), settings)
	records := benchBatch()
	for b.Loop() {
		if _, err := d.Write(context.Background(), records); err != nil {
			b.Fatal(err)
		}
		server.Clear()
	}
	rate(b, b.N*len(records.Records))
}

func benchFloor(b *testing.B, unordered bool) {
	server := pubsubtest.New(b, pubsubtest.Options{Returned: returned})
	server.CreateTopic(b, path("changes"), nil)
	ctx := context.Background()
	client, err := officialpubsub.NewClient(ctx, project, option.WithEndpoint(server.Addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	publisher := client.Publisher(path("changes"))
	publisher.EnableMessageOrdering = !unordered
	publisher.PublishSettings.CountThreshold = maxMessages
	publisher.PublishSettings.ByteThreshold = defaultBytes
	defer publisher.Stop()
	records := benchBatch()
	d := &destination{settings: Settings{Unordered: unordered}}
	messages := make([]officialpubsub.Message, len(records.Records))
	for i := range messages {
		m := d.message(&records, &records.Records[i])
		messages[i] = officialpubsub.Message{Data: m.Data, Attributes: m.Attributes, OrderingKey: m.OrderingKey}
	}
	for b.Loop() {
		results := make([]*officialpubsub.PublishResult, len(messages))
		for i := range messages {
			results[i] = publisher.Publish(ctx, &messages[i])
		}
		publisher.Flush()
		for _, r := range results {
			if _, err := r.Get(ctx); err != nil {
				b.Fatal(err)
			}
		}
		server.Clear()
	}
	rate(b, b.N*len(messages))
}
