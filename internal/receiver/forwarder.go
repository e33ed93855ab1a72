package receiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"tributary/internal/catalog"
	"tributary/internal/journal"
	"tributary/internal/segment"
	"tributary/workflows"
)

// The forwarder hands over exactly once although signals can be sent twice and the process can die anywhere:
//
//	 1. It reads the journal and keeps what it read per epoch.
//	 2. When an epoch's turn comes, it seals all that is there, one segment a stream.
//	 3. It binds itself to that by an intent: an Arrival with the range of journal indexes, durable in the journal.
//	 4. It signals the Arrival until it is taken, one at a time for each epoch, in the order of From; those that wait go together.
//	 5. The journal's tail moves up to the first entry that is neither covered by an intent that was taken, nor one
//	    that is still to be.
//
// After a crash between 2 and 3 the segments are orphans, which the janitor sweeps, and the records are sealed again
// under other names. After a crash past 3 the intent is found and sent as it was, and what it covers is never
// sealed again; so ranges never overlap in part, and the workflow's mark tells a repetition from something new.

// ErrAgain is what a Signaler says when the workflow may or may not have the Arrival: it is closing, was sent too many
// signals, or nobody answered. The same Arrival is sent again. Errors that are neither this nor ErrEnded mean it too.
var ErrAgain = errors.New("signal again later")

// ErrEnded is what a Signaler says when there is no such workflow, and so will never be.
var ErrEnded = errors.New("the workflow has ended")

// Signaler hands an Arrival to an installation's workflow and returns when the workflow has it for sure.
type Signaler interface {
	Signal(ctx context.Context, installation string, a workflows.Arrival) error
}

// Log is what the forwarder needs of the journal.
type Log interface {
	ID() string
	Append(ctx context.Context, entry []byte) (index uint64, err error)
	AppendAll(ctx context.Context, entries [][]byte) (first uint64, err error)
	Read(from uint64, maxBytes int) ([]journal.Entry, error)
	Bounds() (first, next uint64)
	Wait(ctx context.Context, from uint64) error
	TruncateBefore(index uint64) error
	Size() int64
}

// Store is what the forwarder needs of the segment store.
type Store interface {
	Seal(ctx context.Context, n segment.Name, b *segment.Builder) (segment.Ref, error)
	Load(ctx context.Context, name string) (*segment.Segment, error)
}

// Epochs is what the forwarder needs of the catalog, when a workflow is gone.
type Epochs interface {
	InstallationByEpoch(ctx context.Context, epoch string) (catalog.Installation, error)
	Marks(ctx context.Context, epoch string) (map[string]uint64, time.Duration, error)
	Quarantine
}

// ForwarderConfig is what a Forwarder is made of.
type ForwarderConfig struct {
	Journal  Log
	Store    Store
	Catalog  Epochs
	Signaler Signaler
	Metrics  *Metrics
	Log      *slog.Logger

	// InFlight is how many installations are forwarded to at once. 0 = 32.
	InFlight int
	// WaitingBytes bounds what is read and not sealed; past it the largest are parked in segments. 0 = 64 MiB.
	WaitingBytes int64
	// ParkBytes is how much of the journal one installation may hold back before what holds it is parked: sealed, or,
	// where that is done, its intent written again at the head. 0 = 64 MiB. Intents together take at most a quarter of it;
	// past that the forwarder reads no more and the journal fills. What waits shares memory with what was read beside it, so
	// that the forwarder takes up to this and WaitingBytes.
	ParkBytes int64
	// SignalTime bounds one signal. 0 = 10 s.
	SignalTime time.Duration
	// MinRest and MaxRest bound the growing pause after a signal that must come again. 0 = 50 ms and 15 s.
	MinRest, MaxRest time.Duration
	// Gap is how long, at most, the next signal to an installation waits after one that brought many records, so that load makes
	// larger batches and not more signals. An installation to which little comes is signalled at once. 0 = 250 ms.
	Gap time.Duration
	// Sweep is how often the tail is moved. 0 = 1 s.
	Sweep time.Duration
}

