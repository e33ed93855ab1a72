package workflows

import (
	"time"

	"tributary/internal/segment"
)

// Arrival is the signal by which a receiver hands webhooks' records to an installation: where in that receiver's
// journal they stood and the segments that hold them. It stands in histories, so it holds references and counts only
// (I7), stays below MaxArrivalBytes as JSON, and its JSON names are never changed.
//
// The Parts of all Arrivals of one epoch and one journal come in the order of From, their ranges never overlap in part, and one
// may come again, with the same range. So the workflow keeps one mark per journal, drops the parts that have To at or below it and
// sets it to To otherwise: every record then enters once, however parts are put together.
type Arrival struct {
	Epoch   string `json:"e"`
	Journal string `json:"j"` // the journal's ID
	// From and To are the first and the last journal index covered, both inclusive. Entries of other epochs lie between.
	From uint64 `json:"f"`
	To   uint64 `json:"t"`
	// Segments holds one segment per stream, at most MaxArrivalSegments.
	Segments []segment.Ref `json:"s"`
	// At is when the segments were sealed.
	At time.Time `json:"at"`
	// More are further ranges, of the same epoch and journal, that wait to be handed over.
	More []Part `json:"m,omitempty"`
}

// Part is a range of an Arrival with the segments of its records.
type Part struct {
	From     uint64        `json:"f"`
	To       uint64        `json:"t"`
	Segments []segment.Ref `json:"s"`
}

// What a Part may have at most, and an Arrival of several.
const (
	MaxArrivalSegments = 32
	MaxArrivalBytes    = 8 << 10
	MaxArrivalParts    = 64
	MaxPartsBytes      = 32 << 10
)

// Parts are the ranges in order.
func (a Arrival) Parts() []Part {
	return append([]Part{{From: a.From, To: a.To, Segments: a.Segments}}, a.More...)
}
