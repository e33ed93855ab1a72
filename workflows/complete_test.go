package workflows

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/integration"
	"tributary/internal/segment"
)

// thinWorld is one whose source completes.
func thinWorld(t *testing.T) *world {
	w := newWorld(t)
	w.subscribe.Completes = true
	return w
}

// arrivalFor is an arrival of one segment for each of the streams.
func arrivalFor(index uint64, records int, streams ...string) Arrival {
	a := Arrival{Epoch: testEpoch, Journal: "j1", From: index, To: index}
	for _, s := range streams {
		a.Segments = append(a.Segments, segment.Ref{Name: name(testEpoch, s, "j1", index), Stream: s, Records: records, Bytes: int64(records) * 1000})
	}
	return a
}

func twoStreams() Plan {
	p := realtimePlan()
	p.Streams = []string{"orders", "people"}
	return p
}

// What webhooks bring is completed before it enters the lanes: each record once, in order, whatever comes again; and a source that does not
// complete is never asked.
func TestArrivalsAreCompleted(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		w := newWorld(t)
		w.subscribe.Completes = on
		var events []event
		for i := range uint64(20) {
			events = append(events, event{time.Duration(i+1) * time.Second, signal(arrivalFor(i+1, 3, "orders", "people"))})
		}
		events = append(events, event{time.Minute, signal(arrivalFor(7, 3, "orders", "people"))})
		s := w.drive(input(twoStreams()), time.Hour, events...)
		if s.Received != 120 || s.Delivered != 120 || s.Lag != 0 || s.Health != Healthy {
			t.Errorf("on %t: %+v", on, s)
		}
		switch c := s.Completing; {
		case !on && (c != nil || len(w.completes) != 0):
			t.Errorf("a source that does not complete: %+v, %d calls", c, len(w.completes))
		case on && (c == nil || c.Taken != 120 || c.Made != 120 || c.Waiting != 0 || len(c.Streams) != 0):
			t.Errorf("completing: %+v", c)
		}
		for _, in := range w.writes {
			for _, e := range in.Entries {
				if n, _ := segment.ParseName(e.Name); (n.Origin == activities.CompleteOrigin) != on {
					t.Errorf("on %t: a lane is given %s", on, e.Name)
				}
			}
		}
	}
}

// While a batch is completed, what comes later waits behind it, and is not put into the lanes before it; another stream goes on.
func TestLaterArrivalsDoNotOvertake(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	failing := true
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		if failing && in.Stream == "orders" {
			return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Unauthorized, "the token is refused")}, true
		}
		return activities.CompleteOutput{}, false
	}
	var stuck Status
	s := w.drive(input(twoStreams()), 3*time.Hour,
		event{time.Minute, signal(arrivalFor(1, 2, "orders"))},
		event{2 * time.Minute, signal(arrivalFor(2, 3, "people"))},
		event{3 * time.Minute, signal(arrivalFor(3, 4, "orders", "people"))},
		event{time.Hour, func(env *testEnv) { stuck = w.look(env); failing = false }},
		event{time.Hour + time.Minute, w.ask("r", ResumeUpdate, ResumeRequest{})})
	if stuck.Health != NeedsAuth || !strings.Contains(stuck.Problem, "completing webhooks of orders: the token is refused") || stuck.Delivered != 7 || stuck.Lag != 6 || stuck.Received != 13 {
		t.Errorf("while the token is refused: %+v", stuck)
	}
	if c := stuck.Completing; c == nil || c.Waiting != 6 || len(c.Streams) != 1 || !c.Streams[0].Stopped {
		t.Errorf("completing: %+v", c)
	}
	if s.Delivered != 13 || s.Health != Healthy || s.Lag != 0 {
		t.Errorf("afterwards: %+v", s)
	}
	calls := 0
	for _, in := range w.completes {
		if in.Stream == "orders" {
			if calls++; calls == 2 && (in.First != 0 || in.Next != 9 || len(in.Entries) != 2) {
				t.Errorf("then it was given %d to %d in %d entries", in.First, in.Next, len(in.Entries))
			}
		}
	}
	if calls != 2 {
		t.Errorf("orders was completed in %d calls: what stops is not tried again by itself", calls)
	}
}

