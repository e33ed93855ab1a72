package workflows

import (
	"time"

	"tributary/activities"
)

// Input starts an installation's run, or continues one as new.
type Input struct {
	Installation string `json:"installation"`
	Integration  string `json:"integration"`
	User         string `json:"user"`
	Epoch        string `json:"epoch"`
	Plan         Plan   `json:"plan"`
	// Asked is when the install was asked for: low-water marks are published for the first time a Timing.Publish later.
	Asked time.Time `json:"asked,omitzero"`
	// Generation says which ways of working the run has.
	Generation int `json:"generation,omitempty"`
	// State is nil in the first run.
	State *State `json:"state,omitempty"`
}

// State is all that a run hands to the next one. It holds references and counts and stays under 256 KiB
// whatever happens (I10): the queue rolls into manifests, texts are clipped, everything else is bounded by the definition.
type State struct {
	Phase  Phase `json:"phase"`
	Paused bool  `json:"paused,omitempty"`
	// PauseReason is shown to operators.
	PauseReason string `json:"pause_reason,omitempty"`
	// Ledger is the epoch that destinations' ledgers know this installation by.
	Ledger string `json:"ledger"`
	// Started is when the first run began.
	Started time.Time `json:"started"`

	// Journals are those that arrivals came from, at most maxJournals, the latest last; Floors are where they stood when
	// polls began.
	Journals []Journal `json:"journals,omitempty"`
	Floors   []Floor   `json:"floors,omitempty"`
	// Head is the next ordinal.
	Head    int64              `json:"head"`
	Queue   []activities.Entry `json:"queue,omitempty"`
	Lanes   []*Lane            `json:"lanes"`
	Streams []*Stream          `json:"streams"`

	// Sequences of what the workflow itself has sealed: they name segments, and low-water marks count by them.
	Chunks       uint64 `json:"chunks,omitempty"`
	Manifests    uint64 `json:"manifests,omitempty"`
	Redeliveries uint64 `json:"redeliveries,omitempty"`
	// Requeue lists redeliveries that are still to do.
	Requeue []Requeue `json:"requeue,omitempty"`
	// Rolling is what keeps old references from rolling into manifests.
	Rolling Trouble `json:"rolling,omitzero"`

	// Backlogged says that a required lane owes so much that nothing more is read until it owes less.
	Backlogged bool `json:"backlogged,omitempty"`
	// Moved says that the low-water marks moved since they were published; Pressure is what was published of it, Publishing
	// what keeps it from being published.
	Moved       bool      `json:"moved,omitempty"`
	PublishedAt time.Time `json:"published_at,omitzero"`
	Pressure    bool      `json:"pressure,omitempty"`
	Publishing  Trouble   `json:"publishing,omitzero"`

	Hooks Hooks `json:"hooks,omitzero"`
	// Completing is what webhooks brought and has yet to be completed.
	Completing Completing `json:"completing,omitzero"`

	Received   int64     `json:"received"`
	ReceivedAt time.Time `json:"received_at,omitzero"`
	Repeated   int64     `json:"repeated,omitempty"`
	Dropped    int64     `json:"dropped,omitempty"` // arrivals seen before

	Undecodable int64 `json:"undecodable,omitempty"`
	Resets      int   `json:"resets,omitempty"`
	Runs        int64 `json:"runs"`

	// Operations are the latest updates, for `status`; at most maxOperations.
	Operations []Operation `json:"operations,omitempty"`

	Closing *Closing `json:"closing,omitempty"`
	// Health is the search attribute as it was last set.
	Health string `json:"health,omitempty"`
}

// Phase is where an installation stands in its life.
type Phase string

const (
	Installing Phase = "installing"
	Running    Phase = "running"
	Uninstall  Phase = "closing"
	Ended      Phase = "ended"
)

// Lane is the ordered queue to one destination.
type Lane struct {
	Name string `json:"name"`
	// Next is the ordinal below which everything is settled: delivered, filtered or in quarantine.
	Next int64 `json:"next"`
	// Batch is frozen: attempts repeat it as it is, by the revision that it was frozen with.
	Batch *Batch `json:"batch,omitempty"`
	// Limit, when set, is how many records the destination was seen to bear at once.
	Limit int64 `json:"limit,omitempty"`
	// Flush is the ordinal up to which batch ages are not waited for.
	Flush int64 `json:"flush,omitempty"`
	// Removed lanes finish their frozen batch, have what else they owe go to quarantine, and go: Owed are its ordinals and
	// Revision is the last one that knew the lane.
	Removed  bool              `json:"removed,omitempty"`
	Owed     []activities.Span `json:"owed,omitempty"`
	Revision int               `json:"revision,omitempty"`
	// Slow says that the latest write took so long that the next one must not keep the workflow's task from ending.
	Slow bool `json:"slow,omitempty"`

	Trouble
	Delivered   int64     `json:"delivered"`
	Bytes       int64     `json:"bytes"`
	Filtered    int64     `json:"filtered,omitempty"`
	Recognised  int64     `json:"recognised,omitempty"`
	Quarantined int64     `json:"quarantined,omitempty"`
	Expired     int64     `json:"expired,omitempty"`
	DeliveredAt time.Time `json:"delivered_at,omitzero"`
}

