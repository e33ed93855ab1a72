package shopify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Receive authenticates and reads a webhook.
//
// The signature is X-Shopify-Hmac-SHA256, base64 of HMAC-SHA256 over the raw body, with the client secret:
// https://shopify.dev/docs/apps/build/webhooks/verify-deliveries. It doesn't cover the headers.
//
// Identity (I1): X-Shopify-Event-Id names what happened in the shop, and one thing that happens may send several webhooks, of several topics
// and objects, also the same topic twice with different content. So the ID is a hash of event, topic, object and body: a redelivery carries
// the original body (https://shopify.dev/changelog/updates-to-webhook-retry-mechanism) and gets the same ID, and nothing else does. Without
// an event ID, which older subscriptions don't send, X-Shopify-Webhook-Id stands in.
func (s *source) Receive(_ context.Context, d connectors.Delivery) (connectors.Received, error) {
	const op = "receive"
	if err := s.authenticate(d); err != nil {
		return connectors.Received{}, err
	}
	// One app's secret signs the webhooks of all shops that installed it.
	if shop := normalShop(d.Header.Get("X-Shopify-Shop-Domain")); shop != s.shop {
		return connectors.Received{}, connectors.Errorf(connectors.Invalid, op, "the webhook is not of this connection's shop: it has reached the URL of another installation")
	}
	topic := strings.ToLower(strings.TrimSpace(d.Header.Get("X-Shopify-Topic")))
	name, kind, ok := classify(topic)
	if !ok {
		return connectors.Received{}, connectors.Errorf(connectors.Invalid, op,
			"topic %q belongs to no stream: remove its subscription", connectors.Clip(topic, 100))
	}
	if err := connectors.CheckPayload(op, d.Body); err != nil {
		return connectors.Received{}, err
	}
	body := gjson.ParseBytes(d.Body)
	if !body.IsObject() {
		return connectors.Received{}, connectors.Errorf(connectors.Invalid, op, "the body is not a JSON object")
	}
	event := d.Header.Get("X-Shopify-Event-Id")
	if event == "" {
		event = d.Header.Get("X-Shopify-Webhook-Id")
	}
	r := connectors.Record{Stream: name, Op: kind, Data: d.Body}
	var variants []connectors.Record
	if name != privacyStream {
		object := unwrap(body, name)
		key := func(object gjson.Result) (string, bool) { return idOf(object.Get("id")) }
		if st, _ := lookup(op, name); st.keyOf != nil {
			key = st.keyOf
		}
		if r.Key, ok = key(object); !ok {
			return connectors.Received{}, connectors.Errorf(connectors.Invalid, op, "the body has no usable id")
		}
		r.OccurredAt, r.Version = changedAt(object, name)
		if name == "products" && kind == connectors.Upsert && s.reads(variantStream) {
			variants = variantsIn(object, d.Body, topic+"\n"+event)
		}
	}
	// The version is left out: a delete's may come from the clock below, which differs at a redelivery.
	r.ID = connectors.RecordID(topic+"\n"+event, r.Key, 0, d.Body)
	if r.Version == 0 {
		r.OccurredAt, r.Version = s.triggered(d, kind)
	}
	if name == "products" && s.reads(variantStream) && !s.reads(name) {
		return connectors.Received{Records: variants}, nil // the topic is subscribed for them alone
	}
	return connectors.Received{Records: append([]connectors.Record{r}, variants...)}, nil
}

// changedAt is when an object says that it changed. A refund's webhook has no updated_at: it tells of the refund's making.
func changedAt(object gjson.Result, stream string) (time.Time, int64) {
	at, ok := parseTime(object.Get("updated_at"))
	if !ok && stream == refundStream {
		at, ok = parseTime(object.Get("created_at"))
	}
	if !ok {
		return time.Time{}, 0
	}
	return at, at.UnixMicro()
}

// reads says whether the block is known to read a stream.
func (s *source) reads(stream string) bool { return slices.Contains(s.streams, stream) }

