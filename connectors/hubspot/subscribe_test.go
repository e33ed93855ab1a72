package hubspot_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

func subscribe(t *testing.T, s connectors.Subscriber, streams ...string) []connectors.Subscription {
	t.Helper()
	got, err := s.Subscribe(t.Context(), connectors.SubscribeRequest{URL: hookURL, Streams: streams})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// openApp opens the app alone, without an account.
func (a *account) openApp(t *testing.T, change func(*hubspot.App)) connectors.Subscriber {
	t.Helper()
	credentials := app()
	if change != nil {
		change(&credentials)
	}
	v, err := hubspot.Definition().OpenSource(connectors.Config{
		Settings: raw(t, hubspot.Settings{}), App: raw(t, credentials), Env: connectors.Env{Transport: a.contract, Now: a.Now},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v.(connectors.Subscriber)
}

func TestWhatIsSubscribed(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	s := a.openApp(t, func(c *hubspot.App) {
		c.Properties = map[string][]string{"contacts": {"email", "phone"}, "calls": {"hs_call_title"}}
	})
	got := subscribe(t, s, "contacts", "products", "calls")
	target, topics := a.Subscribed()
	if target != hookURL {
		t.Errorf("the app calls %q", target)
	}
	want := []string{
		"contact.associationChange", "contact.creation", "contact.deletion", "contact.merge", "contact.privacyDeletion", "contact.restore",
		"contact.propertyChange  email", "contact.propertyChange  phone",
		"object.creation 0-48", "object.deletion 0-48", "object.restore 0-48", "object.propertyChange 0-48 hs_call_title",
		"product.creation", "product.deletion", "product.merge", "product.restore",
	}
	for _, topic := range want {
		if !slices.Contains(topics, topic) {
			t.Errorf("%s is not subscribed", topic)
		}
	}
	if slices.Contains(topics, "product.associationChange") {
		t.Error("products have no associations")
	}
	for _, sub := range got {
		prefix, _, _ := strings.Cut(sub.Topic, ".")
		if want := map[string]string{"contact": "contacts", "product": "products", "object": "calls"}[prefix]; sub.Stream != want {
			t.Errorf("%s is of stream %q, want %q", sub.Topic, sub.Stream, want)
		}
	}
}

// What somebody paused goes on, what somebody removed is made again, and what no stream needs is removed.
func TestSubscriptionsAreRepaired(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	s := a.openApp(t, nil)
	first := subscribe(t, s, "companies", "deals")
	a.Pause(2)
	if got, err := s.Subscriptions(t.Context(), connectors.SubscribeRequest{URL: hookURL}); err != nil || !slices.Equal(got, first) {
		t.Errorf("with one paused, %d of %d are listed: %v", len(got), len(first), err)
	}
	if again := subscribe(t, s, "companies", "deals"); !slices.Equal(again, first) {
		t.Errorf("repaired to %v, want %v", again, first)
	}
	if _, topics := a.Subscribed(); len(topics) != len(first) {
		t.Errorf("%d of %d are active", len(topics), len(first))
	}
	left := subscribe(t, s, "deals")
	if slices.ContainsFunc(left, func(sub connectors.Subscription) bool { return sub.Stream != "deals" }) {
		t.Errorf("left %v", left)
	}
}

// What was made by hand for events that no stream has stays, until nobody uses the app; a second subscription of a stream's events goes.
func TestSubscriptionsMadeByHand(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	s := a.openApp(t, nil)
	first := subscribe(t, s, "contacts")
	for _, body := range []string{`{"eventType":"conversation.creation","active":true}`, `{"eventType":"object.creation","objectTypeId":"0-1","active":true}`} {
		u := fmt.Sprintf("https://api.hubapi.com/webhooks/v3/%d/subscriptions?hapikey=%s", hubspottest.AppID, hubspottest.DeveloperKey)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if res, err := a.contract.RoundTrip(req); err != nil || res.StatusCode != http.StatusCreated {
			t.Fatal(res, err)
		}
	}
	req := connectors.SubscribeRequest{URL: hookURL, Streams: []string{"contacts"}}
	listed, err := s.Subscriptions(t.Context(), req)
	if err != nil || len(listed) != len(first)+1 {
		t.Errorf("%d are listed of %d: %v", len(listed), len(first)+1, err)
	}
	for _, sub := range listed { // what is listed can be asked for
		if sub.Stream != "contacts" {
			t.Errorf("%s is of stream %q", sub.Topic, sub.Stream)
		}
	}
	if again := subscribe(t, s, "contacts"); !slices.Equal(again, first) {
		t.Errorf("subscribing again made %v of %v", again, first)
	}
	_, topics := a.Subscribed()
	if !slices.Contains(topics, "conversation.creation") || slices.Contains(topics, "object.creation 0-1") {
		t.Errorf("left %v", topics)
	}
	if err := s.Unsubscribe(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if _, topics := a.Subscribed(); len(topics) != 0 {
		t.Errorf("unsubscribing left %v", topics)
	}
}

// Another worker makes each subscription a moment earlier: its are as good as ours.
func TestSubscribingBesideAnother(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	quicker := roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPost {
			body, _ := io.ReadAll(req.Body)
			req.Body = io.NopCloser(bytes.NewReader(body))
			theirs := req.Clone(req.Context())
			theirs.Body = io.NopCloser(bytes.NewReader(body))
			if res, err := a.contract.RoundTrip(theirs); err != nil || res.StatusCode != http.StatusCreated {
				t.Errorf("the other one: %v %v", res, err)
			}
		}
		return a.contract.RoundTrip(req)
	})
	v, err := hubspot.Definition().OpenSource(connectors.Config{App: raw(t, app()), Env: connectors.Env{Transport: quicker, Now: a.Now}})
	if err != nil {
		t.Fatal(err)
	}
	got := subscribe(t, v.(connectors.Subscriber), "deals")
	if _, topics := a.Subscribed(); len(topics) == 0 || len(got) != len(topics) {
		t.Errorf("%d subscriptions of %d", len(got), len(topics))
	}
}

// An app that calls somebody else is left alone.
func TestAnotherURLIsLeftAlone(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	s := a.openApp(t, nil)
	subscribe(t, s, "deals")
	const theirs = "https://elsewhere.example/hooks"
	a.Target(theirs)
	_, before := a.Subscribed()
	req := connectors.SubscribeRequest{URL: hookURL, Streams: []string{"deals"}}
	_, err := s.Subscribe(t.Context(), req)
	if e := connectortest.WantError(t, err, connectors.Invalid); strings.Contains(e.Error(), theirs) {
		t.Errorf("the other URL shows: %v", e)
	}
	if got, err := s.Subscriptions(t.Context(), req); err != nil || len(got) != 0 {
		t.Errorf("%d subscriptions of our URL: %v", len(got), err)
	}
	if err := s.Unsubscribe(t.Context(), req); err != nil {
		t.Error(err)
	}
	if target, after := a.Subscribed(); target != theirs || !slices.Equal(before, after) {
		t.Errorf("the app calls %s for %v", target, after)
	}
}

func TestUnsubscribingRemovesTheURL(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	s := a.openApp(t, nil)
	subscribe(t, s, "deals")
	if err := s.Unsubscribe(t.Context(), connectors.SubscribeRequest{URL: hookURL}); err != nil {
		t.Fatal(err)
	}
	if target, topics := a.Subscribed(); target != "" || len(topics) != 0 {
		t.Errorf("the app still calls %q for %v", target, topics)
	}
}

// A redirect, such as a proxy's to its login page, is no answer of HubSpot's: it does not say that there is nothing to remove.
func TestARedirectRemovesNothing(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	subscribe(t, a.openApp(t, nil), "deals")
	// strays are the calls that are led elsewhere.
	away := func(strays func(*http.Request) bool) connectors.Subscriber {
		v, err := hubspot.Definition().OpenSource(connectors.Config{App: raw(t, app()), Env: connectors.Env{Now: a.Now, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			if !strays(req) {
				return a.contract.RoundTrip(req)
			}
			return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"https://login.example.com/"}}, Body: http.NoBody, Request: req}, nil
		})}})
		if err != nil {
			t.Fatal(err)
		}
		return v.(connectors.Subscriber)
	}
	ofURL := func(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/settings") }
	s := away(func(*http.Request) bool { return true })
	for _, s := range []connectors.Subscriber{s, away(func(req *http.Request) bool { return req.Method == http.MethodDelete && !ofURL(req) })} {
		connectortest.WantError(t, s.Unsubscribe(t.Context(), connectors.SubscribeRequest{URL: hookURL}), connectors.NotFound, "redirects")
	}
	if got, err := s.Subscriptions(t.Context(), connectors.SubscribeRequest{URL: hookURL}); err == nil {
		t.Errorf("%d subscriptions of an app that was not reached", len(got))
	}
	if target, topics := a.Subscribed(); target != hookURL || len(topics) == 0 {
		t.Errorf("the app calls %q for %v", target, topics)
	}
	s = away(func(req *http.Request) bool { return req.Method == http.MethodDelete && ofURL(req) })
	connectortest.WantError(t, s.Unsubscribe(t.Context(), connectors.SubscribeRequest{URL: hookURL}), connectors.NotFound, "redirects")
	if target, _ := a.Subscribed(); target != hookURL {
		t.Errorf("the app calls %q", target)
	}
}

