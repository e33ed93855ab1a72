package eventbridge

import (
	"errors"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/connectortest"
	"tributary/connectors/eventbridge/eventbridgetest"
)

// A role is assumed with the access key and the external ID, once for many requests.
func TestRole(t *testing.T) {
	t.Parallel()
	const role = "arn:aws:iam::123456789012:role/tributary"
	s := serve(t)
	s.CreateRole(role, "for-tributary")
	c := at(s.URL)
	c.RoleARN, c.ExternalID = role, "for-tributary"
	if _, err := opened(t, c, Settings{Overflow: "s3://overflowing"}).Write(t.Context(), batch(30, 30)); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Events()); n != 30 {
		t.Errorf("%d events, want 30", n)
	}
	c.ExternalID = "of-another"
	_, err := opened(t, c, Settings{}).Write(t.Context(), batch(1, 1))
	connectortest.WantError(t, err, connectors.Unauthorized, "trust policy", "external ID")
	c.Endpoint = "http://127.0.0.1:1"
	_, err = opened(t, c, Settings{}).Write(t.Context(), batch(1, 1))
	connectortest.WantError(t, err, connectors.Unavailable)
}

// The worker's own credentials are used for the operator's connection alone. Not parallel: it sets the environment.
func TestAmbientCredentials(t *testing.T) {
	s := serve(t)
	own := block(t, Connection{Region: eventbridgetest.Region, Endpoint: s.URL, Credentials: amazon.Credentials{Ambient: true}}, Settings{})
	_, err := Definition().OpenDestination(own)
	connectortest.WantError(t, err, connectors.Invalid, "operator's connection")

	own.Operator = true
	write := func() error {
		d, err := Definition().OpenDestination(own)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		_, err = d.Write(t.Context(), batch(1, 1))
		return err
	}
	empty := t.TempDir() + "/none"
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": canary, "AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_SHARED_CREDENTIALS_FILE": empty, "AWS_CONFIG_FILE": empty, "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"} {
		t.Setenv(name, value)
	}
	if err := write(); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	connectortest.WantError(t, write(), connectors.Unauthorized, "no credentials of its own")

	// A user's keys are used whatever the worker's environment says.
	if _, err := opened(t, at(s.URL), Settings{}).Write(t.Context(), batch(1, 1)); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	with := func(change func(*Connection)) Connection {
		c := at("")
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		connection any
		settings   any
		says       string
	}{
		"nobody":              {Connection{Region: "eu-central-1"}, Settings{}, "access_key_id and secret_access_key"},
		"half a key":          {with(func(c *Connection) { c.AccessKeyID = "" }), Settings{}, "belong together"},
		"two":                 {with(func(c *Connection) { c.Ambient = true }), Settings{}, "ambient"},
		"token of nobody":     {Connection{Region: "eu-central-1", Credentials: amazon.Credentials{Ambient: true, SessionToken: canary}}, Settings{}, "session_token"},
		"ID without a role":   {with(func(c *Connection) { c.ExternalID = "x" }), Settings{}, "role_arn"},
		"no region":           {with(func(c *Connection) { c.Region = "" }), Settings{}, "region"},
		"region with a host":  {with(func(c *Connection) { c.Region = "eu-central-1.example.com/" }), Settings{}, "region"},
		"inside the network":  {with(func(c *Connection) { c.Endpoint = "https://169.254.169.254" }), Settings{}, "inside the network"},
		"in the clear":        {with(func(c *Connection) { c.Endpoint = "http://example.com" }), Settings{}, "https"},
		"path":                {with(func(c *Connection) { c.Endpoint = "https://example.com/x" }), Settings{}, "a scheme and a host alone"},
		"unknown field":       {map[string]string{"password": canary}, Settings{}, "secret_access_key"},
		"bus":                 {at(""), Settings{Bus: "a bus"}, "bus"},
		"source of AWS":       {at(""), Settings{Source: "aws.s3"}, "aws."},
		"variable":            {at(""), Settings{DetailType: "{key}"}, "detail_type"},
		"size":                {at(""), Settings{MaxBytes: 1 << 20}, "max_bytes"},
		"concurrency":         {at(""), Settings{Concurrency: -1}, "concurrency"},
		"file as a bucket":    {at(""), Settings{Overflow: "file:///etc"}, "s3://bucket/prefix"},
		"bucket with a query": {at(""), Settings{Overflow: "s3://bucket?endpoint=http://169.254.169.254"}, "s3://bucket/prefix"},
		"unknown setting":     {at(""), map[string]int{"batch": 1}, "max_bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := Definition().OpenDestination(connectors.Config{Settings: raw(t, c.settings), Connection: raw(t, c.connection), Operator: true})
			if err == nil {
				d.Close()
			}
			connectortest.WantError(t, err, connectors.Invalid, c.says)
			if strings.Contains(err.Error(), canary) {
				t.Error("the error tells the secret")
			}
		})
	}
	_, err := Definition().OpenDestination(connectors.Config{Connection: raw(t, at("")), Mode: connectors.ModeUpsert})
	connectortest.WantError(t, err, connectors.Invalid, "mode")
	var e *connectors.Error
	if _, err = Definition().OpenDestination(connectors.Config{Connection: raw(t, at("")), Layout: "columns"}); !errors.As(err, &e) || e.Op != "layout" {
		t.Error(err)
	}
}
