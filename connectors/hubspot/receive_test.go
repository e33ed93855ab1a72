package hubspot_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

const hookURL = "https://receiver.example/apps/hubspot/default"

// occurred is when the samples' events happened.
var occurred = time.Date(2026, 3, 1, 11, 59, 30, 250_000_000, time.UTC)

// anEvent is an event as HubSpot sends it; more is added to what all have.
func anEvent(kind, more string) string {
	return fmt.Sprintf(`{"eventId":100,"subscriptionId":11,"portalId":%d,"appId":%d,"occurredAt":%d,"subscriptionType":%q,"attemptNumber":0,"changeSource":"CRM_UI"%s}`,
		hubspottest.PortalID, hubspottest.AppID, occurred.UnixMilli(), kind, more)
}

// samples cover every shape of event, and two accounts.
func samples() []connectortest.ReceiverSample {
	var out []connectortest.ReceiverSample
	sample := func(name string, events []string, want ...connectors.Record) {
		for i := range want {
			want[i].OccurredAt = occurred
			if want[i].Version == 0 {
				want[i].Version = occurred.UnixMicro()
				if want[i].Op == connectors.Upsert {
					want[i].Version--
				}
			}
		}
		out = append(out, connectortest.ReceiverSample{
			Name: name, Want: want, Delivery: connectors.Delivery{
				Method: http.MethodPost, URL: hookURL, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("[" + strings.Join(events, ",") + "]"),
			},
		})
	}
	record := func(stream, key string, op connectors.Op, data string) connectors.Record {
		return connectors.Record{Stream: stream, Key: key, Op: op, Data: []byte(data)}
	}
	one := func(stream, key string, op connectors.Op, kind, more string) {
		e := anEvent(kind, more)
		sample(kind+more, []string{e}, record(stream, key, op, e))
	}
	one("contacts", "512", connectors.Upsert, "contact.propertyChange", `,"objectId":512,"propertyName":"jobtitle","propertyValue":"Head of Something Long"`)
	one("contacts", "512", connectors.Upsert, "contact.propertyChange", `,"objectId":512,"propertyName":"email","propertyValue":"ada.lovelace@example.com"`)
	one("contacts", "512", connectors.Upsert, "contact.creation", `,"objectId":512,"changeFlag":"CREATED"`)
	one("contacts", "512", connectors.Delete, "contact.deletion", `,"objectId":512,"changeFlag":"DELETED"`)
	one("contacts", "512", connectors.Delete, "contact.privacyDeletion", `,"objectId":512`)
	one("contacts", "512", connectors.Upsert, "contact.restore", `,"objectId":512`)
	one("line_items", "7", connectors.Upsert, "line_item.creation", `,"objectId":7`)
	one("calls", "9", connectors.Upsert, "object.creation", `,"objectId":9,"objectTypeId":"0-48"`)
	one("contacts", "9", connectors.Upsert, "object.creation", `,"objectId":9,"objectTypeId":"0-1"`)
	one("2-3465404", "9", connectors.Upsert, "object.propertyChange", `,"objectId":9,"objectTypeId":"2-3465404","propertyName":"model","propertyValue":"T"`)
	one("0-999", "9", connectors.Delete, "object.deletion", `,"objectId":9,"objectTypeId":"0-999"`)
	one("conversation", "3", connectors.Upsert, "conversation.newMessage", `,"objectId":3,"messageId":"a-message","messageType":"MESSAGE"`)
	one("contacts", "1/2/CONTACT_TO_COMPANY", connectors.Upsert, "contact.associationChange",
		`,"fromObjectId":1,"toObjectId":2,"associationType":"CONTACT_TO_COMPANY","associationRemoved":false,"isPrimaryAssociation":true`)
	one("contacts", "1/2/CONTACT_TO_COMPANY", connectors.Delete, "contact.associationChange",
		`,"fromObjectId":1,"toObjectId":2,"associationType":"CONTACT_TO_COMPANY","associationRemoved":true,"isPrimaryAssociation":true`)
	one("calls", "4/5/194", connectors.Upsert, "object.associationChange",
		`,"fromObjectTypeId":"0-48","toObjectTypeId":"0-1","fromObjectId":4,"toObjectId":5,"associationTypeId":194,"associationCategory":"HUBSPOT_DEFINED","associationRemoved":false`)
	merge := anEvent("contact.merge", `,"objectId":20,"primaryObjectId":20,"mergedObjectIds":[21,22],"newObjectId":20,"numberOfPropertiesMoved":3`)
	sample("merge", []string{merge}, record("contacts", "20", connectors.Upsert, merge), record("contacts", "21", connectors.Delete, merge),
		record("contacts", "22", connectors.Delete, merge))
	fresh := anEvent("company.merge", `,"primaryObjectId":30,"mergedObjectIds":[31],"newObjectId":39,"numberOfPropertiesMoved":0`)
	sample("merge into a new object", []string{fresh}, record("companies", "39", connectors.Upsert, fresh), record("companies", "31", connectors.Delete, fresh),
		record("companies", "30", connectors.Delete, fresh))
	other := strings.Replace(anEvent("deal.creation", `,"objectId":512`), `"portalId":62515`, `"portalId":99`, 1)
	mine := anEvent("deal.creation", `,"objectId":512`)
	sample("two accounts", []string{other, mine}, record("deals", "512", connectors.Upsert, other), record("deals", "512", connectors.Upsert, mine))
	return out
}

