package webhook

import (
	"cmp"
	"time"
)

// Settings say how a sender signs and where its deliveries hold what a record needs. A preset fills in all of it for
// a known sender; what is given beside the preset replaces that part of it.
type Settings struct {
	Preset    string     `json:"preset,omitempty" jsonschema:"enum=github,enum=intercom,enum=quickbooks,enum=slack,enum=standard-webhooks,enum=stripe,enum=woocommerce,enum=zendesk" jsonschema_description:"A known sender. Without one, signature is needed, and type or stream."`
	Signature *Signature `json:"signature,omitempty" jsonschema_description:"How the sender signs; not beside a preset."`
	Records   string     `json:"records,omitempty" jsonschema_description:"Path of the array whose elements are the records, such as .events[] or, for a body that is an array, .[]; nested arrays as .groups[].events[]. Empty: the whole body is one record."`
	ID        *Field     `json:"id,omitempty" jsonschema_description:"The sender's ID of the change, the same in each redelivery. Where a record has none, its ID is a hash of stream, type, key, version and payload."`
	IDRepeats bool       `json:"id_repeats,omitempty" jsonschema_description:"The sender may give one ID to several changes: the record's ID becomes a hash of it and the payload."`
	Type      *Field     `json:"type,omitempty" jsonschema_description:"The type of the event."`
	Stream    *Field     `json:"stream,omitempty" jsonschema_description:"The stream. Where a record has none, the type is its stream."`
	Key       *Field     `json:"key,omitempty" jsonschema_description:"The object that the event is about. Without one, every record is an event of its own."`
	Version   *Field     `json:"version,omitempty" jsonschema_description:"What orders the changes of a key: a time, or a whole number that grows."`
	// OccurredAt is information only: what can't be read as a time leaves it unknown.
	OccurredAt *Field   `json:"occurred_at,omitempty" jsonschema_description:"When the change happened."`
	Deletes    []string `json:"deletes,omitempty" jsonschema_description:"Types which say that the object of the key is gone."`
	Challenge  string   `json:"challenge,omitempty" jsonschema:"enum=slack,enum=woocommerce" jsonschema_description:"How the sender tries out the URL when a webhook is created: slack sends a signed url_verification and wants its challenge back; woocommerce sends an unsigned ping."`
}

// Field says where a value stands: exactly one of Header, Body and Value. A value that is missing, null or empty is
// unknown; text and numbers are values, all else is refused.
type Field struct {
	Header string `json:"header,omitempty" jsonschema_description:"Name of the request header."`
	Body   string `json:"body,omitempty" jsonschema_description:"Path in the record, such as .data.id or .\"a name with . in it\"; of duplicate keys the first counts."`
	Value  string `json:"value,omitempty" jsonschema_description:"The value itself."`
	Unit   string `json:"unit,omitempty" jsonschema:"enum=seconds,enum=milliseconds,enum=microseconds" jsonschema_description:"For version and occurred_at: what a number counts, since 1970. Text is a time as RFC 3339, UTC where it names no zone. Without a unit, a version's number is taken as it is, and occurred_at counts seconds."`
}

// Signature says how the sender signs.
type Signature struct {
	Header    string `json:"header,omitempty" jsonschema:"required" jsonschema_description:"The header that holds the signature."`
	Algorithm string `json:"algorithm,omitempty" jsonschema:"enum=hmac-sha256,enum=hmac-sha512,enum=hmac-sha1,enum=ed25519,default=hmac-sha256" jsonschema_description:"With ed25519 the secret is the sender's public key in base64."`
	Encoding  string `json:"encoding,omitempty" jsonschema:"enum=hex,enum=base64,default=hex" jsonschema_description:"How the signature is written; hex is in lower case."`
	Prefix    string `json:"prefix,omitempty" jsonschema_description:"What stands before the signature in the header, such as sha256= ; elements of a list without it are passed over."`
	Separator string `json:"separator,omitempty" jsonschema_description:"What separates several signatures in the header, of which one must be right."`
	// Key tells the two ways in which senders use a secret apart that look alike: Standard Webhooks decodes what
	// follows whsec_, Stripe signs with the text whsec_... as it is.
	Key       string     `json:"key,omitempty" jsonschema:"enum=text,enum=base64,default=text" jsonschema_description:"The secret is the key as it is (text), or the key in base64, perhaps after whsec_ or whpk_."`
	Content   string     `json:"content,omitempty" jsonschema:"default={body}" jsonschema_description:"What is signed, made of {id}, {timestamp}, {method}, {url} and {body}."`
	ID        string     `json:"id,omitempty" jsonschema_description:"The header that holds the {id}."`
	Timestamp *Timestamp `json:"timestamp,omitempty" jsonschema_description:"The {timestamp}; guards against replay."`
}

// Timestamp says where the signed time stands.
type Timestamp struct {
	Header    string `json:"header,omitempty" jsonschema_description:"The header that holds it. Empty: it is an element of the signature's header."`
	Prefix    string `json:"prefix,omitempty" jsonschema_description:"What the element starts with, such as t= ."`
	Unit      string `json:"unit,omitempty" jsonschema:"enum=seconds,enum=milliseconds,enum=microseconds,default=seconds" jsonschema_description:"What a number counts, since 1970. Text is a time as RFC 3339."`
	Tolerance string `json:"tolerance,omitempty" jsonschema:"default=5m" jsonschema_description:"How far it may be from our clock, before or after, such as 5m."`
}

// Connection holds the secret that sender and receiver share. While it is being replaced, the one before stays valid
// until a set time.
type Connection struct {
	Secret             string    `json:"secret,omitempty" jsonschema:"required,format=password" jsonschema_description:"The webhook's secret, as the sender shows it."`
	PreviousSecret     string    `json:"previous_secret,omitempty" jsonschema:"format=password" jsonschema_description:"The secret before, while the sender may still sign with it."`
	PreviousValidUntil time.Time `json:"previous_valid_until,omitzero" jsonschema_description:"When previous_secret ends."`
}

// over lays s over the preset p: what s gives stays.
func (s Settings) over(p Settings) Settings {
	s.Signature = cmp.Or(s.Signature, p.Signature)
	s.Records = cmp.Or(s.Records, p.Records)
	if s.ID == nil {
		s.ID, s.IDRepeats = p.ID, s.IDRepeats || p.IDRepeats
	}
	s.Type = cmp.Or(s.Type, p.Type)
	s.Stream = cmp.Or(s.Stream, p.Stream)
	s.Key = cmp.Or(s.Key, p.Key)
	s.Version = cmp.Or(s.Version, p.Version)
	s.OccurredAt = cmp.Or(s.OccurredAt, p.OccurredAt)
	if s.Deletes == nil {
		s.Deletes = p.Deletes
	}
	s.Challenge = cmp.Or(s.Challenge, p.Challenge)
	return s
}
