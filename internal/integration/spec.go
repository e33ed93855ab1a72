// Package integration holds definitions: what a source's records are to be sent where.
package integration

import (
	"bytes"
	"encoding/json"

	"github.com/invopop/jsonschema"

	"tributary/connectors"
)

// TriggerKind is what makes the source deliver.
type TriggerKind string

const (
	Realtime TriggerKind = "realtime"
	Polling  TriggerKind = "polling"
	Both     TriggerKind = "both"
)

// Polls reports whether the source is read at intervals.
func (k TriggerKind) Polls() bool { return k == Polling || k == Both }

// Receives reports whether the source's webhooks are received.
func (k TriggerKind) Receives() bool { return k == Realtime || k == Both }

// Spec is an integration file. A stored Spec is one revision of an integration and never changes.
type Spec struct {
	Name         string        `json:"name" jsonschema:"required,pattern=^[a-z0-9]([a-z0-9-]*[a-z0-9])?$,maxLength=63" jsonschema_description:"Names the integration: lower-case letters, digits and dashes, at most 63."`
	Description  string        `json:"description,omitempty" jsonschema:"maxLength=2000" jsonschema_description:"What it is for, in words."`
	Source       Source        `json:"source" jsonschema:"required" jsonschema_description:"Where records come from."`
	Destinations []Destination `json:"destinations" jsonschema:"required,minItems=1,maxItems=32" jsonschema_description:"Where records go: a list of 1 to 32 blocks, each with a name of its own."`
	// Backlog bounds in bytes what an installation may have received and not delivered; 0 = DefaultBacklogBytes.
	BacklogBytes int64 `json:"backlog_bytes,omitempty" jsonschema:"minimum=1048576,maximum=1099511627776,default=1073741824" jsonschema_description:"How many bytes an installation may have received and not delivered: 1 MiB to 1 TiB."`
	// Retention keeps segments for replay after delivery; the janitor's grace of 24 h is the least.
	Retention Duration `json:"retention,omitempty" jsonschema_description:"How long delivered records stay for replay, such as 7d; at least 24h."`
}

// Source is the block that records come from.
type Source struct {
	Connector  string          `json:"connector" jsonschema:"required" jsonschema_description:"The app to read from."`
	Connection string          `json:"connection,omitempty" jsonschema:"pattern=^[a-z0-9]([a-z0-9-]*[a-z0-9])?$,maxLength=63,default=default" jsonschema_description:"Names the stored credentials: lower-case letters, digits and dashes, at most 63."`
	Hidden     bool            `json:"hidden,omitempty" jsonschema_description:"The end user never sees this block; it uses the operator's connection."`
	Settings   json.RawMessage `json:"settings,omitempty" jsonschema:"type=object" jsonschema_description:"What the connector is told; see starter connectors describe."`
	Trigger    Trigger         `json:"trigger" jsonschema:"required" jsonschema_description:"What makes the source deliver: realtime, or polling or both with an interval."`
	Streams    []string        `json:"streams" jsonschema:"required,minItems=1,maxItems=200,uniqueItems=true" jsonschema_description:"The collections to read: a list of names."`
}

// Trigger says when to read. In a file it is the kind alone or a map of kind and interval.
type Trigger struct {
	Kind TriggerKind `json:"kind" jsonschema:"required,enum=realtime,enum=polling,enum=both" jsonschema_description:"realtime (webhooks), polling, or both with reconciliation."`
	// Interval between polls: for polling, and for both, where it is the reconciliation interval.
	Interval Duration `json:"interval,omitempty" jsonschema_description:"Time between polls, at least 1s; for both it is the time between reconciliations."`
}

