package activities

import (
	"encoding/json"
	"slices"
	"time"

	"tributary/connectors"
	"tributary/internal/segment"
)

// The names under which activities are registered, and the JSON names below, stand in workflow
// histories: they are never renamed, and fields are only added.
const (
	FetchName       = "Fetch"
	WriteName       = "Write"
	CheckName       = "Check"
	SubscribeName   = "Subscribe"
	UnsubscribeName = "Unsubscribe"
	ActivateName    = "Activate"
	EndName         = "End"
	PublishName     = "Publish"
	RollName        = "Roll"
	RequeueName     = "Requeue"
	CompleteName    = "Complete"
)

// CatalogErrorType is the type of the errors with which activities themselves fail for Temporal to retry: their text is written
// for operators. No other error's is shown (I7).
const CatalogErrorType = "catalog"

// The origins of what the workflow numbers. A journal's ID is the origin of what came by webhook.
const (
	PollOrigin     = "poll"
	OverlapOrigin  = "overlap"
	ExtraOrigin    = "extra"
	ManifestOrigin = "manifest"
	RequeueOrigin  = "requeue"
	CompleteOrigin = "complete"
)

// Origin is kind, or after a workflow reset kind and the suffix of the new ledger epoch: a reset counts again from an
// earlier number, and the numbers of before stay below their published mark.
func Origin(kind, suffix string) string {
	if suffix == "" {
		return kind
	}
	return kind + "." + suffix
}

// Target names the installation that an activity works for, and the definition revision it works by.
type Target struct {
	Installation string `json:"installation"`
	Integration  string `json:"integration"`
	User         string `json:"user"`
	// Epoch is the one minted at install: it names segments and the installation in the catalog.
	Epoch string `json:"epoch"`
	// Ledger is the epoch that destinations know: Epoch, or after a workflow reset a new one.
	Ledger   string `json:"ledger"`
	Revision int    `json:"revision"`
}

// Failure is a connector's error on its way to the workflow, which alone decides what to do (I9).
type Failure struct {
	Kind    connectors.Kind `json:"kind"`
	Message string          `json:"message"`
	Wait    time.Duration   `json:"wait,omitempty"`
}

// NewFailure makes a Failure of any error, nil of nil. The text of an error that is no *connectors.Error is left out (I7).
// Waits are clamped to [0, connectors.MaxWait], a kind that there isn't is Unknown.
func NewFailure(op string, err error) *Failure {
	e := connectors.AsError(op, err)
	if e == nil {
		return nil
	}
	f := &Failure{Kind: e.Kind, Message: connectors.Clip(e.Error(), 1000), Wait: min(max(e.Wait, 0), connectors.MaxWait)}
	if !slices.Contains(connectors.Kinds, f.Kind) {
		f.Kind = connectors.Unknown
	}
	return f
}

// Bookmark is where a stream's reading goes on: the source's cursor and the hashes of the overlap (I6).
// A small one is carried inline, a large one lies in the segment store.
type Bookmark struct {
	Inline []byte `json:"i,omitempty"`
	Object string `json:"o,omitempty"`
}

// IsZero says that reading begins at the beginning.
func (b Bookmark) IsZero() bool { return b.Object == "" && b.Inline == nil }

// FetchInput asks for one chunk of a stream: pages up to a budget.
type FetchInput struct {
	Target
	Stream   string    `json:"stream"`
	Bookmark Bookmark  `json:"bookmark,omitzero"`
	Since    time.Time `json:"since,omitzero"`
	// Chunk numbers the segments that are sealed, under the origin Origin(PollOrigin, Suffix).
	Suffix string `json:"suffix,omitempty"` // see Origin
	Chunk  uint64 `json:"chunk"`
	// Records, Bytes and Time bound the chunk; what is reached first ends it after the page at hand.
	Records int           `json:"records"`
	Bytes   int64         `json:"bytes"`
	Time    time.Duration `json:"time"`
	// Inline is how large the bookmark may be to be carried inline, in bytes.
	Inline int `json:"inline,omitempty"`
	// Seen, for reconciliation, is per journal the first index whose webhooks may be what this poll finds.
	Seen map[string]uint64 `json:"seen,omitempty"`
	// Reconcile says that records which came by webhook are left out.
	Reconcile bool `json:"reconcile,omitempty"`
	// Extra is the object that holds the extras found so far, ExtraSequence the number of the next one.
	Extra         string `json:"extra,omitempty"`
	ExtraSequence uint64 `json:"extra_sequence,omitempty"`
}