// variantsIn makes records of a product's variants: they have no webhooks of their own. Each is the slice of the body that holds it (I8); one without
// a usable ID stays in its product.
func variantsIn(product gjson.Result, body []byte, event string) (out []connectors.Record) {
	product.Get("variants").ForEach(func(_, v gjson.Result) bool {
		key, ok := idOf(v.Get("id"))
		end := v.Index + len(v.Raw)
		if !ok || v.Index <= 0 || end > len(body) {
			return true
		}
		r := connectors.Record{Stream: variantStream, Key: key, Op: connectors.Upsert, Data: body[v.Index:end:end]}
		r.OccurredAt, r.Version = changedAt(v, variantStream)
		r.ID = connectors.RecordID(event, "variant "+key, 0, r.Data)
		out = append(out, r)
		return true
	})
	return out
}

// authenticate compares on the raw bytes, before anything else looks at them (I13).
func (s *source) authenticate(d connectors.Delivery) error {
	refuse := func(message string) error {
		return connectors.Errorf(connectors.Unauthorized, "receive", "%s", message)
	}
	if len(s.secrets) == 0 {
		return refuse("the connection has no client_secret: webhooks can't be checked; store the app's client secret")
	}
	header := d.Header.Values("X-Shopify-Hmac-SHA256")
	if len(header) != 1 {
		return refuse("want one X-Shopify-Hmac-SHA256 header")
	}
	got, err := base64.StdEncoding.Strict().DecodeString(header[0])
	if err != nil || len(got) != sha256.Size {
		return refuse("X-Shopify-Hmac-SHA256 is not base64 of 32 bytes")
	}
	for _, key := range s.secrets.Valid(s.now()) {
		mac := hmac.New(sha256.New, key)
		mac.Write(d.Body)
		if hmac.Equal(mac.Sum(nil), got) {
			return nil
		}
	}
	return refuse("the signature does not fit the body: check the connection's client_secret")
}

// others are topics that nobody is subscribed to by us, and that are about one object of a stream all the same.
var others = map[string]string{
	"customers/enable": "customers", "customers/disable": "customers",
	"orders/paid": "orders", "orders/partially_fulfilled": "orders", "orders/fulfilled": "orders", "orders/cancelled": "orders",
}

// ofTopic finds the stream whose object a topic is about.
var ofTopic = func() map[string]string {
	out := maps.Clone(others)
	for _, st := range streams {
		for _, topic := range st.topics {
			if st.name != variantStream { // a product's topics are about the product
				out[topicName(topic)] = st.name
			}
		}
	}
	return out
}()

// classify finds the stream and what happened. Every topic of a collection that is about one object of it counts, subscribed by us or not.
func classify(topic string) (stream string, op connectors.Op, ok bool) {
	switch topic {
	case "customers/data_request", "customers/redact", "shop/redact":
		return privacyStream, connectors.Upsert, true
	}
	op = connectors.Upsert
	if strings.HasSuffix(topic, "/delete") || strings.HasSuffix(topic, "/disconnect") {
		op = connectors.Delete
	}
	stream, ok = ofTopic[topic]
	return stream, op, ok
}

// unwrap finds the object that is the body or stands in it under the stream's name.
func unwrap(body gjson.Result, stream string) gjson.Result {
	if !body.Get("id").Exists() {
		if inner := body.Get(stream); inner.IsObject() {
			return inner
		}
	}
	return body
}

// triggered dates what carries no time of its own. A delete must win against every change before it, so that it takes the moment at which
// the vendor, or at the latest we, knew of it; an upsert of unknown version stays unknown.
func (s *source) triggered(d connectors.Delivery, op connectors.Op) (time.Time, int64) {
	at, err := time.Parse(time.RFC3339, d.Header.Get("X-Shopify-Triggered-At"))
	if err != nil {
		at = time.Time{}
	}
	if op != connectors.Delete {
		return at.UTC(), 0
	}
	if at.IsZero() {
		if at = d.ReceivedAt; at.IsZero() {
			at = s.now()
		}
		return time.Time{}, at.UnixMicro()
	}
	return at.UTC(), at.UnixMicro()
}
