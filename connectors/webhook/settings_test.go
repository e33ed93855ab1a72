package webhook_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/webhook"
)

// TestSettingsRefused: what can't work is refused when the source is opened, with what would be right.
func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	for settings, part := range map[string]string{
		`{}`:                  "want a preset or a signature",
		`{"preset":"gitlab"}`: `preset: "gitlab" is not known`,
		`{"preset":"github","signature":{"header":"X"}}`:                                                                               "leave out one of them",
		`{"signature":{},"type":{"body":".t"}}`:                                                                                        `signature.header: "" is no name`,
		`{"signature":{"header":"a b"},"type":{"body":".t"}}`:                                                                          `"a b" is no name of a header`,
		`{"signature":{"header":"X","algorithm":"md5"},"type":{"body":".t"}}`:                                                          `"md5" is not known`,
		`{"signature":{"header":"X","encoding":"hexa"},"type":{"body":".t"}}`:                                                          `"hexa" is not known`,
		`{"signature":{"header":"X","key":"hex"},"type":{"body":".t"}}`:                                                                `"hex" is not known`,
		`{"signature":{"header":"X","content":"{url}"},"type":{"body":".t"}}`:                                                          "{body} is missing",
		`{"signature":{"header":"X","content":"{body}{nonce}"},"type":{"body":".t"}}`:                                                  "{nonce} is not known",
		`{"signature":{"header":"X","content":"{id}{body}"},"type":{"body":".t"}}`:                                                     "{id} needs signature.id",
		`{"signature":{"header":"X","content":"{timestamp}{body}"},"type":{"body":".t"}}`:                                              "need each other",
		`{"signature":{"header":"X","timestamp":{"header":"T"}},"type":{"body":".t"}}`:                                                 "need each other",
		`{"signature":{"header":"X","content":"{timestamp}{body}","timestamp":{}},"type":{"body":".t"}}`:                               "want a header, or a prefix",
		`{"signature":{"header":"X","content":"{timestamp}{body}","timestamp":{"header":"T","tolerance":"-1s"}},"type":{"body":".t"}}`: "want a duration",
		`{"signature":{"header":"X","content":"{timestamp}{body}","timestamp":{"header":"T","unit":"days"}},"type":{"body":".t"}}`:     `"days" is not known`,
		plain(`"records":".a[]"`):                                           "want type or stream",
		plain(`"type":{}`):                                                  "exactly one of header, body and value",
		plain(`"type":{"body":".t","header":"T"}`):                          "exactly one of header, body and value",
		plain(`"type":{"body":"t"}`):                                        "start with a dot",
		plain(`"type":{"body":"."}`):                                        "no field",
		plain(`"type":{"body":".a..b"}`):                                    "a name is empty",
		plain(`"type":{"body":".a."}`):                                      "a name is empty",
		plain(`"type":{"body":".a[0]"}`):                                    "quotes or brackets",
		plain(`"type":{"body":".\"a"}`):                                     "quote is not closed",
		plain(`"type":{"body":".\"a\"b"}`):                                  "want a dot after",
		plain(`"type":{"header":"a:b"}`):                                    "no name of a header",
		plain(`"type":{"body":".t","unit":"seconds"}`):                      "only version and occurred_at",
		plain(`"type":{"body":".t"},"version":{"value":"1"}`):               "want header or body",
		plain(`"type":{"body":".t"},"version":{"body":".v","unit":"days"}`): "not known",
		plain(`"type":{"body":".t"},"records":".a"`):                        "end in []",
		plain(`"type":{"body":".t"},"records":"a[]"`):                       "start with a dot",
		plain(`"type":{"body":".t"},"records":".a[]b[]"`):                   "start with a dot",
		plain(`"type":{"body":".t"},"id":{"value":"1"}`):                    "can't be the ID of every change",
		plain(`"type":{"body":".t"},"id":{"header":"I"},"records":".[]"`):   "can't tell the records of one body apart",
		plain(`"type":{"body":".t"},"id_repeats":true`):                     "want id beside it",
		plain(`"type":{"body":".t"},"deletes":["x"]`):                       "want type and key",
		plain(`"type":{"body":".t"},"challenge":"meta"`):                    `"meta" is not known`,
		plain(`"type":{"body":".t"},"tipe":1`):                              `unknown field "tipe"; known are`,
	} {
		_, err := webhook.Definition().OpenSource(connectors.Config{Settings: json.RawMessage(settings)})
		wantKind(t, err, connectors.Invalid, part)
		if t.Failed() {
			t.Fatal(settings)
		}
	}
}

// TestAllProblemsAtOnce: one look at the message is enough to mend the settings.
func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := webhook.Definition().OpenSource(connectors.Config{
		Settings:   json.RawMessage(`{"signature":{"header":"","algorithm":"md5"},"key":{"body":"k"},"challenge":"x"}`),
		Connection: json.RawMessage(`{"previous_secret":"canary"}`),
	})
	for _, part := range []string{"signature.header", "signature.algorithm", "key: path", "type or stream", "previous_valid_until"} {
		wantKind(t, err, connectors.Invalid, part)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the secret is told: %v", err)
	}
}

// TestSecretShape: a secret that can't be one is refused without being told.
func TestSecretShape(t *testing.T) {
	t.Parallel()
	ed25519 := plain(`"stream":{"value":"s"}`)
	ed25519 = strings.Replace(ed25519, `{"header":"X-Sign"}`, `{"header":"X-Sign","algorithm":"ed25519"}`, 1)
	for _, c := range []struct{ settings, connection, part string }{
		{`{"preset":"standard-webhooks"}`, `{"secret":"whsec_canary!"}`, "secret: not base64"},
		{`{"preset":"standard-webhooks"}`, `{"secret":"whsec_AAAA","previous_secret":"canary!","previous_valid_until":"2026-01-01T00:00:00Z"}`, "previous_secret: not base64"},
		{ed25519, `{"secret":"canary!"}`, "not base64"},
		{ed25519, `{"secret":"whpk_Y2FuYXJ5"}`, "32 bytes"},
	} {
		_, err := webhook.Definition().OpenSource(connectors.Config{Settings: json.RawMessage(c.settings), Connection: json.RawMessage(c.connection)})
		wantKind(t, err, connectors.Invalid, c.part)
		if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "Y2FuYXJ5") {
			t.Errorf("the secret is told: %v", err)
		}
	}
}

// TestCheck: a connection without a valid secret is reported before the first delivery is refused.
func TestCheck(t *testing.T) {
	t.Parallel()
	now := time.Unix(1772366400, 0)
	for c, ok := range map[webhook.Connection]bool{
		{Secret: "s"}: true,
		{}:            false,
		{PreviousSecret: "s", PreviousValidUntil: now.Add(time.Second)}: true,
		{PreviousSecret: "s", PreviousValidUntil: now}:                  false,
	} {
		v, err := webhook.Definition().OpenSource(connectors.Config{
			Settings: json.RawMessage(`{"preset":"github"}`), Connection: connection(t, c), Env: connectors.Env{Now: func() time.Time { return now }},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.(connectors.Checker).Check(t.Context()); ok != (err == nil) {
			t.Errorf("%+v: %v", c, err)
		} else if !ok {
			wantKind(t, err, connectors.Unauthorized, "no valid secret")
			_, err = v.(connectors.Receiver).Receive(t.Context(), connectors.Delivery{})
			wantKind(t, err, connectors.Unauthorized, "no valid secret")
		}
	}
}
