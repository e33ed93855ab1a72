package workflows

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/integration"
	"tributary/internal/segment"
)

// largest is a plan of as many streams and destinations, with as long names, as a definition may have.
func largest() Plan {
	p := bothPlan()
	p.Streams, p.Lanes = nil, nil
	each := integration.MaxStreamNames / integration.MaxPolledStreams
	for i := range integration.MaxPolledStreams {
		p.Streams = append(p.Streams, fmt.Sprintf("%0*d", each, i))
	}
	listed := integration.MaxListedNames
	for i := range integration.MaxDestinations {
		l := LanePlan{Name: fmt.Sprintf("%063d", i), Records: 1000, Bytes: 1 << 20}
		for n := 0; n < len(p.Streams)-1 && listed >= each; n, listed = n+1, listed-each {
			l.Streams = append(l.Streams, p.Streams[n])
		}
		p.Lanes = append(p.Lanes, l)
	}
	return p
}

// The largest definition that is accepted, with everything at its worst at once, keeps what a run hands to the next one under
// 256 KiB (I10): every destination down in the middle of a batch, every stream failing with a large bookmark and with webhooks that can't be completed, 64 receivers and more
// that were replaced, a backlog, twenty operations and as many redeliveries, and texts without end.
func TestStateOfTheLargestDefinition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gaps = true
	p := largest()
	p.Interval, p.Timing.Events = time.Hour, 3000
	p.Timing.Backoff, p.Timing.MaxBackoff = 30*time.Minute, 24*time.Hour
	long := strings.Repeat("<\x00\"é", 10_000)
	now := time.Date(2026, 11, 12, 13, 14, 15, 123456789, time.UTC)
	w.page = func(in activities.FetchInput) activities.FetchOutput {
		out := activities.FetchOutput{Pages: 1, Failure: failure(connectors.Unavailable, long)}
		out.Bookmark.Inline = make([]byte, in.Inline)
		if in.Chunk%2 == 0 {
			out.Bookmark = activities.Bookmark{Object: segment.Name{Epoch: testEpoch, Stream: in.Stream, Origin: "overlap", Sequence: in.Chunk, Suffix: "01234567"}.String()}
		}
		out.Extra = segment.Name{Epoch: testEpoch, Stream: in.Stream, Origin: "extra", Sequence: in.Chunk, Suffix: "01234567"}.String()
		if in.Chunk <= integration.MaxPolledStreams {
			out.Failure = nil
		}
		return out
	}
	w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
		out := activities.WriteOutput{Next: in.First, Failure: failure(connectors.Unavailable, long)}
		for i := range int64(64) { // as many as activities tell of at most
			if in.Spans > 0 && i >= int64(in.Spans) {
				break
			}
			out.Settled = append(out.Settled, activities.Span{First: in.First + 2*i + 1, Next: in.First + 2*i + 2})
		}
		return out, true
	}
	w.subscribe.Completes = true
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		out := w.wholeOf(in)
		if in.Sequence <= integration.MaxPolledStreams {
			out.Parts[0].Why = failure(connectors.Invalid, long)
			return out, true
		}
		return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Forbidden, long)}, true
	}
	w.fail = func(name string) *activities.Failure {
		if name == activities.RequeueName || name == activities.SubscribeName && len(w.writes) > 0 {
			return failure(connectors.Unavailable, long)
		}
		return nil
	}
	in := input(p)
	in.State = &State{Phase: Running, Ledger: testEpoch, Started: now, Head: 1 << 50, Chunks: 1 << 50, Received: 1 << 50,
		Completing: Completing{On: true, Taken: 1 << 50, Made: 1 << 50, Refused: 1 << 50}}
	for _, l := range p.Lanes {
		in.State.Lanes = append(in.State.Lanes, &Lane{Name: l.Name, Next: 1 << 50, Delivered: 1 << 50, Bytes: 1 << 60, Filtered: 1 << 50, Quarantined: 1 << 50, DeliveredAt: now})
	}
	for _, name := range p.Streams {
		in.State.Streams = append(in.State.Streams, &Stream{Name: name, Polls: 1 << 40, Pages: 1 << 40, Records: 1 << 50, Repeated: 1 << 50, Missed: 1 << 50, Since: now, FinishedAt: now, Asked: now})
	}
	in.State.Chunks = 0
	for range maxJournals {
		in.State.Journals = append(in.State.Journals, Journal{ID: uuid.NewString() + "@" + testEpoch, To: 1 << 60})
	}
	journals := make([]string, 64)
	for i := range journals {
		journals[i] = uuid.NewString()
	}
	events := []event{}
	for i := range uint64(200) {
		j := journals[i%64]
		a := Arrival{Epoch: testEpoch, Journal: j, From: 1<<60 + i, To: 1<<60 + i}
		stream := p.Streams[i%uint64(len(p.Streams))]
		a.Segments = []segment.Ref{{Name: name(testEpoch, stream, j, a.From), Stream: stream, Records: 1000, Bytes: 1_000_000}}
		events = append(events, event{time.Minute + time.Duration(i)*20*time.Second, signal(a)})
	}
	for i := range maxOperations {
		ids := make([]int64, 2*maxRedeliverIDs/maxOperations)
		for n := range ids {
			ids[n] = 1<<33 + int64(n)
		}
		events = append(events, event{3 * time.Hour, w.ask(uuid.NewString(), RedeliverUpdate, RedeliverRequest{Lane: p.Lanes[i].Name, IDs: ids})})
	}
	events = append(events, event{3*time.Hour + time.Minute, w.ask(uuid.NewString(), PauseUpdate, PauseRequest{Reason: long})},
		event{3*time.Hour + 2*time.Minute, w.fill})
	w.drive(in, 4*time.Hour, events...)
	if w.runs < 3 {
		t.Errorf("%d runs", w.runs)
	}
	parts := w.inputs[len(w.inputs)-1]
	size := func(v any) int { b, _ := json.Marshal(v); return len(b) }
	t.Logf("completing %d (%d)", size(parts.State.Completing), len(parts.State.Completing.Streams))
	t.Logf("plan %d, journals %d, floors %d, queue %d (%d), lanes %d, streams %d, requeue %d, operations %d", size(parts.Plan), size(parts.State.Journals),
		size(parts.State.Floors), size(parts.State.Queue), len(parts.State.Queue), size(parts.State.Lanes), size(parts.State.Streams), size(parts.State.Requeue), size(parts.State.Operations))
	if w.maxState > 256<<10 {
		t.Errorf("largest state %d bytes", w.maxState)
	}
}
