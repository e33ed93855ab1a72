// Package integration holds definitions: what a source's records are to be sent where.
package integration

import (
	"encoding/json"
	"time"

	"tributary/connectors"
)

// TriggerKind is what makes the source deliver.
type TriggerKind string

const (
	Realtime TriggerKind = "realtime"
	Polling  TriggerKind = "polling"
	Both     TriggerKind = "both"
)

// Spec is an integration file. A stored Spec is one revision of an integration and never changes.
type Spec struct {
	Name         string        `json:"name"`
	Description  string        `json:"description,omitempty"`
	Source       Source        `json:"source"`
	Destinations []Destination `json:"destinations"`
	// Backlog bounds in bytes what an installation may have received and not delivered; 0 = DefaultBacklogBytes.
	BacklogBytes int64 `json:"backlog_bytes,omitempty"`
	// Retention keeps segments for replay after delivery; the janitor's grace of 24 h is the least.
	Retention Duration `json:"retention,omitempty"`
}

// Source is the block that records come from.
type Source struct {
	Connector  string          `json:"connector"`
	Connection string          `json:"connection,omitempty"` // name; empty = "default"
	Hidden     bool            `json:"hidden,omitempty"`     // the operator's connection instead of the user's
	Settings   json.RawMessage `json:"settings,omitempty"`
	Trigger    Trigger         `json:"trigger"`
	Streams    []string        `json:"streams"`
}

// Trigger says when to read.
type Trigger struct {
	Kind TriggerKind `json:"kind"`
	// Interval between polls: for polling, and for both, where it is the reconciliation interval.
	Interval Duration `json:"interval,omitempty"`
}

// Destination is a block that records go to; its name is its lane.
type Destination struct {
	Name       string          `json:"name"`
	Connector  string          `json:"connector"`
	Connection string          `json:"connection,omitempty"`
	Hidden     bool            `json:"hidden,omitempty"`
	Settings   json.RawMessage `json:"settings,omitempty"`
	// Streams, when given, are the only ones that go here.
	Streams []string `json:"streams,omitempty"`
	// Select is the path of the part of the payload that goes, such as ".customers.email"; empty = the whole, byte for byte.
	Select string `json:"select,omitempty"`
	// Filter is a jq program: records for which it gives false or null do not go.
	Filter string `json:"filter,omitempty"`
	// Map is a jq program that makes the payload that goes.
	Map   string `json:"map,omitempty"`
	Batch Batch  `json:"batch,omitzero"`
	// Required, true unless told: when it is down for long, the installation waits for it. An optional one spills to quarantine.
	Required *bool           `json:"required,omitempty"`
	Mode     connectors.Mode `json:"mode,omitempty"`   // empty = the connector's first
	Layout   string          `json:"layout,omitempty"` // "raw"
}

// Batch bounds a batch; what is reached first counts.
type Batch struct {
	Records int      `json:"records,omitempty"` // 1 to 50,000; 0 = 50,000
	Bytes   int64    `json:"bytes,omitempty"`   // 0 = 32 MiB
	Age     Duration `json:"age,omitempty"`     // how long to wait for more; 0 = not at all
}

const (
	DefaultBatchRecords = 50_000
	DefaultBatchBytes   = 32 << 20
	DefaultBacklogBytes = 1 << 30
)

// IsRequired reports whether the installation waits for the destination.
func (d Destination) IsRequired() bool { return d.Required == nil || *d.Required }

// Duration is a time.Duration written as "90s", "5m", "24h", "7d".
type Duration time.Duration