// Destination is a block that records go to; its name is its lane.
type Destination struct {
	Name       string          `json:"name" jsonschema:"required,pattern=^[a-z0-9]([a-z0-9-]*[a-z0-9])?$,maxLength=63" jsonschema_description:"Names the block: lower-case letters, digits and dashes, at most 63."`
	Connector  string          `json:"connector" jsonschema:"required" jsonschema_description:"The destination to write to."`
	Connection string          `json:"connection,omitempty" jsonschema:"pattern=^[a-z0-9]([a-z0-9-]*[a-z0-9])?$,maxLength=63,default=default" jsonschema_description:"Names the stored credentials: lower-case letters, digits and dashes, at most 63."`
	Hidden     bool            `json:"hidden,omitempty" jsonschema_description:"The end user never sees this block; it uses the operator's connection."`
	Settings   json.RawMessage `json:"settings,omitempty" jsonschema:"type=object" jsonschema_description:"What the connector is told; see starter connectors describe."`
	// Streams, when given, are the only ones that go here.
	Streams []string `json:"streams,omitempty" jsonschema:"minItems=1,maxItems=200,uniqueItems=true" jsonschema_description:"The only streams that go here; without it all of the source's."`
	// Select is the path of the part of the payload that goes, such as ".customers.email"; empty = the whole, byte for byte.
	Select string `json:"select,omitempty" jsonschema:"maxLength=2000" jsonschema_description:"The path of the part of the payload that goes, such as .customers.email; without it the whole payload, byte for byte."`
	// Filter is a jq program: records for which it gives false or null do not go.
	Filter string `json:"filter,omitempty" jsonschema:"maxLength=16384" jsonschema_description:"A jq program: records for which it gives false, null or nothing do not go. It never changes them."`
	// Map is a jq program that makes the payload that goes.
	Map   string `json:"map,omitempty" jsonschema:"maxLength=16384" jsonschema_description:"A jq program that makes the payload that goes from the selected part."`
	Batch Batch  `json:"batch,omitzero" jsonschema_description:"Bounds a batch; what is reached first counts."`
	// Required, true unless told: when it is down for long, the installation waits for it. An optional one spills to quarantine.
	Required *bool           `json:"required,omitempty" jsonschema:"default=true" jsonschema_description:"true: when this destination is down for long, the installation waits for it; false: its records spill to quarantine."`
	Mode     connectors.Mode `json:"mode,omitempty" jsonschema:"enum=append,enum=upsert" jsonschema_description:"append: a row for every change; upsert: a row for every object."`
	Layout   string          `json:"layout,omitempty" jsonschema:"enum=raw,enum=columns,default=raw" jsonschema_description:"raw: columns of metadata plus the payload as JSON; columns: columns of metadata plus one for each field at the top of the payload."`
	// Schema is for the layout columns only.
	Schema connectors.SchemaRule `json:"schema,omitempty" jsonschema:"enum=evolve,enum=freeze,enum=discard_row,enum=discard_value,default=evolve" jsonschema_description:"What happens, in layout columns, with a field that has no column or a value that does not fit it. evolve: the table grows; freeze: the block stops; discard_row: the record goes to quarantine; discard_value: the value is left out."`
}

// Batch bounds a batch; what is reached first counts.
type Batch struct {
	Records int      `json:"records,omitempty" jsonschema:"minimum=1,maximum=50000,default=50000" jsonschema_description:"1 to 50000."`
	Bytes   int64    `json:"bytes,omitempty" jsonschema:"minimum=1024,maximum=268435456,default=33554432" jsonschema_description:"Payload bytes, 1 KiB to 256 MiB."`
	Age     Duration `json:"age,omitempty" jsonschema_description:"How long to wait for more, at most 24h; without it not at all."`
}

// What a definition may have at most, so that the state of an installation stays under 256 KiB (I10). The schema says the
// first two.
const (
	MaxStreams      = 200
	MaxDestinations = 32
	// MaxPolledStreams is how many of the streams may be polled: of each is kept where its reading goes on.
	MaxPolledStreams = 100
	// MaxStreamNames is how many bytes the names of a source's streams may have together, MaxListedNames those that all
	// destinations list.
	MaxStreamNames = 8 << 10
	MaxListedNames = 16 << 10
	// MaxStreamName is how many bytes a stream's name may have, path-escaped: it is an element of the paths of segments.
	MaxStreamName = 255
)

const (
	DefaultBatchRecords = 50_000
	DefaultBatchBytes   = 32 << 20
	DefaultBacklogBytes = 1 << 30
	// DefaultConnection is the name of a connection that a block doesn't name.
	DefaultConnection = "default"
)

// IsRequired reports whether the installation waits for the destination.
func (d Destination) IsRequired() bool { return d.Required == nil || *d.Required }

// UnmarshalJSON reads the kind alone, as in "realtime", or an object, strictly.
func (t *Trigger) UnmarshalJSON(raw []byte) error {
	*t = Trigger{}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`"`)) {
		return json.Unmarshal(raw, &t.Kind)
	}
	type fields Trigger // without this method
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode((*fields)(t))
}

// JSONSchemaExtend adds the short form.
func (Trigger) JSONSchemaExtend(s *jsonschema.Schema) {
	object := *s
	kind, _ := object.Properties.Get("kind")
	short := *kind
	short.Description = "The kind alone; polling and both need the long form with an interval."
	*s = jsonschema.Schema{OneOf: []*jsonschema.Schema{&short, &object}}
}
