package workflows

import (
	"time"

	"tributary/internal/segment"
)

// Arrival is the signal that hands sealed segments of webhooks to an installation. It holds references and
// counts, never payloads (I7).
type Arrival struct {
	Epoch string `json:"e"`
	// Journal, From and To (inclusive) say which journal entries the segments hold. For one installation the ranges of
	// a journal come in order and never overlap in part: a range whose To is not above the high-water mark was seen.
	Journal  string        `json:"j"`
	From     uint64        `json:"f"`
	To       uint64        `json:"t"`
	Segments []segment.Ref `json:"s"`
	At       time.Time     `json:"at"`
}
