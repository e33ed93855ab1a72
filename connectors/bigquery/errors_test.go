package bigquery_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/bigquery"
	"tributary/connectors/bigquery/bigquerytest"
	"tributary/connectors/connectortest"
)

// Each error that BigQuery documents has its kind (I9), and what it says of a row is not repeated (I7). Afterwards the batch goes in, once.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t, returned)
	next := 0
	for _, test := range []struct {
		call string
		want map[connectors.Kind]string
	}{
		{"jobs.query", map[connectors.Kind]string{
			connectors.Forbidden:    "accessDenied billingNotEnabled",
			connectors.Unauthorized: "authError invalidUser",
			connectors.Unavailable:  "backendError conditionNotMet duplicate internalError jobBackendError jobInternalError resourceInUse stopped tableUnavailable timeout",
			connectors.RateLimited:  "blocked jobRateLimitExceeded quotaExceeded rateLimitExceeded",
			connectors.Invalid:      "invalid invalidQuery notImplemented",
			connectors.NotFound:     "notFound",
			connectors.TooLarge:     "resourcesExceeded responseTooLarge",
		}},
		{"AppendRows", map[connectors.Kind]string{
			connectors.Forbidden:    "PERMISSION_DENIED",
			connectors.Unauthorized: "UNAUTHENTICATED",
			connectors.RateLimited:  "RESOURCE_EXHAUSTED",
			connectors.Invalid:      "FIELDS_ERROR", // not of one row
			connectors.Unavailable: "ABORTED INTERNAL UNAVAILABLE STREAM_NOT_FOUND TABLE_NOT_FOUND STREAM_FINALIZED INVALID_STREAM_STATE OFFSET_ALREADY_EXISTS " +
				"OFFSET_OUT_OF_RANGE SCHEMA_MISMATCH_EXTRA_FIELDS",
		}},
	} {
		for kind, names := range test.want {
			for _, name := range strings.Fields(names) {
				b := connectortest.Batch(connectors.Append, "orders", next, 2)
				next += 2
				d := opened(t, s, connectors.Append)
				s.Answer(func(call string) string {
					if call == test.call {
						return name
					}
					return ""
				})
				_, err := d.Write(t.Context(), b)
				s.Answer(nil)
				var e *connectors.Error
				if !errors.As(err, &e) || e.Kind != kind {
					t.Errorf("%s: got %v, want kind %s", name, err, kind)
					continue
				}
				if test.call == "jobs.query" && e.Wait != 7*time.Second {
					t.Errorf("%s: the wait is %v", name, e.Wait)
				}
				if quotes := strings.Contains(err.Error(), bigquerytest.Secret); quotes && (test.call == "AppendRows" || strings.HasPrefix(name, "invalid")) {
					t.Errorf("%s: the error quotes a row: %v", name, err)
				}
				connectortest.UntilDurable(t, d, b)
			}
		}
	}
	wantOnce(t, s, "after all errors", connectortest.Batch(connectors.Append, "orders", 0, next))
}

// A token that is revoked while it is in use says that the installation needs new credentials.
func TestRevoked(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t, returned)
	d := opened(t, s, connectors.Append)
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 2))
	s.Revoke()
	_, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 2, 2))
	connectortest.WantError(t, err, connectors.Unauthorized)
	connectortest.WantError(t, d.(connectors.Checker).Check(t.Context()), connectors.Unauthorized)
	// A connection that is opened anew has another token.
	connectortest.Write(t, opened(t, s, connectors.Append), connectortest.Batch(connectors.Append, "orders", 2, 2))
}

func TestConnections(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t, returned)
	good := direct(s)
	for name, change := range map[string]func(c *bigquery.Connection, s *bigquery.Settings){
		"no key":            func(c *bigquery.Connection, _ *bigquery.Settings) { c.Key = "" },
		"a key and ambient": func(c *bigquery.Connection, _ *bigquery.Settings) { c.Ambient = true },
		"another kind of key": func(c *bigquery.Connection, _ *bigquery.Settings) {
			c.Key = strings.Replace(c.Key, "service_account", "external_account", 1)
		},
		"half a key":         func(c *bigquery.Connection, _ *bigquery.Settings) { c.Key = c.Key[:100] },
		"one endpoint":       func(c *bigquery.Connection, _ *bigquery.Settings) { c.WriteEndpoint = "" },
		"an endpoint inside": func(c *bigquery.Connection, _ *bigquery.Settings) { c.Endpoint = "http://10.1.2.3" },
		"tokens from inside": func(c *bigquery.Connection, _ *bigquery.Settings) {
			c.Key = strings.Replace(c.Key, "http://127.0.0.1", "http://169.254.169.254", 1)
		},
		"ambient beside an endpoint": func(c *bigquery.Connection, _ *bigquery.Settings) { c.Key, c.Ambient = "", true },
		"no dataset":                 func(_ *bigquery.Connection, s *bigquery.Settings) { s.Dataset = "" },
		"a dataset that is SQL":      func(_ *bigquery.Connection, s *bigquery.Settings) { s.Dataset = "a`; DROP" },
		"a project that is a path":   func(_ *bigquery.Connection, s *bigquery.Settings) { s.Project = "../other" },
		"partitions of a minute":     func(_ *bigquery.Connection, s *bigquery.Settings) { s.Partition = "minute" },
		"another type of JSON":       func(_ *bigquery.Connection, s *bigquery.Settings) { s.JSON = "jsonb" },
	} {
		c, settings := good, warehouse
		change(&c, &settings)
		_, err := bigquery.Definition().OpenDestination(connectors.Config{Settings: connectortest.JSON(t, settings), Connection: connectortest.JSON(t, c), Env: connectortest.Loopback()})
		if err == nil {
			t.Errorf("%s: it is taken", name)
			continue
		}
		connectortest.WantError(t, err, connectors.Invalid)
	}
	// Only the operator's own connections may be the worker.
	ambient := connectors.Config{Settings: connectortest.JSON(t, warehouse), Connection: connectortest.JSON(t, bigquery.Connection{Project: "my-project", Ambient: true})}
	_, err := bigquery.Definition().OpenDestination(ambient)
	connectortest.WantError(t, err, connectors.Invalid, "operator")
	ambient.Operator = true
	d, err := bigquery.Definition().OpenDestination(ambient)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// Without the operator's word no address inside is taken (I14).
	_, err = bigquery.Definition().OpenDestination(connectors.Config{Settings: connectortest.JSON(t, warehouse), Connection: connectortest.JSON(t, good)})
	connectortest.WantError(t, err, connectors.Invalid, "url")
}
