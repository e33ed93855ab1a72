package receiver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
	"tributary/internal/catalog"
)

// hubspotOpener opens HubSpot's app.
type hubspotOpener struct{ *opener }

func (hubspotOpener) AppReceiver(context.Context, string, string) (connectors.Receiver, error) {
	app, err := json.Marshal(hubspot.App{AppID: hubspottest.AppID, ClientSecret: hubspottest.ClientSecret})
	if err != nil {
		return nil, err
	}
	v, err := hubspot.Definition().OpenSource(connectors.Config{App: app})
	if err != nil {
		return nil, err
	}
	return v.(connectors.Receiver), nil
}

const firstPortal, portals = 62515, 7

// startHubspot has an installation for each of the portals.
func startHubspot(t *testing.T) *fixture {
	return start(t, Limits{}, func(f *fixture, c *Config) {
		f.catalog.installations = nil
		for p := firstPortal; p < firstPortal+portals; p++ {
			f.catalog.installations = append(f.catalog.installations, catalog.Installation{
				ID: fmt.Sprint("crm/", p), Integration: "crm", Epoch: fmt.Sprint("epoch-", p), Connector: "hubspot", Account: strconv.Itoa(p), Revision: 1, State: catalog.Active,
			})
		}
		c.Opener = hubspotOpener{f.opener}
	})
}

// hubspotEvents are n events, of one portal after the other.
func hubspotEvents(n int) (events []string) {
	for i := range n {
		kind := []string{"creation", "propertyChange", "deletion"}[i%3]
		events = append(events, fmt.Sprintf(
			`{"eventId":%d,"subscriptionId":%d,"portalId":%d,"appId":%d,"occurredAt":%d,"subscriptionType":"object.%s","attemptNumber":0,"objectId":%d,"objectTypeId":"0-123","changeSource":"CRM_UI"}`,
			100+i%5, i%3, firstPortal+i%portals, hubspottest.AppID, 1772366370250+i, kind, 500+i))
	}
	return events
}

// deliver sends events in one signed request, as HubSpot does.
func (f *fixture) deliver(events []string, clientSecret string) answer {
	f.t.Helper()
	const path = "/apps/hubspot/default"
	body := "[" + strings.Join(events, ",") + "]"
	d := connectors.Delivery{Method: http.MethodPost, URL: "https://hooks.example.com" + path, Header: http.Header{}, Body: []byte(body)}
	hubspottest.SignV3(&d, clientSecret, time.Now())
	r, err := http.NewRequest(d.Method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header = d.Header
	return f.do(r)
}

// wantEvents wants each event in the journal, with its portal's installation, once, in order and byte for byte.
func (f *fixture) wantEvents(events []string) {
	f.t.Helper()
	kept := f.kept()
	for p := range portals {
		var want, got []string
		for i := p; i < len(events); i += portals {
			want = append(want, events[i])
		}
		for _, r := range kept[fmt.Sprint("epoch-", firstPortal+p)] {
			got = append(got, string(r.Data))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			f.t.Errorf("portal %d has %d events, want its %d: %q", firstPortal+p, len(got), len(want), got)
		}
	}
}

// HubSpot sends up to 100 events of any portals in a request (https://developers.hubspot.com/docs/api/webhooks): they are received as a whole and answered once, when
// all are durable. How many it sends is HubSpot's to decide: more are received as well.
func TestAHundredEventsOfManyPortals(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 101, 1000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			f := startHubspot(t)
			events := hubspotEvents(n)
			f.want("a wrong signature", f.deliver(events, "another secret"), 401)
			f.want("the delivery", f.deliver(events, hubspottest.ClientSecret), 200)
			f.wantEvents(events)
			if first, next := f.journal.Bounds(); next-first != portals {
				t.Errorf("%d entries, want one for each of %d installations", next-first, portals)
			}
			f.wantMetric("tributary_receiver_unrouted_records_total 0")
		})
	}
}

// One event among 100 that can't be understood refuses them all, and none is kept: HubSpot knows one answer to a request, and sends again what was refused. A 200
// would lose that event in silence (I4), and what was kept of the others would come twice.
func TestAMalformedEventRefusesTheWholeDelivery(t *testing.T) {
	t.Parallel()
	for name, malformed := range map[string]string{
		"no object":      `"object.creation"`,
		"no portal":      strings.Replace(hubspotEvents(1)[0], `"portalId":62515,`, "", 1),
		"no time":        strings.Replace(hubspotEvents(1)[0], `"occurredAt":1772366370250`, `"occurredAt":"yesterday"`, 1),
		"no object type": strings.Replace(hubspotEvents(1)[0], `"objectTypeId":"0-123",`, "", 1),
		"cut off":        `{"eventId":100,"subscriptionId":`,
	} {
		for _, at := range []int{0, 57, 99} {
			t.Run(fmt.Sprint(name, " at ", at), func(t *testing.T) {
				t.Parallel()
				f := startHubspot(t)
				events := hubspotEvents(100)
				good := events[at]
				events[at] = malformed
				f.want("a malformed event", f.deliver(events, hubspottest.ClientSecret), 400)
				if kept := f.kept(); len(kept) != 0 {
					t.Errorf("something was kept of a delivery that was refused: %v", kept)
				}
				events[at] = good
				f.want("the same when it is right", f.deliver(events, hubspottest.ClientSecret), 200)
				f.wantEvents(events)
			})
		}
	}
}
