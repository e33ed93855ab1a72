package workflows

import (
	"encoding/json"
	"slices"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// write starts the next batch of each lane that has something to do and nothing in flight.
func (r *run) write() {
	now := r.now()
	kept := r.state.Lanes[:0:0]
	for _, l := range r.state.Lanes {
		if r.writing[l.Name] {
			kept = append(kept, l)
			continue
		}
		if r.through(l) && r.state.Closing == nil {
			continue // it is gone; a summary still names it
		}
		kept = append(kept, l)
		r.spill(l)
		if l.Batch == nil && !l.Removed && !r.state.Paused {
			r.skip(l)
			l.Batch = r.freeze(l, now)
		}
		if r.ready(l, now) {
			r.send(l)
		}
	}
	r.state.Lanes = kept
}

// ready says that the lane's batch may be tried now. Quarantine asks nothing of the destination and keeps the backlog
// limited, also of an installation that is paused.
func (r *run) ready(l *Lane, now time.Time) bool {
	switch {
	case l.Batch == nil:
		return false
	case l.Batch.Spill != nil:
		return !l.Batch.Quarantine.waits(now)
	}
	return !r.state.Paused && !l.waits(now)
}

// waits says that a lane or stream must not be tried now.
func (t *Trouble) waits(now time.Time) bool { return t.Stopped || now.Before(t.RetryAt) }

// skip passes over entries at the front that are not for the lane, without an activity.
func (r *run) skip(l *Lane) {
	// The plan does not know what a removed lane takes; the activity finds that in the lane's last revision.
	lp, known := r.plan.lane(l.Name)
	r.passed(l)
	for _, e := range r.state.Queue {
		if e.End() <= l.Next {
			continue
		}
		if e.First > l.Next || (e.Lane == "" && (e.Level > 0 || !known || lp.Takes(e.Stream))) || e.Lane == l.Name {
			return
		}
		l.Next = e.End()
		r.passed(l)
	}
}

// freeze cuts the next batch when records, bytes or age say so. From then on it is repeated as it is.
func (r *run) freeze(l *Lane, now time.Time) *Batch {
	lp, ok := r.plan.lane(l.Name)
	if !ok || l.Removed {
		return nil
	}
	limit := int64(lp.Records)
	if l.Limit > 0 {
		limit = min(limit, l.Limit)
	}
	b, full := r.cut(l, limit, lp.Bytes)
	if b == nil || full || l.Flush > b.First || !now.Before(r.oldest(l).Add(lp.Age)) {
		return b
	}
	if _, owed := r.lag(l); owed >= r.plan.Backlog || r.state.Backlogged {
		return b // waiting for more would wait for ever: nothing more is taken in
	}
	return nil
}

// cut makes a batch of what comes next, of so many records and bytes at most and one record at least; full says that
// there is no room in it for more. Nil where nothing is owed.
func (r *run) cut(l *Lane, records, size int64) (b *Batch, full bool) {
	b = &Batch{First: l.Next, Next: l.Next, Revision: r.plan.Revision}
	end := r.state.Head
	if l.Removed {
		if b.Revision = l.Revision; len(l.Owed) == 0 {
			return nil, false
		}
		end = l.Owed[0].Next
	}
	var bytes int64
	for _, e := range r.state.Queue {
		if e.End() <= l.Next || e.First >= end {
			continue
		}
		n := min(e.End(), end) - max(e.First, l.Next)
		each := max(e.Bytes/int64(e.Records), 1)
		if room := (size - bytes) / each; room < n {
			n, full = room, true
		}
		if room := records - (b.Next - b.First); room <= n {
			n, full = room, true
		}
		b.Next += n
		bytes += n * each
		if full {
			break
		}
	}
	if b.Next == b.First {
		if !full {
			return nil, false
		}
		b.Next++ // one record over the byte limit goes by itself
	}
	return b, full
}

// oldest is when the first of what the lane has to settle came.
func (r *run) oldest(l *Lane) time.Time {
	for _, e := range r.state.Queue {
		if e.End() > l.Next {
			return time.UnixMilli(e.At)
		}
	}
	return time.Time{}
}

// laneDue is when the lane is to be looked at although nothing happens.
func (r *run) laneDue(l *Lane) time.Time {
	if l.Batch != nil && l.Batch.Spill != nil {
		return l.Batch.Quarantine.RetryAt
	}
	if r.state.Paused || l.Stopped {
		return time.Time{}
	}
	if l.Batch != nil {
		return l.RetryAt
	}
	if lp, ok := r.plan.lane(l.Name); ok && !l.Removed {
		if at := r.oldest(l); !at.IsZero() {
			return at.Add(lp.Age)
		}
	}
	return time.Time{}
}

// spill sends what an optional lane owes to quarantine when its backlog is full; a required one makes the
// installation wait instead (see gauge). So goes, too, what a removed lane owes.
func (r *run) spill(l *Lane) {
	lp, ok := r.plan.lane(l.Name)
	switch {
	case l.Batch != nil && l.Batch.Spill != nil:
		return
	case l.Removed:
		r.spillRemoved(l)
		return
	case !ok || !lp.Optional:
		return
	}
	if _, bytes := r.lag(l); bytes <= r.plan.Backlog {
		return
	}
	why := &activities.Failure{Kind: connectors.Unavailable, Message: "the backlog of this optional destination is full"}
	if l.Failure != nil {
		why.Kind, why.Message = l.Failure.Kind, why.Message+": "+l.Failure.Message
	}
	if l.Batch == nil {
		r.skip(l)
		l.Batch = r.freeze(l, r.now())
	}
	if l.Batch != nil {
		l.Batch.Spill = why
	}
}

// maxSpans bounds what all lanes together remember of batches that are half done (I10); the rest is sent again.
const maxSpans = 256

// send starts the write of the lane's frozen batch.
func (r *run) send(l *Lane) {
	b := l.Batch
	if _, ok := r.plan.lane(l.Name); ok && l.Failures > 0 && b.Spill == nil {
		// What fails by a definition that was replaced since may be what the new one mends.
		b.Revision = r.plan.Revision
	}
	in := activities.WriteInput{
		Target: r.target(b.Revision), Lane: l.Name, First: max(b.First, l.Next), Next: b.Next,
		Settled: b.Settled, Entries: r.overlapping(max(b.First, l.Next), b.Next),
		Spans: max(maxSpans/len(r.state.Lanes), 1),
	}
	if b.Spill != nil {
		in.Spill, in.SpillKind = b.Spill.Message, b.Spill.Kind
	}
	for _, s := range r.state.Streams {
		if s.Extra != "" {
			if in.Extra == nil {
				in.Extra = make(map[string]string)
			}
			in.Extra[s.Name] = s.Extra
		}
	}
	r.writing[l.Name] = true
	done := func(f activityFuture) {
		delete(r.writing, l.Name)
		var out activities.WriteOutput
		if err := f.Get(r.ctx, &out); err != nil {
			out = activities.WriteOutput{Next: l.Next, Settled: b.Settled, Failure: &activities.Failure{Kind: connectors.Unknown, Message: plain(err)}}
		}
		r.wrote(l, out)
	}
	if r.writesLocally(l, in) {
		in.Time = localTime
		r.startLocal(activities.WriteName, "write to "+l.Name, in, done)
		return
	}
	r.start(activities.WriteName, "write to "+l.Name, in, r.long(), done)
}

const (
	// What is small and goes to a destination that works and is quick is written within the workflow's own task: that spares Temporal
	// two thirds of what a batch costs it, and the history most of its events. A batch is small up to so many records and bytes.
	localRecords = 1000
	localBytes   = 1 << 20
	// localTime bounds such a write. What is not durable by then comes again, as an activity of its own.
	localTime = time.Second
	// slowTime is from when on a write counts as slow: the task that it is in holds up the installation's other lanes and its Updates.
	slowTime = 250 * time.Millisecond
)

// writesLocally says whether the write is one for a local activity.
func (r *run) writesLocally(l *Lane, in activities.WriteInput) bool {
	if r.in.Generation < localWrites || l.Failures > 0 || l.Slow || l.Removed || in.Spill != "" || r.state.Closing != nil || in.Next-in.First > localRecords {
		return false
	}
	var bytes int64
	for _, e := range in.Entries {
		if bytes += e.Bytes; e.Level > 0 || bytes > localBytes {
			return false
		}
	}
	return true
}

// wrote books what an attempt settled, and what its failure, by kind, asks for (I9).
func (r *run) wrote(l *Lane, out activities.WriteOutput) {
	b, first := l.Batch, l.Next
	l.Slow = out.Took > slowTime
	l.Delivered += out.Delivered
	l.Bytes += out.Bytes
	l.Filtered += out.Filtered
	l.Recognised += out.Recognised
	l.Quarantined += out.Quarantined
	l.Expired += out.Expired
	if out.Delivered > 0 {
		l.DeliveredAt = r.now()
	}
	l.Next = max(l.Next, min(out.Next, b.Next))
	b.Settled = out.Settled
	if l.Next >= b.Next {
		l.Batch = nil
		if lp, _ := r.plan.lane(l.Name); l.Limit > 0 {
			if l.Limit *= 2; l.Limit >= int64(lp.Records) {
				l.Limit = 0
			}
		}
	}
	if out.Failure == nil && l.Batch != nil {
		out.Failure = &activities.Failure{Kind: connectors.Unknown, Message: "a write ended without an outcome for every record"}
	}
	if out.Delivered+out.Quarantined > 0 {
		b.Quarantine.Failures = 0
		if b.Spill == nil {
			l.Failures = 0 // it works, if haltingly: the pause does not grow
		}
	}
	switch {
	case b.Spill != nil:
		// Quarantine says nothing about the destination: what is the matter with that stays.
		if out.Failure != nil {
			r.retry(&b.Quarantine, out.Failure)
		}
	case out.Failure == nil:
		l.Trouble = Trouble{}
	case out.Failure.Kind == connectors.TooLarge && l.Batch != nil:
		r.split(l, first, out.Failure)
	default:
		r.fail(&l.Trouble, out.Failure)
	}
}

// split comes again with half; what is too large by itself goes to quarantine. The attempt began with the ordinal first: what it has left of
// several was not by itself.
func (r *run) split(l *Lane, first int64, f *activities.Failure) {
	b := l.Batch
	n := b.Next - l.Next
	if n <= 1 {
		if l.Next == first || r.in.Generation < lastAlone {
			b.Spill = f
		}
		return
	}
	b.Next = l.Next + n/2
	l.Limit = n / 2
	settled := b.Settled[:0:0]
	for _, s := range b.Settled {
		if s.First < b.Next {
			settled = append(settled, activities.Span{First: s.First, Next: min(s.Next, b.Next)})
		}
	}
	b.Settled = settled
}

// fail books a failure: kinds that stop wait for somebody, the rest is tried again.
func (r *run) fail(t *Trouble, f *activities.Failure) {
	r.retry(t, f)
	if f.Kind.Stops() {
		t.Stopped, t.RetryAt = true, time.Time{}
	}
}

// retry books a failure and backs off, no shorter than was asked for.
func (r *run) retry(t *Trouble, f *activities.Failure) {
	now := r.now()
	if t.Failures == 0 {
		t.FailedAt = now
	}
	t.Failures++
	f.Message = r.clip(f.Message)
	t.Failure = f
	d := r.timing.MaxBackoff
	if n := t.Failures - 1; n < 20 {
		d = min(r.timing.Backoff<<n, d)
	}
	t.RetryAt = now.Add(max(d+r.jitter(d/4, t.Failures), f.Wait))
}

// maxTexts bounds the texts of failures, in bytes.
const maxTexts = 24 << 10

// clip keeps a text so short that the state stays small though every lane and stream has one (I10). In JSON a character
// may take six bytes.
func (r *run) clip(s string) string {
	limit := min(500, maxTexts/(len(r.state.Lanes)+len(r.state.Streams)+1))
	s = connectors.Clip(s, limit)
	for {
		if b, err := json.Marshal(s); err != nil || len(b) <= limit+limit/4 {
			return s
		}
		s = connectors.Clip(s, len(s)*3/4)
	}
}

// gauge finds out whether a required lane owes so much, what waits to be completed for it included, that nothing more may be read. It begins at the limit and ends well
// below it, so that a destination that just keeps up does not have polling and the receiver go on and off.
func (r *run) gauge() {
	limit := r.plan.Backlog
	if r.state.Backlogged {
		limit -= limit / 5
	}
	_, waiting := r.waiting()
	r.state.Backlogged = waiting >= limit || slices.ContainsFunc(r.state.Lanes, func(l *Lane) bool {
		lp, ok := r.plan.lane(l.Name)
		if !ok || lp.Optional {
			return false
		}
		_, bytes := r.lag(l)
		return bytes+waiting >= limit
	})
}
