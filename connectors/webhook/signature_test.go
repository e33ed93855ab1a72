package webhook_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tributary/connectors"
)

const standardSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

func wantKind(t *testing.T, err error, kind connectors.Kind, part string) {
	t.Helper()
	e, ok := err.(*connectors.Error)
	if !ok || e.Kind != kind || !strings.Contains(e.Error(), part) {
		t.Errorf("got %v, want %s with %q", err, kind, part)
	}
}

// TestStandardWebhooksLibrary receives what the official library signs, by the real clock.
func TestStandardWebhooksLibrary(t *testing.T) {
	t.Parallel()
	library, err := standardwebhooks.NewWebhook(standardSecret)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"type": "invoice.paid", "data": {"id": "in_1"}}`)
	now := time.Now()
	signature, err := library.Sign("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", now, body)
	if err != nil {
		t.Fatal(err)
	}
	d := connectors.Delivery{Method: http.MethodPost, Body: body, Header: http.Header{}}
	d.Header.Set(standardwebhooks.HeaderWebhookID, "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W")
	d.Header.Set(standardwebhooks.HeaderWebhookTimestamp, fmt.Sprint(now.Unix()))
	d.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	if err := library.Verify(body, d.Header); err != nil {
		t.Fatal(err)
	}
	r := open(t, `{"preset":"standard-webhooks"}`, standardSecret, time.Time{})
	got, err := r.Receive(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 1 || got.Records[0].ID != "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W" || string(got.Records[0].Data) != string(body) {
		t.Errorf("got %+v", got)
	}
}

// TestSignatureList: one right signature of a list is enough, wherever it stands, and the list is bounded.
func TestSignatureList(t *testing.T) {
	t.Parallel()
	now := time.Unix(1772366400, 0)
	r := open(t, `{"preset":"standard-webhooks"}`, standardSecret, now)
	d := connectors.Delivery{Header: http.Header{}, Body: []byte(`{"type":"a"}`)}
	signStandardAs(&d, "msg_1", standardSecret, now)
	right := d.Header.Get("webhook-signature")
	wrong := "v1," + strings.Repeat("A", 43) + "="
	for list, accepted := range map[string]bool{
		right + " " + wrong:                        true,
		wrong + " " + right:                        true,
		"v1a," + right[3:] + " v2,x " + right:      true,
		wrong + " " + wrong:                        false,
		"v1a," + right[3:]:                         false,
		right[3:]:                                  false,
		strings.ReplaceAll(right, "v1,", "V1,"):    false,
		right + ",v1":                              false,
		strings.Repeat(wrong+" ", 15) + right:      true,
		strings.Repeat(wrong+" ", 16) + right:      false,
		strings.TrimRight(right, "="):              false,
		" ":                                        false,
		"v1,":                                      false,
		strings.Repeat(" ", 10_000) + right:        false,
		strings.ReplaceAll(right, "v1,", "v1,v1,"): false,
		right[:len(right)/2] + " " + right[len(right)/2:]: false,
	} {
		d.Header.Set("webhook-signature", list)
		if _, err := r.Receive(t.Context(), d); accepted != (err == nil) {
			t.Errorf("%q: %v", list, err)
		} else if !accepted {
			wantKind(t, err, connectors.Unauthorized, "")
		}
	}
}

// TestStripeTimestamp: the time is an element of the signature's header, there exactly once.
func TestStripeTimestamp(t *testing.T) {
	t.Parallel()
	now := time.Unix(1772366400, 0)
	r := open(t, `{"preset":"stripe"}`, "whsec_x", now)
	body := `{"type":"a","id":"evt_1"}`
	v1 := "v1=" + hexMAC("whsec_x", "1772366400."+body)
	for header, accepted := range map[string]bool{
		"t=1772366400," + v1:              true,
		v1 + ",t=1772366400":              true,
		"t=1772366400, v0=00, " + v1:      true,
		"t=1772366400,v1=00," + v1:        true,
		v1:                                false,
		"t=," + v1:                        false,
		"t=1772366400,t=1772366400," + v1: false,
		"t=1772366400,v0=" + v1[3:]:       false,
		"t=1772366400":                    false,
		"t=now," + v1:                     false,
		"t=99999999999999999999," + v1:    false,
		"t=-9223372036854775808," + v1:    false,
		"t=NaN," + v1:                     false,
		"t=1772366400.0," + v1:            false, // the text is what was signed
	} {
		d := connectors.Delivery{Header: http.Header{"Stripe-Signature": {header}}, Body: []byte(body)}
		if _, err := r.Receive(t.Context(), d); accepted != (err == nil) {
			t.Errorf("%q: %v", header, err)
		} else if !accepted {
			wantKind(t, err, connectors.Unauthorized, "")
		}
	}
}

// TestHexIsLowerCase: an encoding that only decodes to the same bytes is refused.
func TestHexIsLowerCase(t *testing.T) {
	t.Parallel()
	r := open(t, `{"preset":"github"}`, "s", time.Time{})
	body := `{"a":1}`
	d := connectors.Delivery{Body: []byte(body), Header: http.Header{
		"X-Github-Event": {"push"}, "X-Hub-Signature-256": {"sha256=" + strings.ToUpper(hexMAC("s", body))},
	}}
	_, err := r.Receive(t.Context(), d)
	wantKind(t, err, connectors.Unauthorized, "X-Hub-Signature-256")
}

// TestSignedID: an ID that could be cut elsewhere is refused, also when its signature is right; so is one that no
// database could hold.
func TestSignedID(t *testing.T) {
	t.Parallel()
	now := time.Unix(1772366400, 0)
	r := open(t, `{"preset":"standard-webhooks"}`, standardSecret, now)
	for id, part := range map[string]string{
		"msg.1":                            `contains "."`,
		"msg_" + strings.Repeat("1", 4096): "longer than 512 bytes",
		"msg_\x01":                         "control character",
		"msg_\u0085":                       "control character",
		"msg_\xff":                         "UTF-8",
		"msg_\ufffd":                       "no text",
	} {
		d := connectors.Delivery{Header: http.Header{}, Body: []byte(`{"type":"a"}`)}
		signStandardAs(&d, id, standardSecret, now)
		_, err := r.Receive(t.Context(), d)
		wantKind(t, err, connectors.Invalid, part)
		d.Header.Set("webhook-signature", "v1,AAAA")
		_, err = r.Receive(t.Context(), d)
		wantKind(t, err, connectors.Unauthorized, "")
	}
}

// TestEd25519 checks the asymmetric signatures of Standard Webhooks with the sender's public key.
func TestEd25519(t *testing.T) {
	t.Parallel()
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("7", ed25519.SeedSize)))
	public := "whpk_" + base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
	now := time.Unix(1772366400, 0)
	r := open(t, `{"signature":{"header":"webhook-signature","algorithm":"ed25519","encoding":"base64","prefix":"v1a,","separator":" ",
		"content":"{id}.{timestamp}.{body}","id":"webhook-id","timestamp":{"header":"webhook-timestamp"}},"stream":{"value":"a"}}`, public, now)
	signed := func(body string) string {
		sig := ed25519.Sign(private, []byte("msg_1.1772366400."+body))
		return "v1a," + base64.StdEncoding.EncodeToString(sig)
	}
	for header, accepted := range map[string]bool{
		signed(`{}`):                         true,
		"v1,AAAA " + signed(`{}`):            true,
		signed(`{"a":1}`):                    false,
		"v1," + signed(`{}`)[4:]:             false,
		strings.TrimRight(signed(`{}`), "="): false,
		"v1a,":                               false,
		"v1a,AAAA":                           false,
	} {
		d := connectors.Delivery{Body: []byte(`{}`), Header: http.Header{
			"Webhook-Id": {"msg_1"}, "Webhook-Timestamp": {"1772366400"}, "Webhook-Signature": {header},
		}}
		if _, err := r.Receive(t.Context(), d); accepted != (err == nil) {
			t.Errorf("%q: %v", header, err)
		}
	}
}

// TestSlackChallenge: the challenge is answered to Slack and to nobody else.
func TestSlackChallenge(t *testing.T) {
	t.Parallel()
	now := time.Unix(1772366400, 0)
	slack := senders()["slack"]
	r := open(t, slack.settings, slack.secret, now)
	d := connectors.Delivery{Header: http.Header{}, Body: []byte(`{"token":"x","challenge":"3eZbrw1a\"","type":"url_verification"}`)}
	_, err := r.Receive(t.Context(), d)
	wantKind(t, err, connectors.Unauthorized, "X-Slack-Signature is missing")
	slack.sign(&d, slack.secret, now)
	got, err := r.Receive(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 0 || got.Reply == nil || got.Reply.Status != http.StatusOK || string(got.Reply.Body) != `3eZbrw1a"` {
		t.Errorf("got %+v", got)
	}
}