// TestReceiver runs the conformance suite with either signature.
func TestReceiver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sign      func(d *connectors.Delivery, secret string, at time.Time)
		tolerance time.Duration
	}{
		"version 3": {hubspottest.SignV3, 5 * time.Minute},
		"version 1": {func(d *connectors.Delivery, secret string, _ time.Time) { hubspottest.SignV1(d, secret) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			credentials := func(secret, previous, until string) json.RawMessage {
				return raw(t, hubspot.App{AppID: hubspottest.AppID, ClientSecret: secret, PreviousClientSecret: previous, PreviousClientSecretUntil: until})
			}
			connectortest.TestReceiver(t, connectortest.ReceiverHarness{
				Definition: hubspot.Definition(), Settings: json.RawMessage(`{}`), InApp: true,
				Secret: "b7f1c2d3-canary-secret-one", Other: "b7f1c2d3-canary-secret-two",
				Connect: func(secret string) json.RawMessage { return credentials(secret, "", "") },
				Overlap: func(secret, previous string, until time.Time) json.RawMessage {
					return credentials(secret, previous, until.Format(time.RFC3339))
				},
				Sign: c.sign, Tolerance: c.tolerance, Samples: samples(),
			})
		})
	}
}

// receiver opens the receiver of the app alone, as the app-wide URL does.
func receiver(t *testing.T, at time.Time, more func(*hubspot.App)) connectors.Receiver {
	t.Helper()
	a := app()
	if more != nil {
		more(&a)
	}
	v, err := hubspot.Definition().OpenSource(connectors.Config{
		Settings: json.RawMessage(`{}`), App: raw(t, a), Env: connectors.Env{Now: func() time.Time { return at }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v.(connectors.Receiver)
}

func signed(body string, at time.Time) connectors.Delivery {
	d := connectors.Delivery{Method: http.MethodPost, URL: hookURL, Header: http.Header{}, Body: []byte(body), ReceivedAt: at}
	hubspottest.SignV3(&d, hubspottest.ClientSecret, at)
	return d
}

// Each event goes to the account that it is of.
func TestEventsFanOutByPortal(t *testing.T) {
	t.Parallel()
	var events []string
	for i := range 100 {
		e := anEvent("contact.creation", fmt.Sprintf(`,"objectId":%d`, i+1))
		events = append(events, strings.Replace(e, `"portalId":62515`, fmt.Sprintf(`"portalId":%d`, 1000+i%7), 1))
	}
	got, err := receiver(t, occurred, nil).Receive(t.Context(), signed("["+strings.Join(events, ",")+"]", occurred))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 100 || len(got.Accounts) != 100 {
		t.Fatalf("%d records of %d accounts", len(got.Records), len(got.Accounts))
	}
	for i, account := range got.Accounts {
		if want := strconv.Itoa(1000 + i%7); account != want || got.Records[i].Key != strconv.Itoa(i+1) || string(got.Records[i].Data) != events[i] {
			t.Errorf("event %d: account %s, key %s", i, account, got.Records[i].Key)
		}
	}
}

// HubSpot does not promise that eventId is unique, and a redelivery has another attemptNumber.
func TestIdentityOfEvents(t *testing.T) {
	t.Parallel()
	r := receiver(t, occurred, nil)
	id := func(event string) string {
		t.Helper()
		got, err := r.Receive(t.Context(), signed("["+event+"]", occurred))
		if err != nil {
			t.Fatal(err)
		}
		return got.Records[0].ID
	}
	base := anEvent("contact.propertyChange", `,"objectId":512,"propertyName":"email","propertyValue":"a"`)
	first := id(base)
	if again := id(strings.Replace(base, `"attemptNumber":0`, `"attemptNumber":3`, 1)); again != first {
		t.Error("a redelivery has another ID")
	}
	for _, c := range [][2]string{
		{`"eventId":100`, `"eventId":101`}, {`"subscriptionId":11`, `"subscriptionId":12`}, {`"portalId":62515`, `"portalId":62516`},
		{fmt.Sprint(occurred.UnixMilli()), fmt.Sprint(occurred.UnixMilli() + 1)}, {`"objectId":512`, `"objectId":513`},
		{`"propertyName":"email"`, `"propertyName":"phone"`}, {`"propertyValue":"a"`, `"propertyValue":"b"`},
	} {
		if id(strings.Replace(base, c[0], c[1], 1)) == first {
			t.Errorf("%s and %s have one ID", c[0], c[1])
		}
	}
}

// What HubSpot never sends is told apart, with what is the matter, and holds back nothing beside it.
func TestEventsThatCannotBeUnderstood(t *testing.T) {
	t.Parallel()
	r := receiver(t, occurred, nil)
	good := anEvent("contact.creation", `,"objectId":512`)
	const mine = "62515"
	for name, c := range map[string]struct{ event, account, reason string }{
		"text":                   {`"contact.creation"`, "", "an event is not a JSON object"},
		"a number":               {`1`, "", "an event is not a JSON object"},
		"another app's":          {strings.Replace(good, strconv.Itoa(hubspottest.AppID), "1", 1), mine, "an event is of another app"},
		"no portal":              {strings.Replace(good, `"portalId":62515`, `"portalId":null`, 1), "", "an event has no usable portalId"},
		"a portal that is none":  {strings.Replace(good, `"portalId":62515`, `"portalId":-1`, 1), "", "an event has no usable portalId"},
		"no time":                {strings.Replace(good, strconv.FormatInt(occurred.UnixMilli(), 10), "0", 1), mine, "an event has no usable occurredAt"},
		"a time beyond all":      {strings.Replace(good, strconv.FormatInt(occurred.UnixMilli(), 10), "999999999999999999", 1), mine, "an event has no usable occurredAt"},
		"no type":                {strings.Replace(good, "contact.creation", "creation", 1), mine, "an event has no usable subscriptionType"},
		"a type that is no name": {strings.Replace(good, "contact.creation", "con tact.creation", 1), mine, "an event has no usable subscriptionType"},
		"generic without a type": {strings.Replace(good, "contact.creation", "object.creation", 1), mine, "an event has no usable objectTypeId"},
		"a deletion of nothing":  {anEvent("contact.deletion", ""), mine, "an event has no usable object ID"},
		"a merge into nothing":   {anEvent("contact.merge", `,"mergedObjectIds":[1]`), mine, "an event has no usable object ID"},
	} {
		got, err := r.Receive(t.Context(), signed("["+good+","+c.event+","+good+"]", occurred))
		if err != nil {
			t.Errorf("%s: refused: %v", name, err)
			continue
		}
		if len(got.Records) != 2 || len(got.Accounts) != 2 || string(got.Records[1].Data) != good {
			t.Errorf("%s: the good ones came as %+v of %v", name, got.Records, got.Accounts)
		}
		if want := (connectors.Unusable{Account: c.account, Reason: c.reason, Data: []byte(c.event)}); len(got.Unusable) != 1 || !reflect.DeepEqual(got.Unusable[0], want) {
			t.Errorf("%s: got %+v, want %+v", name, got.Unusable, want)
		}
	}
	for name, body := range map[string]string{"no array": good, "cut off": "[" + good + ",", "no JSON": "[" + good + ",nothing]", "nothing": ""} {
		if _, err := r.Receive(t.Context(), signed(body, occurred)); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			connectortest.WantError(t, err, connectors.Invalid)
		}
	}
}

// The signature covers the URL as HubSpot decodes it.
func TestSignatureOfURLs(t *testing.T) {
	t.Parallel()
	r := receiver(t, occurred, nil)
	d := signed("[]", occurred)
	d.URL = "https://receiver.example/apps/hubspot/a%40b%2Fc?x=%3Ay%2c"
	mixed := d
	mixed.Header = d.Header.Clone()
	mixed.URL = strings.ReplaceAll(d.URL, "%2c", "%2C")
	hubspottest.SignV3(&mixed, hubspottest.ClientSecret, occurred)
	mixed.URL = d.URL
	if _, err := r.Receive(t.Context(), mixed); err != nil {
		t.Errorf("a signature of the decoded URL: %v", err)
	}
	wrong := signed("[]", occurred)
	wrong.URL = hookURL + "/other"
	_, err := r.Receive(t.Context(), wrong)
	connectortest.WantError(t, err, connectors.Unauthorized)
	method := signed("[]", occurred)
	method.Method = http.MethodPut
	_, err = r.Receive(t.Context(), method)
	connectortest.WantError(t, err, connectors.Unauthorized)
}

// Where a signature of version 3 is there, one of version 1 does not help; and an app may insist on version 3.
func TestTheNewerSignatureCounts(t *testing.T) {
	t.Parallel()
	both := signed("[]", occurred)
	hubspottest.SignV1(&both, hubspottest.ClientSecret)
	if _, err := receiver(t, occurred, nil).Receive(t.Context(), both); err != nil {
		t.Errorf("both signatures: %v", err)
	}
	_, err := receiver(t, occurred.Add(time.Hour), nil).Receive(t.Context(), both)
	connectortest.WantError(t, err, connectors.Unauthorized)
	older := connectors.Delivery{Method: http.MethodPost, URL: hookURL, Header: http.Header{}, Body: []byte("[]")}
	hubspottest.SignV1(&older, hubspottest.ClientSecret)
	if _, err := receiver(t, occurred, nil).Receive(t.Context(), older); err != nil {
		t.Errorf("version 1 alone: %v", err)
	}
	_, err = receiver(t, occurred, func(a *hubspot.App) { a.OnlyV3 = true }).Receive(t.Context(), older)
	connectortest.WantError(t, err, connectors.Unauthorized)
	v2 := older
	v2.Header = older.Header.Clone()
	v2.Header.Set("X-HubSpot-Signature-Version", "v2")
	_, err = receiver(t, occurred, nil).Receive(t.Context(), v2)
	connectortest.WantError(t, err, connectors.Unauthorized)
}

// A subscription's events come through: the stand-in signs them as HubSpot does.
func TestSubscribedEventsAreReceived(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	a.fill("contacts", 3)
	s := a.open(t, hubspot.Settings{})
	if _, err := s.Subscribe(t.Context(), connectors.SubscribeRequest{URL: hookURL, Streams: []string{"contacts", "calls"}}); err != nil {
		t.Fatal(err)
	}
	ids := a.IDs("contacts")
	a.Update("contacts", ids[0], map[string]string{"email": "a@example.com", "firstname": "Ada", "notes": "nobody watches"})
	a.Archive("contacts", ids[1])
	a.Merge("contacts", ids[0], ids[2])
	a.Associate("contacts", ids[0], 77, "CONTACT_TO_COMPANY", false)
	a.Forget(ids[1])
	call := a.Create("calls", map[string]string{"hs_call_title": "Hello"})
	var got []connectors.Record
	for _, d := range a.Deliveries(0) {
		received, err := s.Receive(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range received.Records {
			if received.Accounts[i] != strconv.Itoa(hubspottest.PortalID) {
				t.Errorf("account %s", received.Accounts[i])
			}
			if !bytes.Contains(d.Body, r.Data) {
				t.Errorf("the data of %s is no part of the body", r.Key)
			}
		}
		got = append(got, received.Records...)
	}
	count := map[string]int{}
	for _, r := range got {
		count[fmt.Sprint(r.Stream, " ", r.Key, " ", r.Op)]++
	}
	for what, n := range map[string]int{
		fmt.Sprintf("contacts %d upsert", ids[0]):                       3, // two properties and the merge
		fmt.Sprintf("contacts %d delete", ids[1]):                       2, // archived, and forgotten
		fmt.Sprintf("contacts %d delete", ids[2]):                       1,
		fmt.Sprintf("contacts %d/77/CONTACT_TO_COMPANY upsert", ids[0]): 1,
		fmt.Sprintf("calls %d upsert", call):                            1,
	} {
		if count[what] != n {
			t.Errorf("%s came %d times, want %d: %v", what, count[what], n, count)
		}
	}
}
