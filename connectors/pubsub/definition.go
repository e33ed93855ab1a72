// Package pubsub publishes records as messages to topics of Google Cloud Pub/Sub.
//
// It calls Publish of the official client itself. The client's Publisher would queue messages behind the back of a Write: it sends them
// with a context of its own, tries again for a minute and keeps a failed ordering key closed until somebody resumes it.
// Here package delivery makes the requests: a failed key waits until the next Write, which resumes it, in order.
//
// Docs: docs/destinations/pubsub.md.
package pubsub

import (
	"cmp"
	"context"
	"regexp"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/lifetime"
	"tributary/connectors/template"
)

// Settings of a block.
type Settings struct {
	Project     string `json:"project,omitempty" jsonschema:"description=Project of the topics; by default that of the service account"`
	Topic       string `json:"topic,omitempty" jsonschema:"description=Name of the topic; {stream} {integration} and {user} stand for the record's,default={stream}"`
	Unordered   bool   `json:"unordered,omitempty" jsonschema:"description=Publish without ordering keys: cheaper and faster because a request holds many keys; records of a key may then overtake each other on the way to a subscriber,default=false"`
	Concurrency int    `json:"concurrency,omitempty" jsonschema:"description=How many requests may run at once,default=16,minimum=1,maximum=256"`
	RequestMax  Max    `json:"request_max,omitzero" jsonschema:"description=How large a request may become"`
}

// Max bounds a request; what is reached first counts. Concurrency times Bytes is what may be on its way.
type Max struct {
	Messages int `json:"messages,omitempty" jsonschema:"description=Messages,default=1000,minimum=1,maximum=1000"`
	Bytes    int `json:"bytes,omitempty" jsonschema:"description=Bytes; a larger single message is sent by itself,default=1000000,minimum=1,maximum=9000000"`
}

// Limits of Pub/Sub: https://cloud.google.com/pubsub/quotas#resource_limits
const (
	maxMessages  = 1000
	maxRequest   = 10_000_000 // bytes of a request with all of its messages, and so of a message
	maxAttribute = 1024       // bytes of an attribute's value, and of an ordering key
)

const (
	defaultBytes   = 1_000_000
	maxBytes       = 9_000_000 // what a group is sized by is an estimate
	maxConcurrency = 256
)

// Definition describes the connector. Destinations opened from one Definition with the same connection share a channel to Pub/Sub.
func Definition() connectors.Definition { return definition(tlsConfig{}) }

func definition(trust tlsConfig) connectors.Definition {
	var clients lifetime.Shared[*client]
	return connectors.Definition{
		Name:  "pubsub",
		Title: "Google Cloud Pub/Sub",
		Doc: "Publishes each record as a message: the payload as its data, byte for byte, and what is known of the record as attributes, with the " +
			"record's key as the ordering key. A message may come again with the same attribute id.",
		Settings:   Settings{},
		Connection: Connection{},
		Modes:      []connectors.Mode{connectors.Append},
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			return open(c, &clients, trust)
		},
	}
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

type destination struct {
	settings Settings
	topic    template.Template
	account  string // whom to grant rights
	client   *client
	release  func() error
	gate     lifetime.Gate
}

var (
	projectRule = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,99}$`)
	// topicRule is of https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
	topicRule = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`)
)

func open(c connectors.Config, clients *lifetime.Shared[*client], trust tlsConfig) (connectors.Destination, error) {
	invalid := func(op, format string, args ...any) (connectors.Destination, error) {
		return nil, connectors.Errorf(connectors.Invalid, op, format, args...)
	}
	s, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	if c.Mode != "" && c.Mode != connectors.Append {
		return invalid("mode", "%q is not possible: a topic only gets changes appended", c.Mode)
	}
	if c.Layout != "" && c.Layout != connectors.LayoutRaw {
		return invalid("layout", "%q is not possible: want %s", c.Layout, connectors.LayoutRaw)
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	id, err := connection.identity(c.Operator, c.Env.Networks)
	if err != nil {
		return nil, err
	}
	s.Project = cmp.Or(s.Project, id.project)
	s.Topic = cmp.Or(s.Topic, "{stream}")
	s.Concurrency = cmp.Or(s.Concurrency, 16)
	s.RequestMax.Messages = cmp.Or(s.RequestMax.Messages, maxMessages)
	s.RequestMax.Bytes = cmp.Or(s.RequestMax.Bytes, defaultBytes)
	if !projectRule.MatchString(s.Project) {
		return invalid("project", "must be the ID of the project that has the topics, such as acme-data")
	}
	for _, bound := range []struct {
		name       string
		value, max int
	}{{"concurrency", s.Concurrency, maxConcurrency}, {"request_max.messages", s.RequestMax.Messages, maxMessages}, {"request_max.bytes", s.RequestMax.Bytes, maxBytes}} {
		if bound.value < 1 || bound.value > bound.max {
			return invalid(bound.name, "must be from 1 to %d", bound.max)
		}
	}
	topic, err := template.Parse("topic", s.Topic, "stream", "integration", "user")
	if err != nil {
		return nil, err
	}
	if name, fixed := topic.Fixed(); fixed && topicProblem(name) != "" {
		return invalid("topic", "%s", topicProblem(name))
	}
	d := &destination{settings: s, topic: topic, account: id.account}
	d.client, d.release, err = clients.Acquire(string(c.Connection), func() (*client, error) { return dial(id, c.Env.Networks, trust) })
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Write publishes the batch's records. Those of one key are published one after the other, in their order; a key that fails waits for the
// next Write.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return connectors.NewResult(len(b.Records)), err
	}
	defer leave()
	return delivery.Write(ctx, &b, delivery.Plan{
		Concurrency: d.settings.Concurrency,
		Records:     d.settings.RequestMax.Messages,
		Bytes:       d.settings.RequestMax.Bytes,
		Size:        func(r *connectors.Record) int { return estimate(&b, r) },
		ByKey:       !d.settings.Unordered,
		Together:    func(x, y *connectors.Record) bool { return x.Stream == y.Stream || !d.topic.Uses("stream") },
		Send:        func(ctx context.Context, group []int) delivery.Verdict { return d.publish(ctx, &b, group) },
	})
}

// Close makes running Writes fail as Unavailable and returns when they have.
func (d *destination) Close() error {
	d.gate.Close()
	return d.release()
}