// A failure after progress keeps the progress, waits by the run's timer as long as was asked, and goes on from there.
func TestCompletingGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		if in.First >= 8 {
			return activities.CompleteOutput{}, false
		}
		part := in
		part.Next = in.First + 2
		out := w.wholeOf(part)
		out.Failure = &activities.Failure{Kind: connectors.RateLimited, Message: "the account's budget is used up", Wait: time.Hour}
		return out, true
	}
	var mid Status
	s := w.drive(input(realtimePlan()), 6*time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 10))},
		event{2*time.Hour + 30*time.Minute, func(env *testEnv) { mid = w.look(env) }},
		event{3 * time.Hour, w.fill})
	if mid.Delivered != 6 || mid.Completing.Waiting != 4 || mid.Health != Degraded || mid.Completing.Streams[0].RetryAt.IsZero() {
		t.Errorf("after two hours: %+v %+v", mid, mid.Completing)
	}
	if s.Delivered != 10 || s.Received != 10 || len(w.completes) != 5 || w.runs < 2 || s.Health != Healthy {
		t.Errorf("%d calls in %d runs: %+v", len(w.completes), w.runs, s)
	}
}

// Completing that gets nowhere and says nothing is a failure, and is not repeated in a loop.
func TestCompletingWithoutProgress(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		return activities.CompleteOutput{Next: in.First}, true
	}
	s := w.drive(input(realtimePlan()), time.Hour, event{time.Minute, signal(arrivalOf(1, 1, 10))})
	if s.Health != Degraded || len(w.completes) > 30 || !strings.Contains(s.Problem, "without progress") {
		t.Errorf("%d calls, %s", len(w.completes), s.Problem)
	}
}

// What can't be completed reaches the lanes with the reason, as entries that no lane delivers.
func TestRefusedRecordsKeepTheirReason(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		out := w.wholeOf(in)
		out.Parts[0].Why = failure(connectors.NotFound, "the app could not complete the webhook: no such object")
		return out, true
	}
	s := w.drive(input(realtimePlan()), time.Hour, event{time.Minute, signal(arrivalOf(1, 1, 10))})
	if why := w.writes[0].Entries[0].Why; why == nil || why.Kind != connectors.NotFound || s.Completing.Refused != 10 || s.Completing.Made != 0 {
		t.Errorf("the lane got %+v: %+v", why, s.Completing)
	}
}

// While the installation is paused nothing is completed, and what comes is kept.
func TestPausedInstallationCompletesNothing(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	var paused Status
	s := w.drive(input(realtimePlan()), 2*time.Hour,
		event{time.Minute, w.ask("p", PauseUpdate, PauseRequest{})},
		event{2 * time.Minute, signal(arrivalOf(1, 1, 10))},
		event{time.Hour, func(env *testEnv) { paused = w.look(env) }},
		event{time.Hour + time.Minute, w.ask("r", ResumeUpdate, ResumeRequest{})})
	if paused.Received != 10 || paused.Lag != 10 || paused.Delivered != 0 || s.Delivered != 10 {
		t.Errorf("paused: %+v, afterwards %+v", paused, s)
	}
}

// A flush waits for what has yet to be completed, and has it delivered without waiting for the batch's age; what comes later is none of it.
func TestFlushCoversWhatWaits(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	p := realtimePlan()
	p.Lanes[0].Age = 24 * time.Hour
	down := true
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		if down {
			return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "503")}, true
		}
		return activities.CompleteOutput{}, false
	}
	var before Status
	s := w.drive(input(p), 3*time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 10))},
		event{2 * time.Minute, w.ask("f", FlushUpdate, FlushRequest{})},
		event{time.Hour, func(env *testEnv) { before = w.look(env); down = false }},
		event{2 * time.Hour, signal(arrivalOf(2, 2, 5))})
	if before.Operations[0].Done || before.Delivered != 0 {
		t.Errorf("while the app is down: %+v", before.Operations)
	}
	if !s.Operations[0].Done || s.Delivered != 10 || s.Lag != 5 {
		t.Errorf("afterwards: delivered %d, lag %d, %+v", s.Delivered, s.Lag, s.Operations)
	}
}

