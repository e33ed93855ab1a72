package hubspot_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/clock"
	"tributary/connectors/connectortest/documented"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

// returned counts the errors that the stand-ins of this package return. Once all tests have run, none that is documented may be left.
var returned = hubspottest.Documented()

func TestMain(m *testing.M) { os.Exit(documented.Run(m, returned)) }

// account is a stand-in behind the contract.
type account struct {
	*hubspottest.Server
	*clock.Clock
	contract *contract
}

func newAccount(t testing.TB, o hubspottest.Options) *account {
	t.Helper()
	c := clock.New()
	o.Now, o.Returned = c.Now, returned
	s := hubspottest.New(o)
	return &account{s, c, newContract(t, s)}
}

// fill makes n objects, an hour apart, the last one a day ago.
func (a *account) fill(stream string, n int) {
	for i := range n {
		a.CreateAt(stream, map[string]string{"name": fmt.Sprint("object ", i), "firstname": fmt.Sprint("person ", i)}, a.Now().Add(time.Duration(i-n-24)*time.Hour))
	}
}

func raw(t testing.TB, v any) json.RawMessage {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func connection() hubspot.Connection {
	return hubspot.Connection{PortalID: hubspottest.PortalID, AccessToken: hubspottest.AccessToken}
}

func app() hubspot.App {
	return hubspot.App{
		AppID: hubspottest.AppID, ClientID: hubspottest.ClientID, ClientSecret: hubspottest.ClientSecret, DeveloperAPIKey: hubspottest.DeveloperKey,
	}
}

// source is all that the connector opens, with an account and an app.
type source interface {
	connectors.Source
	connectors.Pacer
	connectors.Receiver
	connectors.Completer
	connectors.Subscriber
	connectors.Checker
}

func (a *account) open(t testing.TB, settings hubspot.Settings, streams ...string) source {
	t.Helper()
	v, err := hubspot.Definition().OpenSource(connectors.Config{
		Settings: raw(t, settings), Connection: raw(t, connection()), App: raw(t, app()), Streams: streams,
		Env: connectors.Env{Transport: a.contract, Now: a.Now},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v.(source)
}

// TestSource runs the conformance suite on streams of each shape: with all properties, with some, engagements and custom objects.
func TestSource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream   string
		settings hubspot.Settings
	}{
		"contacts":                    {"contacts", hubspot.Settings{Receive: "object"}},
		"contacts with few":           {"contacts", hubspot.Settings{Receive: "object", Properties: map[string][]string{"contacts": {"email"}}}},
		"companies with small pages":  {"companies", hubspot.Settings{Receive: "object", PageSize: 3, Overlap: "30s"}},
		"calls with frequent deletes": {"calls", hubspot.Settings{Receive: "object", Deletions: "1s"}},
		"custom objects":              {"2-3465404", hubspot.Settings{}},
		"custom objects by name":      {"p_car", hubspot.Settings{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
				return startApp(t, c.stream, c.settings)
			}})
		})
	}
}

