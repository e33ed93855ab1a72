package shopify

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/internal/sandbox"
)

// clock is a time that moves only when it is told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// handlerTransport answers requests by a handler, without a network, whatever host they name.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	res := rec.Result()
	res.Request = req
	return res, nil
}

func newShop(t *testing.T, o sandbox.Options) *sandbox.Shop {
	t.Helper()
	shop := sandbox.New(o)
	t.Cleanup(shop.Close)
	return shop
}

func connectionTo(shop *sandbox.Shop) Connection {
	return Connection{Shop: shop.Domain(), AccessToken: shop.AccessToken(), ClientSecret: shop.ClientSecret()}
}

func raw(t *testing.T, v any) json.RawMessage {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// openShop opens the connector on a sandbox shop.
func openShop(t *testing.T, shop *sandbox.Shop, s Settings, env connectors.Env) *source {
	t.Helper()
	if env.Transport == nil {
		env.Transport = handlerTransport{shop}
	}
	src, err := open(connectors.Config{Settings: raw(t, s), Connection: raw(t, connectionTo(shop)), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// captured takes the webhooks that a shop sends.
type captured struct {
	URL        string
	deliveries chan connectors.Delivery
}

func capture(t *testing.T) *captured {
	t.Helper()
	c := &captured{deliveries: make(chan connectors.Delivery, 1000)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.deliveries <- connectors.Delivery{Method: r.Method, URL: c.URL, Header: r.Header, Body: body, ReceivedAt: time.Now()}
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL + "/hooks/it-is-a-secret"
	return c
}

func (c *captured) next(t *testing.T) connectors.Delivery {
	t.Helper()
	select {
	case d := <-c.deliveries:
		return d
	case <-time.After(10 * time.Second):
		t.Fatal("no webhook came")
		return connectors.Delivery{}
	}
}

// TestSource runs the conformance suite on each stream, with a shop whose clock moves a second with every change.
func TestSource(t *testing.T) {
	t.Parallel()
	for _, stream := range sandbox.Streams {
		t.Run(string(stream), func(t *testing.T) {
			t.Parallel()
			connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
				return startApp(t, stream)
			}})
		})
	}
}

func startApp(t *testing.T, stream sandbox.Stream) connectortest.SourceApp {
	clock := newClock()
	shop := newShop(t, sandbox.Options{
		AccessToken: "shpat_canary_token", ClientSecret: "shpss_canary_secret", Customers: 45, Orders: 45, Products: 45,
		Start: clock.now().Add(-30 * 24 * time.Hour), Now: clock.now,
	})
	conn := connectionTo(shop)
	conn.PreviousClientSecret, conn.PreviousClientSecretUntil = "shpss_canary_previous", "2026-03-01T13:00:00Z"
	changes := 0
	change := func() (string, int64) {
		clock.advance(time.Second)
		ids := shop.IDs(stream)
		id := ids[(changes*7)%len(ids)]
		changes++
		if err := shop.Update(stream, id); err != nil {
			t.Error(err)
		}
		at, _ := shop.UpdatedAt(stream, id)
		return strconv.FormatInt(id, 10), at.UnixMicro()
	}
	return connectortest.SourceApp{
		Transport: handlerTransport{shop},
		Open: func(env connectors.Env) (any, error) {
			return Definition().OpenSource(connectors.Config{Connection: raw(t, conn), Env: env})
		},
		Now:     clock.now,
		Secrets: []string{conn.AccessToken, conn.ClientSecret, conn.PreviousClientSecret},
		Stream:  string(stream),
		Limit:   10,
		Keys: func() (keys []string) {
			for _, id := range shop.IDs(stream) {
				keys = append(keys, fmt.Sprint(id))
			}
			return keys
		},
		Change: change,
		Late: func() (string, int64, func()) {
			shop.HoldIndex(1)
			key, version := change()
			return key, version, shop.ReleaseIndex
		},
		Deliver: func(t *testing.T) connectors.Delivery {
			c := capture(t)
			src := openShop(t, shop, Settings{}, connectors.Env{})
			if _, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: c.URL, Streams: []string{string(stream)}}); err != nil {
				t.Fatal(err)
			}
			change()
			return c.next(t)
		},
	}
}
