package shopify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/internal/sandbox"
)

const (
	testSecret   = "shpss_now"
	testPrevious = "shpss_before"
)

var (
	receivedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	graceEnd   = receivedAt.Add(time.Hour)
)

func sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// webhook is an authentic delivery; headers come in pairs, an empty value takes one away.
func webhook(topic, body string, headers ...string) connectors.Delivery {
	d := connectors.Delivery{Method: "POST", URL: "https://receiver.example/hooks/token", Header: http.Header{}, Body: []byte(body), ReceivedAt: receivedAt}
	d.Header.Set("X-Shopify-Topic", topic)
	d.Header.Set("X-Shopify-Shop-Domain", "example.myshopify.com")
	d.Header.Set("X-Shopify-Event-Id", "98880550-7158-44d4-b7cd-2c97c8a091b5")
	d.Header.Set("X-Shopify-Webhook-Id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043")
	d.Header.Set("X-Shopify-Triggered-At", "2026-03-01T11:59:59.123456789Z")
	d.Header.Set("X-Shopify-Hmac-Sha256", sign(testSecret, d.Body))
	for i := 0; i+1 < len(headers); i += 2 {
		d.Header.Del(headers[i])
		if headers[i+1] != "" {
			d.Header.Set(headers[i], headers[i+1])
		}
	}
	return d
}

func receiver(t testing.TB) *source {
	t.Helper()
	return receiverAt(t, receivedAt)
}

