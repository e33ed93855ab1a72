package workflows

import (
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/connectors"
)

type activityFuture = workflow.Future

// maxResyncs is how often in a row a stream may be read again from the beginning because its cursor expired.
const maxResyncs = 3

// maxBookmarks bounds what bookmarks take of the state, in bytes (I10).
const maxBookmarks = 16 << 10

// fetch starts the next chunk of each stream that is due: the next one is read while the last is written.
func (r *run) fetch() {
	r.state.Streams = slices.DeleteFunc(r.state.Streams, func(s *Stream) bool { return s.Removed && !r.reading(s) })
	if r.state.Paused || !r.plan.Polls() || r.state.Backlogged {
		return
	}
	now := r.now()
	for _, s := range r.state.Streams {
		if s.Removed || r.reading(s) || s.waits(now) || (!s.Mid && now.Before(s.Next)) {
			continue
		}
		if !s.Mid {
			s.Mid, s.Begun, s.Full = true, now, s.Bookmark.IsZero()
			r.mark(s)
		}
		r.read(s)
	}
}

// reading says that a chunk of the stream is being fetched.
func (r *run) reading(s *Stream) bool {
	_, busy := r.fetching[s.Name]
	return busy
}

// mark notes from where on webhooks may be what this poll finds: those since the poll before the last one began, because
// what was changed before a poll may be indexed by the app only after it.
func (r *run) mark(s *Stream) {
	if !r.plan.Reconciles() {
		return
	}
	s.From, s.Then = s.Then, r.state.addFloor(r.state.Chunks+1, r.now(), r.plan.Interval/2)
	r.state.dropFloors()
}

func (r *run) streamDue(s *Stream) time.Time {
	if r.state.Paused || !r.plan.Polls() || s.Stopped || s.Removed || r.state.Backlogged {
		return time.Time{}
	}
	if s.Mid || s.RetryAt.After(s.Next) {
		return s.RetryAt
	}
	return s.Next
}

// read starts one chunk.
func (r *run) read(s *Stream) {
	r.state.Chunks++
	chunk := r.state.Chunks
	r.fetching[s.Name] = chunk
	in := activities.FetchInput{
		Target: r.target(r.plan.Revision), Stream: s.Name, Bookmark: s.Bookmark, Since: s.Since,
		Suffix: r.suffix(), Chunk: chunk,
		Records: r.timing.ChunkRecords, Bytes: r.timing.ChunkBytes, Time: r.timing.ChunkTime,
		Inline: maxBookmarks / len(r.state.Streams),
	}
	if r.state.Completing.On {
		in.Inline = halfBookmarks / len(r.state.Streams)
	}
	if r.plan.Reconciles() {
		in.Reconcile, in.Extra, in.ExtraSequence = true, s.Extra, chunk
		in.Seen = r.state.since(s.From)
	}
	r.start(activities.FetchName, "fetch "+s.Name, in, r.long(), func(f activityFuture) {
		delete(r.fetching, s.Name)
		var out activities.FetchOutput
		if err := f.Get(r.ctx, &out); err != nil {
			out = activities.FetchOutput{Failure: &activities.Failure{Kind: connectors.Unknown, Message: plain(err)}}
		}
		r.fetched(s, chunk, out)
	})
}

// fetched books a chunk. Its records are in sealed segments that the workflow now knows, so the bookmark moves, also
// beside a failure.
func (r *run) fetched(s *Stream, chunk uint64, out activities.FetchOutput) {
	var records int64
	for _, ref := range out.Segments {
		records += int64(ref.Records)
		r.enqueue(activities.Entry{Ref: ref})
	}
	if records > 0 {
		r.state.ReceivedAt = r.now()
	}
	s.Records += records
	s.Pages += int64(out.Pages)
	s.Repeated += out.Repeated
	if r.plan.Reconciles() {
		if !s.Full {
			s.Missed += records
		}
		if out.Extra != "" && out.Extra != s.Extra {
			s.Extra, s.ExtraSeq, r.state.Moved = out.Extra, chunk, true
		}
	}
	if s.Restart {
		s.Prepares = false
		s.Restart, s.Mid, s.Trouble = false, false, Trouble{}
		return
	}
	if !out.Bookmark.IsZero() {
		r.state.Moved = r.state.Moved || s.Bookmark.Object != ""
		s.Bookmark, s.Overlap = out.Bookmark, chunk
	}
	s.Prepares = false
	if f := out.Failure; f != nil && out.Prepares {
		// The least wait is that after a failure: an app that says "at once" again and again is not asked in a loop.
		s.Trouble = Trouble{RetryAt: r.now().Add(max(min(f.Wait, connectors.MaxWait), r.timing.Backoff))}
		s.Prepares = true
		return
	} else if f != nil {
		if f.Kind == connectors.CursorExpired {
			s.Bookmark, s.Since, s.Mid, s.Next = activities.Bookmark{}, time.Time{}, false, r.now()
			if s.Resyncs++; s.Resyncs <= maxResyncs {
				r.retry(&s.Trouble, f)
				return
			}
			f = &activities.Failure{Kind: connectors.Invalid, Message: "the app calls the cursor expired again and again: " + f.Message}
		}
		if out.Pages > 0 {
			s.Failures = 0 // it works, if haltingly: the pause does not grow
		}
		r.fail(&s.Trouble, f)
		return
	}
	s.Trouble = Trouble{}
	if out.More {
		return
	}
	now := r.now()
	s.Mid, s.FinishedAt, s.Resyncs = false, now, 0
	s.Polls++
	s.Next = r.nextPoll(s.Begun, now)
	if s.Asked.After(s.Begun) {
		s.Next = now // asked for while this one was under way
	}
}

// nextPoll keeps the rhythm of the poll that just ended, with jitter so that installations spread; a poll that took longer
// than the interval, or a clock that jumped, does not make polls pile up.
func (r *run) nextPoll(begun, now time.Time) time.Time {
	next := begun.Add(r.plan.Interval + r.jitter(r.plan.Interval/20, int(r.state.Chunks)))
	if next.Before(now) || next.After(now.Add(2*r.plan.Interval)) {
		next = now.Add(r.jitter(r.plan.Interval/20, int(r.state.Chunks)))
	}
	return next
}

// jitter is a duration in [0, d) that is the same at every replay and another for each installation and n.
func (r *run) jitter(d time.Duration, n int) time.Duration {
	if d <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(r.in.Installation + "\x00" + strconv.Itoa(n)))
	return time.Duration(h.Sum64() % uint64(d))
}
