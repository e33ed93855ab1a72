// Package webhook receives the signed JSON of any sender. How it signs and where its deliveries hold what a record
// needs is data: a preset, or settings.
package webhook

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name:  "webhook",
		Title: "Webhook",
		Doc: "Receives signed JSON from any sender: GitHub, Stripe, Slack, Zendesk, Intercom, QuickBooks, WooCommerce and everything " +
			"that follows Standard Webhooks by preset, others by saying how they sign. The webhook is set up by hand in the sender, with " +
			"the URL of the installation and the secret of the connection. Streams are what the sender calls the type of the event or of its object.",
		Settings:   Settings{},
		Connection: Connection{},
		AnyStream:  true,
		Receives:   true,
		Records:    recordFacts, Limits: limitFacts,
		OpenSource: open,
	}
}

// receiver holds no state: it is used from many goroutines.
type receiver struct {
	env       connectors.Env
	scheme    *scheme
	keys      []key
	layout    layout
	challenge string
}

var (
	_ connectors.Receiver = (*receiver)(nil)
	_ connectors.Checker  = (*receiver)(nil)
)

// open refuses with all problems at once.
func open(c connectors.Config) (any, error) {
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	r := &receiver{env: c.Env}
	if s, ok := resolve(settings, problem); ok {
		r.challenge = s.Challenge
		r.layout = parseLayout(s, problem)
		r.scheme = parseSignature(*s.Signature, problem)
		if r.keys, err = parseKeys(connection, r.scheme); err != nil {
			problem("connection: %v", err)
		}
	}
	if problems != nil {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "%s", strings.Join(problems, "; "))
	}
	return r, nil
}

// resolve lays the settings over their preset.
func resolve(s Settings, problem func(format string, args ...any)) (Settings, bool) {
	if s.Preset == "" {
		if s.Signature == nil {
			problem("want a preset or a signature")
		}
		return s, s.Signature != nil
	}
	p, known := presets[s.Preset]
	switch {
	case !known:
		problem("preset: %q is not known; known are %s", s.Preset, strings.Join(slices.Sorted(maps.Keys(presets)), ", "))
	case s.Signature != nil:
		problem("signature: preset %q says already how it signs; leave out one of them", s.Preset)
		known = false
	}
	return s.over(p), known
}

func parseLayout(s Settings, problem func(format string, args ...any)) layout {
	l := layout{
		id:         parseField("id", s.ID, false, problem),
		typ:        parseField("type", s.Type, false, problem),
		stream:     parseField("stream", s.Stream, false, problem),
		key:        parseField("key", s.Key, false, problem),
		version:    parseField("version", s.Version, true, problem),
		occurredAt: parseField("occurred_at", s.OccurredAt, true, problem),
		idRepeats:  s.IDRepeats,
		arraysPath: s.Records,
		deletes:    make(map[string]bool, len(s.Deletes)),
	}
	for _, typ := range s.Deletes {
		l.deletes[typ] = true
	}
	if s.Records != "" {
		var err error
		if l.arrays, err = parseRecords(s.Records); err != nil {
			problem("records: %v", err)
		}
	}
	switch {
	case s.Type == nil && s.Stream == nil:
		problem("want type or stream, to know the streams apart; for a single stream, stream: {value: <name>}")
	case len(s.Deletes) > 0 && (s.Type == nil || s.Key == nil):
		problem("deletes: want type and key beside it")
	case s.ID != nil && s.ID.Value != "":
		problem("id: one value can't be the ID of every change")
	case s.ID != nil && s.ID.Header != "" && s.Records != "" && !s.IDRepeats:
		problem("id: a header can't tell the records of one body apart; take it from the body, or say id_repeats: true")
	case s.IDRepeats && s.ID == nil:
		problem("id_repeats: want id beside it")
	}
	switch s.Challenge {
	case "", "slack", "woocommerce":
	default:
		problem("challenge: %q is not known; known are slack, woocommerce", s.Challenge)
	}
	return l
}

// Receive checks the signature on the raw bytes (I13), then that the body is JSON, then finds the records in it.
func (r *receiver) Receive(_ context.Context, d connectors.Delivery) (connectors.Received, error) {
	if r.challenge == "woocommerce" && isWooCommercePing(d, r.scheme.header) {
		return connectors.Received{}, nil
	}
	if err := r.scheme.verify(d, r.keys, r.env.Time()); err != nil {
		return connectors.Received{}, err
	}
	if err := connectors.CheckPayload("read webhook", d.Body); err != nil {
		return connectors.Received{}, err
	}
	if r.challenge == "slack" && gjson.GetBytes(d.Body, "type").Str == "url_verification" {
		return connectors.Received{Reply: &connectors.Reply{
			Status: http.StatusOK, ContentType: "text/plain; charset=utf-8", Body: []byte(gjson.GetBytes(d.Body, "challenge").Str),
		}}, nil
	}
	got, err := r.layout.records(d)
	if err != nil {
		return got, connectors.Errorf(connectors.Invalid, "read webhook", "%v", err)
	}
	return got, nil
}

// isWooCommercePing recognises the unsigned request that tries out a new webhook's URL. It holds nothing but the
// webhook's number, so answering it gives nothing away.
func isWooCommercePing(d connectors.Delivery, signature string) bool {
	number, ok := bytes.CutPrefix(d.Body, []byte("webhook_id="))
	return ok && len(d.Header[signature]) == 0 && len(number) > 0 && len(number) <= 20 && len(bytes.Trim(number, "0123456789")) == 0
}

// Check reports a connection whose secret is missing or has ended: every delivery would be refused.
func (r *receiver) Check(context.Context) error {
	if now := r.env.Time(); !slices.ContainsFunc(r.keys, func(k key) bool { return k.valid(now) }) {
		return connectors.Errorf(connectors.Unauthorized, "check connection", "the connection has no valid secret; set it to the one that the sender shows")
	}
	return nil
}
