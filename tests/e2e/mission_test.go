package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors/bigquery"
	"tributary/connectors/bigquery/bigquerytest"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
	"tributary/internal/block"
	"tributary/internal/engine"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// mission is a CRM app that two users have installed, each with an account of their own, and the operator's warehouse, of which they see nothing.
type mission struct {
	*stack.Stack
	t         *testing.T
	warehouse *bigquerytest.Server
	app       *hubspottest.Server
	tenants   []*tenant
	sent      [][]byte // arrays that were acknowledged
}

// tenant is a user with an account.
type tenant struct {
	*hubspottest.Server
	user      string
	portal    int64
	installed engine.Installed
}

const (
	// missionURL is how the app reaches the receiver: HubSpot signs it and takes nothing but HTTPS.
	missionURL  = "https://hooks.example.com"
	otherPortal = hubspottest.PortalID + 1000 // the second user's account
)

// startMission stores what each party brings: the operator the app's credentials and the warehouse's, the users their accounts' alone.
func startMission(t *testing.T) *mission {
	m := &mission{
		Stack: stack.Start(t, func(s *stack.Setup) { s.PublicURL = missionURL }), t: t,
		warehouse: bigquerytest.New(t, nil), app: hubspottest.New(hubspottest.Options{}),
	}
	vendor := httptest.NewServer(m.app)
	t.Cleanup(vendor.Close)
	m.Connect(vault.App, "hubspot", hubspot.App{
		AppID: hubspottest.AppID, ClientID: hubspottest.ClientID, ClientSecret: hubspottest.ClientSecret, DeveloperAPIKey: hubspottest.DeveloperKey,
		APIURL: vendor.URL,
	})
	m.Connect(vault.Operator, "bigquery", bigquery.Connection{
		Key: m.warehouse.Key(m.warehouse.REST), Endpoint: "http://" + m.warehouse.REST, WriteEndpoint: "http://" + m.warehouse.Write,
	})
	m.tenants = []*tenant{
		{Server: m.app, user: m.User + "-ada", portal: hubspottest.PortalID},
		{Server: m.app.Join(hubspottest.Options{Portal: otherPortal}), user: m.User + "-bob", portal: otherPortal},
	}
	for _, u := range m.tenants {
		access, refresh := u.Tokens()
		u.Expire()
		m.Connect(vault.User(u.user), "hubspot", hubspot.Connection{
			PortalID: u.portal, AccessToken: access, RefreshToken: refresh, APIURL: vendor.URL,
			ExpiresAt: time.Now().Add(time.Minute).Format(time.RFC3339), // the first to use it renews it
		})
	}
	return m
}

// install installs for one user after the other; webhooks are registered once, for both.
func (m *mission) install(integration string) {
	m.t.Helper()
	if target, topics := m.app.Subscribed(); target != "" || len(topics) != 0 {
		m.t.Fatalf("the app calls %q for %v before anybody has installed", target, topics)
	}
	var before []string
	for i, u := range m.tenants {
		u.installed = m.Install(integration, u.user)
		target, topics := m.app.Subscribed()
		if target != missionURL+"/apps/hubspot/default" || u.installed.HookURL != target || !slices.Contains(topics, "contact.creation") {
			m.t.Fatalf("the app calls %q for %v, and %s is told of %q", target, topics, u.user, u.installed.HookURL)
		}
		if i > 0 && !slices.Equal(topics, before) {
			m.t.Errorf("the second installation changed %v to %v", before, topics)
		}
		before = topics
		m.wantSubscribers(i + 1)
	}
}

// wantSubscribers says how many installations the app's webhooks are counted for.
func (m *mission) wantSubscribers(want int) {
	m.t.Helper()
	// Counting for another one, and taking it back, tells the number.
	const another = "another-epoch"
	shared := activities.AppPath("hubspot", block.DefaultConnection)
	if _, err := m.Catalog.AddSubscriber(m.t.Context(), shared, another); err != nil {
		m.t.Fatal(err)
	}
	if left, err := m.Catalog.RemoveSubscriber(m.t.Context(), shared, another); err != nil || left != want {
		m.t.Errorf("%d installations are counted, want %d; %v", left, want, err)
	}
}

