package kafka

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	"github.com/twmb/franz-go/pkg/kerr"

	"tributary/connectors"
	"tributary/connectors/lifetime"
)

const canary = "canary-7f3a"

func TestBadSettingsAreRefusedWhenOpened(t *testing.T) {
	t.Parallel()
	good := `{"brokers": ["kafka.example.com:9092"]}`
	for name, c := range map[string]struct{ settings, connection, want string }{
		"unknown field":        {`{"topics": "x"}`, good, "known are"},
		"variable":             {`{"topic": "{key}"}`, good, "want the variables {stream}"},
		"illegal topic":        {`{"topic": "a b"}`, good, "want at most 249 letters"},
		"Kafka's own topic":    {`{"topic": "__consumer_offsets"}`, good, "not __ at the beginning"},
		"topic too long":       {`{"topic": "` + strings.Repeat("x", 250) + `"}`, good, "want at most 249"},
		"compression":          {`{"compression": "zip"}`, good, "compression"},
		"small batch":          {`{"batch_bytes": 10}`, good, "batch_bytes: want"},
		"large batch":          {`{"batch_bytes": 100000000}`, good, "batch_bytes: want"},
		"new topic":            {`{"new_topic": {"partitions": 3}}`, good, "only for create: true"},
		"partitions":           {`{"create": true, "new_topic": {"partitions": -3}}`, good, "1 or more"},
		"timeout":              {`{"timeout": "soon"}`, good, "timeout: want"},
		"short timeout":        {`{"timeout": "1ms"}`, good, "timeout: want"},
		"long timeout":         {`{"timeout": "1h"}`, good, "timeout: want"},
		"no connection":        {`{}`, ``, "brokers is empty"},
		"no port":              {`{}`, `{"brokers": ["kafka.example.com"]}`, "brokers[0]: want host:port"},
		"tls":                  {`{}`, `{"brokers": ["a:1"], "tls": "maybe"}`, "tls: want on or off"},
		"authority as a file":  {`{}`, `{"brokers": ["a:1"], "ca": "/etc/ca.pem"}`, "ca: want the certificate itself"},
		"authority, no TLS":    {`{}`, `{"brokers": ["a:1"], "tls": "off", "ca": "x"}`, "only for TLS"},
		"half a certificate":   {`{}`, `{"brokers": ["a:1"], "client_key": "` + canary + `"}`, "client_cert and client_key: want"},
		"mechanism":            {`{}`, `{"brokers": ["a:1"], "sasl": "gssapi", "user": "u", "password": "` + canary + `"}`, "sasl: want plain"},
		"password alone":       {`{}`, `{"brokers": ["a:1"], "password": "` + canary + `"}`, "belong together"},
		"mechanism alone":      {`{}`, `{"brokers": ["a:1"], "sasl": "plain"}`, "belong together"},
		"all problems at once": {`{}`, `{"brokers": ["a"], "tls": "x", "sasl": "y"}`, "tls: want on or off; sasl: want"},
	} {
		_, err := Definition().OpenDestination(connectors.Config{Settings: json.RawMessage(c.settings), Connection: json.RawMessage(c.connection)})
		e, ok := err.(*connectors.Error)
		if !ok || e.Kind != connectors.Invalid || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := Definition().OpenDestination(connectors.Config{Connection: json.RawMessage(good), Mode: connectors.ModeUpsert}); err == nil || !strings.Contains(err.Error(), "compact") {
		t.Errorf("mode upsert: %v", err)
	}
}

// The connection's secrets are marked, so that they are never shown.
func TestSchemaMarksSecrets(t *testing.T) {
	t.Parallel()
	if _, err := connectors.NewRegistry(Definition()); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal((&jsonschema.Reflector{DoNotReference: true}).Reflect(Definition().Connection))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), `"format":"password"`); n != 2 {
		t.Errorf("%d fields are secret, want client_key and password: %s", n, b)
	}
}

// Equal connections share a client as long as one of its destinations is open; a rotated secret opens another one.
func TestClientsAreShared(t *testing.T) {
	t.Parallel()
	var clients lifetime.Shared[*cluster]
	with := func(settings, password string) *destination {
		connection := json.RawMessage(`{"brokers": ["127.0.0.1:1"], "sasl": "plain", "user": "u", "password": "` + password + `"}`)
		d, err := open(connectors.Config{Settings: json.RawMessage(settings), Connection: connection}, &clients)
		if err != nil {
			t.Fatal(err)
		}
		return d.(*destination)
	}
	one, two, rotated, other := with(`{}`, "a"), with(`{"topic": "x"}`, "a"), with(`{}`, "b"), with(`{"compression": "none"}`, "a")
	if one.cluster != two.cluster || one.cluster == rotated.cluster || one.cluster == other.cluster {
		t.Error("a client is not a connection with its settings of producing")
	}
	for _, d := range []*destination{one, rotated, other} {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if again := with(`{}`, "a"); again.cluster != two.cluster {
		t.Error("the client ended while it was in use")
	} else {
		again.Close()
	}
	two.Close()
}

// A topic's name is legal whatever a stream is called, and no two streams share one.
func TestTopicName(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, name := range []string{"orders", "Orders", "a.b", "a b", "a/b", "größe", "注文", "", ".", "..", "__consumer_offsets", "_x", strings.Repeat("x", 249), strings.Repeat("x", 250), " "} {
		got := topicName(name)
		if seen[got] != "" || len(got) > 249 || got == "" || got == "." || got == ".." || strings.HasPrefix(got, "__") && name != "注文" && name != " " {
			t.Errorf("%q gives %q", name, got)
		}
		if strings.Trim(got, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			t.Errorf("%q gives %q", name, got)
		}
		seen[got] = name
	}
	if topicName("orders-v1.new_2") != "orders-v1.new_2" {
		t.Error("a legal name was changed")
	}
}

// Each row of the tables has the kind that it has on the page, with the code in the message; errors that are not in them go by what the
// protocol says.
func TestErrorTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/destinations/kafka.md")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{ready: map[string]bool{"orders": true}}
	documented := func(code *kerr.Error, what string) {
		t.Helper()
		for line := range strings.Lines(string(page)) {
			if strings.Contains(line, "`"+code.Message+"`") && strings.Contains(line, what) {
				return
			}
		}
		t.Errorf("the page does not say %s of %s", what, code.Message)
	}
	for code, row := range kinds {
		e := c.failed("produce", code)
		if e.Kind != row.kind || !strings.Contains(e.Message, code.Message) || !strings.Contains(e.Message, row.advice) {
			t.Errorf("%s gives %s: %v", code.Message, e.Kind, e)
		}
		documented(code, "`"+string(row.kind)+"`")
	}
	for code, reason := range refusals {
		if got := refusal(code); !strings.Contains(got, reason) || !strings.Contains(got, code.Message) {
			t.Errorf("%s gives %q", code.Message, got)
		}
		documented(code, "quarantine")
	}
	if c.ready["orders"] {
		t.Error("after a failure the topics are not looked at again")
	}
	if e := c.failed("produce", kerr.NotEnoughReplicas); e.Kind != connectors.Unavailable {
		t.Errorf("a retriable error is %s", e.Kind)
	}
	if e := c.failed("produce", kerr.UnknownServerError); e.Kind != connectors.Unknown || refusal(kerr.UnknownServerError) != "" {
		t.Errorf("an unknown error is %s", e.Kind)
	}
}
