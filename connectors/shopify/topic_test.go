package shopify

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/sandbox"
)

// readerOf is a receiver of a block that reads these streams.
func readerOf(t *testing.T, streams ...string) *source {
	t.Helper()
	src := receiver(t)
	src.streams = streams
	return src
}

// What each topic is about. Bodies: https://shopify.dev/docs/api/webhooks
func TestTopicsOfEveryStream(t *testing.T) {
	t.Parallel()
	updated := time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC).UnixMicro()
	triggered := time.Date(2026, 3, 1, 11, 59, 59, 123456000, time.UTC).UnixMicro()
	for topic, c := range map[string]struct {
		body    string
		stream  string
		key     string
		op      connectors.Op
		version int64
	}{
		"inventory_items/update":      {`{"id":271878346596884015,"sku":"x","updated_at":"2026-02-27T19:00:00-05:00"}`, "inventory_items", "271878346596884015", connectors.Upsert, updated},
		"inventory_items/delete":      {`{"id":271878346596884015}`, "inventory_items", "271878346596884015", connectors.Delete, triggered},
		"inventory_levels/connect":    {`{"inventory_item_id":5,"location_id":6,"available":null,"updated_at":"2026-02-27T19:00:00-05:00"}`, "inventory_levels", "5-6", connectors.Upsert, updated},
		"inventory_levels/update":     {`{"inventory_item_id":5,"location_id":6,"available":3,"updated_at":"2026-02-27T19:00:00-05:00"}`, "inventory_levels", "5-6", connectors.Upsert, updated},
		"inventory_levels/disconnect": {`{"inventory_item_id":5,"location_id":6}`, "inventory_levels", "5-6", connectors.Delete, triggered},
		"fulfillments/create":         {`{"id":7,"order_id":8,"updated_at":"2026-02-27T19:00:00-05:00"}`, "fulfillments", "7", connectors.Upsert, updated},
		"fulfillments/update":         {`{"id":7,"order_id":8,"updated_at":"2026-02-27T19:00:00-05:00"}`, "fulfillments", "7", connectors.Upsert, updated},
		"refunds/create":              {`{"id":7,"order_id":8,"created_at":"2026-02-27T19:00:00-05:00"}`, "refunds", "7", connectors.Upsert, updated},
		"draft_orders/update":         {`{"id":7,"updated_at":"2026-02-27T19:00:00-05:00"}`, "draft_orders", "7", connectors.Upsert, updated},
		"draft_orders/delete":         {`{"id":7}`, "draft_orders", "7", connectors.Delete, triggered},
		"collections/create":          {`{"id":7,"updated_at":"2026-02-27T19:00:00-05:00"}`, "collections", "7", connectors.Upsert, updated},
		"collections/delete":          {`{"id":7,"published_scope":"web"}`, "collections", "7", connectors.Delete, triggered},
		"checkouts/update":            {`{"id":7,"token":"x","updated_at":"2026-02-27T19:00:00-05:00"}`, "checkouts", "7", connectors.Upsert, updated},
		"checkouts/delete":            {`{"id":7,"presentment_currency":"USD"}`, "checkouts", "7", connectors.Delete, triggered},
		"orders/paid":                 {`{"id":7,"updated_at":"2026-02-27T19:00:00-05:00"}`, "orders", "7", connectors.Upsert, updated},
	} {
		r := receiveOne(t, webhook(topic, c.body))
		if r.Stream != c.stream || r.Key != c.key || r.Op != c.op || r.Version != c.version || string(r.Data) != c.body {
			t.Errorf("%s: %+v, want %+v", topic, r, c)
		}
	}
	for topic, body := range map[string]string{
		"variants/in_stock": `{"id":7}`, "inventory_levels/update": `{"inventory_item_id":5,"location_id":"x"}`,
		"inventory_levels/disconnect": `{"location_id":6}`, "bulk_operations/finish": `{"id":7}`, "carts/update": `{"id":"7"}`,
	} {
		if _, err := receiver(t).Receive(t.Context(), webhook(topic, body)); kind(err) != connectors.Invalid {
			t.Errorf("%s %s: %v, want invalid", topic, body, err)
		}
	}
}

