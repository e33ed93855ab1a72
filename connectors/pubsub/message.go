package pubsub

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/template"
)

// timeout bounds a request; the official client's Publisher has the same.
const timeout = time.Minute

// publish sends the records of the batch that group names in one request. They are for one topic and, where order is kept, of one key:
// https://github.com/googleapis/googleapis/blob/master/google/pubsub/v1/pubsub.proto (PubsubMessage.ordering_key) demands it.
func (d *destination) publish(ctx context.Context, b *connectors.Batch, group []int) delivery.Verdict {
	name := d.topicOf(b, &b.Records[group[0]])
	if problem := topicProblem(name); problem != "" {
		return refused("the record's topic: %s", problem)
	}
	req := &pubsubpb.PublishRequest{Topic: d.path(name), Messages: make([]*pubsubpb.PubsubMessage, len(group))}
	for n, i := range group {
		m := d.message(b, &b.Records[i])
		if problem := unfit(m); problem != "" {
			return refused("%s", problem)
		}
		req.Messages[n] = m
	}
	if size := proto.Size(req); size > maxRequest {
		return refused("the message of %d bytes is larger than the %d that Pub/Sub takes", size, maxRequest)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := d.client.Publish(ctx, req); err != nil {
		return d.judge(name, err)
	}
	return delivery.Verdict{}
}

// refused says that a request can't be. Of a group the halves are then tried until the record is found.
func refused(format string, args ...any) delivery.Verdict {
	return delivery.Verdict{Refused: true, Err: connectors.Errorf(connectors.Invalid, "publish", format, args...)}
}

// message carries the payload as it came (I8). By the attributes installation, stream and id a reader knows it when it comes again (I3).
func (d *destination) message(b *connectors.Batch, r *connectors.Record) *pubsubpb.PubsubMessage {
	attributes := map[string]string{
		"id":           r.ID,
		"stream":       r.Stream,
		"op":           string(r.Op),
		"version":      strconv.FormatInt(r.Version, 10),
		"installation": b.Installation,
		"integration":  b.Integration,
		"user":         b.User,
		"content_type": "application/json",
	}
	for name, value := range map[string]string{"key": r.Key, "occurred_at": delivery.Time(r.OccurredAt), "received_at": delivery.Time(r.ReceivedAt)} {
		if value != "" {
			attributes[name] = value
		}
	}
	m := &pubsubpb.PubsubMessage{Data: r.Data, Attributes: attributes}
	if !d.settings.Unordered {
		m.OrderingKey = r.Key
	}
	return m
}

// estimate is at least what a record takes in a request, as long as its attributes are within the limits.
func estimate(b *connectors.Batch, r *connectors.Record) int {
	const namesTimesAndLengths = 400
	return len(r.Data) + len(r.ID) + 2*len(r.Key) + len(r.Stream) + len(b.Installation) + len(b.Integration) + len(b.User) + namesTimesAndLengths
}

// unfit says why Pub/Sub can't hold a message; "" where it can. The ordering key is an attribute too.
func unfit(m *pubsubpb.PubsubMessage) string {
	for name, value := range m.Attributes {
		switch {
		case len(value) > maxAttribute:
			return fmt.Sprintf("the attribute %s of %d bytes is longer than the %d that Pub/Sub takes", name, len(value), maxAttribute)
		case !utf8.ValidString(value):
			return fmt.Sprintf("the attribute %s is not valid UTF-8", name)
		}
	}
	return ""
}

// topicOf is the name of a record's topic. What a variable stands for is percent-encoded where a name can't have it.
func (d *destination) topicOf(b *connectors.Batch, r *connectors.Record) string {
	return d.topic.Expand(func(variable string) string { return encode(template.Value(b, r, variable)) })
}

func encode(s string) string {
	const plain = "-._~+"
	var t strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			t.WriteByte(c)
		} else {
			fmt.Fprintf(&t, "%%%02X", c)
		}
	}
	return t.String()
}

func topicProblem(name string) string {
	if !topicRule.MatchString(name) || strings.HasPrefix(name, "goog") {
		return fmt.Sprintf("%.100q can't be a name: 3 to 255 letters, digits and -._~+%%, beginning with a letter and not with goog", name)
	}
	return ""
}

func (d *destination) path(topic string) string {
	return "projects/" + d.settings.Project + "/topics/" + topic
}
