package webhook_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/webhook"
)

// sender signs as an app's documentation says, apart from the code under test.
type sender struct {
	settings      string
	secret, other string
	sign          func(d *connectors.Delivery, secret string, at time.Time)
	tolerance     time.Duration
	samples       []connectortest.ReceiverSample
}

func mac(h func() hash.Hash, secret, content string) []byte {
	m := hmac.New(h, []byte(secret))
	m.Write([]byte(content))
	return m.Sum(nil)
}

func base64MAC(secret, content string) string {
	return base64.StdEncoding.EncodeToString(mac(sha256.New, secret, content))
}

func hexMAC(secret, content string) string {
	return hex.EncodeToString(mac(sha256.New, secret, content))
}

// standardKey decodes a secret of Standard Webhooks.
func standardKey(secret string) string {
	if secret == "" {
		return ""
	}
	key, err := base64.StdEncoding.DecodeString(secret[len("whsec_"):])
	if err != nil {
		panic(err)
	}
	return string(key)
}

func signStandard(id string) func(*connectors.Delivery, string, time.Time) {
	return func(d *connectors.Delivery, secret string, at time.Time) {
		signStandardAs(d, id+d.Header.Get("X-Test"), secret, at)
	}
}

func signStandardAs(d *connectors.Delivery, id, secret string, at time.Time) {
	timestamp := fmt.Sprint(at.Unix())
	d.Header.Set("webhook-id", id)
	d.Header.Set("webhook-timestamp", timestamp)
	d.Header.Set("webhook-signature", "v1,"+base64MAC(standardKey(secret), id+"."+timestamp+"."+string(d.Body)))
}

// sample is a delivery whose whole body is the record.
func sample(name string, header map[string]string, body string, want connectors.Record) connectortest.ReceiverSample {
	want.Data = []byte(body)
	return samples(name, header, body, want)
}

func samples(name string, header map[string]string, body string, want ...connectors.Record) connectortest.ReceiverSample {
	h := make(http.Header)
	for k, v := range header {
		h.Set(k, v)
	}
	for i := range want {
		if want[i].Op == "" {
			want[i].Op = connectors.Upsert
		}
	}
	return connectortest.ReceiverSample{
		Name: name, Want: want,
		Delivery: connectors.Delivery{Method: http.MethodPost, URL: "https://example.com/hooks/token", Header: h, Body: []byte(body)},
	}
}