// TestWooCommercePing: the unsigned ping is answered and gives no record; nothing else passes unsigned.
func TestWooCommercePing(t *testing.T) {
	t.Parallel()
	r := open(t, `{"preset":"woocommerce"}`, "s", time.Time{})
	for body, accepted := range map[string]bool{
		"webhook_id=5":                     true,
		"webhook_id=":                      false,
		"webhook_id=5&id=1":                false,
		"webhook_id=-5":                    false,
		"webhook_id=111111111111111111111": false,
		`{"id":1}`:                         false,
		"":                                 false,
	} {
		got, err := r.Receive(t.Context(), connectors.Delivery{Body: []byte(body)})
		switch {
		case accepted && (err != nil || len(got.Records) != 0 || got.Reply != nil):
			t.Errorf("%q: got %+v, %v", body, got, err)
		case !accepted:
			wantKind(t, err, connectors.Unauthorized, "missing")
		}
	}
	_, err := r.Receive(t.Context(), connectors.Delivery{Body: []byte("webhook_id=5"), Header: http.Header{"X-Wc-Webhook-Signature": {"AAAA"}}})
	wantKind(t, err, connectors.Unauthorized, "no signature")
	_, err = open(t, `{"preset":"github"}`, "s", time.Time{}).Receive(t.Context(), connectors.Delivery{Body: []byte("webhook_id=5")})
	wantKind(t, err, connectors.Unauthorized, "missing")
}