// uninstall removes the installation of a user and waits until it is gone.
func (m *mission) uninstall(u *tenant) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	if _, err := m.Update(ctx, m.Client, u.installed.ID, workflows.UninstallUpdate, "", struct{}{}); err != nil {
		m.t.Fatal(err)
	}
	if err := m.Client.GetWorkflow(ctx, u.installed.ID, "").Get(ctx, nil); err != nil {
		m.t.Fatalf("uninstall of %s: %v", u.user, err)
	}
}

// uninstallAll removes both; the app's webhooks stay for as long as there is an installation. between is run when the first has gone.
func (m *mission) uninstallAll(between func()) {
	m.t.Helper()
	_, before := m.app.Subscribed()
	m.uninstall(m.tenants[0])
	if _, topics := m.app.Subscribed(); !slices.Equal(topics, before) {
		m.t.Errorf("the first to go left %v of %v", topics, before)
	}
	m.wantSubscribers(1)
	between()
	m.uninstall(m.tenants[1])
	if target, topics := m.app.Subscribed(); target != "" || len(topics) != 0 {
		m.t.Errorf("the last to go left %q and %v", target, topics)
	}
	m.wantSubscribers(0)
}

// change creates contacts in both accounts, one here and one there, so that arrays have events of both, and changes them.
func (m *mission) change(n int) {
	for i := range n {
		for _, u := range m.tenants {
			id := u.Create("contacts", map[string]string{"email": fmt.Sprintf("c%d@%d.example", i, u.portal)})
			u.Server.Update("contacts", id, map[string]string{"firstname": "Zoë <&> \"" + strconv.Itoa(i) + "\" 😀\u2028", "lastname": strings.Repeat("ß", i%7)})
		}
	}
}

// deliver sends what is pending as the vendor does, and keeps what was acknowledged.
func (m *mission) deliver() {
	m.t.Helper()
	for _, d := range m.app.Deliveries(0) {
		to, err := url.Parse(d.URL)
		if err != nil {
			m.t.Fatal(err)
		}
		post := func() int {
			req, err := http.NewRequestWithContext(m.t.Context(), d.Method, "http://"+m.Config.Listen+to.RequestURI(), bytes.NewReader(d.Body))
			if err != nil {
				m.t.Fatal(err)
			}
			req.Header = d.Header
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				m.t.Fatal(err)
			}
			res.Body.Close()
			return res.StatusCode
		}
		good := d.Header.Get("X-HubSpot-Signature-v3")
		if len(m.sent) == 0 {
			d.Header.Set("X-HubSpot-Signature-v3", "A"+good[1:])
			if d.Header.Get("X-HubSpot-Signature-v3") == good {
				d.Header.Set("X-HubSpot-Signature-v3", "B"+good[1:])
			}
			if status := post(); status != http.StatusUnauthorized {
				m.t.Errorf("a wrong signature is answered with %d", status)
			}
			d.Header.Set("X-HubSpot-Signature-v3", good)
		}
		if status := post(); status != http.StatusOK {
			m.t.Fatalf("a webhook is answered with %d", status)
		}
		m.sent = append(m.sent, d.Body)
	}
}

