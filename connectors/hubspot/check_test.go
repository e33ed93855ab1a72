package hubspot_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scopes  []string
		streams []string
		portal  int64
		kind    connectors.Kind // "" = all is well
		says    string
	}{
		"all scopes":             {nil, []string{"contacts", "calls", "p_car"}, hubspottest.PortalID, "", ""},
		"the scopes it needs":    {[]string{"crm.objects.deals.read"}, []string{"deals"}, hubspottest.PortalID, "", ""},
		"one it lacks":           {[]string{"crm.objects.deals.read"}, []string{"deals", "contacts"}, hubspottest.PortalID, connectors.Forbidden, "crm.objects.contacts.read"},
		"by itself, with one":    {[]string{"crm.objects.companies.read"}, nil, hubspottest.PortalID, "", ""},
		"by itself, with none":   {[]string{"tickets"}, nil, hubspottest.PortalID, connectors.Forbidden, "crm.objects.contacts.read"},
		"another account":        {nil, []string{"deals"}, 99, connectors.Invalid, "portal_id"},
		"a type that it has not": {nil, []string{"2-1"}, hubspottest.PortalID, connectors.NotFound, "2-1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, hubspottest.Options{})
			a.Grant(c.scopes...)
			conn := connection()
			conn.PortalID = c.portal
			v, err := hubspot.Definition().OpenSource(connectors.Config{
				Connection: raw(t, conn), Streams: c.streams, Env: connectors.Env{Transport: a.contract, Now: a.Now},
			})
			if err != nil {
				t.Fatal(err)
			}
			err = v.(connectors.Checker).Check(t.Context())
			if c.kind == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e := connectortest.WantError(t, err, c.kind); !strings.Contains(e.Error(), c.says) {
				t.Errorf("%v says nothing of %q", e, c.says)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	good, goodApp := string(raw(t, connection())), string(raw(t, app()))
	for name, c := range map[string][3]string{
		"an unknown setting":          {`{"size": 1}`, good, goodApp},
		"receive":                     {`{"receive": "objects"}`, good, goodApp},
		"a page too large":            {`{"page_size": 101}`, good, goodApp},
		"a page too small":            {`{"page_size": -1}`, good, goodApp},
		"overlap":                     {`{"overlap": "2d"}`, good, goodApp},
		"deletions":                   {`{"deletions": "0s"}`, good, goodApp},
		"a stream that is none":       {`{"properties": {"people": ["email"]}}`, good, goodApp},
		"a property that is none":     {`{"properties": {"contacts": ["e mail"]}}`, good, goodApp},
		"no portal":                   {`{}`, `{"access_token": "x"}`, goodApp},
		"no token":                    {`{}`, `{"portal_id": 1}`, goodApp},
		"a URL inside":                {`{}`, `{"portal_id": 1, "access_token": "x", "api_url": "https://127.0.0.1/"}`, goodApp},
		"a URL with a query":          {`{}`, `{"portal_id": 1, "access_token": "x", "api_url": "https://example.com/?a=1"}`, goodApp},
		"no app ID":                   {`{}`, good, `{"client_secret": "x"}`},
		"an old secret without end":   {`{}`, good, `{"app_id": 1, "client_secret": "x", "previous_client_secret": "y"}`},
		"webhooks of no stream":       {`{}`, good, `{"app_id": 1, "client_secret": "x", "developer_api_key": "k", "webhook_properties": {"people": ["a"]}}`},
		"webhooks of no property":     {`{}`, good, `{"app_id": 1, "client_secret": "x", "developer_api_key": "k", "webhook_properties": {"deals": ["a b"]}}`},
		"a URL of the app's, inside":  {`{}`, good, `{"app_id": 1, "client_secret": "x", "developer_api_key": "k", "api_url": "https://10.0.0.1/"}`},
		"a connection that is a text": {`{}`, `"x"`, goodApp},
	} {
		_, err := hubspot.Definition().OpenSource(connectors.Config{Settings: json.RawMessage(c[0]), Connection: json.RawMessage(c[1]), App: json.RawMessage(c[2])})
		if err == nil {
			t.Errorf("%s: opened", name)
			continue
		}
		if e := connectors.AsError("", err); e.Kind != connectors.Invalid {
			t.Errorf("%s: %v is of kind %s", name, e, e.Kind)
		}
	}
}

// What is missing is refused when it is needed.
func TestWithoutConnectionOrApp(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	v, err := hubspot.Definition().OpenSource(connectors.Config{App: raw(t, app()), Env: connectors.Env{Transport: a.contract, Now: a.Now}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "deals"})
	connectortest.WantError(t, err, connectors.Unauthorized)
	_, err = v.(connectors.Completer).Complete(t.Context(), []connectors.Record{event("deals", "1", connectors.Upsert, 0)})
	connectortest.WantError(t, err, connectors.Unauthorized)
	connectortest.WantError(t, v.(connectors.Checker).Check(t.Context()), connectors.Unauthorized)
	if v, err = hubspot.Definition().OpenSource(connectors.Config{Connection: raw(t, connection())}); err != nil {
		t.Fatal(err)
	}
	_, err = v.(connectors.Receiver).Receive(t.Context(), signed("[]", occurred))
	connectortest.WantError(t, err, connectors.Unauthorized)
}

func TestAccountOf(t *testing.T) {
	t.Parallel()
	of := hubspot.Definition().AccountOf
	if got := of(raw(t, connection())); got != "62515" {
		t.Errorf("account %q", got)
	}
	for _, conn := range []string{`{}`, `{"portal_id": -1}`, `"x"`, `{"portal_id": "62515"}`} {
		if got := of(json.RawMessage(conn)); got != "" {
			t.Errorf("%s is of account %q", conn, got)
		}
	}
}