// What waits counts: from the backlog on the receiver is to hold back, and no more is completed into lanes that owe as much as they may.
func TestWhatWaitsCountsTowardsTheBacklog(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	p := realtimePlan()
	p.Backlog = 50_000
	down := true
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		if down {
			return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Forbidden, "grant the right to read orders")}, true
		}
		return activities.CompleteOutput{}, false
	}
	var full Status
	s := w.drive(input(p), 5*time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 49))},
		event{10 * time.Minute, func(env *testEnv) {
			if s := w.look(env); s.Health != Stopped || w.published.Pressure {
				t.Errorf("below the limit: %s, pressure %t", s.Health, w.published.Pressure)
			}
		}},
		event{20 * time.Minute, signal(arrivalOf(2, 2, 1))},
		event{time.Hour, func(env *testEnv) {
			full = w.look(env)
			if !w.published.Pressure {
				t.Error("the receiver was not told to hold back")
			}
			down = false
		}},
		event{time.Hour + time.Minute, w.ask("r", ResumeUpdate, ResumeRequest{})})
	if full.Health != Stopped || s.Health != Healthy || w.published.Pressure || s.Delivered != 50 {
		t.Errorf("full: %s; then %s, pressure %t, delivered %d", full.Health, s.Health, w.published.Pressure, s.Delivered)
	}

	w = thinWorld(t)
	w.down = unavailableFailure
	w.drive(input(p), 5*time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 10))}, // ten times as large when they are whole
		event{10 * time.Minute, signal(arrivalOf(2, 2, 10))})
	if len(w.completes) != 1 {
		t.Errorf("%d batches were completed into a lane that is full", len(w.completes))
	}
}

// The segments of what waits are needed until it is completed, through continue-as-new and manifests, and however late that is (I12).
func TestWaitingSegmentsAreKept(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	w.fail = func(name string) *activities.Failure { return nil }
	p := twoStreams()
	p.Timing.Roll, p.Timing.Events = 8, 400
	down := true
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		if down && in.Stream == "orders" {
			return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "503")}, true
		}
		return activities.CompleteOutput{}, false
	}
	var events []event
	for i := range uint64(300) {
		events = append(events, event{time.Duration(i+1) * time.Minute, signal(arrivalFor(i+1, 2, "orders", "people"))})
	}
	var stuck Status
	events = append(events, event{6 * time.Hour, func(env *testEnv) { stuck = w.look(env); down = false }})
	s := w.drive(input(p), 12*time.Hour, events...)
	if stuck.Delivered != 600 || stuck.Completing.Waiting != 600 || len(w.rolls) == 0 || w.runs < 3 {
		t.Errorf("%d rolls in %d runs: %+v, %+v", len(w.rolls), w.runs, stuck, stuck.Completing)
	}
	if s.Delivered != 1200 || s.Received != 1200 || s.Lag != 0 || s.Completing.Taken != 1200 {
		t.Errorf("afterwards: %+v, %+v", s, s.Completing)
	}
	if mark := w.marks["j1"]; mark != 301 {
		t.Errorf("at last the journal's mark is %d: what is done can go", mark)
	}
}

// Uninstalling completes what it can; what it can't within its bound goes to quarantine as it came, and it always ends.
func TestUninstallWithWaitingWebhooks(t *testing.T) {
	t.Parallel()
	for _, works := range []bool{true, false} {
		w := thinWorld(t)
		closing := false
		w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
			if in.Refuse != nil || closing && works {
				return activities.CompleteOutput{}, false
			}
			return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Unauthorized, "the token is refused")}, true
		}
		s := w.drive(input(twoStreams()), 24*time.Hour,
			event{time.Minute, signal(arrivalFor(1, 5, "orders", "people"))},
			event{time.Hour, func(env *testEnv) { closing = true; w.ask("u", UninstallUpdate, struct{}{})(env) }})
		if w.err != nil || s.Phase != Ended || len(w.summary.Left) != 0 {
			t.Fatalf("works %t: %v, %+v, left %q", works, w.err, s, w.summary.Left)
		}
		refused := 0
		for _, in := range w.writes {
			for _, e := range in.Entries {
				if e.Why != nil && strings.Contains(e.Why.Message, "uninstalled before") {
					refused += e.Records
				}
			}
		}
		if want := map[bool]int{true: 0, false: 10}[works]; refused != want || w.ledger["warehouse"] != 10 {
			t.Errorf("works %t: %d went to quarantine, the lane stands at %d", works, refused, w.ledger["warehouse"])
		}
	}
	// With the segment store down nothing can be done about them: it ends, and says what it left.
	w := thinWorld(t)
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "segment store: down")}, true
	}
	s := w.drive(input(realtimePlan()), 24*time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 5))},
		event{time.Hour, w.ask("u", UninstallUpdate, struct{}{})})
	if s.Phase != Ended || len(w.summary.Left) != 1 || !strings.Contains(w.summary.Left[0], "5 records of orders to be completed") {
		t.Errorf("%s, left %q", s.Phase, w.summary.Left)
	}
}

