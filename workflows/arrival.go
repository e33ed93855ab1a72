package workflows

import (
	"time"

	"tributary/internal/segment"
)

// Arrival is the signal by which a receiver hands webhooks' records to an installation: where in that receiver's
// journal they stood and the segments that hold them. It stands in histories, so it holds references and counts only
// (I7), stays below MaxArrivalBytes as JSON, and its JSON names are never changed.
//
// The Arrivals of one epoch and one journal come in the order of From, their ranges never overlap in part, and one may
// come again, exactly as it was. So the workflow keeps one mark per journal, drops what has To at or below it and sets
// it to To otherwise: every record then enters once.
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
}

const (
	MaxArrivalSegments = 32
	MaxArrivalBytes    = 8 << 10
)