func senders() map[string]sender {
	const secret, other = "canary-secret-1c9d0a5e", "canary-secret-77b2f3c4"
	const standardSecret, standardOther = "whsec_Y2FuYXJ5LXNlY3JldC1vZi0yNC1ieXRlcw==", "whsec_YW5vdGhlci1zZWNyZXQtb2YtMjQtYnl0ZXM="
	return map[string]sender{
		"github": {
			settings: `{"preset":"github"}`, secret: secret, other: other,
			sign: func(d *connectors.Delivery, secret string, _ time.Time) {
				d.Header.Set("X-Hub-Signature-256", "sha256="+hexMAC(secret, string(d.Body)))
			},
			samples: []connectortest.ReceiverSample{
				sample("issue", map[string]string{"X-GitHub-Event": "issues", "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"},
					"{\n  \"action\": \"opened\",\n  \"issue\": {\"id\": 73464126}\n}\n",
					connectors.Record{ID: "72d3162e-cc78-11e3-81ab-4c9367dc0958", Stream: "issues"}),
				sample("ping is an ordinary event", map[string]string{"X-GitHub-Event": "ping", "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0959"},
					`{"zen":"Keep it logically awesome."}`, connectors.Record{ID: "72d3162e-cc78-11e3-81ab-4c9367dc0959", Stream: "ping"}),
				sample("without an ID", map[string]string{"X-GitHub-Event": "push"}, `{"ref":"refs/heads/main"}`, connectors.Record{Stream: "push"}),
			},
		},
		"github issues as objects": {
			settings: `{"preset":"github","stream":{"header":"X-GitHub-Event"},"type":{"body":".action"},"key":{"body":".issue.id"},
				"version":{"body":".issue.updated_at"},"deletes":["deleted"]}`,
			secret: secret, other: other,
			sign: func(d *connectors.Delivery, secret string, _ time.Time) {
				d.Header.Set("X-Hub-Signature-256", "sha256="+hexMAC(secret, string(d.Body)))
			},
			samples: []connectortest.ReceiverSample{
				sample("edited", map[string]string{"X-GitHub-Event": "issues", "X-GitHub-Delivery": "a"},
					`{"action":"edited","issue":{"id":7,"updated_at":"2026-03-01T10:00:00Z"}}`,
					connectors.Record{ID: "a", Stream: "issues", Key: "7", Version: 1772359200000000}),
				sample("deleted", map[string]string{"X-GitHub-Event": "issues", "X-GitHub-Delivery": "b"},
					`{"action":"deleted","issue":{"id":7,"updated_at":"2026-03-01T10:00:00Z"}}`,
					connectors.Record{ID: "b", Stream: "issues", Key: "7", Version: 1772359200000000, Op: connectors.Delete}),
			},
		},
		"standard-webhooks": {
			settings: `{"preset":"standard-webhooks"}`, secret: standardSecret, other: standardOther, tolerance: 5 * time.Minute,
			sign: signStandard("msg_"),
			samples: []connectortest.ReceiverSample{
				sample("with time", map[string]string{"X-Test": "1"}, `{"type":"user.created","timestamp":"2026-03-01T11:59:58.123456Z","data":{"id":1}}`,
					connectors.Record{ID: "msg_1", Stream: "user.created", OccurredAt: time.Date(2026, 3, 1, 11, 59, 58, 123456000, time.UTC)}),
				sample("with a time that is none", map[string]string{"X-Test": "2"}, `{"type":"user.deleted","timestamp":"yesterday"}`,
					connectors.Record{ID: "msg_2", Stream: "user.deleted"}),
			},
		},
		"stripe": {
			// Stripe's secrets look like Standard Webhooks' and are not decoded.
			settings: `{"preset":"stripe"}`, secret: "whsec_canary1c9d0a5e", other: "whsec_canary77b2f3c4", tolerance: 5 * time.Minute,
			sign: func(d *connectors.Delivery, secret string, at time.Time) {
				d.Header.Set("Stripe-Signature", fmt.Sprintf("t=%d,v1=%s", at.Unix(), hexMAC(secret, fmt.Sprintf("%d.%s", at.Unix(), d.Body))))
			},
			samples: []connectortest.ReceiverSample{
				sample("updated", nil, `{"id":"evt_1","object":"event","created":1772366400,"type":"customer.updated","data":{"object":{"id":"cus_1","object":"customer"}}}`,
					connectors.Record{ID: "evt_1", Stream: "customer", Key: "cus_1", Version: 1772366400000000, OccurredAt: time.Unix(1772366400, 0).UTC()}),
				sample("deleted", nil, `{"id":"evt_2","object":"event","created":1772366401,"type":"customer.deleted","data":{"object":{"id":"cus_1","object":"customer"}}}`,
					connectors.Record{ID: "evt_2", Stream: "customer", Key: "cus_1", Op: connectors.Delete, Version: 1772366401000000, OccurredAt: time.Unix(1772366401, 0).UTC()}),
				sample("an ended subscription stays", nil, `{"id":"evt_3","created":1772366402,"type":"customer.subscription.deleted","data":{"object":{"id":"sub_1","object":"subscription"}}}`,
					connectors.Record{ID: "evt_3", Stream: "subscription", Key: "sub_1", Version: 1772366402000000, OccurredAt: time.Unix(1772366402, 0).UTC()}),
			},
		},
		"slack": {
			settings: `{"preset":"slack"}`, secret: secret, other: other, tolerance: 5 * time.Minute,
			sign: func(d *connectors.Delivery, secret string, at time.Time) {
				d.Header.Set("X-Slack-Request-Timestamp", fmt.Sprint(at.Unix()))
				d.Header.Set("X-Slack-Signature", "v0="+hexMAC(secret, fmt.Sprintf("v0:%d:%s", at.Unix(), d.Body)))
			},
			samples: []connectortest.ReceiverSample{
				sample("event", nil, `{"type":"event_callback","event_id":"Ev123ABC456","event_time":1355517523,"event":{"type":"reaction_added"}}`,
					connectors.Record{ID: "Ev123ABC456", Stream: "reaction_added", OccurredAt: time.Unix(1355517523, 0).UTC()}),
				sample("no event", nil, `{"type":"app_rate_limited","minute_rate_limited":1518467820}`, connectors.Record{Stream: "app_rate_limited"}),
			},
		},
		"zendesk": {
			settings: `{"preset":"zendesk"}`, secret: secret, other: other, tolerance: 5 * time.Minute,
			sign: func(d *connectors.Delivery, secret string, at time.Time) {
				timestamp := at.UTC().Format("2006-01-02T15:04:05Z")
				d.Header.Set("X-Zendesk-Webhook-Signature-Timestamp", timestamp)
				d.Header.Set("X-Zendesk-Webhook-Signature", base64MAC(secret, timestamp+string(d.Body)))
			},
			samples: []connectortest.ReceiverSample{
				sample("first", map[string]string{"X-Zendesk-Webhook-Invocation-Id": "8350205582"}, `{"type":"zen:event-type:user.created","time":"2026-03-01T11:00:00Z"}`,
					connectors.Record{ID: "8350205582", Stream: "zen:event-type:user.created", OccurredAt: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)}),
				sample("second", map[string]string{"X-Zendesk-Webhook-Invocation-Id": "8350205583"}, `{"type":"zen:event-type:user.created"}`,
					connectors.Record{ID: "8350205583", Stream: "zen:event-type:user.created"}),
			},
		},
		"intercom": {
			settings: `{"preset":"intercom"}`, secret: secret, other: other,
			sign: func(d *connectors.Delivery, secret string, _ time.Time) {
				d.Header.Set("X-Hub-Signature", "sha1="+hex.EncodeToString(mac(sha1.New, secret, string(d.Body))))
			},
			samples: []connectortest.ReceiverSample{
				sample("contact", nil, `{"type":"notification_event","id":"notif_1","topic":"contact.user.updated","created_at":1772366400,"data":{"item":{"type":"contact","id":"530370b4","updated_at":1772366399}}}`,
					connectors.Record{ID: "notif_1", Stream: "contact", Key: "530370b4", Version: 1772366399000000, OccurredAt: time.Unix(1772366400, 0).UTC()}),
				sample("deleted", nil, `{"type":"notification_event","id":"notif_2","topic":"contact.deleted","data":{"item":{"type":"contact","id":"530370b4"}}}`,
					connectors.Record{ID: "notif_2", Stream: "contact", Key: "530370b4", Op: connectors.Delete}),
				sample("ping", nil, `{"type":"notification_event","id":null,"topic":"ping","data":{"item":{"type":"ping"}}}`, connectors.Record{Stream: "ping"}),
			},
		},
		"quickbooks": {
			settings: `{"preset":"quickbooks"}`, secret: secret, other: other,
			sign: func(d *connectors.Delivery, secret string, _ time.Time) {
				d.Header.Set("intuit-signature", base64MAC(secret, string(d.Body)))
			},
			samples: []connectortest.ReceiverSample{
				samples("two events", nil, "\n[ {\"id\": \"88cd52aa\", \"type\":\"qbo.account.created.v1\", \"time\":\"2025-09-10T21:31:25.179851517Z\",\"data\":{}}\t,\n{\"id\":\"88cd52ab\",\"type\":\"qbo.invoice.voided.v1\"} ]",
					connectors.Record{ID: "88cd52aa", Stream: "qbo.account.created.v1", OccurredAt: time.Date(2025, 9, 10, 21, 31, 25, 179851517, time.UTC),
						Data: []byte(`{"id": "88cd52aa", "type":"qbo.account.created.v1", "time":"2025-09-10T21:31:25.179851517Z","data":{}}`)},
					connectors.Record{ID: "88cd52ab", Stream: "qbo.invoice.voided.v1", Data: []byte(`{"id":"88cd52ab","type":"qbo.invoice.voided.v1"}`)}),
				samples("none", nil, `[]`),
			},
		},
		"quickbooks as it was": {
			settings: `{"preset":"quickbooks","records":".eventNotifications[].dataChangeEvent.entities[]","id":{"body":".none"},
				"stream":{"body":".name"},"type":{"body":".operation"},"key":{"body":".id"},"version":{"body":".lastUpdated"},"deletes":["Delete"]}`,
			secret: secret, other: other,
			sign: func(d *connectors.Delivery, secret string, _ time.Time) {
				d.Header.Set("intuit-signature", base64MAC(secret, string(d.Body)))
			},
			samples: []connectortest.ReceiverSample{
				samples("nested", nil, `{"eventNotifications":[{"realmId":"1","dataChangeEvent":{"entities":[{"name":"Customer","id":"1","operation":"Create","lastUpdated":"2026-03-01T03:00:00-0700"},
					{"name":"Vendor", "id":"1","operation":"Delete"}]}},{"dataChangeEvent":{"entities":[]}},{"dataChangeEvent":{"entities":[{"name":"Vendor","id":"2","operation":"Update"}]}}]}`,
					connectors.Record{Stream: "Customer", Key: "1", Version: 1772359200000000, Data: []byte(`{"name":"Customer","id":"1","operation":"Create","lastUpdated":"2026-03-01T03:00:00-0700"}`)},
					connectors.Record{Stream: "Vendor", Key: "1", Op: connectors.Delete, Data: []byte(`{"name":"Vendor", "id":"1","operation":"Delete"}`)},
					connectors.Record{Stream: "Vendor", Key: "2", Data: []byte(`{"name":"Vendor","id":"2","operation":"Update"}`)}),
			},
		},
		"woocommerce": {
			settings: `{"preset":"woocommerce"}`, secret: secret, other: other,
			sign: func(d *connectors.Delivery, secret string, _ time.Time) {
				d.Header.Set("X-WC-Webhook-Signature", base64MAC(secret, string(d.Body)))
			},
			samples: []connectortest.ReceiverSample{
				sample("order", map[string]string{"X-WC-Webhook-Topic": "order.updated", "X-WC-Webhook-Resource": "order", "X-WC-Webhook-Delivery-ID": "d1"},
					`{"id":727,"total":"0.00","date_modified_gmt":"2026-03-01T10:00:00"}`,
					connectors.Record{Stream: "order", Key: "727", Version: 1772359200000000, OccurredAt: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}),
				sample("another order in the same second has the same ID", map[string]string{"X-WC-Webhook-Topic": "order.updated", "X-WC-Webhook-Resource": "order", "X-WC-Webhook-Delivery-ID": "d1"},
					`{"id":728}`, connectors.Record{Stream: "order", Key: "728"}),
				sample("deleted", map[string]string{"X-WC-Webhook-Topic": "order.deleted", "X-WC-Webhook-Resource": "order", "X-WC-Webhook-Delivery-ID": "d2"},
					`{"id":727}`, connectors.Record{Stream: "order", Key: "727", Op: connectors.Delete}),
				sample("restored and deleted again", map[string]string{"X-WC-Webhook-Topic": "order.deleted", "X-WC-Webhook-Resource": "order", "X-WC-Webhook-Delivery-ID": "d3"},
					`{"id":727}`, connectors.Record{Stream: "order", Key: "727", Op: connectors.Delete}),
			},
		},
		"explicit": {
			settings: `{"signature":{"header":"x-sign","algorithm":"hmac-sha512","encoding":"base64","prefix":"s=","separator":";","content":"{method}|{url}|{timestamp}|{body}",
				"timestamp":{"header":"x-time","unit":"milliseconds","tolerance":"30s"}},"records":".events[]","stream":{"value":"orders"},"type":{"body":".kind"},
				"key":{"body":".order.\"the.id\""},"version":{"body":".n"},"deletes":["gone"]}`,
			secret: secret, other: other, tolerance: 30 * time.Second,
			sign: func(d *connectors.Delivery, secret string, at time.Time) {
				timestamp := fmt.Sprint(at.UnixMilli())
				sum := mac(sha512.New, secret, d.Method+"|"+d.URL+"|"+timestamp+"|"+string(d.Body))
				d.Header.Set("X-Time", timestamp)
				d.Header.Set("X-Sign", "s="+base64.StdEncoding.EncodeToString(sum))
			},
			samples: []connectortest.ReceiverSample{
				// Of equal payloads, what happened tells them apart; the type alone says that nothing is left.
				samples("list", nil, `{"events":[{"kind":"made","order":{"the.id":5},"n":1},{"kind":"gone","order":{"the.id":5},"n":12345678901}]}`,
					connectors.Record{Stream: "orders", Key: "5", Version: 1, Data: []byte(`{"kind":"made","order":{"the.id":5},"n":1}`)},
					connectors.Record{Stream: "orders", Key: "5", Version: 12345678901, Op: connectors.Delete, Data: []byte(`{"kind":"gone","order":{"the.id":5},"n":12345678901}`)}),
			},
		},
	}
}

