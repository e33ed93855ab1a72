package connectors

import "context"

// Destination writes batches. The engine calls Write from several goroutines for different lanes, at
// most once at a time for one lane as far as it knows: an attempt that was given up may still be running.
type Destination interface {
	// Write makes the batch's records durable and returns what became of each.
	//
	// Write is idempotent (I3): records that an earlier attempt, also one that is still running, has
	// made durable take effect once. SQL destinations keep one ledger row per (Epoch, Lane), locked and
	// advanced in the transaction of the rows; others name objects by epoch, lane and ordinal or send
	// the record's ID.
	//
	// It does not retry or sleep. The Result counts also beside an error: what it does not mention comes
	// again. A record that can never be written is rejected in the Result with the reason and stops no
	// other record. An error is an *Error; TooLarge makes the engine come again with half of the batch.
	Write(ctx context.Context, b Batch) (Result, error)
	// Close ends it. Called once, possibly while a Write is running, which then fails as Unavailable.
	Close() error
}

// Mode says what a destination does with a second record of a key.
type Mode string

const (
	Append     Mode = "append" // every change is a row: keys on (installation, stream, ID)
	ModeUpsert Mode = "upsert" // one row a key: the greater Version wins, equal ones the later arrival
)

// Layouts of a table.
const (
	LayoutRaw     = "raw"     // metadata columns plus the payload as JSON
	LayoutColumns = "columns" // metadata columns plus one for each field at the top of the payload
)

// SchemaRule says, in layout columns, what a destination does with a field that has no column and with a value that does not
// fit its column.
type SchemaRule string

const (
	Evolve       SchemaRule = "evolve"        // add the column, widen it
	Freeze       SchemaRule = "freeze"        // stop the lane with an Invalid error that names the field
	DiscardRow   SchemaRule = "discard_row"   // reject the record
	DiscardValue SchemaRule = "discard_value" // leave the value out and count it in Result.Discarded
)

// SchemaRules lists every rule, the default first.
var SchemaRules = []SchemaRule{Evolve, Freeze, DiscardRow, DiscardValue}

// Batch is a range of a lane's records. At most 50,000 records and the bytes that the block says.
type Batch struct {
	// Installation is the workflow ID `<integration>/<user>`: part of every key, because a table may be
	// shared by many installations.
	Installation string
	Integration  string
	User         string
	// Epoch and Lane name the ledger row. Epoch is new after each install and each workflow reset.
	Epoch string
	Lane  string
	// First and Next bound the ordinals: First <= Ordinal < Next for each record, ascending, with gaps
	// where a filter or another stream left some out. After success the ledger stands at Next.
	First, Next int64
	Mode        Mode
	Records     []Record
}

// Outcome is what became of one record of a batch.
type Outcome uint8

const (
	Again    Outcome = iota // not known to be durable: it comes again
	Durable                 // written, or recognised as written before
	Rejected                // will never be accepted; the reason stands in Result.Reasons
)

// Result says, record by record, what is durable and what is rejected for ever. The zero Result says
// that everything comes again.
type Result struct {
	// Outcomes is nil or as long as Batch.Records.
	Outcomes []Outcome
	// Reasons has the reason of each rejected index: one sentence, no secret, at most 500 bytes.
	Reasons map[int]string
	// Discarded counts the values that DiscardValue left out of durable records in this call.
	Discarded int
}

// NewResult is a Result for n records in which everything comes again.
func NewResult(n int) Result { return Result{Outcomes: make([]Outcome, n)} }

// AllDurable is the Result of a batch of n records that was written whole.
func AllDurable(n int) Result {
	r := NewResult(n)
	r.Durable(0, n)
	return r
}

// Durable marks the records from index i up to, not including, j; a rejected one stays rejected.
func (r *Result) Durable(i, j int) {
	for ; i < j; i++ {
		if r.Outcomes[i] != Rejected {
			r.Outcomes[i] = Durable
		}
	}
}

// Reject marks record i as one that the destination will never accept.
func (r *Result) Reject(i int, reason string) {
	r.Outcomes[i] = Rejected
	if r.Reasons == nil {
		r.Reasons = make(map[int]string)
	}
	r.Reasons[i] = Clip(reason, 500)
}
