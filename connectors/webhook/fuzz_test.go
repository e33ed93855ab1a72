package webhook_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tributary/connectors"
)

// FuzzReceive signs any body for every kind of sender: it is refused as Invalid, or its records are sound.
func FuzzReceive(f *testing.F) {
	now := time.Unix(1772366400, 0)
	all := senders()
	receivers := make(map[string]connectors.Receiver)
	for name, s := range all {
		receivers[name] = open(f, s.settings, s.secret, now)
		for _, sample := range s.samples {
			f.Add(sample.Delivery.Body, "msg_1")
		}
	}
	for _, body := range []string{``, `[]`, `[[{}]]`, `{"type":"url_verification"}`, `{"type":"\ud800","id":"\u0000"}`, `webhook_id=1`, "\xef\xbb\xbf{}", `{"events":[{"n":1e9}]}`} {
		f.Add([]byte(body), "a.b")
	}
	f.Fuzz(func(t *testing.T, body []byte, id string) {
		for name, s := range all {
			d := connectors.Delivery{Method: http.MethodPost, Body: body, Header: http.Header{}}
			d.Header.Set("X-Test", id)
			d.Header.Set("X-GitHub-Event", id)
			d.Header.Set("X-WC-Webhook-Resource", id)
			s.sign(&d, s.secret, now)
			got, err := receivers[name].Receive(t.Context(), d)
			if err != nil {
				if e, ok := err.(*connectors.Error); !ok || e.Kind != connectors.Invalid {
					t.Fatalf("%s: %v", name, err)
				}
				continue
			}
			if !json.Valid(body) || !utf8.Valid(body) {
				t.Fatalf("%s: accepted %q", name, body)
			}
			for _, r := range got.Records {
				sound := r.ID != "" && r.Stream != "" && json.Valid(r.Data) && bytes.Contains(body, r.Data)
				for _, s := range []string{r.ID, r.Stream, r.Key} {
					sound = sound && len(s) <= connectors.MaxIDBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
				}
				if !sound {
					t.Fatalf("%s: %q gives %+v", name, body, r)
				}
			}
		}
	})
}

// FuzzSignature forges headers: what is accepted, the official library accepts too, and everything else is Unauthorized
// unless its signature is right.
func FuzzSignature(f *testing.F) {
	now := time.Unix(1772366400, 0)
	r := open(f, `{"preset":"standard-webhooks"}`, standardSecret, now)
	library, err := standardwebhooks.NewWebhook(standardSecret)
	if err != nil {
		f.Fatal(err)
	}
	body := []byte(`{"type":"a"}`)
	right, err := library.Sign("msg_1", now, body)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("msg_1", "1772366400", right, body)
	f.Add("msg_1", "1772366400", right+" v1,AAAA", body)
	f.Add("msg.1", "1772366400", right, body)
	f.Add("msg_1", "1772366400.0", strings.ToLower(right), []byte(`{}`))
	f.Add("", "", "v1,", []byte(``))
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signature}}
		_, err := r.Receive(t.Context(), connectors.Delivery{Header: h, Body: body})
		authentic := library.VerifyIgnoringTimestamp(body, h) == nil
		switch e, _ := err.(*connectors.Error); {
		case err == nil && !authentic:
			t.Fatalf("accepted %q, %q, %q, %q", id, timestamp, signature, body)
		case err != nil && e == nil:
			t.Fatalf("got %T", err)
		case err != nil && e.Kind != connectors.Unauthorized && (e.Kind != connectors.Invalid || !authentic):
			t.Fatalf("a forgery gets %s: %v", e.Kind, err)
		}
	})
}