// Forwarder takes records from one journal to the workflows. A journal has one forwarder.
type Forwarder struct {
	ForwarderConfig
	id string

	mu       sync.Mutex
	queues   map[string]*queue // by epoch; an epoch with nothing to forward has none
	ready    []*queue          // whose turn comes, in the order of coming
	inFlight int               // with those that pause
	pace     pace
	parking  int
	next     uint64 // the journal index to be read next
	offset   int64  // bytes read so far
	waiting  int64  // bytes in all queues' waiting
	pledged  int64  // bytes of all queues' intents, encoded
	intents  int
	acked    acks // since the last acks entry
	covered  acks // found at the start: the last index of each epoch that an intent covers; nothing past end
	end      uint64
	changed  chan struct{} // closed when something did
	failed   error         // what ended Run

	stop     context.CancelCauseFunc
	work     sync.WaitGroup
	sweeping sync.Mutex
}

const (
	readBytes = 1 << 20
	// maxParking is how many queues are parked at once, besides those whose turn it is.
	maxParking = 4
)

// NewForwarder makes a forwarder that Run starts.
func NewForwarder(cfg ForwarderConfig) (*Forwarder, error) {
	if cfg.Journal == nil || cfg.Store == nil || cfg.Catalog == nil || cfg.Signaler == nil || cfg.Metrics == nil {
		return nil, errors.New("forwarder: journal, store, catalog, signaler and metrics are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	fill(&cfg.InFlight, 32)
	fill(&cfg.WaitingBytes, 64<<20)
	fill(&cfg.ParkBytes, 64<<20)
	fill(&cfg.SignalTime, 10*time.Second)
	fill(&cfg.MinRest, 50*time.Millisecond)
	fill(&cfg.MaxRest, 15*time.Second)
	fill(&cfg.Gap, 250*time.Millisecond)
	fill(&cfg.Sweep, time.Second)
	return &Forwarder{
		ForwarderConfig: cfg,
		id:              cfg.Journal.ID(),
		queues:          map[string]*queue{},
		acked:           acks{},
		changed:         make(chan struct{}),
	}, nil
}

// Run forwards until ctx ends, which it does at once: what was not taken is found again in the journal. For an orderly
// stop call Flush before. Its error says why forwarding can't go on at all; it is nil when ctx ended.
func (f *Forwarder) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	f.mu.Lock()
	f.stop = stop
	f.mu.Unlock()
	if err := f.recover(); err != nil {
		return fmt.Errorf("forwarder: recover: %w", err)
	}
	f.mu.Lock()
	f.dispatch(ctx)
	f.mu.Unlock()
	f.work.Go(func() { f.sweepEvery(ctx) })
	if err := f.read(ctx); err != nil {
		f.fail(err)
	}
	f.mu.Lock()
	f.broadcast()
	f.mu.Unlock()
	f.work.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return fmt.Errorf("forwarder: %w", f.failed)
	}
	return nil
}

// fail ends Run with err.
func (f *Forwarder) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil {
		f.failed = err
	}
	f.stop(err)
}

// read reads the journal from its tail for ever.
func (f *Forwarder) read(ctx context.Context) error {
	for {
		f.mu.Lock()
		next := f.next
		f.mu.Unlock()
		if err := f.Journal.Wait(ctx, next); err != nil {
			return unlessDone(ctx, fmt.Errorf("wait for the journal: %w", err))
		}
		entries, err := f.Journal.Read(next, readBytes)
		if errors.Is(err, journal.ErrDamaged) {
			// Waiting for it would hold back everybody for ever. Was it an intent, then what it covers comes again.
			f.ForwarderConfig.Log.Error("the disk has destroyed a journal entry: what it held is lost; have the sender send again or poll", "entry", next, "error", err)
			f.Metrics.damaged.Inc()
			f.mu.Lock()
			f.next++
			f.mu.Unlock()
			continue
		}
		if err != nil {
			return unlessDone(ctx, fmt.Errorf("read the journal: %w", err))
		}
		f.mu.Lock()
		for _, e := range entries {
			if err := f.admit(e); err != nil {
				f.mu.Unlock()
				return fmt.Errorf("journal entry %d: %w", e.Index, err)
			}
		}
		f.dispatch(ctx)
		f.broadcast()
		f.mu.Unlock()
		if !f.room(ctx) {
			return nil
		}
	}
}