// A definition that wants no whole objects any more lets what waits go on in order, and what comes then at once.
func TestCompletingIsTurnedOff(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	down := true
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		if down {
			return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Forbidden, "no")}, true
		}
		return activities.CompleteOutput{}, false
	}
	s := w.drive(input(realtimePlan()), 3*time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 5))},
		event{2 * time.Minute, w.hold(activities.CompleteName)},
		event{2*time.Minute + time.Millisecond, func(env *testEnv) {
			w.subscribe.Completes, down = false, false
			w.ask("c", ReconfigureUpdate, revised(realtimePlan(), 2))(env)
		}},
		event{2*time.Minute + 4*time.Millisecond, signal(arrivalOf(2, 2, 5))}, // behind what waits
		event{2*time.Minute + 8*time.Millisecond, w.release(activities.CompleteName)},
		event{time.Hour, signal(arrivalOf(3, 3, 5))})
	if s.Delivered != 15 || s.Completing.Taken != 10 {
		t.Errorf("%+v, %+v", s, s.Completing)
	}
}

// What a reset run seals has names of its own, and is told from what was sealed before.
func TestResetWhileWebhooksWait(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	w.gaps = true
	down := true
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		if down {
			return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "503")}, true
		}
		return activities.CompleteOutput{}, false
	}
	w.resets = map[int]bool{2: true}
	s := w.drive(input(realtimePlan()), 3*time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 10))},
		event{2 * time.Minute, w.fill},
		event{time.Hour, func(*testEnv) { down = false }})
	last := w.completes[len(w.completes)-1]
	if s.Resets != 1 || s.Delivered != 10 || last.Suffix == "" || last.Ledger == testEpoch {
		t.Errorf("%d resets, delivered %d, suffix %q", s.Resets, s.Delivered, last.Suffix)
	}
}

// Polls that reconcile are told to look at what was completed, as at what journals brought.
func TestReconciliationKnowsWhatWasCompleted(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	w.page = endless
	p := bothPlan()
	p.Interval = time.Hour
	w.drive(input(p), 4*time.Hour, event{90 * time.Minute, signal(arrivalOf(1, 1, 10))})
	if len(w.completes) != 1 {
		t.Fatalf("%d batches", len(w.completes))
	}
	seen := false
	for _, in := range w.fetches {
		if from, ok := in.Seen[activities.CompleteOrigin]; ok && from <= 1 {
			seen = true
		}
	}
	if !seen {
		t.Error("no poll was told of what was completed")
	}
}

// However many streams fail while webhooks pour in, what waits keeps the state small (I10).
func TestWaitingStateIsBounded(t *testing.T) {
	t.Parallel()
	w := thinWorld(t)
	w.gaps = true
	p := realtimePlan()
	p.Streams = nil
	long := strings.Repeat("<\x00\"é", 10_000)
	each := strings.Repeat("s", integration.MaxStreamNames/integration.MaxStreams-4)
	for i := range integration.MaxStreams {
		p.Streams = append(p.Streams, each+string(rune('a'+i/26/26))+string(rune('a'+i/26%26))+string(rune('a'+i%26)))
	}
	p.Timing.Events = 3000
	w.whole = func(in activities.CompleteInput) (activities.CompleteOutput, bool) {
		return activities.CompleteOutput{Next: in.First, Failure: failure(connectors.Forbidden, long)}, true
	}
	var events []event
	for i := range uint64(400) {
		at := int(i) * MaxArrivalSegments
		var streams []string
		for n := range MaxArrivalSegments {
			streams = append(streams, p.Streams[(at+n)%len(p.Streams)])
		}
		events = append(events, event{time.Minute + time.Duration(i)*time.Second, signal(arrivalFor(i+1, 1, streams...))})
	}
	events = append(events, event{time.Hour, w.fill})
	s := w.drive(input(p), 2*time.Hour, events...)
	size := func(v any) int { b, _ := json.Marshal(v); return len(b) }
	state := w.inputs[len(w.inputs)-1].State
	t.Logf("state %d, queue %d (%d), streams %d", size(state), size(state.Completing.Queue), len(state.Completing.Queue), size(state.Completing.Streams))
	if s.Completing.Waiting < 400*MaxArrivalSegments || w.maxState > 160<<10 {
		t.Errorf("%d wait, largest state %d bytes", s.Completing.Waiting, w.maxState)
	}
}