// Batch is a frozen range of a lane.
type Batch struct {
	First    int64             `json:"first"`
	Next     int64             `json:"next"`
	Revision int               `json:"revision"`
	Settled  []activities.Span `json:"settled,omitempty"`
	// Spill, when set, is why the batch goes to quarantine; Quarantine is what keeps it from getting there.
	Spill      *activities.Failure `json:"spill,omitempty"`
	Quarantine Trouble             `json:"quarantine,omitzero"`
}

// Trouble is what keeps a lane or a stream from working.
type Trouble struct {
	Failures int                 `json:"failures,omitempty"`
	Failure  *activities.Failure `json:"failure,omitempty"`
	FailedAt time.Time           `json:"failed_at,omitzero"`
	RetryAt  time.Time           `json:"retry_at,omitzero"`
	// Stopped: no use to come again until somebody changes something.
	Stopped bool `json:"stopped,omitempty"`
}

// Stream is a collection that is polled.
type Stream struct {
	Name     string              `json:"name"`
	Bookmark activities.Bookmark `json:"bookmark,omitzero"`
	Since    time.Time           `json:"since,omitzero"`
	// Mid says that a poll is under way.
	Mid bool `json:"mid,omitempty"`
	// Restart says that what a fetch under way brings no longer moves the bookmark.
	Restart bool `json:"restart,omitempty"`
	// Full says that the poll under way reads everything, not what changed since the last one.
	Full bool `json:"full,omitempty"`
	// Next is when the next poll begins; Begun when the one under way did; Asked when one was asked for last.
	Next  time.Time `json:"next,omitzero"`
	Begun time.Time `json:"begun,omitzero"`
	Asked time.Time `json:"asked,omitzero"`
	Trouble
	// Prepares says that the app prepares the next page, and is asked again at Trouble.RetryAt; nothing is the matter.
	Prepares   bool      `json:"prepares,omitempty"`
	Removed    bool      `json:"removed,omitempty"`
	Polls      int64     `json:"polls"`
	Pages      int64     `json:"pages"`
	Records    int64     `json:"records"`
	Repeated   int64     `json:"repeated,omitempty"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	Resyncs    int       `json:"resyncs,omitempty"`

	// Reconciliation: what came by webhook since the poll of the floor From began is left out, Then is the next poll's; Missed
	// counts what no webhook had brought, except while everything was read. Extra is the object that lists such records.
	From     uint64 `json:"from,omitempty"`
	Then     uint64 `json:"then,omitempty"`
	Extra    string `json:"extra,omitempty"`
	ExtraSeq uint64 `json:"extra_seq,omitempty"`
	Missed   int64  `json:"missed,omitempty"`
	// Overlap numbers the bookmark object at hand, for the low-water mark.
	Overlap uint64 `json:"overlap,omitempty"`
}

// Hooks is the state of the app's webhook subscriptions.
type Hooks struct {
	Trouble
	// Registered says that the app was asked for some, and not yet to remove them.
	Registered bool      `json:"registered,omitempty"`
	Manual     bool      `json:"manual,omitempty"`
	Active     int       `json:"active,omitempty"`
	Repaired   int       `json:"repaired,omitempty"`
	CheckedAt  time.Time `json:"checked_at,omitzero"`
	Next       time.Time `json:"next,omitzero"`
}

// Requeue is a redelivery that was asked for.
type Requeue struct {
	Operation string  `json:"operation"`
	Lane      string  `json:"lane"`
	IDs       []int64 `json:"ids,omitempty"`
	// Sequence numbers the redelivery under way. Attempts repeat it, so that one whose answer was lost is not repeated
	// with other records.
	Sequence uint64 `json:"sequence,omitempty"`
	// Begun is when the first part of it was taken, of one that takes more than one.
	Begun time.Time `json:"begun,omitzero"`
	Trouble
}

// Operation is an Update that was accepted.
type Operation struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	Done bool      `json:"done,omitempty"`
	Note string    `json:"note,omitempty"`
	// Until is the ordinal that a flush of Lanes waits for; Streams are those that a poll or backfill reads. None = all.
	Until int64 `json:"until,omitempty"`
	// Waiting is the ordinal among what waits to be completed up to which a flush covers that, too.
	Waiting int64    `json:"waiting,omitempty"`
	Lanes   []string `json:"lanes,omitempty"`
	Streams []string `json:"streams,omitempty"`
}

// Closing is an uninstall under way, or the end of an install that failed.
type Closing struct {
	At        time.Time `json:"at"`
	Operation string    `json:"operation,omitempty"`
	// Failed is why the install failed.
	Failed string `json:"failed,omitempty"`
	// Step is when the step under way began, Trouble what it met; Rest when delivering what is left began.
	Step time.Time `json:"step,omitzero"`
	Rest time.Time `json:"rest,omitzero"`
	Trouble
	Marked       bool     `json:"marked,omitempty"`
	Unsubscribed bool     `json:"unsubscribed,omitempty"`
	Left         []string `json:"left,omitempty"`
}

const maxOperations = 20

func (s *State) lane(name string) *Lane {
	for _, l := range s.Lanes {
		if l.Name == name {
			return l
		}
	}
	return nil
}

func (s *State) stream(name string) *Stream {
	for _, st := range s.Streams {
		if st.Name == name {
			return st
		}
	}
	return nil
}
