// Package datastream delivers records by signed HTTPS POST to an endpoint of the operator's or a user's.
//
// A body is the app's payload, byte for byte (I8), or a JSON array of payloads. It is signed twice: with RSA in
// X-Alloy-Signature (docs.runalloy.com/embedded/rsa-header-signature), and by Standard Webhooks
// (github.com/standard-webhooks/standard-webhooks), whose ID and time keep replays out. CloudEvents 1.0 headers in binary
// content mode say what happened.
package datastream

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/lifetime"
	"tributary/connectors/outbound"
)

// Settings of a block.
type Settings struct {
	URL         string            `json:"url" jsonschema:"required,format=uri,description=The https URL that records are posted to; redirects are not followed"`
	Array       bool              `json:"array,omitempty" jsonschema:"description=Post a JSON array of several records instead of one record,default=false"`
	ArrayMax    ArrayMax          `json:"array_max,omitzero" jsonschema:"description=How large an array may become"`
	Concurrency int               `json:"concurrency,omitempty" jsonschema:"description=How many POSTs may run at once; records of one key never do. 16 by default; with array 1,minimum=1,maximum=256"`
	Timeout     string            `json:"timeout,omitempty" jsonschema:"description=How long a POST may take with its answer: from 100ms to 60s,default=10s"`
	Headers     map[string]string `json:"headers,omitempty" jsonschema:"description=Headers to send as well; not for secrets"`
}

// ArrayMax bounds an array; what is reached first counts.
type ArrayMax struct {
	Records int `json:"records,omitempty" jsonschema:"description=Records,default=100,minimum=1,maximum=1000"`
	Bytes   int `json:"bytes,omitempty" jsonschema:"description=Bytes of the payloads; a larger single record is sent by itself,default=1048576,minimum=1,maximum=16777216"`
}

const (
	defaultTimeout = 10 * time.Second
	minTimeout     = 100 * time.Millisecond
	maxTimeout     = 60 * time.Second
	maxConcurrency = 256
	maxRecords     = 1000
	maxBytes       = 16 << 20
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name:  "datastream",
		Title: "Data Stream",
		Doc: "Posts each record to an HTTPS endpoint, signed with RSA (X-Alloy-Signature) and by Standard Webhooks, in order per key. " +
			"The endpoint answers 2xx when it has the record for good; it may see a record again with the same webhook-id.",
		Settings:        Settings{},
		Connection:      Connection{},
		OpenDestination: open,
		Modes:           []connectors.Mode{connectors.Append},
	}
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

type destination struct {
	settings Settings
	// url is what is called and signed: the URL of the settings, with the path / where it has none, as on the wire.
	url    string
	header http.Header // of every POST
	keys   *keyring
	net    outbound.Options
	client *http.Client
	now    func() time.Time

	gate lifetime.Gate
}

func open(c connectors.Config) (connectors.Destination, error) {
	s, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	if c.Mode != "" && c.Mode != connectors.Append {
		return nil, connectors.Errorf(connectors.Invalid, "mode", "%q is not possible: an endpoint only gets changes appended", c.Mode)
	}
	timeout, err := s.complete(c.Env.Networks)
	if err != nil {
		return nil, err
	}
	keys, err := parseConnection(c.Connection)
	if err != nil {
		return nil, err
	}
	u, _ := url.Parse(s.URL) // CheckURL has parsed it
	u.Path = cmp.Or(u.Path, "/")
	d := &destination{
		settings: s,
		url:      u.String(),
		header:   http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Tributary-DataStream/1.0"}},
		keys:     keys,
		net:      outbound.Options{Allowed: c.Env.Networks, Concurrency: s.Concurrency, Timeout: timeout, MaxBody: 64 << 10},
		now:      c.Env.Time,
	}
	for name, value := range s.Headers {
		d.header.Set(name, value)
	}
	d.client = outbound.Client(d.net)
	return d, nil
}

// own are the headers that every POST has.
var own = []string{"X-Alloy-", "X-Tributary-", "Webhook-", "Ce-", "Content-", "User-Agent"}

// complete checks the settings and fills in defaults.
func (s *Settings) complete(allowed []*net.IPNet) (timeout time.Duration, err error) {
	invalid := func(op, format string, args ...any) (time.Duration, error) {
		return 0, connectors.Errorf(connectors.Invalid, op, format, args...)
	}
	if err := outbound.CheckURL(s.URL, allowed); err != nil {
		return 0, err
	}
	if !s.Array && s.ArrayMax != (ArrayMax{}) {
		return invalid("array_max", "is only for array: true")
	}
	concurrency := 16
	if s.Array {
		concurrency = 1
	}
	s.Concurrency = cmp.Or(s.Concurrency, concurrency)
	s.ArrayMax.Records = cmp.Or(s.ArrayMax.Records, 100)
	s.ArrayMax.Bytes = cmp.Or(s.ArrayMax.Bytes, 1<<20)
	for _, bound := range []struct {
		name       string
		value, max int
	}{{"concurrency", s.Concurrency, maxConcurrency}, {"array_max.records", s.ArrayMax.Records, maxRecords}, {"array_max.bytes", s.ArrayMax.Bytes, maxBytes}} {
		if bound.value < 1 || bound.value > bound.max {
			return invalid(bound.name, "must be from 1 to %d", bound.max)
		}
	}
	timeout = defaultTimeout
	if s.Timeout != "" {
		timeout, err = time.ParseDuration(s.Timeout)
	}
	if err != nil || timeout < minTimeout || timeout > maxTimeout {
		return invalid("timeout", "must be a duration from %v to %v, such as 10s", minTimeout, maxTimeout)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if problem := outbound.HeaderProblem(name, s.Headers[name], own...); problem != "" {
			return invalid("headers", "%.100q %s", name, problem)
		}
	}
	return timeout, nil
}

// Write posts the batch's records, or arrays of records that have stream and Op, which headers tell, in common. What comes again makes
// the same arrays of what is left.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return connectors.NewResult(len(b.Records)), err
	}
	defer leave()
	plan := delivery.Plan{
		Concurrency: d.settings.Concurrency,
		Together:    func(a, b *connectors.Record) bool { return a.Stream == b.Stream && a.Op == b.Op },
		Send:        func(ctx context.Context, group []int) delivery.Verdict { return d.post(ctx, &b, group) },
	}
	if d.settings.Array {
		plan.Records, plan.Bytes = d.settings.ArrayMax.Records, d.settings.ArrayMax.Bytes
	}
	return delivery.Write(ctx, &b, plan)
}

// Check proves that the endpoint's host resolves, connects and shows a valid certificate; it posts nothing. Settings and keys
// were proven by opening.
func (d *destination) Check(ctx context.Context) error {
	return outbound.Probe(ctx, d.settings.URL, d.net)
}

// Close makes running Writes fail as Unavailable and returns when they have.
func (d *destination) Close() error {
	d.gate.Close()
	d.client.CloseIdleConnections()
	return nil
}
