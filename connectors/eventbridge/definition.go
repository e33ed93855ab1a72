// Package eventbridge puts records as events onto a bus of Amazon EventBridge.
//
// Docs: docs/destinations/eventbridge.md.
package eventbridge

import (
	"cmp"
	"context"
	"regexp"
	"strings"
	"sync/atomic"

	"gocloud.dev/blob"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/lifetime"
	"tributary/connectors/template"
)

// Settings of a block.
type Settings struct {
	Bus         string `json:"bus,omitempty" jsonschema:"description=Name or ARN of the event bus,default=default"`
	Source      string `json:"source,omitempty" jsonschema:"description=Source of the events; {integration} and {user} stand for the record's. It must not begin with aws.,default=tributary.{integration}"`
	DetailType  string `json:"detail_type,omitempty" jsonschema:"description=Detail type of the events; {stream} {op} {integration} and {user} stand for the record's,default={stream}.{op}"`
	MaxBytes    int    `json:"max_bytes,omitempty" jsonschema:"description=How large an event and a request may become. Accounts that still have the older limit need 262143,default=1000000,minimum=10000,maximum=1048575"`
	Overflow    string `json:"overflow,omitempty" jsonschema:"description=Where the payload of an event that is too large is put: an S3 bucket as s3://bucket/prefix. The event then says where it is. Without it such a record goes to quarantine"`
	Concurrency int    `json:"concurrency,omitempty" jsonschema:"description=How many requests may run at once,default=8,minimum=1,maximum=64"`
}

const (
	maxEntries     = 10  // https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
	maxDetailType  = 128 // characters: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html
	maxSource      = 256 // characters that a rule's pattern can match
	defaultBytes   = 1e6 // the limit is "less than 1 MB", in whichever way that is counted
	minBytes       = 1e4 // so that what is known of a record always fits
	maxBytes       = 1<<20 - 1
	maxConcurrency = 64
)

// defaultBus is in every account and can't be deleted.
const defaultBus = "default"

// Definition describes the connector. Destinations opened from one Definition with the same connection share connections and credentials.
func Definition() connectors.Definition {
	var accounts lifetime.Shared[*account]
	return connectors.Definition{
		Name:  "eventbridge",
		Title: "Amazon EventBridge",
		Doc: "Puts each record as an event onto an event bus. Its detail has what is known of the record under metadata and the payload under data; " +
			"stream and operation make the detail type. An event may come again with the same metadata.id.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, &accounts)
		},
	}
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

type destination struct {
	settings           Settings
	source, detailType template.Template
	account            *account
	release            func() error
	bucket             *blob.Bucket // of Overflow; nil: none
	prefix             string
	// found says that the bus has been seen.
	found atomic.Bool
	gate  lifetime.Gate
}

var (
	// busRule is of EventBusName in https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html
	busRule    = regexp.MustCompile(`^(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[/.\-_A-Za-z0-9]{1,256}$`)
	bucketRule = regexp.MustCompile(`^s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([^?#]*))?$`)
)

func open(c connectors.Config, accounts *lifetime.Shared[*account]) (_ connectors.Destination, err error) {
	invalid := func(op, format string, args ...any) (connectors.Destination, error) {
		return nil, connectors.Errorf(connectors.Invalid, op, format, args...)
	}
	s, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	if err := connection.check(c.Operator, c.Env.Networks); err != nil {
		return nil, err
	}
	s.Bus = cmp.Or(s.Bus, defaultBus)
	s.Source = cmp.Or(s.Source, "tributary.{integration}")
	s.DetailType = cmp.Or(s.DetailType, "{stream}.{op}")
	s.MaxBytes = cmp.Or(s.MaxBytes, defaultBytes)
	s.Concurrency = cmp.Or(s.Concurrency, 8)
	switch {
	case c.Mode != "" && c.Mode != connectors.Append:
		return invalid("mode", "%q is not possible: a bus only gets changes appended", c.Mode)
	case c.Layout != "" && c.Layout != connectors.LayoutRaw:
		return invalid("layout", "%q is not possible: want %s", c.Layout, connectors.LayoutRaw)
	case !busRule.MatchString(s.Bus):
		return invalid("bus", "must be the name or the ARN of an event bus")
	case strings.HasPrefix(s.Source, "aws."):
		return invalid("source", "must not begin with aws., which is for the services of AWS")
	case s.MaxBytes < minBytes || s.MaxBytes > maxBytes:
		return invalid("max_bytes", "must be from %d to %d", int(minBytes), maxBytes)
	case s.Concurrency < 1 || s.Concurrency > maxConcurrency:
		return invalid("concurrency", "must be from 1 to %d", maxConcurrency)
	case s.Overflow != "" && !bucketRule.MatchString(s.Overflow):
		return invalid("overflow", "must be a bucket of S3, and perhaps a prefix, as s3://bucket/prefix")
	}
	d := &destination{settings: s}
	if d.source, err = template.Parse("source", s.Source, "integration", "user"); err != nil {
		return nil, err
	}
	if d.detailType, err = template.Parse("detail_type", s.DetailType, "stream", "op", "integration", "user"); err != nil {
		return nil, err
	}
	d.account, d.release, err = accounts.Acquire(string(c.Connection), func() (*account, error) { return newAccount(connection, c.Env) })
	if err != nil {
		return nil, err
	}
	if s.Overflow != "" {
		parts := bucketRule.FindStringSubmatch(s.Overflow)
		d.prefix = strings.Trim(parts[2], "/")
		if d.bucket, err = d.account.bucket(parts[1]); err != nil {
			_ = d.release()
			return nil, err
		}
	}
	d.found.Store(s.Bus == defaultBus)
	return d, nil
}

// Write puts the batch's records. Those of one key are put one after the other, in their order; what becomes of an event on the bus is up to
// EventBridge, which keeps no order.
//
// PutEvents answers with success when there is no such bus (https://github.com/aws/aws-cli/issues/9186). So nothing is called durable
// unless the bus was there before and after (I4).
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	nothing := connectors.NewResult(len(b.Records))
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nothing, err
	}
	defer leave()
	if len(b.Records) == 0 {
		return nothing, nil
	}
	if !d.found.Load() {
		if err := d.find(ctx, "put events"); err != nil {
			return nothing, err
		}
		d.found.Store(true)
	}
	r, err := delivery.Write(ctx, &b, delivery.Plan{
		Concurrency: d.settings.Concurrency,
		Records:     maxEntries,
		Bytes:       d.settings.MaxBytes,
		Size:        func(r *connectors.Record) int { return d.size(&b, r) },
		Send:        func(ctx context.Context, group []int) delivery.Verdict { return d.put(ctx, &b, group) },
	})
	if d.settings.Bus != defaultBus {
		if gone := d.find(ctx, "put events"); gone != nil && gone.Kind == connectors.NotFound {
			d.found.Store(false)
			return nothing, gone
		}
	}
	return r, err
}

// Close makes running Writes fail as Unavailable and returns when they have.
func (d *destination) Close() error {
	d.gate.Close()
	if d.bucket != nil {
		if err := d.bucket.Close(); err != nil {
			_ = d.release()
			return connectors.AsError("close", err)
		}
	}
	return d.release()
}
