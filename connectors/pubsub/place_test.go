package pubsub

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/uuid"
	"google.golang.org/api/option"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/pubsub/pubsubtest"
)

// With the connection of a service account in liveVariable the suite runs against Pub/Sub itself, in the project that liveProject names, or the key's.
// The account must be allowed to create topics and subscriptions there (roles/pubsub.editor).
const (
	liveVariable = "TRIBUTARY_TEST_PUBSUB"
	liveProject  = "TRIBUTARY_TEST_PUBSUB_PROJECT"
)

// fakePlace is a topic of the server in this process, behind a proxy.
func fakePlace(t *testing.T, s Settings) connectortest.DestinationPlace {
	server := pubsubtest.New(t, pubsubtest.Options{Returned: returned})
	server.CreateTopic(t, path(s.Topic), nil)
	proxy := breakable(t, server.Addr)
	def := Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
			d, err := def.OpenDestination(config(t, emulator(proxy.Listen), s))
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

// TestStandInApart serves a topic to the process that measures the largest batch.
func TestStandInApart(t *testing.T) {
	connectortest.ServeApart(t, func(t *testing.T) connectortest.StandIn {
		server := pubsubtest.New(t, pubsubtest.Options{Returned: returned})
		server.CreateTopic(t, path("changes"), nil)
		return connectortest.StandIn{Where: []string{server.Addr}, Rows: func(t *testing.T) []connectortest.Row { return rows(t, server) }}
	})
}

// placeApart is its topic.
func placeApart(t *testing.T, s Settings) connectortest.DestinationPlace {
	standIn := connectortest.StartApart(t)
	def := Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
			d, err := def.OpenDestination(config(t, emulator(standIn.Where[0]), s))
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Rows: standIn.Rows,
	}
}

// livePlace is a topic of its own in the real service, with a subscription that is read until it stays empty.
func livePlace(t *testing.T, s Settings) connectortest.DestinationPlace {
	c, err := connectors.Decode[Connection](json.RawMessage(os.Getenv(liveVariable)))
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.identity(true, nil)
	if err != nil {
		t.Fatal(err)
	}
	credentials := option.WithAuthCredentialsJSON(option.ServiceAccount, []byte(c.ServiceAccount))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	topics, err := pubsub.NewTopicAdminClient(ctx, credentials)
	if err != nil {
		t.Fatal(err)
	}
	subscriptions, err := pubsub.NewSubscriptionAdminClient(ctx, credentials)
	if err != nil {
		t.Fatal(err)
	}
	s.Project, s.Topic = cmp.Or(os.Getenv(liveProject), id.project), "tributary-"+uuid.NewString()
	topic := "projects/" + s.Project + "/topics/" + s.Topic
	subscription := strings.Replace(topic, "/topics/", "/subscriptions/", 1)
	if _, err := topics.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	_, err = subscriptions.CreateSubscription(ctx, &pubsubpb.Subscription{Name: subscription, Topic: topic, EnableMessageOrdering: !s.Unordered, AckDeadlineSeconds: 600})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended := cmp.Or(subscriptions.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: subscription}),
			topics.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: topic}), subscriptions.Close(), topics.Close())
		if ended != nil {
			t.Error(ended)
		}
	})
	var all []connectortest.Row
	def := Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, _ connectors.Mode) connectors.Destination {
			d, err := def.OpenDestination(config(t, c, s))
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Rows: func(t *testing.T) []connectortest.Row {
			for silence := time.Now(); time.Since(silence) < 10*time.Second; {
				pull, cancel := context.WithTimeout(ctx, 5*time.Second)
				res, err := subscriptions.Pull(pull, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 1000})
				cancel()
				if err != nil && pull.Err() == nil {
					t.Fatal(err)
				}
				var ids []string
				for _, m := range res.GetReceivedMessages() {
					all, ids = append(all, row(t, m.Message.Attributes, m.Message.Data)), append(ids, m.AckId)
				}
				if ids == nil {
					continue
				}
				silence = time.Now()
				if err := subscriptions.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: ids}); err != nil {
					t.Fatal(err)
				}
			}
			return all
		},
	}
}
