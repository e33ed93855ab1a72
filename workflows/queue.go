package workflows

import (
	"slices"

	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/segment"
)

// arrive takes in an arrival, once: the forwarder repeats what it got no answer for (I2, I4).
func (r *run) arrive(a Arrival) {
	journal := a.Journal
	if a.Epoch != r.in.Epoch {
		// Acknowledged before the installation was installed anew, for the same user: it is delivered like the rest.
		journal += "@" + a.Epoch
	}
	for _, part := range a.Parts() {
		if !r.state.pass(journal, part.To) {
			r.state.Dropped++
			continue
		}
		for _, ref := range part.Segments {
			if e := (activities.Entry{Ref: ref}); !r.await(e) {
				r.enqueue(e)
			}
		}
		r.state.ReceivedAt = r.now()
	}
}

// enqueue takes in the records of an entry.
func (r *run) enqueue(e activities.Entry) {
	if e.Lane == "" {
		r.state.Received += int64(max(e.Records, 0))
	}
	r.place(e)
}

// place gives the records of an entry the next ordinals.
func (r *run) place(e activities.Entry) {
	if e.Records <= 0 {
		return
	}
	e.First, e.At = r.state.Head, r.now().UnixMilli()
	r.state.Head += int64(e.Records)
	r.state.Queue = append(r.state.Queue, e)
}

// trim forgets the entries that every lane has settled.
func (r *run) trim() {
	low := r.state.Head
	for _, l := range r.state.Lanes {
		low = min(low, l.Next)
	}
	n := 0
	for n < len(r.state.Queue) && r.state.Queue[n].End() <= low {
		n++
	}
	if n > 0 {
		r.state.Queue = append([]activities.Entry(nil), r.state.Queue[n:]...)
		r.state.Moved = true
	}
}

// lag is what a lane has yet to settle.
func (r *run) lag(l *Lane) (records, bytes int64) {
	owed := l.Owed
	if !l.Removed {
		owed = []activities.Span{{First: l.Next, Next: r.state.Head}}
	}
	for i := len(r.state.Queue) - 1; i >= 0; i-- {
		e := r.state.Queue[i]
		if e.End() <= l.Next {
			break
		}
		for _, s := range owed {
			left := min(e.End(), s.Next) - max(e.First, s.First, l.Next)
			if left <= 0 {
				continue
			}
			records += left
			n := int64(e.Records)
			bytes += e.Bytes/n*left + e.Bytes%n*left/n // the product of both would overflow in a large manifest
		}
	}
	return records, bytes
}

// overlapping lists the entries that hold the ordinals from first up to next.
func (r *run) overlapping(first, next int64) []activities.Entry {
	var out []activities.Entry
	for _, e := range r.state.Queue {
		if e.First < next && e.End() > first {
			out = append(out, e)
		}
	}
	return out
}

// roll puts the oldest run of entries of one level into a manifest when there are many (I10). Levels nest, so the
// queue grows with the logarithm of the backlog.
func (r *run) roll() {
	if r.rolling || r.full() || r.state.Rolling.waits(r.now()) {
		return
	}
	queue := &r.state.Queue
	from, to := r.rollable(*queue, r.maxQueue())
	if from == to {
		queue = &r.state.Completing.Queue
		from, to = r.rollable(*queue, maxWaiting)
	}
	if from == to {
		return
	}
	r.rolling = true
	r.state.Manifests++
	entries := append([]activities.Entry(nil), (*queue)[from:to]...)
	r.start(activities.RollName, "roll old references into a manifest", activities.RollInput{
		Target: r.target(r.plan.Revision), Entries: entries, Sequence: r.state.Manifests, Suffix: r.suffix(),
	}, r.quick(), func(f activityFuture) {
		r.rolling = false
		var out activities.RollOutput
		if err := f.Get(r.ctx, &out); err != nil {
			out.Failure = &activities.Failure{Kind: connectors.Unknown, Message: plain(err)}
		}
		if out.Failure != nil {
			r.retry(&r.state.Rolling, out.Failure)
			return
		}
		r.state.Rolling = Trouble{}
		*queue = replace(*queue, entries, out.Entry)
	})
}

// maxQueue is from how many bytes on the queue rolls whatever it is made of: names may be long, and a manifest names every
// origin in it.
const maxQueue = 48 << 10

func (r *run) maxQueue() int {
	if len(r.state.Completing.Streams) > 0 {
		return halfQueue
	}
	return maxQueue
}

