package datastream

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/invopop/jsonschema"

	"tributary/connectors"
)

func TestBadSettingsAreRefusedWhenOpened(t *testing.T) {
	t.Parallel()
	header := func(name, value string) string {
		b, _ := json.Marshal(map[string]any{"url": "https://example.com/", "headers": map[string]string{name: value}})
		return string(b)
	}
	for name, c := range map[string]struct{ settings, want string }{
		"no settings":       {``, "url: missing"},
		"unknown field":     {`{"uri": "https://example.com/"}`, "known are"},
		"inside":            {`{"url": "https://10.0.0.1/"}`, "url: the host is inside the network"},
		"plain http":        {`{"url": "http://example.com/"}`, "url: the scheme must be https"},
		"concurrency":       {`{"url": "https://example.com/", "concurrency": -1}`, "concurrency: must be from 1 to 256"},
		"too concurrent":    {`{"url": "https://example.com/", "concurrency": 257}`, "concurrency: must be from 1 to 256"},
		"no array":          {`{"url": "https://example.com/", "array_max": {"records": 5}}`, "array_max: is only for array: true"},
		"array records":     {`{"url": "https://example.com/", "array": true, "array_max": {"records": 1001}}`, "array_max.records: must be"},
		"array bytes":       {`{"url": "https://example.com/", "array": true, "array_max": {"bytes": -1}}`, "array_max.bytes: must be"},
		"timeout":           {`{"url": "https://example.com/", "timeout": "soon"}`, "timeout: must be a duration"},
		"timeout too short": {`{"url": "https://example.com/", "timeout": "1ms"}`, "timeout: must be a duration"},
		"timeout too long":  {`{"url": "https://example.com/", "timeout": "2m"}`, "timeout: must be a duration"},
		"header's name":     {header("X Y", ""), "is no name of a header"},
		"header's value":    {header("X-Y", "a\r\nb"), "control characters"},
		"a secret":          {header("authorization", "canary"), "is a secret"},
		"our signature":     {header("x-alloy-signature", "00"), "sets itself"},
		"our ID":            {header("webhook-id", "1"), "sets itself"},
		"our event":         {header("ce-id", "1"), "sets itself"},
		"content type":      {header("Content-Type", "text/plain"), "sets itself"},
		"length":            {header("content-length", "1"), "sets itself"},
		"host":              {header("Host", "internal"), "sets itself"},
		"transfer encoding": {header("Transfer-Encoding", "chunked"), "sets itself"},
	} {
		_, err := Definition().OpenDestination(connectors.Config{Settings: json.RawMessage(c.settings), Connection: keys()})
		if kindOf(t, err) != connectors.Invalid || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	good := json.RawMessage(`{"url": "https://example.com/"}`)
	if _, err := Definition().OpenDestination(connectors.Config{Settings: good, Connection: keys(), Mode: connectors.ModeUpsert}); kindOf(t, err) != connectors.Invalid {
		t.Errorf("mode upsert: %v", err)
	}
	if _, err := Definition().OpenDestination(connectors.Config{Settings: good}); kindOf(t, err) != connectors.Invalid {
		t.Errorf("no connection: %v", err)
	}
}

// The types carry what integration files and `connection set` are checked against, and what is secret.
func TestSchemasNameSecretsAndBounds(t *testing.T) {
	t.Parallel()
	if _, err := connectors.NewRegistry(Definition()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of   any
		want []string
	}{
		{Definition().Settings, []string{`"required":["url"]`, `"maximum":256`, `"default":"10s"`}},
		{Definition().Connection, []string{`"required":["signing_keys","secrets"]`, `"format":"password"`, `{1,64}`}},
	} {
		b, err := json.Marshal((&jsonschema.Reflector{DoNotReference: true}).Reflect(c.of))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(string(b), want) {
				t.Errorf("the schema lacks %s: %s", want, b)
			}
		}
		if got := strings.Count(string(b), `"format":"password"`); strings.Contains(string(b), "private_key") && got != 3 {
			t.Errorf("%d fields are secret, want 3: %s", got, b)
		}
	}
}

// Check connects and posts nothing.
func TestCheck(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	e := listen(t, func(http.ResponseWriter, post) { requests.Add(1) })
	if err := opened(t, e.URL, nil).Check(t.Context()); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := opened(t, "http://"+l.Addr().String(), nil).Check(t.Context()); kindOf(t, err) != connectors.Unavailable {
		t.Errorf("nobody listens: %v", err)
	}
	if err := opened(t, "https://"+e.Listener.Addr().String(), nil).Check(t.Context()); kindOf(t, err) != connectors.Unavailable {
		t.Errorf("no TLS: %v", err)
	}
	if requests.Load() != 0 {
		t.Errorf("%d requests were sent", requests.Load())
	}
}