// Every topic that is subscribed to is one that can be received, and one that the schema knows.
func TestTopicsAreReceived(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	src := openShop(t, shop, Settings{}, connectors.Env{})
	for _, st := range streams {
		for _, topic := range st.topics {
			stream, op, ok := classify(topicName(topic))
			if !ok || stream != st.name && st.name != variantStream {
				t.Errorf("%s of %s is received as %q, %t", topic, st.name, stream, ok)
			}
			if gone := strings.HasSuffix(topic, "_DELETE") || strings.HasSuffix(topic, "_DISCONNECT"); gone != (op == connectors.Delete) {
				t.Errorf("%s is an %s", topic, op)
			}
		}
		req := connectors.SubscribeRequest{URL: "https://receiver.example/" + st.name, Streams: []string{st.name}}
		subs, err := src.Subscribe(t.Context(), req)
		if err != nil || len(subs) != len(st.topics) {
			t.Errorf("%s: %v, %v", st.name, subs, err)
		}
	}
}

const productBody = `{"id":9,"title":"Mug","updated_at":"2026-02-27T19:00:00-05:00","variants":[
	{"id":91,"price":"1.00","updated_at":"2026-02-27T19:00:00-05:00"}, {"id":92,"price":"2.00","updated_at":"2026-02-26T19:00:00-05:00"},{"price":"3.00"}]}`

// A product's webhook holds its variants: one record each, byte for byte, for a block that reads them.
func TestVariantsComeOutOfTheirProduct(t *testing.T) {
	t.Parallel()
	d := webhook("products/update", productBody)
	got, err := readerOf(t, "variants", "products").Receive(t.Context(), d)
	if err != nil || len(got.Records) != 3 {
		t.Fatalf("%+v, %v", got.Records, err)
	}
	product, first, second := got.Records[0], got.Records[1], got.Records[2]
	if product.Stream != "products" || string(product.Data) != productBody {
		t.Errorf("%+v", product)
	}
	if first.Stream != "variants" || first.Key != "91" || string(first.Data) != `{"id":91,"price":"1.00","updated_at":"2026-02-27T19:00:00-05:00"}` || first.Version == 0 {
		t.Errorf("%+v", first)
	}
	if second.Key != "92" || second.Version >= first.Version || second.ID == first.ID || first.ID == product.ID {
		t.Errorf("%+v", second)
	}
	again, err := readerOf(t, "variants").Receive(t.Context(), d)
	if err != nil || len(again.Records) != 2 || again.Records[0].ID != first.ID || !bytes.Equal(again.Records[1].Data, second.Data) {
		t.Errorf("variants alone: %+v, %v", again.Records, err)
	}
	other, err := readerOf(t, "variants").Receive(t.Context(), webhook("products/update", productBody, "X-Shopify-Event-Id", "another"))
	if err != nil || other.Records[0].ID == first.ID {
		t.Errorf("another event has the same ID: %+v, %v", other.Records, err)
	}
	for _, streams := range [][]string{nil, {"products"}} {
		if got, err := readerOf(t, streams...).Receive(t.Context(), d); err != nil || len(got.Records) != 1 || got.Records[0].Stream != "products" {
			t.Errorf("%v: %+v, %v", streams, got.Records, err)
		}
	}
	// What a deletion took with it is not known.
	gone, err := readerOf(t, "variants").Receive(t.Context(), webhook("products/delete", `{"id":9}`))
	if err != nil || len(gone.Records) != 0 {
		t.Errorf("products/delete: %+v, %v", gone.Records, err)
	}
}

// Products and variants share their topics, and each is subscribed once.
func TestSharedTopicsAreSubscribedOnce(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	src := openShop(t, shop, Settings{}, connectors.Env{})
	req := connectors.SubscribeRequest{URL: "https://receiver.example/hooks/token", Streams: []string{"variants", "products"}}
	subs, err := src.Subscribe(t.Context(), req)
	if err != nil || len(subs) != 3 || subs[0].Stream != "variants" {
		t.Fatalf("%+v, %v", subs, err)
	}
	fewer, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: req.URL, Streams: []string{"products"}})
	if err != nil || len(fewer) != 3 || fewer[0].ID != subs[0].ID || fewer[0].Stream != "products" {
		t.Errorf("without variants: %+v, %v", fewer, err)
	}
}