// rollable finds the oldest run of entries of one level, once there are more than Timing.Roll of it; of manifests, a
// quarter of that. Where these together take more than most bytes, it is the lowest level that can be rolled at all.
func (r *run) rollable(queue []activities.Entry, most int) (from, to int) {
	count := make(map[int]int)
	size, highest := 0, 0
	for _, e := range queue {
		count[e.Level]++
		highest = max(highest, e.Level)
		size += 100 + len(e.Name) + len(e.Stream)
		//workflowcheck:ignore (a sum: order is nothing)
		for origin := range e.Lows {
			size += 25 + len(origin)
		}
		if e.Why != nil {
			size += 50 + len(e.Why.Message)
		}
	}
	for level := 0; level <= highest; level++ {
		limit := r.timing.Roll
		if level > 0 {
			limit = max(limit/4, 2)
		}
		if count[level] <= limit && size <= most {
			continue
		}
		if from, to = runOf(queue, level, max(min(limit, count[level])*3/4, 2)); to-from > 1 {
			return from, to
		}
	}
	return 0, 0
}

// runOf finds the oldest run of two to most entries of a level.
func runOf(queue []activities.Entry, level, most int) (from, to int) {
	for ; from < len(queue); from = max(to, from+1) {
		for to = from; to < len(queue) && to-from < most && queue[to].Level == level; to++ {
		}
		if to-from > 1 {
			return from, to
		}
	}
	return 0, 0
}

// replace puts the manifest in the place of the entries that it lists, wherever they are now: trim may have
// taken the first of them away.
func replace(queue, entries []activities.Entry, manifest activities.Entry) []activities.Entry {
	first, last := entries[0].First, entries[len(entries)-1].End()
	q := queue[:0:0]
	placed := false
	for _, e := range queue {
		if e.First >= first && e.End() <= last {
			if !placed {
				q, placed = append(q, manifest), true
			}
			continue
		}
		q = append(q, e)
	}
	return q
}

// marks are, per origin, the first sequence that is still needed: the janitor's low-water marks (I12).
func (r *run) marks() map[string]uint64 {
	suffix := r.suffix()
	m := make(map[string]uint64)
	low := func(origin string, seq uint64) {
		if v, ok := m[origin]; !ok || seq < v {
			m[origin] = seq
		}
	}
	// Where nothing is queued, everything below what comes next may go.
	for _, j := range r.state.Journals {
		low(j.ID, j.To+1)
	}
	low(activities.Origin(activities.PollOrigin, suffix), r.state.Chunks+1)
	low(activities.Origin(activities.OverlapOrigin, suffix), r.state.Chunks+1)
	low(activities.Origin(activities.ExtraOrigin, suffix), r.state.Chunks+1)
	low(activities.Origin(activities.ManifestOrigin, suffix), r.state.Manifests+1)
	low(activities.Origin(activities.RequeueOrigin, suffix), r.state.Redeliveries+1)
	// What is under way may have sealed what nothing in the state names yet.
	//workflowcheck:ignore (the least of them, or a copy: order is nothing)
	for _, chunk := range r.fetching {
		low(activities.Origin(activities.PollOrigin, suffix), chunk)
		low(activities.Origin(activities.OverlapOrigin, suffix), chunk)
		low(activities.Origin(activities.ExtraOrigin, suffix), chunk)
	}
	if w := r.state.Completing; w.Sequence > 0 {
		low(activities.Origin(activities.CompleteOrigin, suffix), w.Sequence+1)
	}
	//workflowcheck:ignore (the least of them: order is nothing)
	for _, sequence := range r.completing {
		low(activities.Origin(activities.CompleteOrigin, suffix), sequence)
	}
	if r.rolling {
		low(activities.Origin(activities.ManifestOrigin, suffix), r.state.Manifests)
	}
	for _, q := range r.state.Requeue {
		if q.Sequence > 0 {
			low(activities.Origin(activities.RequeueOrigin, suffix), q.Sequence)
		}
	}
	for _, e := range slices.Concat(r.state.Queue, r.state.Completing.Queue) {
		if n, err := segment.ParseName(e.Name); err == nil {
			low(n.Origin, n.Sequence)
		}
		//workflowcheck:ignore (the least of them, or a copy: order is nothing)
		for origin, seq := range e.Lows {
			low(origin, seq)
		}
	}
	for _, s := range r.state.Streams {
		if s.Bookmark.Object != "" {
			low(activities.Origin(activities.OverlapOrigin, suffix), s.Overlap)
		}
		if s.Extra != "" {
			low(activities.Origin(activities.ExtraOrigin, suffix), s.ExtraSeq)
		}
	}
	if r.plan.Reconciles() {
		//workflowcheck:ignore (the least of them: order is nothing)
		for journal, from := range r.state.since(r.state.floor()) {
			low(journal, from)
		}
	}
	return m
}
