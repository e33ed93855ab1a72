package hubspot

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// subscriber is an app whose subscriptions are managed by us. They are the app's, not an account's: one URL for all that installed it.
// https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide
type subscriber struct {
	*source
	hooks   *client
	watched map[string][]string
}

const (
	// maxSubscriptions is how many an app may have.
	maxSubscriptions = 1000
	// deliveriesAtOnce is how many webhooks HubSpot sends at the same time.
	deliveriesAtOnce = 10
)

func newSubscriber(s *source, app App, env connectors.Env) (*subscriber, error) {
	for name, properties := range app.Properties {
		if _, err := lookup("app field webhook_properties", name); err != nil {
			return nil, err
		}
		for _, p := range properties {
			if !propertyName.MatchString(p) {
				return nil, connectors.Errorf(connectors.Invalid, "hubspot", "app field webhook_properties: %s: want internal names such as firstname", name)
			}
		}
	}
	hooks, err := newClient(app.APIURL, env, app.DeveloperAPIKey, app.ClientSecret, app.PreviousClientSecret)
	if err != nil {
		return nil, err
	}
	hooks.key = app.DeveloperAPIKey
	return &subscriber{source: s, hooks: hooks, watched: app.Properties}, nil
}

// topic is what can be subscribed. It is SubscriptionCreateRequest, in the vendor's specification.
type topic struct {
	EventType    string `json:"eventType"`
	ObjectTypeID string `json:"objectTypeId,omitempty"`
	PropertyName string `json:"propertyName,omitempty"`
}

type createRequest struct {
	topic
	Active bool `json:"active"`
}

func (t topic) String() string {
	name := t.EventType
	if t.ObjectTypeID != "" {
		name += " " + t.ObjectTypeID
	}
	if t.PropertyName != "" {
		name += " " + t.PropertyName
	}
	return name
}

