package sandbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// inbox receives webhooks and answers what answer says.
type inbox struct {
	*httptest.Server
	mu  sync.Mutex
	got []delivered
}

type delivered struct {
	header http.Header
	body   []byte
}

func newInbox(t *testing.T, answer func(n int) int) *inbox {
	t.Helper()
	in := &inbox{}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		in.mu.Lock()
		in.got = append(in.got, delivered{r.Header, body})
		n := len(in.got)
		in.mu.Unlock()
		w.WriteHeader(answer(n))
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *inbox) all() []delivered {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

func always(status int) func(int) int { return func(int) int { return status } }

func subscribe(t *testing.T, s *Shop, topic, url string) string {
	t.Helper()
	_, got := ask(t, s, `mutation ($topic: WebhookSubscriptionTopic!, $uri: String!) {
		webhookSubscriptionCreate(topic: $topic, webhookSubscription: { uri: $uri, format: JSON }) { webhookSubscription { id } userErrors { field message } }
	}`, map[string]any{"topic": topic, "uri": url})
	id := got.Get("data.webhookSubscriptionCreate.webhookSubscription.id").Str
	if id == "" {
		t.Fatalf("subscribe: %s", got.Raw)
	}
	return id
}

func settle(t *testing.T, s *Shop) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Settle(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestWebhooksAreSignedAndComplete(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{})
	one, two := newInbox(t, always(200)), newInbox(t, always(204))
	subscribe(t, s, "CUSTOMERS_CREATE", one.URL)
	subscribe(t, s, "CUSTOMERS_CREATE", two.URL)
	id := s.Create(Customers)
	settle(t, s)
	a, b := one.all(), two.all()
	if len(a) != 1 || len(b) != 1 {
		t.Fatalf("%d and %d webhooks came", len(a), len(b))
	}
	mac := hmac.New(sha256.New, []byte(s.ClientSecret()))
	mac.Write(a[0].body)
	for header, want := range map[string]string{
		"X-Shopify-Hmac-Sha256": base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		"X-Shopify-Topic":       "customers/create",
		"X-Shopify-Shop-Domain": s.Domain(),
		"X-Shopify-Event-Id":    b[0].header.Get("X-Shopify-Event-Id"), // one event, two subscribers
	} {
		if got := a[0].header.Get(header); got == "" || got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if a[0].header.Get("X-Shopify-Webhook-Id") == b[0].header.Get("X-Shopify-Webhook-Id") {
		t.Error("two webhooks have one Webhook-Id")
	}
	if _, err := time.Parse(time.RFC3339Nano, a[0].header.Get("X-Shopify-Triggered-At")); err != nil {
		t.Error(err)
	}
	body := gjson.ParseBytes(a[0].body)
	if body.Get("id").Int() != id || body.Get("state").Str != "invited" || body.Get("total_spent").Str != "0.00" || !body.Get("verified_email").Bool() {
		t.Errorf("body %s", a[0].body)
	}
	ledger := s.Acknowledged()
	if len(ledger) != 2 || ledger[0].ID != id || ledger[0].SHA256 != sha256.Sum256(a[0].body) || ledger[0].Topic != "customers/create" || ledger[0].Attempts != 1 {
		t.Errorf("ledger %+v", ledger)
	}
}

func TestRotatedSecretSignsWhatComesAfter(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{})
	in := newInbox(t, always(200))
	subscribe(t, s, "PRODUCTS_CREATE", in.URL)
	s.RotateSecret("shpss_new")
	s.Create(Products)
	settle(t, s)
	got := in.all()[0]
	mac := hmac.New(sha256.New, []byte("shpss_new"))
	mac.Write(got.body)
	if got.header.Get("X-Shopify-Hmac-Sha256") != base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		t.Error("the new secret does not sign")
	}
}

// A retry is the original again, whatever has happened to the object since.
func TestRetriesCarryTheOriginal(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Retries: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}, Concurrency: 1})
	in := newInbox(t, func(n int) int {
		if n < 3 {
			return 503
		}
		return 200
	})
	subscribe(t, s, "ORDERS_CREATE", in.URL)
	id := s.Create(Orders)
	if err := s.Update(Orders, id); err != nil {
		t.Fatal(err)
	}
	settle(t, s)
	got := in.all()
	if len(got) != 3 {
		t.Fatalf("%d attempts", len(got))
	}
	for _, d := range got[1:] {
		for _, header := range []string{"X-Shopify-Hmac-Sha256", "X-Shopify-Event-Id", "X-Shopify-Webhook-Id", "X-Shopify-Triggered-At"} {
			if d.header.Get(header) != got[0].header.Get(header) {
				t.Errorf("%s changed", header)
			}
		}
		if string(d.body) != string(got[0].body) {
			t.Error("the body changed")
		}
	}
	if l := s.Ledger(); len(l) != 1 || l[0].State != Acknowledged || l[0].Attempts != 3 || l[0].Status != 200 {
		t.Errorf("ledger %+v", l)
	}
}

