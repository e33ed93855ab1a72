package workflows

import (
	"fmt"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/segment"
)

func TestArrivalsAreDeliveredInOrderAcrossRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := realtimePlan()
	p.Timing.Events = 40
	var events []event
	for i := range 200 {
		at := time.Second + time.Duration(i)*200*time.Millisecond
		a := arrivalOf(uint64(10*i+1), uint64(10*i+10), 10)
		events = append(events, event{at, signal(a)})
		if i%7 == 0 { // the forwarder repeats what it got no answer for
			events = append(events, event{at + time.Millisecond, signal(a)})
		}
	}
	s := w.drive(input(p), time.Hour, events...)
	if s.Received != 2000 || s.Delivered != 2000 || w.ledger["warehouse"] != 2000 {
		t.Errorf("received %d, delivered %d, ledger %d; want 2000 each", s.Received, s.Delivered, w.ledger["warehouse"])
	}
	if w.runs < 5 {
		t.Errorf("%d runs: the test means to cross continue-as-new often", w.runs)
	}
	if s.Health != Healthy {
		t.Errorf("health %s: %s", s.Health, s.Problem)
	}
}

func TestIdleInstallationDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.subscribe.Manual = true
	s := w.drive(input(realtimePlan()), 90*24*time.Hour)
	if n := w.calls[activities.SubscribeName] + w.calls[activities.PublishName]; n > 2 || s.Runs != 1 {
		t.Errorf("%d upkeep calls and %d runs in 90 idle days", n, s.Runs)
	}
}

func TestWeeksOfPolling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	polls := 0
	w.page = func(in activities.FetchInput) activities.FetchOutput {
		polls++
		out := activities.FetchOutput{Pages: 2, Bookmark: activities.Bookmark{Inline: fmt.Appendf(nil, "c%d", polls)}}
		if polls%5 == 0 {
			out.Segments = []segment.Ref{{Name: name(testEpoch, in.Stream, "poll", in.Chunk), Stream: in.Stream, Records: 5, Bytes: 500}}
		}
		return out
	}
	p := pollingPlan(5 * time.Minute)
	p.Timing.Events = 300
	s := w.drive(input(p), 21*24*time.Hour)
	if want := 21 * 24 * 12; polls < want*9/10 || polls > want+1 {
		t.Errorf("%d polls in three weeks, want about %d", polls, want)
	}
	if s.Received != int64(polls/5*5) || s.Delivered != s.Received {
		t.Errorf("received %d, delivered %d of %d", s.Received, s.Delivered, polls/5*5)
	}
	for i, in := range w.fetches[1:] {
		if string(in.Bookmark.Inline) != fmt.Sprintf("c%d", i+1) {
			t.Fatalf("fetch %d went on at %q", i+1, in.Bookmark.Inline)
		}
	}
}

// A destination is down for a day while a million records arrive: the state stays small, runs continue, and all of it is
// delivered afterwards.
func TestDestinationDownForADay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up := time.Date(2026, 1, 6, 9, 0, 0, 0, time.UTC)
	p := realtimePlan()
	p.Backlog = 4 << 30
	p.Lanes = []LanePlan{{Name: "warehouse", Records: 50_000, Bytes: 64 << 20}, {Name: "other", Records: 50_000, Bytes: 64 << 20}}
	p.Timing.Events = 1000
	var env *testEnv
	w.down = func(lane string, in activities.WriteInput) *activities.Failure {
		if lane == "warehouse" && env.Now().Before(up) {
			return unavailableFailure(lane, in)
		}
		return nil
	}
	var events []event
	const arrivals = 8640 // one in ten seconds
	for i := range arrivals {
		a := arrivalOf(uint64(i+1), uint64(i+1), 116)
		events = append(events, event{time.Second + time.Duration(i)*10*time.Second, func(e *testEnv) { env = e; signal(a)(e) }})
	}
	s := w.drive(input(p), 30*time.Hour, events...)
	want := int64(arrivals * 116)
	if s.Received != want || w.ledger["warehouse"] != want || w.ledger["other"] != want {
		t.Errorf("received %d, ledgers %v, want %d", s.Received, w.ledger, want)
	}
	if w.maxState > 256<<10 || w.maxState == 0 {
		t.Errorf("largest state %d bytes", w.maxState)
	}
	if w.calls[activities.RollName] == 0 {
		t.Error("no manifest was made")
	}
	t.Logf("%d runs, largest state %d bytes, %d writes", w.runs, w.maxState, len(w.writes))
}

