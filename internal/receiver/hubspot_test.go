package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
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

// One event among 100 that can't be understood keeps none of the others back: they are received, and it goes to quarantine, as it came and with the reason, where its
// account's installation has it, or the operator where it names no account (I4). HubSpot knows one answer to a request, and would give up all of them in the end.
func TestAMalformedEventGoesToQuarantine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ event, installation, epoch, reason string }{
		"no object":      {`"object.creation"`, "/apps/hubspot/default", "app-hubspot", "an event is not a JSON object"},
		"no portal":      {without(`"portalId":62515,`), "/apps/hubspot/default", "app-hubspot", "an event has no usable portalId"},
		"no time":        {without(`"occurredAt":1772366370250,`), "crm/62515", "epoch-62515", "an event has no usable occurredAt"},
		"no object type": {without(`"objectTypeId":"0-123",`), "crm/62515", "epoch-62515", "an event has no usable objectTypeId"},
	} {
		for _, at := range []int{0, 57, 98} {
			t.Run(fmt.Sprint(name, " at ", at), func(t *testing.T) {
				t.Parallel()
				f := startHubspot(t)
				events := hubspotEvents(98)
				sent := slices.Insert(slices.Clone(events), at, c.event)
				for range 2 { // it comes again when the answer is lost
					f.want("a malformed event", f.deliver(sent, hubspottest.ClientSecret), 200)
				}
				f.wantEvents(slices.Concat(events, events))
				f.catalog.set(func(d *directory) {
					if len(d.quarantined) != 1 {
						t.Fatalf("quarantine has %+v, want one event", d.quarantined)
					}
					q := d.quarantined[0]
					if q.Installation != c.installation || q.Epoch != c.epoch || q.Reason != c.reason || q.Kind != connectors.Invalid || q.Bytes != int64(len(c.event)) {
						t.Errorf("quarantined %+v", q)
					}
					kept, err := f.store.Load(t.Context(), q.Segment)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range kept.Slice(q.Index, q.Index+1) {
						if string(r.Data) != c.event || r.ID != q.RecordID {
							t.Errorf("kept %s as %s", r.Data, r.ID)
						}
					}
				})
				f.wantMetric("tributary_receiver_unusable_records_total 2")
			})
		}
	}
}

// without is an event without a field.
func without(field string) string { return strings.Replace(hubspotEvents(1)[0], field, "", 1) }

// Where quarantine is out of order the good events are kept all the same, and the request is to come again.
func TestQuarantineOutOfOrder(t *testing.T) {
	t.Parallel()
	f := startHubspot(t)
	events := hubspotEvents(14)
	f.want("all are understood", f.deliver(events, hubspottest.ClientSecret), 200) // from now on the installations are known
	bad := fmt.Sprint(`{"portalId":`, firstPortal, `}`)
	f.catalog.set(func(d *directory) { d.quarantineDown = errors.New("no quarantine") })
	f.wantRetry("one is not", f.deliver(append(slices.Clone(events), bad), hubspottest.ClientSecret), 503)
	f.wantEvents(slices.Concat(events, events))
	f.catalog.set(func(d *directory) { d.quarantineDown = nil })
	f.want("again", f.deliver([]string{bad}, hubspottest.ClientSecret), 200)
}

// What is no list of events at all is refused, and so is one of which a thousand can't be understood; what is of an account that nobody has is acknowledged.
func TestWhatIsNoDeliveryIsRefused(t *testing.T) {
	t.Parallel()
	f := startHubspot(t)
	f.want("cut off", f.deliver([]string{hubspotEvents(1)[0], `{"eventId":100,"subscriptionId":`}, hubspottest.ClientSecret), 400)
	f.want("1,001 of nothing", f.deliver(slices.Repeat([]string{"null"}, maxUnusable+1), hubspottest.ClientSecret), 400)
	f.want("a portal that nobody has", f.deliver([]string{`{"portalId":1}`}, hubspottest.ClientSecret), 200)
	if kept := f.kept(); len(kept) != 0 {
		t.Errorf("something was kept of what was refused: %v", kept)
	}
	f.catalog.set(func(d *directory) {
		if len(d.quarantined) != 0 {
			t.Errorf("quarantine has %+v", d.quarantined)
		}
	})
	f.wantMetric("tributary_receiver_unrouted_records_total 1")
	f.want("1,000 of nothing", f.deliver(slices.Repeat([]string{"null"}, maxUnusable), hubspottest.ClientSecret), 200)
}