// topicsOf lists what is to be subscribed for the streams.
func (s *subscriber) topicsOf(op string, names []string) ([]topic, error) {
	var out []topic
	add := func(t topic) {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	for _, name := range names {
		st, err := lookup(op, name)
		if err != nil {
			return nil, err
		}
		if st.id == "" {
			return nil, connectors.Errorf(connectors.Invalid, op, "stream %q can only be polled by its name: webhooks know it by its type ID, such as 2-3465404", name)
		}
		prefix, id := st.legacy, ""
		if prefix == "" {
			prefix, id = "object", st.id
		}
		kinds := []string{"creation", "deletion", "restore"}
		if st.legacy != "" {
			kinds = append(kinds, "merge")
			if st.name != "products" { // which have none
				kinds = append(kinds, "associationChange")
			}
		}
		if st.name == "contacts" {
			kinds = append(kinds, "privacyDeletion")
		}
		for _, kind := range kinds {
			add(topic{prefix + "." + kind, id, ""})
		}
		properties, ok := s.watched[st.name]
		if !ok {
			properties = st.watched
		}
		for _, p := range properties {
			add(topic{prefix + ".propertyChange", id, p})
		}
	}
	if len(out) > maxSubscriptions {
		return nil, connectors.Errorf(connectors.Invalid, op, "the streams need %d subscriptions and an app may have %d: name fewer webhook_properties", len(out), maxSubscriptions)
	}
	return out, nil
}

// subscription is one that the app has.
type subscription struct {
	id     string
	topic  topic
	active bool
}

// public is the subscription with its stream; "" = none that this connector subscribes, such as conversations.
func (s subscription) public() connectors.Subscription {
	out := connectors.Subscription{ID: s.id, Topic: s.topic.String()}
	prefix, _, _ := strings.Cut(s.topic.EventType, ".")
	for _, st := range streams {
		if prefix == st.legacy || prefix == "object" && st.id == s.topic.ObjectTypeID {
			out.Stream = st.name
			return out
		}
	}
	if prefix == "object" && customType.MatchString(s.topic.ObjectTypeID) {
		out.Stream = s.topic.ObjectTypeID
	}
	return out
}

// Subscribe lets the app call the URL for the streams: subscriptions that are missing are made, those that are paused go on, those of other streams
// are removed. What is of no stream was made by hand and stays. An app that calls another URL is left alone: somebody gets its webhooks there.
func (s *subscriber) Subscribe(ctx context.Context, req connectors.SubscribeRequest) ([]connectors.Subscription, error) {
	const op = "subscribe"
	want, err := s.topicsOf(op, req.Streams)
	if err != nil {
		return nil, err
	}
	target, err := s.target(ctx, op)
	if err != nil {
		return nil, err
	}
	switch target {
	case req.URL:
	case "":
		settings := map[string]any{"targetUrl": req.URL, "throttling": map[string]any{"maxConcurrentRequests": deliveriesAtOnce}}
		if _, err := s.call(ctx, op, http.MethodPut, settings, "settings"); err != nil {
			return nil, err
		}
	default:
		return nil, connectors.Errorf(connectors.Invalid, op,
			"the app has another target URL for webhooks, and HubSpot knows one an app: use an app of its own, or remove the URL in the app's settings")
	}
	have, err := s.list(ctx, op)
	if err != nil {
		return nil, err
	}
	var kept []connectors.Subscription
	for _, sub := range have {
		i := slices.Index(want, sub.topic)
		switch {
		case sub.public().Stream == "":
			continue
		case i < 0:
			if err := s.remove(ctx, op, sub.id); err != nil {
				return nil, err
			}
			continue
		case !sub.active:
			if _, err := s.call(ctx, op, http.MethodPatch, map[string]any{"active": true}, "subscriptions", sub.id); err != nil {
				return nil, err
			}
		}
		want = slices.Delete(want, i, i+1) // a second one of the topic is then too many
		kept = append(kept, sub.public())
	}
	taken := false
	for _, t := range want {
		got, err := s.call(ctx, op, http.MethodPost, createRequest{t, true}, "subscriptions")
		if errors.Is(err, errConflict) {
			taken = true
			continue
		}
		if err != nil {
			e := connectors.AsError(op, err)
			e.Message = t.String() + ": " + e.Message
			return nil, e
		}
		made, ok := subscriptionOf(gjson.ParseBytes(got.body))
		if !ok {
			return nil, connectors.Errorf(connectors.Unavailable, op, "%s: the answer holds no subscription", t)
		}
		kept = append(kept, made.public())
	}
	if !taken {
		return kept, nil
	}
	// Somebody else, such as an attempt that was given up, was quicker: its subscription is as good as ours.
	return s.Subscriptions(ctx, req)
}

// Subscriptions lists what the app has for the URL, also what is paused.
func (s *subscriber) Subscriptions(ctx context.Context, req connectors.SubscribeRequest) ([]connectors.Subscription, error) {
	const op = "list subscriptions"
	target, err := s.target(ctx, op)
	if err != nil || target != req.URL {
		return nil, err
	}
	have, err := s.list(ctx, op)
	if err != nil {
		return nil, err
	}
	var out []connectors.Subscription
	for _, sub := range have {
		if p := sub.public(); p.Stream != "" {
			out = append(out, p)
		}
	}
	return out, nil
}

// Unsubscribe removes every subscription, and the URL.
func (s *subscriber) Unsubscribe(ctx context.Context, req connectors.SubscribeRequest) error {
	const op = "unsubscribe"
	target, err := s.target(ctx, op)
	if err != nil || target != req.URL {
		return err
	}
	have, err := s.list(ctx, op)
	if err != nil {
		return err
	}
	for _, sub := range have {
		if err := s.remove(ctx, op, sub.id); err != nil {
			return err
		}
	}
	_, err = s.call(ctx, op, http.MethodDelete, nil, "settings")
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

// target is the URL that the app calls; "" = none.
func (s *subscriber) target(ctx context.Context, op string) (string, error) {
	got, err := s.call(ctx, op, http.MethodGet, nil, "settings")
	if errors.Is(err, errAbsent) {
		return "", nil
	}
	return gjson.GetBytes(got.body, "targetUrl").Str, err
}

func (s *subscriber) list(ctx context.Context, op string) ([]subscription, error) {
	got, err := s.call(ctx, op, http.MethodGet, nil, "subscriptions")
	if err != nil {
		return nil, err
	}
	results := gjson.GetBytes(got.body, "results")
	if !results.IsArray() {
		return nil, connectors.Errorf(connectors.Unavailable, op, "the answer holds no list of subscriptions")
	}
	var out []subscription
	for _, v := range results.Array() {
		sub, ok := subscriptionOf(v)
		if !ok {
			return nil, connectors.Errorf(connectors.Unavailable, op, "a subscription has no usable id")
		}
		out = append(out, sub)
	}
	return out, nil
}

func subscriptionOf(v gjson.Result) (subscription, bool) {
	id, ok := idOf(v.Get("id"))
	t := topic{v.Get("eventType").Str, v.Get("objectTypeId").Str, v.Get("propertyName").Str}
	// The vendor may tell the type of what has a name of its own as well.
	if len(t.EventType) < 7 || t.EventType[:7] != "object." {
		t.ObjectTypeID = ""
	}
	return subscription{id, t, v.Get("active").Bool()}, ok && t.EventType != ""
}

func (s *subscriber) remove(ctx context.Context, op, id string) error {
	_, err := s.call(ctx, op, http.MethodDelete, nil, "subscriptions", id)
	if errors.Is(err, errAbsent) {
		return nil // somebody else was quicker
	}
	return err
}

func (s *subscriber) call(ctx context.Context, op, method string, body any, path ...string) (answer, error) {
	return s.hooks.call(ctx, op, method, nil, body, append([]string{"webhooks", "v3", idText(s.app)}, path...)...)
}
