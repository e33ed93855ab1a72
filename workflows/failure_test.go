package workflows

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

func failure(k connectors.Kind, message string) *activities.Failure {
	return &activities.Failure{Kind: k, Message: message}
}

// gaps are the times between what happened.
func gaps(at []time.Time) []time.Duration {
	var out []time.Duration
	for i := 1; i < len(at); i++ {
		out = append(out, at[i].Sub(at[i-1]))
	}
	return out
}

// A failure is tried again after a pause that grows to the cap and no further, and is over with the first success.
func TestBackoffGrowsToTheCap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var env *testEnv
	var at []time.Time
	w.down = func(string, activities.WriteInput) *activities.Failure {
		if at = append(at, env.Now()); len(at) > 14 {
			return nil
		}
		return failure(connectors.Unavailable, "connection refused")
	}
	s := w.drive(input(realtimePlan()), 24*time.Hour, event{time.Second, func(e *testEnv) { env = e }}, event{time.Minute, signal(arrivalOf(1, 1, 5))})
	g := gaps(at)
	if len(at) != 15 || s.Delivered != 5 || s.Health != Healthy {
		t.Fatalf("%d attempts, delivered %d, health %s", len(at), s.Delivered, s.Health)
	}
	for i, d := range g {
		base := min(time.Second<<i, 5*time.Minute)
		if d < base || d > base+base/4+time.Second {
			t.Errorf("pause %d was %s, want %s and up to a quarter more", i+1, d, base)
		}
	}
	if slices.Compare(g[10:11], g[11:12]) == 0 && slices.Compare(g[11:12], g[12:13]) == 0 {
		t.Errorf("pauses %v have no jitter", g[10:])
	}
}

// What an app asks for is waited for, though the backoff is shorter; and a destination that works haltingly, some records and
// then "rate limited", is not left alone longer and longer.
func TestRateLimitIsHonoured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var env *testEnv
	var at []time.Time
	w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
		at = append(at, env.Now())
		if in.Next-in.First <= 10 {
			return activities.WriteOutput{}, false
		}
		return activities.WriteOutput{Next: in.First + 10, Delivered: 10, Failure: &activities.Failure{Kind: connectors.RateLimited, Message: "slow down", Wait: 40 * time.Second}}, true
	}
	s := w.drive(input(realtimePlan()), 2*time.Hour, event{time.Second, func(e *testEnv) { env = e }}, event{time.Minute, signal(arrivalOf(1, 1, 300))})
	if s.Delivered != 300 || len(at) != 30 {
		t.Fatalf("delivered %d in %d writes", s.Delivered, len(at))
	}
	for _, d := range gaps(at) {
		if d < 40*time.Second || d > 45*time.Second {
			t.Errorf("a pause of %s, want the 40 s that were asked for", d)
		}
	}
}

// Kinds that stop a lane stop it alone, say why, and wait for resume; webhooks are kept meanwhile (I11).
func TestLaneStopsUntilResume(t *testing.T) {
	t.Parallel()
	for kind, health := range map[connectors.Kind]Health{
		connectors.Gone: Stopped, connectors.Invalid: Stopped, connectors.Forbidden: Stopped, connectors.NotFound: Stopped, connectors.Unauthorized: NeedsAuth,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var mended atomic.Bool
			tries := 0
			w.down = func(lane string, _ activities.WriteInput) *activities.Failure {
				if lane != "warehouse" || mended.Load() {
					return nil
				}
				tries++
				return failure(kind, "it said no")
			}
			p := realtimePlan()
			p.Lanes = append(p.Lanes, LanePlan{Name: "other", Records: 1000, Bytes: 1 << 20})
			var before Status
			s := w.drive(input(p), 48*time.Hour,
				event{time.Minute, signal(arrivalOf(1, 1, 5))},
				event{time.Hour, signal(arrivalOf(2, 2, 5))},
				event{24 * time.Hour, func(env *testEnv) { before = w.look(env); mended.Store(true) }},
				event{25 * time.Hour, w.ask("r", ResumeUpdate, ResumeRequest{Only: []string{"warehouse"}})})
			if tries != 1 {
				t.Errorf("%d tries before the resume, want one", tries)
			}
			if before.Health != health || !strings.Contains(before.Problem, "it said no") || before.Received != 10 || before.Lanes[1].Delivered != 10 {
				t.Errorf("while stopped: health %s (%s), received %d, the other lane delivered %d", before.Health, before.Problem, before.Received, before.Lanes[1].Delivered)
			}
			if s.Health != Healthy || s.Lanes[0].Delivered != 10 {
				t.Errorf("after resume: health %s, delivered %d", s.Health, s.Lanes[0].Delivered)
			}
		})
	}
}

