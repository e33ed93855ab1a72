package connectors

import (
	"context"
	"net/http"
	"time"
)

// Source reads a stream of an app. The engine calls it from several goroutines at once.
type Source interface {
	// Fetch returns the next page of a stream. It is a pure read: the same request gives the same
	// records or more. It does not retry, sleep or write; it returns an *Error and the engine decides.
	// It honours ctx and holds no more than one page in memory.
	Fetch(ctx context.Context, req FetchRequest) (Page, error)
}

// FetchRequest asks for one page.
type FetchRequest struct {
	Stream string
	// Cursor is the Cursor of the page before, nil for the first page ever. Only the source reads it.
	Cursor []byte
	// Since, with a nil Cursor, leaves out what was last changed before; zero = from the beginning.
	// A source that can't filter by time returns everything.
	Since time.Time
	// Limit is the page size wanted; a source takes the app's maximum where that is smaller. 0 = the
	// source's own default.
	Limit int
}

// Page is what one Fetch found.
type Page struct {
	Records []Record
	// Cursor continues after this page; not nil. With More false it is where the next poll starts:
	// usually a little before the newest change seen (an overlap), for changes that the app indexes late.
	Cursor []byte
	// More says that another page is ready now. A page may be empty and still have More.
	More bool
	// OverlapFrom is the OccurredAt from which a later Fetch may return records again that this or an
	// earlier page had. The engine remembers the IDs of the records since then and drops them when they
	// come again (I6). A record without OccurredAt counts as of when it came last, or as of Seen. Zero: nothing comes again.
	OverlapFrom time.Time
	// Seen, where the app says neither when an object changed nor which change it was, is when the poll began that the page is of; each poll's is
	// later than the one's before. The records' IDs then name contents, and an object may come back to an earlier one: what the engine remembers,
	// as of Seen, is dropped, and what it doesn't is a change of its own and gets an ID made of its content's and of Seen (I1). Zero: IDs are of changes.
	Seen time.Time
	// Wait, with More, says that the app prepares the next page, such as the file of a bulk operation, and that asking sooner is no use.
	// What was read is kept, and the next Fetch comes after that long, by a durable timer. The engine clamps it to MaxWait.
	Wait time.Duration
	// Calls is how many calls to the app this Fetch made besides the one that every Fetch makes. They are charged to the Definition's own Budget
	// afterwards, also where a Pacer had the one taken from another: searches find, and what they found is read by calls of the general kind.
	// Beside an error it says so of the calls that were made, and Allowed counts, too.
	Calls int
	// Allowed, when set, is what the app's answer said that it allows this account now. It stands for the budget of that Name from then on, for
	// all workers, until another answer says otherwise.
	Allowed *Budget
}

// Pacer is a Source whose calls count against more than one budget of the account, such as one of searches.
type Pacer interface {
	// Budget names the budget that the one call is taken from that every Fetch of req makes; see Page.Calls for the others. Fast, no I/O.
	Budget(req FetchRequest) Budget
}

// Receiver is a source that can be pushed to.
type Receiver interface {
	// Receive authenticates the raw bytes before it parses them. A wrong, missing or stale signature,
	// or a missing secret, is an *Error of kind Unauthorized (the sender gets 401); a body that is
	// authentic but can't be understood is Invalid (400). Fast, no I/O, called from many goroutines.
	Receive(ctx context.Context, d Delivery) (Received, error)
}

// Delivery is one webhook request as it came.
type Delivery struct {
	Method string
	// URL is the public URL that the sender called, with query.
	URL        string
	Header     http.Header
	Body       []byte
	ReceivedAt time.Time
}

// Received is what an authentic delivery holds.
type Received struct {
	Records []Record
	// Accounts, for an app-wide URL, names for each record the app's account that it belongs to; nil
	// where the URL belongs to one installation.
	Accounts []string
	// Unusable are the parts of the delivery that no record can be made of, such as one malformed event of a hundred. They go to quarantine, and
	// the delivery is accepted: an app that has one answer for all sends all again, and in the end gives up the good ones too.
	Unusable []Unusable
	// Reply, when set, is sent instead of an empty 200: the answer to a challenge. It is sent only
	// after the records, if any, are durable.
	Reply *Reply
}

// Unusable is an authentic part of a delivery that can't be understood.
type Unusable struct {
	// Account, for an app-wide URL, is the app's account that it belongs to; "" = it does not say.
	Account string
	// Reason says in plain words what is the matter with it, and quotes nothing of it (I7).
	Reason string
	// Data is the part byte for byte as it came, which is JSON.
	Data []byte
}

// Reply is an HTTP answer to a webhook sender.
type Reply struct {
	Status      int
	ContentType string
	Body        []byte
}

// Completer is a Receiver whose webhooks are thin: they say what changed and hold little or nothing of it.
type Completer interface {
	// Completes says whether the block wants whole objects; false: records go on as they were received, and Complete is not called.
	Completes() bool
	// Complete reads the objects that received records of one stream are about, each once however many records name it, and returns a
	// record for each object found, with the Data, Version and ID that a poll would have given it (I1). What holds its content already or names no
	// object that can be read, such as a deletion, is returned as it came. Like Fetch it is a pure read that does not retry, sleep or write; an error
	// makes the engine come again with all of the records.
	Complete(ctx context.Context, records []Record) ([]Record, error)
	// CompleteCalls is how many calls to the app Complete makes for these records as things are, such as one for each hundred objects; it may be
	// more than come to pass where the app refuses one. The first is taken from the Definition's own Budget before Complete, the others are
	// charged to it afterwards, whatever became of them. Fast, no I/O.
	CompleteCalls(records []Record) int
}

// MaxComplete is how many records one Complete gets at most.
const MaxComplete = 1000

// Subscriber registers the app's webhooks at install, repairs them while running and removes them at
// uninstall. All three are idempotent. A source whose webhooks are set up by hand is no Subscriber.
type Subscriber interface {
	// Subscribe makes the app call req.URL for req.Streams: it creates what is missing, leaves what is
	// right, and removes subscriptions of that URL for other streams.
	Subscribe(ctx context.Context, req SubscribeRequest) ([]Subscription, error)
	// Subscriptions lists what the app now has for req.URL.
	Subscriptions(ctx context.Context, req SubscribeRequest) ([]Subscription, error)
	// Unsubscribe removes everything that calls req.URL; nothing to remove is success.
	Unsubscribe(ctx context.Context, req SubscribeRequest) error
}

// SubscribeRequest names the webhooks of one installation, or of an app where Definition.AppWide.
type SubscribeRequest struct {
	URL     string
	Streams []string
}

// Subscription is a webhook that the app has registered.
type Subscription struct {
	ID     string
	Stream string
	// Topic is the app's own name of it.
	Topic string
}

// Checker proves credentials and settings and changes nothing. What opens as a Source, Receiver or
// Destination may implement it; the message of its *Error says what to grant or correct.
type Checker interface {
	Check(ctx context.Context) error
}
