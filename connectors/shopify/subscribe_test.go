package shopify

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/internal/sandbox"
)

func topicsIn(subs []connectors.Subscription) (topics []string) {
	for _, s := range subs {
		topics = append(topics, s.Topic)
	}
	slices.Sort(topics)
	return topics
}

func TestSubscribeRepairsAndPrunes(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	src := openShop(t, shop, Settings{}, connectors.Env{})
	req := connectors.SubscribeRequest{URL: "https://receiver.example/hooks/token", Streams: []string{"orders", "privacy", "customers"}}
	subs, err := src.Subscribe(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"CUSTOMERS_CREATE", "CUSTOMERS_DELETE", "CUSTOMERS_UPDATE", "ORDERS_CREATE", "ORDERS_DELETE", "ORDERS_UPDATED"}
	if got := topicsIn(subs); !slices.Equal(got, want) {
		t.Fatalf("topics %v, want %v", got, want)
	}
	// The vendor drops one after failures; asking again brings back that one only.
	if err := src.remove(t.Context(), "test", subs[0].ID, req.URL); err != nil {
		t.Fatal(err)
	}
	repaired, err := src.Subscribe(t.Context(), req)
	if err != nil || !slices.Equal(topicsIn(repaired), want) {
		t.Fatalf("after a loss: %v, %v", topicsIn(repaired), err)
	}
	for _, s := range subs[1:] {
		if !slices.Contains(repaired, s) {
			t.Errorf("%s was made anew", s.Topic)
		}
	}
	fewer, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: req.URL, Streams: []string{"customers"}})
	if err != nil || !slices.Equal(topicsIn(fewer), want[:3]) {
		t.Errorf("customers only: %v, %v", topicsIn(fewer), err)
	}
}

// What is right is left alone: asking again changes nothing and costs one call.
func TestSubscribeAgainOnlyReads(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	calls := 0
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		shop.ServeHTTP(w, r)
	})
	src := openShop(t, shop, Settings{}, connectors.Env{Transport: handlerTransport{counted}})
	req := connectors.SubscribeRequest{URL: "https://receiver.example/hooks/token", Streams: []string{"orders"}}
	for range 2 {
		calls = 0
		if _, err := src.Subscribe(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("subscribing again took %d calls, want 1", calls)
	}
}

// I7: the installation's URL holds its token, and the vendor may repeat it.
func TestSubscribeErrorsHoldNoURL(t *testing.T) {
	t.Parallel()
	const url = "https://receiver.example/hooks/canary"
	src := fakeShop(t, func(v gjson.Result) string {
		if v.Get("uri").Exists() {
			return `{"data":{"webhookSubscriptionCreate":{"webhookSubscription":null,"userErrors":[{"message":"Address ` + url + ` is not allowed"}]}}}`
		}
		return `{"data":{"webhookSubscriptions":{"nodes":[],"pageInfo":{"hasNextPage":false}}}}`
	})
	_, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: url, Streams: []string{"orders"}})
	if kind(err) != connectors.Invalid || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "is not allowed") {
		t.Errorf("%v, want the vendor's words without the URL", err)
	}
}

// Two attempts at once: the one that comes second is told that the address is taken, and that is fine.
func TestSubscribeTakesWhatAnotherAttemptMade(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	other := openShop(t, shop, Settings{}, connectors.Env{})
	req := connectors.SubscribeRequest{URL: "https://receiver.example/hooks/token", Streams: []string{"products"}}
	first := true
	race := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if first && bytes.Contains(body, []byte("webhookSubscriptionCreate")) {
			first = false
			if _, err := other.Subscribe(t.Context(), req); err != nil {
				t.Error(err)
			}
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		shop.ServeHTTP(w, r)
	})
	src := openShop(t, shop, Settings{}, connectors.Env{Transport: handlerTransport{race}})
	subs, err := src.Subscribe(t.Context(), req)
	if err != nil || len(subs) != 3 {
		t.Fatalf("%v, %v", subs, err)
	}
	now, err := other.Subscriptions(t.Context(), req)
	if err != nil || len(now) != 3 {
		t.Errorf("the shop has %v, %v", now, err)
	}
}

func TestSubscribeErrors(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{Scopes: []string{"read_products"}})
	src := openShop(t, shop, Settings{}, connectors.Env{})
	_, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: "https://receiver.example/t", Streams: []string{"orders"}})
	if kind(err) != connectors.Forbidden || !strings.Contains(err.Error(), "read_orders") {
		t.Errorf("without the scope: %v", err)
	}
	const url = "ftp://receiver.example/hooks/canary"
	_, err = src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: url, Streams: []string{"products"}})
	if kind(err) != connectors.Invalid || strings.Contains(err.Error(), "canary") {
		t.Errorf("a URL that the shop refuses: %v", err)
	}
	if _, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: url, Streams: []string{"carts"}}); kind(err) != connectors.Invalid {
		t.Errorf("an unknown stream: %v", err)
	}
}

// More subscriptions than a page holds.
func TestSubscriptionsAreListedOverPages(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	src := openShop(t, shop, Settings{}, connectors.Env{})
	for i := range 84 { // 252 subscriptions
		url := "https://receiver.example/hooks/" + strings.Repeat("x", i+1)
		if _, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: url, Streams: []string{"products"}}); err != nil {
			t.Fatal(err)
		}
	}
	last := connectors.SubscribeRequest{URL: "https://receiver.example/hooks/" + strings.Repeat("x", 84)}
	subs, err := src.Subscriptions(t.Context(), last)
	if err != nil || len(subs) != 3 {
		t.Errorf("%v, %v", subs, err)
	}
}