func startApp(t *testing.T, stream string, settings hubspot.Settings) connectortest.SourceApp {
	a := newAccount(t, hubspottest.Options{})
	a.fill(stream, 45)
	conn := connection()
	conn.RefreshToken = hubspottest.RefreshToken
	changes := 0
	change := func() (string, int64) {
		a.Advance(time.Second)
		ids := a.IDs(stream)
		id := ids[(changes*7)%len(ids)]
		changes++
		a.Update(stream, id, map[string]string{"email": fmt.Sprintf("%d@example.com", changes), "name": fmt.Sprint("changed ", changes)})
		return strconv.FormatInt(id, 10), a.ChangedAt(stream, id).UnixMicro()
	}
	out := connectortest.SourceApp{
		Transport: a.contract,
		Open: func(env connectors.Env) (any, error) {
			c := connectors.Config{Settings: raw(t, settings), Connection: raw(t, conn), App: raw(t, app()), Env: env}
			return hubspot.Definition().OpenSource(c)
		},
		Now:     a.Now,
		Secrets: []string{conn.AccessToken, conn.RefreshToken, hubspottest.ClientSecret, hubspottest.DeveloperKey},
		Stream:  stream,
		Limit:   10,
		Keys: func() (keys []string) {
			for _, id := range a.IDs(stream) {
				keys = append(keys, strconv.FormatInt(id, 10))
			}
			return keys
		},
		Change: change,
		Late: func() (string, int64, func()) {
			a.HoldIndex(stream, 1)
			key, version := change()
			return key, version, func() { a.ReleaseIndex(stream) }
		},
		OneURL: true,
	}
	if settings.Receive == "object" {
		out.Deliver = func(t *testing.T) connectors.Delivery {
			src := a.open(t, settings)
			req := connectors.SubscribeRequest{URL: "https://receiver.example/apps/hubspot/default", Streams: []string{stream}}
			if _, err := src.Subscribe(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			a.Advance(time.Second)
			a.Create(stream, map[string]string{"email": "new@example.com"})
			got := a.Deliveries(0)
			if len(got) != 1 {
				t.Fatalf("%d deliveries of a new object", len(got))
			}
			return got[0]
		}
	}
	if !slices.Contains([]string{"contacts", "companies", "calls"}, stream) {
		out.Open = func(env connectors.Env) (any, error) {
			c := connectors.Config{Settings: raw(t, settings), Connection: raw(t, conn), Env: env}
			return hubspot.Definition().OpenSource(c)
		}
		out.Secrets = []string{conn.AccessToken, conn.RefreshToken}
	}
	return out
}

// Every kind of object that HubSpot has is subscribed, received, polled and told of when it is archived, with the scope that its stream says it needs. A custom
// object is polled: HubSpot lets private apps alone subscribe such.
func TestEveryKindOfObject(t *testing.T) {
	t.Parallel()
	property := map[string]string{
		"contacts": "email", "companies": "name", "deals": "dealname", "tickets": "subject", "products": "name", "line_items": "name", "calls": "hs_call_title",
		"emails": "hs_email_status", "meetings": "hs_meeting_title", "notes": "hs_note_body", "tasks": "hs_task_subject",
		"communications": "hs_communication_channel_type", "postal_mail": "hs_postal_mail_body", "quotes": "hs_title", "leads": "hs_lead_name",
		"orders": "hs_order_name", "carts": "hs_cart_name", "invoices": "hs_invoice_status", "subscriptions": "hs_name",
		"commerce_payments": "hs_latest_status", "appointments": "hs_appointment_name", "courses": "hs_course_name", "listings": "hs_name",
		"services": "hs_name", "2-3465404": "model",
	}
	needs := map[string]string{"2-3465404": "crm.objects.custom.read"}
	for _, st := range hubspot.Definition().Streams {
		needs[st.Name], _, _ = strings.Cut(strings.TrimPrefix(st.Needs, "`"), "`")
		if property[st.Name] == "" {
			t.Errorf("%s is not tried", st.Name)
		}
	}
	for stream, name := range property {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, hubspottest.Options{})
			a.Grant(needs[stream])
			s := a.open(t, hubspot.Settings{Deletions: "1s", Overlap: "1s"})
			hooks := stream != "2-3465404"
			if hooks {
				subscribe(t, s, stream)
			}
			id := a.Create(stream, map[string]string{name: "one"})
			key := strconv.FormatInt(id, 10)
			r := newReader(t, s, stream)
			if got := r.poll(); len(got) != 1 || got[0].Key != key || got[0].Stream != stream || gjson.GetBytes(got[0].Data, "properties."+name).Str != "one" {
				t.Errorf("polled %v", keys(got))
			}
			a.Advance(time.Minute)
			a.Update(stream, id, map[string]string{name: "other"})
			a.Advance(time.Minute)
			a.Archive(stream, id)
			a.Advance(time.Minute)
			if got := r.poll(); len(got) != 1 || got[0].Key != key || got[0].Op != connectors.Delete {
				t.Errorf("after it was archived polled %v", keys(got))
			}
			happened := map[string]int{}
			for _, d := range a.Deliveries(0) {
				received, err := s.Receive(t.Context(), d)
				if err != nil {
					t.Fatal(err)
				}
				for _, rec := range received.Records {
					if rec.Key != key || rec.Stream != stream {
						t.Errorf("received %s of %s", rec.Key, rec.Stream)
					}
					_, kind, _ := strings.Cut(gjson.GetBytes(rec.Data, "subscriptionType").Str, ".")
					happened[kind+" "+string(rec.Op)]++
				}
			}
			if want := (map[string]int{"creation upsert": 1, "propertyChange upsert": 1, "deletion delete": 1}); hooks && !maps.Equal(happened, want) {
				t.Errorf("received %v, want %v", happened, want)
			}
		})
	}
}