func TestTooLargeSplits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.down = func(_ string, in activities.WriteInput) *activities.Failure {
		if in.First <= 77 && 77 < in.Next || in.Next-in.First > 64 {
			return &activities.Failure{Kind: connectors.TooLarge, Message: "too much"}
		}
		return nil
	}
	s := w.drive(input(realtimePlan()), time.Hour, event{time.Second, signal(arrivalOf(1, 1, 300))})
	if w.spilled["warehouse"] != 1 || s.Delivered != 299 || s.Quarantined != 1 {
		t.Errorf("delivered %d, quarantined %d: want 299 and the one that is too large by itself", s.Delivered, s.Quarantined)
	}
}

// A record that is left of an attempt that was too large may fit by itself: it is tried alone before it goes to quarantine.
func TestLastOfTooLargeIsTriedAlone(t *testing.T) {
	t.Parallel()
	for generation, quarantined := range map[int]int64{lastAlone - 1: 1, lastAlone: 0} {
		w := newWorld(t)
		w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
			n := in.Next - in.First
			if n < 2 || in.Spill != "" {
				return activities.WriteOutput{}, false
			}
			return activities.WriteOutput{Next: in.Next - 1, Delivered: n - 1, Failure: &activities.Failure{Kind: connectors.TooLarge, Message: "too much"}}, true
		}
		in := input(realtimePlan())
		in.Generation = generation
		s := w.drive(in, time.Hour, event{time.Second, signal(arrivalOf(1, 1, 5))})
		if s.Delivered != 5-quarantined || s.Quarantined != quarantined {
			t.Errorf("generation %d: delivered %d, quarantined %d: want %d in quarantine", generation, s.Delivered, s.Quarantined, quarantined)
		}
	}
}

func TestUninstallEndsWhateverIsDown(t *testing.T) {
	t.Parallel()
	for _, down := range []string{"", activities.EndName, activities.UnsubscribeName, "destination", "all"} {
		t.Run("down:"+down, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var env *testEnv
			gone := time.Date(2026, 1, 5, 9, 30, 0, 0, time.UTC)
			w.fail = func(name string) *activities.Failure {
				if env != nil && env.Now().After(gone) && (down == name || down == "all") {
					return &activities.Failure{Kind: connectors.Unavailable, Message: "no route to host"}
				}
				return nil
			}
			w.down = func(lane string, in activities.WriteInput) *activities.Failure {
				if env.Now().After(gone) && (down == "destination" || down == "all") {
					return unavailableFailure(lane, in)
				}
				return nil
			}
			hold := func(e *testEnv) { env = e }
			s := w.drive(input(realtimePlan()), 3*time.Hour,
				event{time.Second, hold},
				event{time.Minute, signal(arrivalOf(1, 5, 50))},
				event{time.Hour - time.Second, signal(arrivalOf(6, 9, 40))},
				event{time.Hour, w.ask("u1", UninstallUpdate, struct{}{})})
			if w.err != nil || s.Phase != Ended {
				t.Fatalf("phase %s, error %v", s.Phase, w.err)
			}
			if got := s.Delivered + s.Quarantined; got != 90 {
				t.Errorf("delivered %d + quarantined %d of 90", s.Delivered, s.Quarantined)
			}
			if wantLeft := down == activities.EndName || down == activities.UnsubscribeName || down == "all"; wantLeft != (len(w.summary.Left) > 0) {
				t.Errorf("left: %q", w.summary.Left)
			}
		})
	}
}