func connection(t testing.TB, c webhook.Connection) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReceiver runs the suite on every preset and on settings that use what no preset does.
func TestReceiver(t *testing.T) {
	t.Parallel()
	for name, s := range senders() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connectortest.TestReceiver(t, connectortest.ReceiverHarness{
				Definition: webhook.Definition(), Settings: json.RawMessage(s.settings),
				Secret: s.secret, Other: s.other, Sign: s.sign, Tolerance: s.tolerance, Samples: s.samples,
				Connect: func(secret string) json.RawMessage { return connection(t, webhook.Connection{Secret: secret}) },
				Overlap: func(secret, previous string, until time.Time) json.RawMessage {
					return connection(t, webhook.Connection{Secret: secret, PreviousSecret: previous, PreviousValidUntil: until})
				},
			})
		})
	}
}

// open opens a receiver whose clock stands at now; zero = the real clock.
func open(t testing.TB, settings, secret string, now time.Time) connectors.Receiver {
	t.Helper()
	c := connectors.Config{Settings: json.RawMessage(settings), Connection: connection(t, webhook.Connection{Secret: secret})}
	if !now.IsZero() {
		c.Env.Now = func() time.Time { return now }
	}
	v, err := webhook.Definition().OpenSource(c)
	if err != nil {
		t.Fatal(err)
	}
	return v.(connectors.Receiver)
}