// A source that refuses the credentials stops being read, says so, keeps taking webhooks, and goes on at the same cursor.
func TestUnauthorizedSourceGoesOnAtItsCursor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.subscribe.Active = 1
	refused := func(in activities.FetchInput) activities.FetchOutput {
		return activities.FetchOutput{Failure: failure(connectors.Unauthorized, "token revoked")}
	}
	w.page = func(in activities.FetchInput) activities.FetchOutput {
		if in.Chunk == 3 {
			return refused(in)
		}
		return endless(in)
	}
	var before Status
	s := w.drive(input(bothPlan()), 4*time.Hour,
		event{time.Hour, signal(arrivalOf(1, 1, 7))},
		event{2 * time.Hour, func(env *testEnv) { before = w.look(env) }},
		event{3 * time.Hour, w.ask("r", ResumeUpdate, ResumeRequest{})})
	if before.Health != NeedsAuth || !before.Streams[0].Stopped || before.Received != 2*2+7 || before.Delivered != before.Received {
		t.Errorf("health %s, stopped %t, received %d, delivered %d", before.Health, before.Streams[0].Stopped, before.Received, before.Delivered)
	}
	if len(w.fetches) < 4 || string(w.fetches[3].Bookmark.Inline) != "c2" {
		t.Fatalf("%d fetches; the one after the resume began at %q, want c2", len(w.fetches), w.fetches[len(w.fetches)-1].Bookmark.Inline)
	}
	if s.Health != Healthy {
		t.Errorf("health %s after the resume", s.Health)
	}
}

// An expired cursor has the stream read again from the beginning, at most three times in a row, whatever else failed before and
// though each attempt brings some pages first.
func TestExpiredCursorResyncsAtMostThreeTimes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun := 0
	w.page = func(in activities.FetchInput) activities.FetchOutput {
		switch {
		case in.Chunk <= 5:
			return activities.FetchOutput{Failure: failure(connectors.Unavailable, "502")}
		case in.Bookmark.IsZero():
			begun++
			return activities.FetchOutput{Pages: 1, More: true, Bookmark: activities.Bookmark{Inline: []byte("c")}}
		}
		return activities.FetchOutput{Failure: failure(connectors.CursorExpired, "cursor too old")}
	}
	s := w.drive(input(pollingPlan(time.Hour)), 24*time.Hour)
	if begun != 1+maxResyncs || !s.Streams[0].Stopped || !strings.Contains(s.Problem, "again and again") {
		t.Errorf("read from the beginning %d times, stopped %t: %s", begun, s.Streams[0].Stopped, s.Problem)
	}
}

// A batch that is too large is halved and halved, grows again afterwards, and never below one record.
func TestHalvesGrowAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var small atomic.Bool
	small.Store(true)
	w.down = func(_ string, in activities.WriteInput) *activities.Failure {
		if n := in.Next - in.First; small.Load() && n > 100 {
			return failure(connectors.TooLarge, "at most 100")
		} else if n < 1 {
			t.Errorf("a batch of %d", n)
		}
		return nil
	}
	s := w.drive(input(realtimePlan()), 3*time.Hour,
		event{time.Second, signal(arrivalOf(1, 1, 1000))},
		event{time.Hour, func(env *testEnv) { small.Store(false); signal(arrivalOf(2, 2, 5000))(env) }})
	if s.Delivered != 6000 || s.Quarantined != 0 {
		t.Fatalf("delivered %d, quarantined %d", s.Delivered, s.Quarantined)
	}
	var largest int64
	for _, in := range w.writes {
		largest = max(largest, in.Next-in.First)
	}
	if last := w.writes[len(w.writes)-2]; last.Next-last.First != largest {
		t.Errorf("the last whole batch still has %d records", last.Next-last.First)
	}
}

// A write that fails without an outcome of its own, or is silent about some records, is repeated as it was.
func TestFrozenBatchIsRepeatedAsItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tries := 0
	w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
		switch tries++; tries {
		case 1:
			return activities.WriteOutput{Next: in.First, Settled: []activities.Span{{First: 3, Next: 5}}}, true // and no failure
		case 2:
			return activities.WriteOutput{Next: in.First, Settled: []activities.Span{{First: 3, Next: 5}}, Failure: failure(connectors.Unknown, "lost")}, true
		}
		return activities.WriteOutput{}, false
	}
	w.drive(input(realtimePlan()), time.Hour,
		event{time.Second, signal(arrivalOf(1, 1, 10))}, event{time.Second + 100*time.Millisecond, signal(arrivalOf(2, 2, 10))})
	if len(w.writes) != 4 {
		t.Fatalf("%d writes", len(w.writes))
	}
	for i, in := range w.writes[:3] {
		if in.First != 0 || in.Next != 10 {
			t.Errorf("attempt %d wrote %d-%d, want 0-10", i+1, in.First, in.Next)
		}
		if want := []activities.Span{{First: 3, Next: 5}}; i > 0 && !slices.Equal(in.Settled, want) {
			t.Errorf("attempt %d was told %v, want %v", i+1, in.Settled, want)
		}
	}
}