func TestSubscriptionThatFailsIsRemoved(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Retries: []time.Duration{time.Millisecond}})
	bad, good := newInbox(t, always(500)), newInbox(t, always(200))
	subscribe(t, s, "PRODUCTS_CREATE", bad.URL)
	kept := subscribe(t, s, "PRODUCTS_CREATE", good.URL)
	s.Create(Products)
	settle(t, s)
	if l := s.Ledger(); l[0].State != Lost || l[0].Attempts != 2 || l[1].State != Acknowledged {
		t.Errorf("ledger %+v", l)
	}
	deadline := time.After(10 * time.Second)
	for {
		_, got := ask(t, s, `{ webhookSubscriptions(first: 10) { nodes { id } } }`, nil)
		ids := got.Get("data.webhookSubscriptions.nodes.#.id").Array()
		if len(ids) == 1 && ids[0].Str == kept {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("subscriptions %v, want %s", ids, kept)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestWithheldWebhooksAreNeverSent(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Seed: 3})
	in := newInbox(t, always(200))
	for _, topic := range []string{"PRODUCTS_CREATE", "PRODUCTS_UPDATE", "PRODUCTS_DELETE"} {
		subscribe(t, s, topic, in.URL)
	}
	s.Withhold(7)
	if err := s.Generate(t.Context(), 0, 100, Products); err != nil {
		t.Fatal(err)
	}
	settle(t, s)
	states := map[DeliveryState]int{}
	for _, d := range s.Ledger() {
		states[d.State]++
	}
	if states[Withheld] != 7 || states[Acknowledged] != 93 || len(in.all()) != 93 {
		t.Errorf("%v, %d came", states, len(in.all()))
	}
}

func TestGeneratePacesAndStops(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{})
	begun := time.Now()
	if err := s.Generate(t.Context(), 1000, 100); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 90*time.Millisecond {
		t.Errorf("100 changes at 1,000 a second took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Generate(ctx, 0, 100); err == nil {
		t.Error("it goes on after its context ended")
	}
}

func TestSettleSaysWhatIsPending(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Retries: []time.Duration{time.Hour}})
	in := newInbox(t, always(500))
	subscribe(t, s, "PRODUCTS_CREATE", in.URL)
	s.Create(Products)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Settle(ctx); err == nil {
		t.Error("a webhook that waits an hour for its retry counts as settled")
	}
}

func TestSubscriptionErrors(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{Scopes: []string{"read_orders"}})
	subscribe(t, s, "ORDERS_CREATE", "https://receiver.example/one")
	for name, c := range map[string][2]string{
		"Address for this topic has already been taken":                     {"ORDERS_CREATE", "https://receiver.example/one"},
		"Address is invalid":                                                {"ORDERS_CREATE", "ftp://receiver.example"},
		"You cannot create a webhook subscription with the specified topic": {"PRODUCTS_CREATE", "https://receiver.example/one"},
	} {
		_, got := ask(t, s, `mutation ($topic: WebhookSubscriptionTopic!, $uri: String!) {
			webhookSubscriptionCreate(topic: $topic, webhookSubscription: { uri: $uri }) { webhookSubscription { id } userErrors { field message } }
		}`, map[string]any{"topic": c[0], "uri": c[1]})
		payload := got.Get("data.webhookSubscriptionCreate")
		if payload.Get("userErrors.0.message").Str != name || payload.Get("webhookSubscription").Type != gjson.Null {
			t.Errorf("%s: %s", name, got.Raw)
		}
	}
	_, got := ask(t, s, `mutation { webhookSubscriptionDelete(id: "gid://shopify/WebhookSubscription/1") { deletedWebhookSubscriptionId userErrors { message } } }`, nil)
	if got.Get("data.webhookSubscriptionDelete.userErrors.0.message").Str != "Webhook subscription does not exist" {
		t.Errorf("deleting what is not there: %s", got.Raw)
	}
}
