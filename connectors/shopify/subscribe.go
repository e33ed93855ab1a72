package shopify

import (
	"context"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

const (
	listSubscriptions = `query Subscriptions($after: String) {
		webhookSubscriptions(first: 250, after: $after) { nodes { id topic uri } pageInfo { hasNextPage endCursor } }
	}`
	createSubscription = `mutation Subscribe($topic: WebhookSubscriptionTopic!, $uri: String!) {
		webhookSubscriptionCreate(topic: $topic, webhookSubscription: { uri: $uri, format: JSON }) {
			webhookSubscription { id topic } userErrors { field message }
		}
	}`
	deleteSubscription = `mutation Unsubscribe($id: ID!) {
		webhookSubscriptionDelete(id: $id) { deletedWebhookSubscriptionId userErrors { field message } }
	}`
)

// Subscribe registers the topics of the streams for the URL and removes others of that URL.
// Shopify removes a subscription after a series of failures, so the engine calls this again from time to time:
// https://shopify.dev/docs/apps/build/webhooks/troubleshooting-webhooks
func (s *source) Subscribe(ctx context.Context, req connectors.SubscribeRequest) ([]connectors.Subscription, error) {
	const op = "subscribe"
	want, err := topicsOf(op, req.Streams)
	if err != nil {
		return nil, err
	}
	have, err := s.Subscriptions(ctx, req)
	if err != nil {
		return nil, err
	}
	kept := have[:0:0]
	for _, sub := range have {
		i := slices.Index(want, sub.Topic)
		if i < 0 {
			if err := s.remove(ctx, op, sub.ID, req.URL); err != nil {
				return nil, err
			}
			continue
		}
		want = slices.Delete(want, i, i+1) // a second one of the topic is then too many
		kept = append(kept, sub)
	}
	taken := false
	for _, topic := range want {
		sub, exists, err := s.create(ctx, topic, req)
		if err != nil {
			return nil, err
		}
		taken = taken || exists
		if !exists {
			kept = append(kept, sub)
		}
	}
	if !taken {
		return kept, nil
	}
	// Somebody else, such as an attempt that was given up, was quicker: its subscription is as good as ours.
	return s.Subscriptions(ctx, req)
}

// Subscriptions lists the shop's subscriptions of the URL.
func (s *source) Subscriptions(ctx context.Context, req connectors.SubscribeRequest) ([]connectors.Subscription, error) {
	const op = "list subscriptions"
	var out []connectors.Subscription
	variables := map[string]any{}
	for {
		body, err := s.call(ctx, op, listSubscriptions, variables)
		if err != nil {
			return nil, err
		}
		list := gjson.GetBytes(body, "data.webhookSubscriptions")
		if !list.Get("nodes").IsArray() {
			return nil, connectors.Errorf(connectors.Unavailable, op, "the answer holds no list of subscriptions")
		}
		for _, node := range list.Get("nodes").Array() {
			if node.Get("uri").Str != req.URL {
				continue
			}
			topic := node.Get("topic").Str
			out = append(out, connectors.Subscription{ID: node.Get("id").Str, Stream: streamFor(topic, req.Streams), Topic: topic})
		}
		end := list.Get("pageInfo.endCursor").Str
		if !list.Get("pageInfo.hasNextPage").Bool() {
			return out, nil
		}
		if end == "" || end == variables["after"] {
			return nil, connectors.Errorf(connectors.Invalid, op, "cursor repeated: Shopify says that there is more and gives the same place again")
		}
		variables["after"] = end
	}
}

// Unsubscribe removes every subscription of the URL.
func (s *source) Unsubscribe(ctx context.Context, req connectors.SubscribeRequest) error {
	have, err := s.Subscriptions(ctx, req)
	if err != nil {
		return err
	}
	for _, sub := range have {
		if err := s.remove(ctx, "unsubscribe", sub.ID, req.URL); err != nil {
			return err
		}
	}
	return nil
}

// topicsOf lists the topics of the streams; the privacy topics are set up with the app.
func topicsOf(op string, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		if name == privacyStream {
			continue
		}
		st, err := lookup(op, name)
		if err != nil {
			return nil, err
		}
		for _, topic := range st.topics {
			if !slices.Contains(out, topic) {
				out = append(out, topic)
			}
		}
	}
	return out, nil
}

// streamFor is the stream of those asked for that a topic is subscribed for: a product's topics are of products and of variants.
func streamFor(topic string, streams []string) string {
	for _, name := range streams {
		if st, err := lookup("", name); err == nil && slices.Contains(st.topics, topic) {
			return name
		}
	}
	if name, ok := ofTopic[topicName(topic)]; ok {
		return name
	}
	name, _, _ := strings.Cut(topicName(topic), "/")
	return name
}

// scopeOf is what an app needs to be told of a stream.
func scopeOf(stream string) string {
	if st, err := lookup("", stream); err == nil {
		return st.scopes[0]
	}
	return "read_" + stream
}

// create registers a topic; exists says that the shop already has it.
func (s *source) create(ctx context.Context, topic string, req connectors.SubscribeRequest) (sub connectors.Subscription, exists bool, err error) {
	const op = "subscribe"
	body, err := s.call(ctx, op, createSubscription, map[string]any{"topic": topic, "uri": req.URL})
	if err != nil {
		return sub, false, err
	}
	name := streamFor(topic, req.Streams)
	payload := gjson.GetBytes(body, "data.webhookSubscriptionCreate")
	switch message := payload.Get("userErrors.0.message").Str; {
	case message == "":
		id := payload.Get("webhookSubscription.id").Str
		if id == "" {
			return sub, false, connectors.Errorf(connectors.Unavailable, op, "topic %s: the answer holds no subscription", topicName(topic))
		}
		return connectors.Subscription{ID: id, Stream: name, Topic: topic}, false, nil
	case strings.Contains(message, "already been taken"):
		return sub, true, nil
	case strings.Contains(message, "specified topic"):
		return sub, false, connectors.Errorf(connectors.Forbidden, op, "the app may not subscribe to %s: grant it the access scope %s", topicName(topic), scopeOf(name))
	default:
		return sub, false, connectors.Errorf(connectors.Invalid, op, "topic %s: Shopify says: %s", topicName(topic), s.redactURL(message, req.URL))
	}
}

func (s *source) remove(ctx context.Context, op, id, url string) error {
	body, err := s.call(ctx, op, deleteSubscription, map[string]any{"id": id})
	if err != nil {
		return err
	}
	message := gjson.GetBytes(body, "data.webhookSubscriptionDelete.userErrors.0.message").Str
	if message == "" || strings.Contains(message, "does not exist") {
		return nil
	}
	return connectors.Errorf(connectors.Invalid, op, "remove a subscription: Shopify says: %s", s.redactURL(message, url))
}

// redactURL keeps an installation's URL, whose token is a secret, out of a vendor's text.
func (s *source) redactURL(text, url string) string {
	return s.redact(strings.ReplaceAll(text, url, "[url]"))
}