// Signals that make no sense are counted, and those that come after them are taken.
func TestUndecodableSignalsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	odd := []any{nil, "text", 7, []byte{0xff, 0}, map[string]any{"j": 5}, map[string]any{"j": "j1", "f": 9, "t": 2}, map[string]any{}}
	var events []event
	for i, v := range odd {
		events = append(events, event{time.Duration(i+1) * time.Second, func(env *testEnv) { env.SignalWorkflow(ArrivalSignal, v) }})
	}
	s := w.drive(input(realtimePlan()), time.Hour, append(events, event{time.Minute, signal(arrivalOf(1, 1, 3))})...)
	if s.Undecodable != int64(len(odd)) || s.Delivered != 3 {
		t.Errorf("%d of %d undecodable, delivered %d", s.Undecodable, len(odd), s.Delivered)
	}
}

// While the segment store and the catalog are down, nothing spins.
func TestNothingSpinsWhileStoresAreDown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kind connectors.Kind
	}{{activities.RollName, connectors.Unavailable}, {activities.RequeueName, connectors.Unavailable}, {"spill", connectors.Unavailable}, {"spill", connectors.NotFound}, {activities.PublishName, connectors.Unavailable}} {
		t.Run(c.name+"/"+string(c.kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fail = func(name string) *activities.Failure {
				if name == c.name {
					return failure(c.kind, "down")
				}
				return nil
			}
			spills := 0
			w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
				if in.Spill != "" {
					spills++
				}
				f := failure(connectors.Unavailable, "destination down")
				if in.Spill != "" && c.name == "spill" {
					f = failure(c.kind, "store down")
				}
				return activities.WriteOutput{Next: in.First, Failure: f}, true
			}
			p := realtimePlan()
			p.Backlog, p.Timing.Roll = 100_000, 4
			p.Lanes[0].Optional = c.name == "spill"
			var events []event
			for i := range uint64(20) {
				events = append(events, event{time.Duration(i+1) * time.Second, signal(arrivalOf(i+1, i+1, 20))})
			}
			events = append(events, event{30 * time.Second, w.ask("r", RedeliverUpdate, RedeliverRequest{Lane: "warehouse"})})
			s := w.drive(input(p), 24*time.Hour, events...)
			// With a pause of 5 minutes at the longest a day holds 288 tries of each; activities that fail as such retry by
			// themselves as well.
			for name, n := range w.calls {
				if n > 6000 {
					t.Errorf("%s was called %d times in a day", name, n)
				}
			}
			if len(w.writes) > 700 {
				t.Errorf("%d writes in a day", len(w.writes))
			}
			if c.name == "spill" && (spills == 0 || s.Health == Healthy || !strings.Contains(s.Problem, "down")) {
				t.Errorf("%d tries to quarantine, health %s: %s", spills, s.Health, s.Problem)
			}
			if c.name == activities.RollName || c.name == activities.RequeueName {
				if w.calls[c.name] < 100 {
					t.Errorf("%s was given up after %d calls", c.name, w.calls[c.name])
				}
			}
		})
	}
}

// Texts of any length and kind leave the state small.
func TestLongTextsAreClipped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := realtimePlan()
	p.Timing.Events = 60
	p.Lanes = nil
	for i := range 32 {
		p.Lanes = append(p.Lanes, LanePlan{Name: fmt.Sprint("lane", i), Records: 10, Bytes: 1 << 20})
	}
	w.down = func(string, activities.WriteInput) *activities.Failure {
		return failure(connectors.Unavailable, strings.Repeat("<\x00\"é", 10_000))
	}
	w.drive(input(p), time.Hour, event{time.Second, signal(arrivalOf(1, 1, 100))}, event{time.Minute, w.ask("p", PauseUpdate, PauseRequest{Reason: strings.Repeat("<", 1<<20)})},
		event{2 * time.Minute, w.ask("r", ResumeUpdate, ResumeRequest{})})
	if w.runs < 3 || w.maxState > 60<<10 {
		t.Errorf("%d runs, largest state %d bytes", w.runs, w.maxState)
	}
}