func receiverAt(t testing.TB, now time.Time) *source {
	t.Helper()
	src, err := open(connectors.Config{Connection: []byte(`{"shop":"example","access_token":"t","client_secret":"` + testSecret +
		`","previous_client_secret":"` + testPrevious + `","previous_client_secret_until":"` + graceEnd.Format(time.RFC3339) + `"}`), Env: connectors.Env{Now: func() time.Time { return now }}})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func receiveOne(t *testing.T, d connectors.Delivery) connectors.Record {
	t.Helper()
	got, err := receiver(t).Receive(t.Context(), d)
	if err != nil {
		t.Fatalf("%s: %v", d.Header.Get("X-Shopify-Topic"), err)
	}
	if len(got.Records) != 1 || got.Accounts != nil || got.Reply != nil {
		t.Fatalf("received %+v, want one record", got)
	}
	return got.Records[0]
}

const customerBody = `{"id":7845692539040,"email":"a@example.com","updated_at":"2026-02-28T19:00:00-05:00"}`

func TestTopicsBecomeRecords(t *testing.T) {
	t.Parallel()
	updated := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	triggered := time.Date(2026, 3, 1, 11, 59, 59, 123456789, time.UTC)
	for name, c := range map[string]struct {
		delivery connectors.Delivery
		stream   string
		op       connectors.Op
		key      string
		version  int64
		occurred time.Time
	}{
		"create":           {webhook("customers/create", customerBody), "customers", connectors.Upsert, "7845692539040", updated.UnixMicro(), updated},
		"update":           {webhook("products/update", customerBody), "products", connectors.Upsert, "7845692539040", updated.UnixMicro(), updated},
		"irregular update": {webhook("orders/updated", customerBody), "orders", connectors.Upsert, "7845692539040", updated.UnixMicro(), updated},
		"enveloped": {
			webhook("customers/update", `{"customers": {"id": 7845692539040, "updated_at":"2026-02-28T19:00:00-05:00", "tags": "Test"}}`),
			"customers", connectors.Upsert, "7845692539040", updated.UnixMicro(), updated,
		},
		"id as a string": {webhook("orders/create", `{"id":"12"}`), "orders", connectors.Upsert, "12", 0, triggered},
		"delete":         {webhook("orders/delete", `{"id":12}`), "orders", connectors.Delete, "12", triggered.UnixMicro(), triggered},
		"undated delete": {
			webhook("orders/delete", `{"id":12}`, "X-Shopify-Triggered-At", ""), "orders", connectors.Delete, "12", receivedAt.UnixMicro(), time.Time{},
		},
		"privacy": {webhook("customers/redact", `{"shop_id":1,"customer":{"id":2}}`), "privacy", connectors.Upsert, "", 0, triggered},
	} {
		r := receiveOne(t, c.delivery)
		if r.Stream != c.stream || r.Op != c.op || r.Key != c.key || r.Version != c.version || !r.OccurredAt.Equal(c.occurred) {
			t.Errorf("%s: %s %s %q version %d at %s", name, r.Stream, r.Op, r.Key, r.Version, r.OccurredAt)
		}
		if !bytes.Equal(r.Data, c.delivery.Body) {
			t.Errorf("%s: the data is not the body (I8)", name)
		}
	}
}

// TestReceiver runs the conformance suite.
func TestReceiver(t *testing.T) {
	t.Parallel()
	updated := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	triggered := time.Date(2026, 3, 1, 11, 59, 59, 123456789, time.UTC)
	sample := func(name, topic, body string, want connectors.Record, headers ...string) connectortest.ReceiverSample {
		d := webhook(topic, body, headers...)
		d.Header.Del("X-Shopify-Hmac-Sha256")
		want.Data = []byte(body)
		return connectortest.ReceiverSample{Name: name, Delivery: d, Want: []connectors.Record{want}}
	}
	const order = `{"id":820982911946154508,"email":"jon@doe.example","updated_at":"2026-02-28T19:00:00-05:00","note":"a \"quoted\" ☕ note"}`
	connection := func(c Connection) json.RawMessage {
		c.Shop, c.AccessToken = "example.myshopify.com", "shpat_of_the_suite"
		return raw(t, c)
	}
	connectortest.TestReceiver(t, connectortest.ReceiverHarness{
		Definition: Definition(),
		Secret:     "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",
		Other:      "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",
		Connect:    func(secret string) json.RawMessage { return connection(Connection{ClientSecret: secret}) },
		Overlap: func(secret, previous string, until time.Time) json.RawMessage {
			return connection(Connection{ClientSecret: secret, PreviousClientSecret: previous, PreviousClientSecretUntil: until.Format(time.RFC3339)})
		},
		Sign: func(d *connectors.Delivery, secret string, _ time.Time) {
			d.Header.Set("X-Shopify-Hmac-Sha256", sign(secret, d.Body))
		},
		Samples: []connectortest.ReceiverSample{
			sample("order", "orders/create", order, connectors.Record{
				Stream: "orders", Op: connectors.Upsert, Key: "820982911946154508", Version: updated.UnixMicro(), OccurredAt: updated,
			}),
			sample("same order, another event", "orders/create", order, connectors.Record{
				Stream: "orders", Op: connectors.Upsert, Key: "820982911946154508", Version: updated.UnixMicro(), OccurredAt: updated,
			}, "X-Shopify-Event-Id", "another"),
			sample("deleted customer", "customers/delete", `{"id":706405506930370084}`, connectors.Record{
				Stream: "customers", Op: connectors.Delete, Key: "706405506930370084", Version: triggered.UnixMicro(), OccurredAt: triggered,
			}),
			sample("a level", "inventory_levels/update", `{"inventory_item_id":271878346596884015,"location_id":24826418,"available":3,"updated_at":"`+
				updated.Format(time.RFC3339)+`"}`, connectors.Record{
				Stream: "inventory_levels", Op: connectors.Upsert, Key: "271878346596884015-24826418", Version: updated.UnixMicro(), OccurredAt: updated,
			}),
			sample("a refund", "refunds/create", `{"id":890088186047892319,"order_id":820982911946154508,"created_at":"`+updated.Format(time.RFC3339)+`"}`,
				connectors.Record{Stream: "refunds", Op: connectors.Upsert, Key: "890088186047892319", Version: updated.UnixMicro(), OccurredAt: updated}),
			sample("erasure", "customers/redact", `{"shop_id":954889,"customer":{"id":191167}}`, connectors.Record{
				Stream: "privacy", Op: connectors.Upsert, OccurredAt: triggered,
			}),
		},
	})
}

// I1: a redelivery has the same ID, everything else another.
func TestIdentityOfAWebhook(t *testing.T) {
	t.Parallel()
	base := receiveOne(t, webhook("orders/updated", customerBody)).ID
	same := map[string]connectors.Delivery{
		"redelivery":                 webhook("orders/updated", customerBody),
		"by a second subscription":   webhook("orders/updated", customerBody, "X-Shopify-Webhook-Id", "another"),
		"signed with the old secret": webhook("orders/updated", customerBody, "X-Shopify-Hmac-Sha256", sign(testPrevious, []byte(customerBody))),
	}
	for name, d := range same {
		if id := receiveOne(t, d).ID; id != base {
			t.Errorf("%s: ID %s, want %s", name, id, base)
		}
	}
	other := strings.Replace(customerBody, "a@", "b@", 1)
	seen := map[string]string{base: "the first"}
	for name, d := range map[string]connectors.Delivery{
		"another event, same bytes":  webhook("orders/updated", customerBody, "X-Shopify-Event-Id", "another"),
		"another topic":              webhook("orders/create", customerBody),
		"same event, other content":  webhook("orders/updated", other),
		"same event, other object":   webhook("orders/updated", strings.Replace(customerBody, "784", "785", 1)),
		"no event ID":                webhook("orders/updated", customerBody, "X-Shopify-Event-Id", ""),
		"no event ID, other webhook": webhook("orders/updated", customerBody, "X-Shopify-Event-Id", "", "X-Shopify-Webhook-Id", "x"),
	} {
		id := receiveOne(t, d).ID
		if before, ok := seen[id]; ok {
			t.Errorf("%s has the ID of %s", name, before)
		}
		seen[id] = name
	}
	undated := webhook("orders/delete", `{"id":12}`, "X-Shopify-Triggered-At", "")
	first := receiveOne(t, undated).ID
	undated.ReceivedAt = receivedAt.Add(time.Minute)
	if again := receiveOne(t, undated).ID; again != first {
		t.Error("a delete that comes again a minute later has another ID")
	}
}

// I13, and what the sender is told: unauthorized becomes 401, invalid 400.
func TestRefusedWebhooks(t *testing.T) {
	t.Parallel()
	tampered := webhook("orders/updated", customerBody)
	tampered.Body = []byte(strings.Replace(customerBody, "a@", "b@", 1))
	twice := webhook("orders/updated", customerBody)
	twice.Header.Add("X-Shopify-Hmac-Sha256", "AAAA")
	unsignedGarbage := webhook("no/topic", "{", "X-Shopify-Hmac-Sha256", "", "X-Shopify-Shop-Domain", "")
	deep := strings.Repeat(`{"a":`, 1<<16) + "1" + strings.Repeat("}", 1<<16)
	for name, c := range map[string]struct {
		delivery connectors.Delivery
		want     connectors.Kind
	}{
		"tampered":              {tampered, connectors.Unauthorized},
		"no signature":          {webhook("orders/updated", customerBody, "X-Shopify-Hmac-Sha256", ""), connectors.Unauthorized},
		"two signatures":        {twice, connectors.Unauthorized},
		"wrong secret":          {webhook("orders/updated", customerBody, "X-Shopify-Hmac-Sha256", sign("other", []byte(customerBody))), connectors.Unauthorized},
		"empty secret":          {webhook("orders/updated", customerBody, "X-Shopify-Hmac-Sha256", sign("", []byte(customerBody))), connectors.Unauthorized},
		"hexadecimal":           {webhook("orders/updated", customerBody, "X-Shopify-Hmac-Sha256", strings.Repeat("ab", 32)), connectors.Unauthorized},
		"checked before parsed": {unsignedGarbage, connectors.Unauthorized},
		"another shop":          {webhook("orders/updated", customerBody, "X-Shopify-Shop-Domain", "other.myshopify.com"), connectors.Invalid},
		"no shop":               {webhook("orders/updated", customerBody, "X-Shopify-Shop-Domain", ""), connectors.Invalid},
		"unknown topic":         {webhook("carts/update", customerBody), connectors.Invalid},
		"no topic":              {webhook("", customerBody), connectors.Invalid},
		"empty body":            {webhook("orders/updated", ""), connectors.Invalid},
		"half a body":           {webhook("orders/updated", customerBody[:20]), connectors.Invalid},
		"a list":                {webhook("orders/updated", `[{"id":1}]`), connectors.Invalid},
		"NaN":                   {webhook("orders/updated", `{"id":NaN}`), connectors.Invalid},
		"invalid UTF-8":         {webhook("orders/updated", "{\"id\":1,\"a\":\"\xff\"}"), connectors.Invalid},
		"deep nesting":          {webhook("orders/updated", deep), connectors.Invalid},
		"no id":                 {webhook("orders/updated", `{"email":"a"}`), connectors.Invalid},
		"id of another kind":    {webhook("orders/updated", `{"id":1.5e3}`), connectors.Invalid},
		"negative id":           {webhook("orders/updated", `{"id":-1}`), connectors.Invalid},
		"huge id":               {webhook("orders/updated", `{"id":`+strings.Repeat("9", 600)+`}`), connectors.Invalid},
	} {
		got, err := receiver(t).Receive(t.Context(), c.delivery)
		if kind(err) != c.want || got.Records != nil {
			t.Errorf("%s: %d records and %v, want %s", name, len(got.Records), err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), testSecret) || strings.Contains(err.Error(), "a@example")) {
			t.Errorf("%s: secret or payload shows in: %v", name, err)
		}
	}
	late := webhook("orders/updated", customerBody, "X-Shopify-Hmac-Sha256", sign(testPrevious, []byte(customerBody)))
	if _, err := receiverAt(t, graceEnd).Receive(t.Context(), late); kind(err) != connectors.Unauthorized {
		t.Errorf("the old secret after its grace: %v, want unauthorized", err)
	}
	src := receiver(t)
	src.secrets = nil
	if _, err := src.Receive(t.Context(), webhook("orders/updated", customerBody, "X-Shopify-Hmac-Sha256", sign("", []byte(customerBody)))); kind(err) != connectors.Unauthorized {
		t.Errorf("without a secret: %v, want unauthorized", err)
	}
}