func TestSubscribingIsRefused(t *testing.T) {
	t.Parallel()
	many := map[string][]string{"deals": nil}
	for i := range 1000 {
		many["deals"] = append(many["deals"], fmt.Sprint("property_", i))
	}
	for name, c := range map[string]struct {
		change  func(*hubspot.App)
		stream  string
		refusal *hubspottest.Refusal
		kind    connectors.Kind
		says    string
	}{
		"too many subscriptions":      {func(a *hubspot.App) { a.Properties = many }, "deals", nil, connectors.Invalid, "webhook_properties"},
		"a name that only polls know": {nil, "p_car", nil, connectors.Invalid, "type ID"},
		"a custom object":             {nil, "2-3465404", nil, connectors.Invalid, "object.creation 2-3465404"},
		"a stream that is none":       {nil, "conversations", nil, connectors.Invalid, "no stream"},
		"another key":                 {func(a *hubspot.App) { a.DeveloperAPIKey = "hs_canary_other_key" }, "deals", nil, connectors.Unauthorized, "developer_api_key"},
		"another app":                 {func(a *hubspot.App) { a.AppID = 1 }, "deals", nil, connectors.NotFound, ""},
		"a property nobody tells of":  {func(a *hubspot.App) { a.Properties = map[string][]string{"deals": {"hs_lastmodifieddate"}} }, "deals", nil, connectors.Invalid, "hs_lastmodifieddate"},
		"limited":                     {nil, "deals", hubspottest.TenSecondly(), connectors.RateLimited, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, hubspottest.Options{})
			if c.refusal != nil {
				a.Refuse(func(string) *hubspottest.Refusal { return c.refusal })
			}
			_, err := a.openApp(t, c.change).Subscribe(t.Context(), connectors.SubscribeRequest{URL: hookURL, Streams: []string{c.stream}})
			e := connectortest.WantError(t, err, c.kind)
			if !strings.Contains(e.Error(), c.says) {
				t.Errorf("%v says nothing of %q", e, c.says)
			}
			for _, secret := range []string{hubspottest.DeveloperKey, "hs_canary_other_key", hubspottest.ClientSecret} {
				if strings.Contains(e.Error(), secret) {
					t.Errorf("a secret shows in: %v", e)
				}
			}
		})
	}
}

// Without a developer key the webhooks are set up by hand.
func TestWithoutADeveloperKey(t *testing.T) {
	t.Parallel()
	credentials := app()
	credentials.DeveloperAPIKey = ""
	v, err := hubspot.Definition().OpenSource(connectors.Config{App: raw(t, credentials)})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := v.(connectors.Subscriber); ok {
		t.Error("it subscribes")
	}
}
