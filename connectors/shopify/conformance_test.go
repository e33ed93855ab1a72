package shopify

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/clock"
	"tributary/internal/sandbox"
)

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

// subject is a stream and how to change one of its objects.
type subject struct {
	stream sandbox.Stream
	// of is what changes when it does.
	of     sandbox.Stream
	change func(t *testing.T, shop *sandbox.Shop, of int64) (id int64)
}

func update(t *testing.T, shop *sandbox.Shop, stream sandbox.Stream, id int64) int64 {
	t.Helper()
	if err := shop.Update(stream, id); err != nil {
		t.Error(err)
	}
	return id
}

func fulfill(t *testing.T, shop *sandbox.Shop, order int64) int64 {
	t.Helper()
	id, err := shop.Fulfill(order)
	if err != nil {
		t.Error(err)
	}
	return id
}

func refund(t *testing.T, shop *sandbox.Shop, order int64) int64 {
	t.Helper()
	id, err := shop.Refund(order)
	if err != nil {
		t.Error(err)
	}
	return id
}

func subjects() (out []subject) {
	for _, s := range []sandbox.Stream{
		sandbox.Customers, sandbox.Orders, sandbox.Products, sandbox.DraftOrders, sandbox.Collections, sandbox.Checkouts,
	} {
		out = append(out, subject{s, s, func(t *testing.T, shop *sandbox.Shop, id int64) int64 { return update(t, shop, s, id) }})
	}
	for _, s := range []sandbox.Stream{sandbox.Variants, sandbox.InventoryItems, sandbox.InventoryLevels} {
		out = append(out, subject{s, sandbox.Products, func(t *testing.T, shop *sandbox.Shop, id int64) int64 {
			update(t, shop, sandbox.Products, id)
			return sandbox.FirstOf(s, id)
		}})
	}
	return append(out,
		subject{sandbox.Fulfillments, sandbox.Orders, func(t *testing.T, shop *sandbox.Shop, order int64) int64 {
			id, err := shop.Track(order)
			if err != nil {
				t.Error(err)
			}
			return id
		}},
		subject{sandbox.Refunds, sandbox.Orders, refund})
}

// TestSource runs the conformance suite on each stream, read by pages, with a shop whose clock moves a second with every change.
func TestSource(t *testing.T) {
	t.Parallel()
	for _, s := range subjects() {
		t.Run(string(s.stream), func(t *testing.T) {
			t.Parallel()
			connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
				return startApp(t, s, Settings{Bulk: "never"})
			}})
		})
	}
}

// TestSourceInBulk runs it on streams whose first read is a bulk operation: one whose lines are records, one that is sorted by ID, and one whose
// records are its children's lines.
func TestSourceInBulk(t *testing.T) {
	t.Parallel()
	for _, s := range subjects() {
		switch s.stream {
		case sandbox.Customers, sandbox.Variants, sandbox.InventoryLevels:
		default:
			continue
		}
		for _, version := range []string{"2025-10", "2026-07"} {
			t.Run(string(s.stream)+" "+version, func(t *testing.T) {
				t.Parallel()
				connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
					return startApp(t, s, Settings{Bulk: "always", APIVersion: version})
				}})
			})
		}
	}
}

// TestSourceThatGoesOnInBulk runs it where a bulk operation takes over in the middle of the first read.
func TestSourceThatGoesOnInBulk(t *testing.T) {
	t.Parallel()
	for _, s := range subjects() {
		switch s.stream {
		case sandbox.Customers, sandbox.Collections, sandbox.Variants, sandbox.InventoryItems:
		default:
			continue
		}
		t.Run(string(s.stream), func(t *testing.T) {
			t.Parallel()
			connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
				app := startApp(t, s, Settings{})
				opened := app.Open
				app.Open = func(env connectors.Env) (any, error) {
					v, err := opened(env)
					if err == nil {
						v.(*source).bulkAfter = 15
					}
					return v, err
				}
				return app
			}})
		})
	}
}

func startApp(t *testing.T, s subject, settings Settings) connectortest.SourceApp {
	clock := clock.New()
	shop := newShop(t, sandbox.Options{
		AccessToken: "shpat_canary_token", ClientSecret: "shpss_canary_secret", Customers: 45, Orders: 45, Products: 45,
		DraftOrders: 45, Collections: 45, Checkouts: 45,
		Start: clock.Now().Add(-30 * 24 * time.Hour), Now: clock.Now,
	})
	for _, id := range shop.IDs(sandbox.Orders) {
		fulfill(t, shop, id)
		if id%3 != 0 {
			refund(t, shop, id)
		}
		clock.Advance(time.Second)
	}
	clock.Advance(time.Hour)
	conn := connectionTo(shop)
	conn.PreviousClientSecret, conn.PreviousClientSecretUntil = "shpss_canary_previous", "2026-03-01T15:00:00Z"
	changes := 0
	change := func() (string, int64) {
		clock.Advance(time.Second)
		ids := shop.IDs(s.of)
		of := ids[(changes*7)%len(ids)]
		changes++
		id := s.change(t, shop, of)
		at, _ := shop.UpdatedAt(s.of, of)
		return sandbox.Key(s.stream, id), at.UnixMicro()
	}
	return connectortest.SourceApp{
		Transport: handlerTransport{shop},
		Open: func(env connectors.Env) (any, error) {
			return Definition().OpenSource(connectors.Config{
				Settings: raw(t, settings), Connection: raw(t, conn), Streams: []string{string(s.stream)}, Env: env,
			})
		},
		Now:     clock.Now,
		Secrets: []string{conn.AccessToken, conn.ClientSecret, conn.PreviousClientSecret},
		Stream:  string(s.stream),
		Limit:   10,
		Keys: func() (keys []string) {
			for _, id := range shop.IDs(s.stream) {
				keys = append(keys, sandbox.Key(s.stream, id))
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
			if _, err := src.Subscribe(t.Context(), connectors.SubscribeRequest{URL: c.URL, Streams: []string{string(s.stream)}}); err != nil {
				t.Fatal(err)
			}
			change()
			return c.next(t)
		},
	}
}