// FetchOutput is the progress of a chunk, also beside a Failure.
type FetchOutput struct {
	Segments []segment.Ref `json:"segments,omitempty"`
	Bookmark Bookmark      `json:"bookmark,omitzero"`
	More     bool          `json:"more,omitempty"`
	Pages    int           `json:"pages,omitempty"`
	// Repeated counts records of the overlap that came again, Recognised those that had come by webhook.
	Repeated   int64 `json:"repeated,omitempty"`
	Recognised int64 `json:"recognised,omitempty"`
	// Extra, for reconciliation, names the object that holds what the poll found and no webhook had brought.
	Extra string `json:"extra,omitempty"`
	// Prepares says that Failure is no failure: the app prepares the next page, and is to be asked again after Failure.Wait.
	Prepares bool     `json:"prepares,omitempty"`
	Failure  *Failure `json:"failure,omitempty"`
}

// Entry is a run of the installation's sequence: a sealed segment, or a manifest that lists older entries.
type Entry struct {
	segment.Ref
	// First is the ordinal of the first record; the last is First+Records-1.
	First int64 `json:"f"`
	// At is when the workflow took it in, in Unix milliseconds.
	At int64 `json:"a"`
	// Level is 0 for a segment, n+1 for a manifest of level-n entries.
	Level int `json:"m,omitempty"`
	// Lane, when set, is the only lane that takes the records (a redelivery).
	Lane string `json:"l,omitempty"`
	// Lows is, for a manifest, the lowest sequence of each origin among what it lists, at any depth.
	Lows map[string]uint64 `json:"w,omitempty"`
	// Why, when set, is why no lane gets the records: each that takes them has them go to quarantine.
	Why *Failure `json:"y,omitempty"`
}

// End is the ordinal after the entry's last.
func (e Entry) End() int64 { return e.First + int64(e.Records) }

// Span is a range of ordinals, First up to, not including, Next.
type Span struct {
	First int64 `json:"f"`
	Next  int64 `json:"n"`
}

// WriteInput asks to deliver a frozen batch.
type WriteInput struct {
	Target
	Lane  string `json:"lane"`
	First int64  `json:"first"`
	Next  int64  `json:"next"`
	// Settled are the parts that an earlier attempt settled already.
	Settled []Span  `json:"settled,omitempty"`
	Entries []Entry `json:"entries"`
	// Spans bounds how many parts are remembered as settled; 0 = as many as activities remember at most.
	Spans int `json:"spans,omitempty"`
	// Spill, when set, sends the batch to quarantine with this reason instead of to the destination.
	Spill     string          `json:"spill,omitempty"`
	SpillKind connectors.Kind `json:"spill_kind,omitempty"`
	// Extra names, per stream, the object of records that reconciliation found first: a webhook for one of them is late.
	Extra map[string]string `json:"extra,omitempty"`
	// Time bounds the attempt: what is not durable by then comes again. 0 = as long as the activity may take.
	Time time.Duration `json:"time,omitempty"`
}

