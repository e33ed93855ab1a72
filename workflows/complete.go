package workflows

import (
	"fmt"
	"slices"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// Where the source completes thin webhooks, what arrives waits in a sequence of its own until Complete has read the objects that it is
// about; what comes of it then enters the lanes. In that sequence a stream is what a lane is in the other: it takes what is its own, in order
// and one batch at a time, so that of two changes of one object the later stays the later (I5), and a stream that the app refuses delays no other.
// Old references roll into manifests, what waits counts towards the backlog, and low-water marks keep its segments.

// Completing is what waits to be completed.
type Completing struct {
	// On says that the source completes what comes; what waits is seen to in any case.
	On bool `json:"on,omitempty"`
	// Head is the next ordinal among what waits, which is not that of the lanes.
	Head    int64              `json:"head,omitempty"`
	Queue   []activities.Entry `json:"queue,omitempty"`
	Streams []*Completion      `json:"streams,omitempty"`
	// Sequence numbers what was sealed.
	Sequence uint64 `json:"sequence,omitempty"`
	// Taken counts records that were completed, Made those that came of them, Refused those that went to quarantine as they came.
	Taken   int64 `json:"taken,omitempty"`
	Made    int64 `json:"made,omitempty"`
	Refused int64 `json:"refused,omitempty"`
	// Failure is the latest, and FailedStream whose it is: streams mostly fail for one reason, and each text takes room (I10).
	Failure      *activities.Failure `json:"failure,omitempty"`
	FailedStream string              `json:"failed_stream,omitempty"`
}

// Completion is what waits of a stream. It goes when nothing does. There may be as many as streams, so its names are short (I10).
type Completion struct {
	Stream string `json:"s"`
	// Next is the ordinal below which everything of the stream is completed.
	Next int64 `json:"n"`
	// Records and Bytes wait.
	Records int64 `json:"r,omitempty"`
	Bytes   int64 `json:"b,omitempty"`
	// Failures in a row, the kind of the last, and when it is tried again, in Unix milliseconds; Stopped: when somebody changed something.
	Failures int             `json:"f,omitempty"`
	Kind     connectors.Kind `json:"k,omitempty"`
	RetryAt  int64           `json:"a,omitempty"`
	Stopped  bool            `json:"h,omitempty"`
	// GivenUp says that what is left goes to quarantine: what stood in the way of completing it does not stand in the way of that.
	GivenUp bool `json:"g,omitempty"`
}

func (c *Completion) waits(now time.Time) bool { return c.Stopped || now.UnixMilli() < c.RetryAt }

// again lets it be tried at once.
func (c *Completion) again() { c.Stopped, c.RetryAt = false, 0 }

// retryAt is when it is tried again; zero = nothing is waited for.
func (c *Completion) retryAt() time.Time {
	if c.RetryAt == 0 {
		return time.Time{}
	}
	return time.UnixMilli(c.RetryAt)
}

// trouble is what keeps the stream from being completed, in words.
func (r *run) trouble(c *Completion) Trouble {
	t := Trouble{Failures: c.Failures, RetryAt: c.retryAt(), Stopped: c.Stopped}
	if w := &r.state.Completing; c.Failures > 0 {
		if t.Failure = w.Failure; w.Failure == nil || w.FailedStream != c.Stream {
			t.Failure = &activities.Failure{Kind: c.Kind, Message: string(c.Kind)}
		}
	}
	return t
}

// failed books a failure.
func (r *run) failed(c *Completion, f *activities.Failure) {
	t := Trouble{Failures: c.Failures}
	r.fail(&t, f)
	c.Failures, c.Kind, c.Stopped, c.RetryAt = t.Failures, f.Kind, t.Stopped, 0
	if !t.RetryAt.IsZero() {
		c.RetryAt = t.RetryAt.UnixMilli()
	}
	w := &r.state.Completing
	w.Failure, w.FailedStream = f, c.Stream
}

const (
	// completeRecords and completeEntries bound what one activity is given.
	completeRecords = 10 * connectors.MaxComplete
	completeEntries = 128
	// maxWaiting is what maxQueue is, for what waits to be completed.
	maxWaiting = 8 << 10
	// What waits takes room that other parts of the state give up meanwhile.
	halfQueue, halfBookmarks = maxQueue / 2, maxBookmarks / 2
)

func (c *Completing) stream(name string) *Completion {
	for _, s := range c.Streams {
		if s.Stream == name {
			return s
		}
	}
	return nil
}

// await has what a webhook brought wait, behind what waits already; false: it enters the lanes at once.
func (r *run) await(e activities.Entry) bool {
	w := &r.state.Completing
	c := w.stream(e.Stream)
	if c == nil && !w.On {
		return false
	}
	if e.Records <= 0 {
		return true
	}
	if c == nil {
		c = &Completion{Stream: e.Stream, Next: w.Head}
		w.Streams = append(w.Streams, c)
	}
	e.First, e.At = w.Head, r.now().UnixMilli()
	w.Head += int64(e.Records)
	c.Records += int64(e.Records)
	c.Bytes += e.Bytes
	w.Queue = append(w.Queue, e)
	r.state.Received += int64(e.Records)
	return true
}

// waiting is what has yet to be completed.
func (r *run) waiting() (records, bytes int64) {
	for _, c := range r.state.Completing.Streams {
		records += c.Records
		bytes += c.Bytes
	}
	return records, bytes
}

// complete starts the next batch of each stream of which something waits and nothing is under way. With a reason to refuse, the rest goes to
// quarantine, whatever stands in the way of completing it.
func (r *run) complete(refuse *activities.Failure) {
	w := &r.state.Completing
	w.Streams = slices.DeleteFunc(w.Streams, func(c *Completion) bool { return r.completing[c.Stream] == 0 && r.completed(c) })
	if r.state.Paused || r.choked() && r.state.Closing == nil {
		return
	}
	now := r.now()
	for _, c := range w.Streams {
		if r.completing[c.Stream] != 0 {
			continue
		}
		if refuse != nil && !c.GivenUp {
			c.GivenUp = true
			c.again()
		}
		if !c.waits(now) {
			r.sendComplete(c, refuse)
		}
	}
}

// choked says that a required lane owes as much as one may: whole objects are larger than what waits for them, and would only add to it.
func (r *run) choked() bool {
	return slices.ContainsFunc(r.state.Lanes, func(l *Lane) bool {
		lp, ok := r.plan.lane(l.Name)
		_, bytes := r.lag(l)
		return ok && !lp.Optional && bytes >= r.plan.Backlog
	})
}

// completed passes over what is not of the stream and says whether nothing of it waits.
func (r *run) completed(c *Completion) bool {
	for _, e := range r.state.Completing.Queue {
		if e.End() <= c.Next {
			continue
		}
		if e.Level > 0 || e.Stream == c.Stream {
			return false
		}
		c.Next = e.End()
	}
	return true
}

// sendComplete starts a batch.
func (r *run) sendComplete(c *Completion, refuse *activities.Failure) {
	w := &r.state.Completing
	w.Sequence++
	sequence := w.Sequence
	in := activities.CompleteInput{
		Target: r.target(r.plan.Revision), Stream: c.Stream, First: c.Next, Next: c.Next, Sequence: sequence, Suffix: r.suffix(),
		Records: completeRecords, Bytes: r.timing.ChunkBytes, Time: r.timing.ChunkTime, Refuse: refuse,
	}
	records := 0
	for _, e := range w.Queue {
		if e.End() <= c.Next || e.Level == 0 && e.Stream != c.Stream {
			continue
		}
		in.Entries, in.Next = append(in.Entries, e), e.End()
		if records += e.Records; e.Level > 0 || records >= completeRecords || len(in.Entries) >= completeEntries {
			break
		}
	}
	r.completing[c.Stream] = sequence
	r.start(activities.CompleteName, "complete webhooks of "+c.Stream, in, r.long(), func(f activityFuture) {
		delete(r.completing, c.Stream)
		var out activities.CompleteOutput
		if err := f.Get(r.ctx, &out); err != nil {
			out = activities.CompleteOutput{Next: in.First, Failure: &activities.Failure{Kind: connectors.Unknown, Message: plain(err)}}
		}
		r.tookWhole(c, in, out)
	})
}

// tookWhole books a batch: what came of it enters the lanes, also beside a failure.
func (r *run) tookWhole(c *Completion, in activities.CompleteInput, out activities.CompleteOutput) {
	w := &r.state.Completing
	moved := out.Next > c.Next
	c.Next = max(c.Next, min(out.Next, in.Next))
	c.Records, c.Bytes = max(c.Records-out.Taken, 0), max(c.Bytes-out.Bytes, 0)
	w.Taken += out.Taken
	for _, p := range out.Parts {
		if p.Why != nil {
			p.Why.Message = connectors.Clip(r.clip(p.Why.Message), 200)
			w.Refused += int64(p.Records)
		} else {
			w.Made += int64(p.Records)
		}
		r.place(activities.Entry{Ref: p.Ref, Why: p.Why})
	}
	if len(out.Parts) > 0 {
		// To polls that reconcile, what was completed is one more journal that webhooks come from.
		r.state.pass(activities.Origin(activities.CompleteOrigin, in.Suffix), in.Sequence)
		r.flushWhole(in.First)
	}
	if out.Failure == nil && !moved {
		out.Failure = &activities.Failure{Kind: connectors.Unknown, Message: "completing ended without progress"}
	}
	if out.Failure == nil {
		c.Failures, c.Kind = 0, ""
		c.again()
		if w.FailedStream == c.Stream {
			w.Failure, w.FailedStream = nil, ""
		}
		return
	}
	if moved {
		c.Failures = 0 // it works, if haltingly: the pause does not grow
	}
	r.failed(c, out.Failure)
}

// flushWhole lets a flush that was asked for while records waited, from an ordinal on, deliver what came of them, too.
func (r *run) flushWhole(first int64) {
	for i := range r.state.Operations {
		op := &r.state.Operations[i]
		if op.Done || first >= op.Waiting {
			continue
		}
		op.Until = r.state.Head
		for _, l := range r.state.Lanes {
			if len(op.Lanes) == 0 || slices.Contains(op.Lanes, l.Name) {
				l.Flush = r.state.Head
			}
		}
	}
}

// waitsBelow says that something of what waited below an ordinal waits still. Queries ask it, so it changes nothing.
func (r *run) waitsBelow(ordinal int64) bool {
	w := &r.state.Completing
	return slices.ContainsFunc(w.Streams, func(c *Completion) bool {
		return slices.ContainsFunc(w.Queue, func(e activities.Entry) bool {
			return e.First < ordinal && e.End() > c.Next && (e.Level > 0 || e.Stream == c.Stream)
		})
	})
}

// trimWaiting forgets the entries that every stream has completed.
func (r *run) trimWaiting() {
	w := &r.state.Completing
	low := w.Head
	for _, c := range w.Streams {
		low = min(low, c.Next)
	}
	n := 0
	for n < len(w.Queue) && w.Queue[n].End() <= low {
		n++
	}
	if n > 0 {
		w.Queue = append([]activities.Entry(nil), w.Queue[n:]...)
		r.state.Moved = true
	}
}

// completeRest completes what waits when the installation is uninstalled, until there is no more time for it; then it goes to quarantine as it
// came. False: nothing waits.
func (r *run) completeRest(giveUp bool) bool {
	var why *activities.Failure
	if giveUp {
		why = &activities.Failure{Kind: connectors.Gone, Message: "uninstalled before the app completed the webhook"}
	}
	if !r.full() {
		r.complete(why)
	}
	return len(r.state.Completing.Streams) > 0
}

// leftWaiting says what could be neither completed nor put into quarantine.
func (r *run) leftWaiting() (left []string) {
	for _, c := range r.state.Completing.Streams {
		if c.Records > 0 {
			left = append(left, fmt.Sprintf("%d records of %s to be completed, in segments of epoch %s", c.Records, c.Stream, r.in.Epoch))
		}
	}
	return left
}

// completeDue is when a stream is to be completed again although nothing happens.
func (r *run) completeDue(c *Completion) time.Time {
	if r.state.Paused || c.Stopped || r.completing[c.Stream] != 0 || r.choked() && r.state.Closing == nil {
		return time.Time{}
	}
	return c.retryAt()
}