// unlessDone is err, or nil when it came of ctx having ended.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// admit takes an entry that was read into its epoch's queue. f.mu is held.
func (f *Forwarder) admit(e journal.Entry) error {
	if len(e.Data) == 0 {
		return errTruncated
	}
	if e.Index >= f.end {
		f.covered = nil
	}
	f.next = e.Index + 1
	f.offset += int64(len(e.Data))
	switch e.Data[0] {
	case entryIntent, entryAcks, entryProbe:
		return nil // this forwarder's own, or read by recover
	case entryRecords:
	default:
		return fmt.Errorf("unknown kind %d: a newer release wrote it; run that one", e.Data[0])
	}
	h, err := decodeHeader(e.Data[1:])
	if err != nil {
		return err
	}
	if e.Index <= f.covered[h.epoch] {
		return nil
	}
	q := f.queue(h.epoch, h.installation)
	q.waiting = append(q.waiting, entry{recordsHeader: h, index: e.Index, offset: f.offset})
	q.waitingBytes += int64(len(h.body))
	f.waiting += int64(len(h.body))
	f.enqueue(q)
	return nil
}

// room waits until there is memory for more, parking what takes most of it; false = ctx ended.
func (f *Forwarder) room(ctx context.Context) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.waiting >= f.WaitingBytes || f.pledged >= f.ParkBytes/4 {
		for f.waiting >= f.WaitingBytes && f.parkLargest(ctx) {
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return false
		}
	}
	return ctx.Err() == nil
}

// dispatch starts as many turns as may be in flight. f.mu is held.
func (f *Forwarder) dispatch(ctx context.Context) {
	for f.inFlight < f.InFlight && len(f.ready) > 0 && ctx.Err() == nil {
		q := f.ready[0]
		f.ready = f.ready[1:]
		q.queued = false
		if !q.wants() {
			continue
		}
		q.sending = true
		// What waits goes with the intents that are there, unless these can't be handed over.
		seals := len(q.intents) == 0 || len(q.waiting) > 0 && !q.sealing && q.failures == 0 && len(q.intents) < workflows.MaxArrivalParts
		if seals {
			q.sealing = true
		}
		f.inFlight++
		f.work.Go(func() { f.turn(ctx, q, seals) })
	}
}

// turn hands over the queue's next intent, sealing it first when there is none.
func (f *Forwarder) turn(ctx context.Context, q *queue, seals bool) {
	var err error
	var records int
	if seals {
		err = f.seal(ctx, q)
	}
	f.mu.Lock()
	some := len(q.intents) > 0
	f.mu.Unlock()
	start := time.Now()
	if some { // also when what else waits could not be sealed: that is tried again in the next turn
		records, err = f.hand(ctx, q)
	}
	took := time.Since(start)
	f.mu.Lock()
	defer f.mu.Unlock()
	q.sending = false
	var pause time.Duration
	switch {
	case err == nil:
		q.failures = 0
		pause = f.pace.pause(took)
		f.space(ctx, q, records)
		f.enqueue(q)
	case ctx.Err() == nil:
		f.rest(ctx, q, err)
	}
	f.leave(ctx, pause)
	f.forget(q)
	f.dispatch(ctx)
	f.broadcast()
}

// leave gives a turn's place to the next one, after a pause that ends early when it is no use. f.mu is held.
func (f *Forwarder) leave(ctx context.Context, pause time.Duration) {
	if pause <= 0 {
		f.inFlight--
		return
	}
	part, before := min(pause, look), f.offset
	time.AfterFunc(part, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		left := pause - part
		if !f.loaded(f.offset-before, part) {
			left = 0
		}
		f.leave(ctx, left)
		f.dispatch(ctx)
	})
}

