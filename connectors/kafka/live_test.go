package kafka_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/kafka"
)

// liveVariable holds a connection as JSON to a real cluster, for whose topics tributary-test-... its user has all rights. With it the
// suite runs there.
const liveVariable = "TRIBUTARY_TEST_KAFKA"

// everywhere lets the cluster be wherever it is.
var everywhere = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}}}

// live is a place of its own in a real cluster: topics with a prefix, which are deleted at the end.
func live(t *testing.T, connection json.RawMessage) connectortest.DestinationPlace {
	t.Helper()
	prefix := fmt.Sprintf("tributary-test-%08x.", rand.Uint32())
	settings := raw(t, kafka.Settings{Topic: prefix + "{stream}", Create: true, Timeout: "30s"})
	def := kafka.Definition()
	c, err := connectors.Decode[kafka.Connection](connection)
	if err != nil {
		t.Fatal(err)
	}
	client := func(t *testing.T, more ...kgo.Opt) *kgo.Client {
		options, err := kafka.ClientOptions(c, everywhere.Networks)
		if err != nil {
			t.Fatal(err)
		}
		client, err := kgo.NewClient(append(options, more...)...)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	topics := func(ctx context.Context, client *kgo.Client) (names []string) {
		res, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range res.Topics {
			if strings.HasPrefix(*topic.Topic, prefix) {
				names = append(names, *topic.Topic)
			}
		}
		return names
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		admin := client(t)
		defer admin.Close()
		req := kmsg.NewPtrDeleteTopicsRequest()
		for _, name := range topics(ctx, admin) {
			topic := kmsg.NewDeleteTopicsRequestTopic()
			topic.Topic = kmsg.StringPtr(name)
			req.TopicNames, req.Topics = append(req.TopicNames, name), append(req.Topics, topic)
		}
		if _, err := req.RequestWith(ctx, admin); err != nil {
			t.Errorf("delete topics %s...: %v", prefix, err)
		}
	})
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
			d, err := def.OpenDestination(connectors.Config{Settings: settings, Connection: connection, Mode: connectors.Append, Env: everywhere})
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Rows: func(t *testing.T) (rows []connectortest.Row) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			consumer := client(t, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(10*time.Millisecond))
			defer consumer.Close()
			names := topics(ctx, consumer)
			if names == nil {
				return nil
			}
			consumer.AddConsumeTopics(names...)
			for {
				// Nothing for so long is the end.
				quiet, done := context.WithTimeout(ctx, 3*time.Second)
				fetches := consumer.PollFetches(quiet)
				over := quiet.Err() != nil
				done()
				for _, r := range fetches.Records() {
					rows = append(rows, row(r))
				}
				if over {
					return rows
				}
			}
		},
	}
}