// elements are those of an array, byte for byte.
func elements(t *testing.T, array []byte) []json.RawMessage {
	t.Helper()
	var out []json.RawMessage
	if err := json.Unmarshal(array, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// expected are the elements that were sent, by the installation that they belong to: how often each was.
func (m *mission) expected() map[string]map[string]int {
	owner, out := map[int64]string{}, map[string]map[string]int{}
	for _, u := range m.tenants {
		owner[u.portal], out[u.installed.ID] = u.installed.ID, map[string]int{}
	}
	for _, body := range m.sent {
		for _, e := range elements(m.t, body) {
			var of struct {
				PortalID int64 `json:"portalId"`
			}
			if err := json.Unmarshal(e, &of); err != nil {
				m.t.Fatal(err)
			}
			out[owner[of.PortalID]][string(e)]++
		}
	}
	return out
}

// total is how many there are of anything.
func total(times map[string]int) (n int64) {
	for _, k := range times {
		n += int64(k)
	}
	return n
}

// wantRows compares what the warehouse has, row by row, with what must be there, by installation.
func (m *mission) wantRows(expected map[string]map[string]int) {
	m.t.Helper()
	rows, shown := 0, map[string]int{}
	m.warehouse.Read(m.t, "_installation", func(id string, row map[string]*string) {
		rows++
		installation, data := *row["_installation"], *row["data"]
		if expected[installation][data]--; expected[installation][data] < 0 {
			m.t.Errorf("%s has a row that nobody sent for it, or has it twice: %s", installation, data)
		}
		if shown[installation]++; shown[installation] <= 2 {
			m.t.Logf("%s: %s of %s %s, key %s, at %s: %s", id, *row["_op"], installation, *row["_stream"], *row["_key"], *row["_occurred_at"], data)
		}
	})
	for installation, lacks := range expected {
		for data, n := range lacks {
			if n > 0 {
				m.t.Errorf("%s lacks a row: %s", installation, data)
			}
		}
	}
	m.t.Logf("%d rows, %v by installation", rows, shown)
}

// wantHidden proves whose connection the hidden block is opened with: the users have none, and when the operator's is gone it can't be opened.
func (m *mission) wantHidden(lane string) {
	m.t.Helper()
	ctx := m.t.Context()
	for _, u := range m.tenants {
		all, err := m.Catalog.Connections(ctx, vault.User(u.user))
		if err != nil || len(all) != 1 || all[0].Connector != "hubspot" {
			m.t.Errorf("%s has the connections %+v, %v; want one of hubspot", u.user, all, err)
		}
	}
	open := func(u *tenant) error {
		in, err := m.Catalog.Installation(ctx, u.installed.ID)
		if err != nil {
			m.t.Fatal(err)
		}
		l, err := m.Blocks.Lane(ctx, in.Integration, in.Revision, u.user, lane)
		if err == nil {
			l.Release()
		}
		return err
	}
	operators, err := m.Vault.Get(ctx, vault.Operator, "bigquery", block.DefaultConnection)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, u := range m.tenants {
		if err := open(u); err != nil {
			m.t.Errorf("the block of %s can't be opened: %v", u.user, err)
		}
	}
	if err := m.Catalog.DeleteConnection(ctx, vault.Operator, "bigquery", block.DefaultConnection); err != nil {
		m.t.Fatal(err)
	}
	for _, u := range m.tenants {
		if err := open(u); err == nil {
			m.t.Errorf("the block of %s is opened without the operator's connection", u.user)
		}
	}
	m.Connect(vault.Operator, "bigquery", operators.Secret)
}

// settled waits until everything that was received for a user is where it belongs.
func (m *mission) settled(u *tenant, received int64) {
	m.t.Helper()
	st := m.Await(u.installed.ID, 2*time.Minute, "rows of "+u.user, stack.Settled(received))
	if st.Received != received || st.Quarantined != 0 {
		m.t.Errorf("%s: %d received of %d, %d in quarantine", u.user, st.Received, received, st.Quarantined)
	}
}

// Contact events of two accounts, in signed arrays of 100 to the URL that the app has for all of them, are rows of the operator's BigQuery: each
// payload whole, byte for byte, once, and of the installation that it belongs to. The users bring an account each and nothing of the warehouse.
func TestContactEventsIntoTheOperatorsWarehouse(t *testing.T) {
	t.Parallel()
	m := startMission(t)
	m.Define(fmt.Sprintf(`
name: contacts
source:
  connector: hubspot
  trigger: realtime
  streams: [contacts]
destinations:
  - name: warehouse
    connector: bigquery
    hidden: true
    mode: append
    settings: {dataset: %s, table: contact_events, json: string}
`, bigquerytest.Dataset))
	m.install("contacts")
	m.change(200)
	m.deliver()
	events, full := 0, 0
	for _, body := range m.sent {
		if len(elements(t, body)) == 100 {
			full++
		}
		events += len(elements(t, body))
		for _, u := range m.tenants {
			if !bytes.Contains(body, fmt.Appendf(nil, `"portalId":%d,`, u.portal)) {
				t.Errorf("an array has no event of %d", u.portal)
			}
		}
	}
	if events < 1000 || full != events/100 {
		t.Fatalf("%d events in %d arrays, %d of them full", events, len(m.sent), full)
	}
	expected := m.expected()
	for _, u := range m.tenants {
		m.settled(u, total(expected[u.installed.ID]))
		if u.Served("token") != 1 {
			t.Errorf("the token of %s was renewed %d times", u.user, u.Served("token"))
		}
	}
	m.wantRows(expected)
	m.wantHidden("warehouse")
	m.uninstallAll(func() {
		// The second user's go on, those of the first's account are nobody's.
		gone, before := m.tenants[0].installed.ID, m.expected()
		m.change(5)
		m.deliver()
		after := m.expected()
		m.settled(m.tenants[1], total(after[m.tenants[1].installed.ID]))
		after[gone] = before[gone]
		m.wantRows(after)
	})
}

// The same with whole objects: each contact that an event was about is one row, byte for byte what the user's own account answers, although both
// accounts have objects of the same IDs.
func TestWholeContactsIntoTheOperatorsWarehouse(t *testing.T) {
	t.Parallel()
	m := startMission(t)
	m.Define(fmt.Sprintf(`
name: objects
source:
  connector: hubspot
  trigger: realtime
  streams: [contacts]
  settings: {receive: object, properties: {contacts: [email, firstname]}}
destinations:
  - name: warehouse
    connector: bigquery
    hidden: true
    mode: upsert
    settings: {dataset: %s, table: contact_objects, json: string}
`, bigquerytest.Dataset))
	m.install("objects")
	m.change(90)
	m.deliver()
	sent, expected := m.expected(), map[string]map[string]int{}
	for _, u := range m.tenants {
		n := total(sent[u.installed.ID])
		m.Await(u.installed.ID, 2*time.Minute, "objects of "+u.user, func(st workflows.Status) bool {
			c := st.Completing
			return st.Received >= n && c != nil && c.Taken == n && c.Waiting == 0 && c.Refused == 0 && st.Lag == 0 && st.Quarantined == 0
		})
		expected[u.installed.ID] = map[string]int{}
		for _, object := range u.contacts(t) {
			expected[u.installed.ID][string(object)] = 1
		}
		if len(expected[u.installed.ID]) != 90 {
			t.Fatalf("the account of %s has %d contacts", u.user, len(expected[u.installed.ID]))
		}
	}
	m.wantRows(expected)
	m.wantHidden("warehouse")
	m.uninstallAll(func() {})
}

// contacts are all of the account, as it answers for them.
func (u *tenant) contacts(t *testing.T) []json.RawMessage {
	t.Helper()
	var inputs []map[string]string
	for _, id := range u.IDs("contacts") {
		inputs = append(inputs, map[string]string{"id": strconv.FormatInt(id, 10)})
	}
	body, err := json.Marshal(map[string]any{
		"inputs": inputs, "properties": []string{"email", "firstname", "lastmodifieddate"}, "propertiesWithHistory": []string{},
	})
	if err != nil {
		t.Fatal(err)
	}
	access, _ := u.Tokens()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.hubapi.com/crm/v3/objects/contacts/batch/read", bytes.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+access)
	req.Header.Set("Content-Type", "application/json")
	res, err := u.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct{ Results []json.RawMessage }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d, %v", res.StatusCode, err)
	}
	return answer.Results
}