// WriteOutput is the progress of a batch, also beside a Failure.
type WriteOutput struct {
	// Next is the ordinal below which everything is settled; Settled are the parts above it that are.
	Next    int64  `json:"next"`
	Settled []Span `json:"settled,omitempty"`
	// What became of the records that this attempt settled.
	Delivered   int64 `json:"delivered,omitempty"`
	Bytes       int64 `json:"bytes,omitempty"`
	Filtered    int64 `json:"filtered,omitempty"`
	Recognised  int64 `json:"recognised,omitempty"`
	Quarantined int64 `json:"quarantined,omitempty"`
	// Expired counts records whose segments were removed because every lane had settled them before a reset.
	Expired int64    `json:"expired,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
	// Took is how long the attempt took.
	Took time.Duration `json:"took,omitempty"`
}

// CheckInput asks whether a block's connection and settings work. Lane empty: the source.
type CheckInput struct {
	Target
	Lane string `json:"lane,omitempty"`
}

// ConnectionInput names a stored connection to check by itself.
type ConnectionInput struct {
	Owner     string `json:"owner"`
	Connector string `json:"connector"`
	Name      string `json:"name"`
	// Settings are those of a block, for a connector that can't be opened without.
	Settings json.RawMessage `json:"settings,omitempty"`
}

// CheckOutput is nil in Failure when all is well.
type CheckOutput struct {
	Failure *Failure `json:"failure,omitempty"`
}

// SubscribeInput asks for the app's webhooks to be as the definition says.
type SubscribeInput struct {
	Target
	Streams []string `json:"streams"`
}

// SubscribeOutput says how many subscriptions there are and how many had to be made.
type SubscribeOutput struct {
	// Manual says that this source's webhooks are set up by hand, at URL.
	Manual   bool `json:"manual,omitempty"`
	Active   int  `json:"active,omitempty"`
	Repaired int  `json:"repaired,omitempty"`
	// Completes says that what webhooks bring is completed before it enters the lanes.
	Completes bool     `json:"completes,omitempty"`
	Failure   *Failure `json:"failure,omitempty"`
}

// EndInput marks the epoch ended, or removed altogether from active service.
type EndInput struct {
	Target
	Note string `json:"note,omitempty"`
}

// PublishInput tells the catalog what the janitor and the receiver must know.
type PublishInput struct {
	Target
	Marks     map[string]uint64 `json:"marks"`
	Retention time.Duration     `json:"retention,omitempty"`
	Pressure  bool              `json:"pressure,omitempty"`
}

// RollInput asks for the entries to be written to a manifest.
type RollInput struct {
	Target
	Entries []Entry `json:"entries"`
	// Sequence numbers the installation's manifests.
	Sequence uint64 `json:"sequence"`
	Suffix   string `json:"suffix,omitempty"`
}

// RollOutput is the entry that stands for all of them.
type RollOutput struct {
	Entry   Entry    `json:"entry"`
	Failure *Failure `json:"failure,omitempty"`
}

// RequeueInput asks for quarantined records of a lane to be sealed into segments again.
type RequeueInput struct {
	Target
	Lane string  `json:"lane"`
	IDs  []int64 `json:"ids,omitempty"`
	// Sequence numbers the installation's redeliveries.
	Sequence uint64 `json:"sequence"`
	Suffix   string `json:"suffix,omitempty"`
	// Before, when set, leaves out what was refused since: a redelivery does not run after its own records for ever.
	Before time.Time `json:"before,omitzero"`
}

// RequeueOutput lists the segments; More says that there is more to do.
type RequeueOutput struct {
	Segments []segment.Ref `json:"segments,omitempty"`
	More     bool          `json:"more,omitempty"`
	Failure  *Failure      `json:"failure,omitempty"`
}

// CompleteInput asks to complete what webhooks brought of a stream.
type CompleteInput struct {
	Target
	Stream string `json:"stream"`
	// First and Next bound the ordinals among what waits to be completed, which Entries hold; those of other streams are left out.
	First   int64   `json:"first"`
	Next    int64   `json:"next"`
	Entries []Entry `json:"entries"`
	// Sequence numbers the segments that are sealed, under the origin Origin(CompleteOrigin, Suffix).
	Sequence uint64 `json:"sequence"`
	Suffix   string `json:"suffix,omitempty"`
	// Records, Bytes and Time bound what is done at once, Bytes by what comes of it; what is reached first ends it.
	Records int           `json:"records"`
	Bytes   int64         `json:"bytes"`
	Time    time.Duration `json:"time"`
	// Refuse, when set, is why nothing is completed any more: the records go to quarantine as they came.
	Refuse *Failure `json:"refuse,omitempty"`
}

// CompleteOutput is the progress, also beside a Failure.
type CompleteOutput struct {
	// Next is the ordinal below which everything of the stream is completed, Taken and Bytes how much that was.
	Next  int64 `json:"next"`
	Taken int64 `json:"taken,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
	// Parts came of it, in order.
	Parts   []Part   `json:"parts,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
}

// Part is a segment of records on their way into the lanes, or with Why into quarantine.
type Part struct {
	segment.Ref
	Why *Failure `json:"y,omitempty"`
}