// The sandbox shop's own webhooks, of every kind and in both shapes, over the wire.
func TestReceivesWhatTheShopSends(t *testing.T) {
	t.Parallel()
	for name, enveloped := range map[string]bool{"bare": false, "enveloped": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shop := newShop(t, sandbox.Options{Enveloped: enveloped})
			c := capture(t)
			src := openShop(t, shop, Settings{}, connectors.Env{})
			if _, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: c.URL, Streams: []string{"customers", "orders", "products"}}); err != nil {
				t.Fatal(err)
			}
			for _, stream := range sandbox.Streams {
				id := shop.Create(stream)
				first, err := src.Receive(t.Context(), c.next(t))
				if err != nil {
					t.Fatal(err)
				}
				if err := shop.Delete(stream, id); err != nil {
					t.Fatal(err)
				}
				second, err := src.Receive(t.Context(), c.next(t))
				if err != nil {
					t.Fatal(err)
				}
				born, died := first.Records[0], second.Records[0]
				if born.Stream != string(stream) || born.Op != connectors.Upsert || died.Op != connectors.Delete || born.Key != died.Key {
					t.Errorf("%s: %+v then %+v", stream, born, died)
				}
				if died.Version < born.Version {
					t.Errorf("%s: the delete's version %d loses against %d", stream, died.Version, born.Version)
				}
			}
		})
	}
}

