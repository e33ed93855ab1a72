package webhook

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// TestDocumentedSignatures checks the examples that the senders' own documentation gives; their bodies are no JSON, so
// it stops at the signature.
func TestDocumentedSignatures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		preset, secret, body string
		header               http.Header
		now                  time.Time
	}{
		// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
		"github": {
			preset: "github", secret: "It's a Secret to Everybody", body: "Hello, World!",
			header: http.Header{"X-Hub-Signature-256": {"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}},
		},
		// https://docs.slack.dev/authentication/verifying-requests-from-slack
		"slack": {
			preset: "slack", secret: "8f742231b10e8888abcd99yyyzzz85a5",
			body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar" +
				"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands" +
				"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
			header: http.Header{
				"X-Slack-Request-Timestamp": {"1531420618"},
				"X-Slack-Signature":         {"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"},
			},
			now: time.Unix(1531420618, 0),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := parseSignature(*presets[c.preset].Signature, t.Errorf)
			keys, err := parseKeys(Connection{Secret: c.secret}, s)
			if err != nil {
				t.Fatal(err)
			}
			d := connectors.Delivery{Header: c.header, Body: []byte(c.body)}
			if err := s.verify(d, keys, c.now); err != nil {
				t.Error(err)
			}
			d.Body[0]++
			if s.verify(d, keys, c.now) == nil {
				t.Error("accepted with another body")
			}
		})
	}
}

// TestPresets: each preset is settings that open, and the schema lists them all.
func TestPresets(t *testing.T) {
	t.Parallel()
	field, _ := reflect.TypeFor[Settings]().FieldByName("Preset")
	listed := strings.Count(field.Tag.Get("jsonschema"), "enum=")
	if listed != len(presets) {
		t.Errorf("the schema lists %d presets, there are %d", listed, len(presets))
	}
	for name, p := range presets {
		if !slices.Contains(strings.Split(field.Tag.Get("jsonschema"), ","), "enum="+name) {
			t.Errorf("the schema lacks preset %s", name)
		}
		problem := func(format string, args ...any) { t.Errorf(name+": "+format, args...) }
		parseSignature(*p.Signature, problem)
		parseLayout(p, problem)
	}
}
