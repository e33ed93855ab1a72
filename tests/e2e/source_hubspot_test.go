package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
	"tributary/internal/vault"
	"tributary/tests/stack"
)

// hubspotApp delivers events as HubSpot does: the latest first, with the number of the attempt in them, for which it signs anew.
type hubspotApp struct {
	*hubspottest.Server
	*recording
	host    string // where the receiver is; "" = the account is polled only
	events  tally
	changes int
	// archived are objects that can be restored. restored are the versions of those that were: no property tells of it. associated are associations.
	archived   []int64
	restored   map[int64]int64
	associated map[string]state
	// attempts are those of all events: a delivery that comes again has another number than before.
	attempts int
}

func startHubspot(t *testing.T, s *stack.Stack, hooks bool) app {
	server := hubspottest.New(hubspottest.Options{Limited: true})
	r, url := record(t, server, "results", func(_ string, object gjson.Result) string { return "contacts/" + object.Get("id").Str })
	s.Connect(vault.User(s.User), "hubspot", hubspot.Connection{PortalID: hubspottest.PortalID, AccessToken: hubspottest.AccessToken, APIURL: url})
	s.Connect(vault.App, "hubspot", hubspot.App{
		AppID: hubspottest.AppID, ClientID: hubspottest.ClientID, ClientSecret: hubspottest.ClientSecret, DeveloperAPIKey: hubspottest.DeveloperKey,
		Properties: map[string][]string{"contacts": {"email"}}, APIURL: url,
	})
	a := &hubspotApp{Server: server, recording: r, events: tally{}, restored: map[int64]int64{}, associated: map[string]state{}}
	if hooks {
		a.host = "http://" + s.Config.Listen
	}
	return a
}

func (a *hubspotApp) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.recording.ServeHTTP(w, r) }

// change merges, forgets, restores and associates only where webhooks tell of it: HubSpot lists none of that.
func (a *hubspotApp) change(ctx context.Context, rng *rand.Rand) {
	a.changes++
	ids, email := a.IDs("contacts"), map[string]string{"email": fmt.Sprintf("%d@example.com", a.changes)}
	switch n := a.changes % 14; {
	case n < 6 || len(ids) < 2:
		a.Create("contacts", email)
	case n < 9:
		a.Update("contacts", ids[rng.IntN(len(ids))], email)
	case n == 9 && a.host != "":
		left := rng.IntN(len(ids))
		a.Merge("contacts", ids[left], ids[(left+1+rng.IntN(len(ids)-1))%len(ids)])
	case n == 10 && a.host != "":
		a.Forget(ids[rng.IntN(len(ids))])
	case n == 11 && a.host != "":
		a.Associate("contacts", ids[rng.IntN(len(ids))], 1+rng.Int64N(3), "CONTACT_TO_COMPANY", rng.IntN(3) == 0)
	case n == 12 && len(a.archived) > 0 && a.host != "":
		a.Restore("contacts", a.archived[0])
		a.archived = a.archived[1:]
	default:
		id := ids[rng.IntN(len(ids))]
		a.Archive("contacts", id)
		a.archived = append(a.archived, id)
	}
	for _, d := range a.Deliveries(0) {
		for more := true; more; more = rng.IntN(10) == 0 { // now and then once more, though it was acknowledged
			a.deliver(ctx, d)
		}
		for _, e := range gjson.ParseBytes(d.Body).Array() {
			for _, id := range objectsOf(e) {
				a.events[thingOf("contacts/"+id, []byte(e.Raw))]++
			}
			at := e.Get("occurredAt").Int() * 1000
			switch name := "contacts/" + objectsOf(e)[0]; {
			case e.Get("associationRemoved").Bool():
				delete(a.associated, name)
			case e.Get("associationType").Exists():
				a.associated[name] = state{version: at - 1} // an event's, see docs/sources/hubspot.md
			case strings.HasSuffix(e.Get("subscriptionType").Str, ".restore"):
				a.restored[e.Get("objectId").Int()] = at
			}
		}
	}
}

// objectsOf are those that an event tells of: a merge of the one that is left and of those that are no more. An association is one by itself.
func objectsOf(e gjson.Result) (ids []string) {
	if kind := e.Get("associationType"); kind.Exists() {
		return []string{e.Get("fromObjectId").String() + "/" + e.Get("toObjectId").String() + "/" + kind.Str}
	}
	if !strings.HasSuffix(e.Get("subscriptionType").Str, ".merge") {
		return []string{e.Get("objectId").String()}
	}
	for _, id := range append(e.Get("mergedObjectIds").Array(), e.Get("newObjectId")) {
		ids = append(ids, id.String())
	}
	return ids
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

func (a *hubspotApp) live() map[string]state {
	out := maps.Clone(a.associated)
	for _, id := range a.IDs("contacts") {
		out["contacts/"+strconv.FormatInt(id, 10)] = state{version: max(a.ChangedAt("contacts", id).UnixMicro(), a.restored[id])}
	}
	return out
}