// loaded says that the load goes on that pauses are for, of which so many bytes were read within a time. What is not read yet, for want of room, comes as
// surely. f.mu is held.
func (f *Forwarder) loaded(read int64, within time.Duration) bool {
	_, next := f.Journal.Bounds()
	return next > f.next || worthwhile(read, within, f.waiting)
}

// spacing is how long each record in a signal holds back the next one, up to Gap. From 400 records a second on that is all of Gap.
const spacing = 2500 * time.Microsecond

// space lets a queue gather before its next turn, the longer the more it has just handed over, unless that could not make the
// next batch larger. f.mu is held.
func (f *Forwarder) space(ctx context.Context, q *queue, handed int) {
	if handed == 0 || len(q.intents) > 0 || len(q.waiting) >= maxIntentRecords {
		return
	}
	q.gathering = true
	time.AfterFunc(min(time.Duration(handed)*spacing, f.Gap), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		q.gathering = false
		f.enqueue(q)
		f.forget(q)
		f.dispatch(ctx)
		f.broadcast()
	})
}

// rest lets a queue wait before its next turn, longer each time. f.mu is held.
func (f *Forwarder) rest(ctx context.Context, q *queue, err error) {
	pause := min(f.MinRest<<min(q.failures, 20), f.MaxRest)
	pause = pause/2 + rand.N(pause/2+1)
	q.failures++
	if q.failures == 6 {
		f.ForwarderConfig.Log.Warn("an installation can't be reached; its records wait", "installation", q.installation, "epoch", q.epoch, "error", err)
	}
	q.resting = true
	time.AfterFunc(pause, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		q.resting = false
		f.enqueue(q)
		f.dispatch(ctx)
	})
}

// hand signals the queue's oldest intents and takes them off when the workflow has them, or quarantine. It returns how many records
// that were.
func (f *Forwarder) hand(ctx context.Context, q *queue) (records int, err error) {
	f.mu.Lock()
	intents := together(q.intents)
	f.mu.Unlock()
	arrival := intents[0].Arrival
	for _, it := range intents[1:] {
		arrival.More = append(arrival.More, workflows.Part{From: it.From, To: it.To, Segments: it.Segments})
	}
	for _, it := range intents {
		records += it.records()
	}
	start := time.Now()
	signal, cancel := context.WithTimeout(ctx, f.SignalTime)
	err = f.Signaler.Signal(signal, q.installation, arrival)
	cancel()
	f.Metrics.signalTook.Observe(time.Since(start).Seconds())
	switch {
	case err == nil:
		f.Metrics.signals.WithLabelValues("taken").Inc()
		f.Metrics.forwarded.Add(float64(records))
		f.Metrics.delay.Observe(time.Since(arrival.At).Seconds())
	case errors.Is(err, ErrEnded):
		f.Metrics.signals.WithLabelValues("ended").Inc()
		for _, it := range intents {
			if err := f.ended(ctx, it); err != nil {
				return 0, err
			}
		}
	default:
		f.Metrics.signals.WithLabelValues("again").Inc()
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range intents {
		f.pledged -= it.size
		f.acked[it.Epoch] = it.To
	}
	q.intents = q.intents[len(intents):]
	f.intents -= len(intents)
	return records, nil
}

// together are the first of the intents that go with one signal.
func together(intents []*intent) []*intent {
	n, size := 1, intents[0].size
	for n < len(intents) && n < workflows.MaxArrivalParts && size+intents[n].size <= workflows.MaxPartsBytes {
		size += intents[n].size
		n++
	}
	return append([]*intent(nil), intents[:n]...)
}

// broadcast wakes those who wait for something to have changed. f.mu is held.
func (f *Forwarder) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Flush waits until all that is in the journal was handed over, but for installations that can't be reached, and moves the
// tail. It is for when nothing more is written. Its error is that of ctx.
func (f *Forwarder) Flush(ctx context.Context) error {
	for {
		f.mu.Lock()
		_, end := f.Journal.Bounds()
		changed, done := f.changed, f.next >= end || f.failed != nil
		for _, q := range f.queues {
			done = done && q.resting
		}
		f.mu.Unlock()
		if done {
			return f.sweep(ctx)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