func FuzzReceive(f *testing.F) {
	for _, body := range []string{customerBody, `{"customers":{"id":1}}`, `{"id":"1"}`, `{}`, `[`, `{"id":{"id":1}}`, `{"customers":[]}`} {
		for _, topic := range []string{"customers/update", "orders/delete", "shop/redact", "x"} {
			f.Add(topic, "event", "2026-03-01T11:59:59Z", []byte(body))
		}
	}
	src := receiver(f)
	f.Fuzz(func(t *testing.T, topic, event, triggered string, body []byte) {
		d := webhook(topic, string(body))
		d.Header["X-Shopify-Event-Id"] = []string{event}
		d.Header["X-Shopify-Triggered-At"] = []string{triggered}
		got, err := src.Receive(t.Context(), d)
		if err != nil {
			if k := kind(err); k != connectors.Invalid {
				t.Fatalf("an authentic webhook: %v", err)
			}
			return
		}
		for _, r := range got.Records {
			if !bytes.Equal(r.Data, body) || r.ID == "" || len(r.ID) > connectors.MaxIDBytes || len(r.Key) > connectors.MaxIDBytes {
				t.Fatalf("record %+v", r)
			}
			if (r.Key == "") != (r.Stream == privacyStream) {
				t.Fatalf("stream %s, key %q", r.Stream, r.Key)
			}
		}
		d.Body = append(bytes.Clone(body), ' ')
		if _, err := src.Receive(t.Context(), d); kind(err) != connectors.Unauthorized {
			t.Fatalf("a byte more than was signed: %v", err)
		}
	})
}
