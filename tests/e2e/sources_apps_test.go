package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
	"tributary/internal/sandbox"
	"tributary/internal/vault"
	"tributary/tests/stack"
)

// recording serves for a stand-in and notes the objects of its answers: those of a list in a field, by the first of the fields that is their key.
type recording struct {
	http.Handler
	list string
	keys []string

	mu  sync.Mutex
	all tally
}

func (r *recording) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	answer := httptest.NewRecorder()
	r.Handler.ServeHTTP(answer, req)
	body := answer.Body.Bytes()
	r.mu.Lock()
	for _, object := range gjson.GetBytes(body, r.list).Array() {
		for _, key := range r.keys {
			if id := object.Get(key); id.Exists() {
				r.all[thingOf(id.String(), []byte(object.Raw))] = 1
				break
			}
		}
	}
	r.mu.Unlock()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

func (r *recording) served() tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return tally{}.with(r.all)
}

func record(t *testing.T, h http.Handler, list string, keys ...string) (*recording, string) {
	r := &recording{Handler: h, list: list, keys: keys, all: tally{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, server.URL
}

// hubspotApp delivers events as HubSpot does: the latest first, with the number of the attempt in them, for which it signs anew.
type hubspotApp struct {
	*hubspottest.Server
	*recording
	host    string // where the receiver is
	events  tally
	changes int
	// attempts are those of all events: a delivery that comes again has another number than before.
	attempts int
}

func startHubspot(t *testing.T, s *stack.Stack) app {
	server := hubspottest.New(hubspottest.Options{Limited: true})
	r, url := record(t, server, "results", "id")
	s.Connect(vault.User(s.User), "hubspot", hubspot.Connection{PortalID: hubspottest.PortalID, AccessToken: hubspottest.AccessToken, APIURL: url})
	s.Connect(vault.App, "hubspot", hubspot.App{
		AppID: hubspottest.AppID, ClientID: hubspottest.ClientID, ClientSecret: hubspottest.ClientSecret, DeveloperAPIKey: hubspottest.DeveloperKey,
		Properties: map[string][]string{"contacts": {"email"}}, APIURL: url,
	})
	return &hubspotApp{Server: server, recording: r, host: "http://" + s.Config.Listen, events: tally{}}
}

func (a *hubspotApp) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.recording.ServeHTTP(w, r) }

func (a *hubspotApp) change(ctx context.Context, rng *rand.Rand) {
	a.changes++
	ids, email := a.IDs("contacts"), map[string]string{"email": fmt.Sprintf("%d@example.com", a.changes)}
	switch n := rng.IntN(10); {
	case n < 5 || len(ids) == 0:
		a.Create("contacts", email)
	case n < 9:
		a.Update("contacts", ids[rng.IntN(len(ids))], email)
	default:
		a.Archive("contacts", ids[rng.IntN(len(ids))])
	}
	for _, d := range a.Deliveries(0) {
		for more := true; more; more = rng.IntN(10) == 0 { // now and then once more, though it was acknowledged
			a.deliver(ctx, d)
		}
		for _, e := range gjson.ParseBytes(d.Body).Array() {
			a.events[thingOf(e.Get("objectId").String(), []byte(e.Raw))]++
		}
	}
}

func (a *hubspotApp) deliver(ctx context.Context, d connectors.Delivery) {
	given := d.Body
	for ; ctx.Err() == nil; a.attempts++ {
		d.Body = bytes.ReplaceAll(given, []byte(`"attemptNumber":0`), fmt.Appendf(nil, `"attemptNumber":%d`, a.attempts%10))
		hubspottest.SignV3(&d, hubspottest.ClientSecret, time.Now())
		hubspottest.SignV1(&d, hubspottest.ClientSecret)
		if deliverOnce(ctx, strings.Replace(d.URL, "https://hooks.example.com", a.host, 1), d) == http.StatusOK {
			a.attempts++
			return
		}
		rest(ctx, 20*time.Millisecond)
	}
}

func deliverOnce(ctx context.Context, url string, d connectors.Delivery) (status int) {
	req, err := http.NewRequestWithContext(ctx, d.Method, url, bytes.NewReader(d.Body))
	if err != nil {
		return 0
	}
	req.Header = d.Header
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func (a *hubspotApp) quiet(context.Context) error { return nil }
func (a *hubspotApp) acked() tally                { return a.events }

func (a *hubspotApp) live() map[string]int64 {
	out := map[string]int64{}
	for _, id := range a.IDs("contacts") {
		out[strconv.FormatInt(id, 10)] = a.ChangedAt("contacts", id).UnixMicro()
	}
	return out
}

type shopifyApp struct {
	*sandbox.Shop
	bulk bool
}

func startShopify(t *testing.T, s *stack.Stack) app {
	return connectShop(t, s, sandbox.Options{}, false)
}

// startBulkShopify has so many customers, and so slow an operation, that a kill falls into the first read.
func startBulkShopify(t *testing.T, s *stack.Stack) app {
	return connectShop(t, s, sandbox.Options{Customers: 2000, BulkTime: 3 * time.Second}, true)
}

func connectShop(t *testing.T, s *stack.Stack, o sandbox.Options, bulk bool) app {
	o.Retries = slices.Repeat([]time.Duration{50 * time.Millisecond}, 5000)
	sh, conn := shop(t, o)
	s.Connect(vault.User(s.User), "shopify", conn)
	return &shopifyApp{sh, bulk}
}

func (a *shopifyApp) change(_ context.Context, rng *rand.Rand) {
	ids := a.IDs(sandbox.Customers)
	if len(ids) == 0 || rng.IntN(10) < 5 {
		a.Create(sandbox.Customers)
		return
	}
	_ = a.Update(sandbox.Customers, ids[rng.IntN(len(ids))]) // only this changes objects, so it is there
}

func (a *shopifyApp) quiet(ctx context.Context) error { return a.Settle(ctx) }

func (a *shopifyApp) acked() tally {
	out := tally{}
	for _, d := range a.Acknowledged() {
		out[thing{strconv.FormatInt(d.ID, 10), d.SHA256}]++
	}
	return out
}

// served is not known of bulk operations.
func (a *shopifyApp) served() tally {
	if a.bulk {
		return nil
	}
	out := tally{}
	for _, node := range a.Served() {
		out[thing{strconv.FormatInt(node.ID, 10), node.SHA256}] = 1
	}
	return out
}

func (a *shopifyApp) live() map[string]int64 {
	out := map[string]int64{}
	for _, id := range a.IDs(sandbox.Customers) {
		at, _ := a.UpdatedAt(sandbox.Customers, id)
		out[strconv.FormatInt(id, 10)] = at.UnixMicro()
	}
	return out
}

type netsuiteApp struct {
	*netsuitetest.Server
	*recording
	t       *testing.T
	last    int64
	changed map[int64]time.Time
}

func startNetsuite(t *testing.T, s *stack.Stack) app {
	server := netsuitetest.New(t)
	server.Set(time.Now())
	r, url := record(t, server, "items", "id", "recordid")
	s.Connect(vault.User(s.User), "netsuite", netsuite.Connection{
		Account: netsuitetest.Account, ConsumerKey: netsuitetest.ConsumerKey, ConsumerSecret: netsuitetest.ConsumerSecret,
		TokenID: netsuitetest.TokenID, TokenSecret: netsuitetest.TokenSecret, URL: url,
	})
	return &netsuiteApp{Server: server, recording: r, t: t, changed: map[int64]time.Time{}}
}

func (a *netsuiteApp) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.recording.ServeHTTP(w, r) }

// change changes or deletes only what did not change within the second: NetSuite's times are no finer.
func (a *netsuiteApp) change(_ context.Context, rng *rand.Rand) {
	now := time.Now().Truncate(time.Second)
	a.Set(now)
	if a.last > 0 && rng.IntN(10) < 5 {
		id := rng.Int64N(a.last) + 1
		at, there := a.changed[id]
		switch {
		case !there || !at.Before(now):
		case rng.IntN(5) == 0:
			delete(a.changed, id)
			a.Delete(a.t, "customer", id, "Customer", now)
			return
		default:
			a.changed[id] = now
			a.Put(a.t, "customer", id, now)
			return
		}
	}
	a.last++
	a.changed[a.last] = now
	a.Put(a.t, "customer", a.last, now)
}

func (a *netsuiteApp) quiet(context.Context) error { return nil }
func (a *netsuiteApp) acked() tally                { return tally{} }

func (a *netsuiteApp) live() map[string]int64 {
	a.Set(time.Now()) // its clock moves only so
	out := map[string]int64{}
	for id, at := range a.changed {
		out[strconv.FormatInt(id, 10)] = at.UnixMicro()
	}
	return out
}
