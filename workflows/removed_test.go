package workflows

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// withOld is a plan with a second destination, which a later revision removes.
func withOld() Plan {
	p := realtimePlan()
	p.Lanes = append(p.Lanes, LanePlan{Name: "old", Records: 20, Bytes: 1 << 20})
	return p
}

func revised(p Plan, revision int) Plan {
	p.Revision = revision
	return p
}

// A removed lane finishes the batch that it had frozen, under the revision of that; what it can't finish goes to quarantine
// under the last revision that knew the lane, and so does the rest of its backlog (I4). Then the lane goes, and what came
// after it was removed was never its own.
func TestRemovedLaneLosesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kind connectors.Kind
		up   time.Duration // when the destination is up again
		want int64         // records in quarantine
	}{{"comes back", connectors.Unavailable, 31 * time.Minute, 30}, {"stays down", connectors.Unavailable, 1000 * time.Hour, 50}, {"gone", connectors.Gone, 1000 * time.Hour, 50}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var env *testEnv
			w.down = func(lane string, in activities.WriteInput) *activities.Failure {
				if lane == "old" && env.Now().Before(began.Add(c.up)) {
					return failure(c.kind, "off")
				}
				return nil
			}
			s := w.drive(input(withOld()), 48*time.Hour,
				event{time.Second, func(e *testEnv) { env = e }},
				event{30*time.Minute - 10*time.Second, signal(arrivalOf(1, 1, 50))},
				event{30 * time.Minute, w.ask("c", ReconfigureUpdate, revised(realtimePlan(), 2))},
				event{31 * time.Minute, w.send("f", FlushUpdate, FlushRequest{Lanes: []string{"old"}})},
				event{31 * time.Minute, signal(arrivalOf(2, 2, 50))},
				event{40 * time.Hour, signal(arrivalOf(3, 3, 50))})
			if len(s.Lanes) != 1 || s.QueueEntries != 0 {
				t.Errorf("%d lanes and %d entries are left: the removed lane holds the queue up", len(s.Lanes), s.QueueEntries)
			}
			if w.ledger["old"] != 50 || w.spilled["old"] != c.want || s.Lanes[0].Delivered != 150 {
				t.Errorf("the removed lane settled %d, %d of it in quarantine; the other delivered %d", w.ledger["old"], w.spilled["old"], s.Lanes[0].Delivered)
			}
			for _, in := range w.writes {
				if in.Lane == "old" && in.Revision != 1 {
					t.Errorf("the removed lane wrote by revision %d, which does not know it", in.Revision)
				}
				if in.Lane == "old" && in.Spill != "" && !strings.Contains(in.Spill, "removed") {
					t.Errorf("the reason in quarantine is %q", in.Spill)
				}
			}
			if a := w.answers["f"][0]; a.refused == nil {
				t.Error("a flush of a removed lane was accepted")
			}
		})
	}
}

// backlogAt is 300 records, of 1,000 bytes each unless told, in half a minute.
func backlogAt(at time.Duration, bytes ...int64) []event {
	var events []event
	for i := range uint64(30) {
		a := arrivalOf(i+1, i+1, 10)
		if bytes != nil {
			a.Segments[0].Bytes = 10 * bytes[0]
		}
		events = append(events, event{at + time.Duration(i)*time.Second, signal(a)})
	}
	return events
}

// While the backlog of a removed lane goes to quarantine, nobody is held back by it, also when quarantine is down for long and
// runs continue as new meanwhile; references stay for as long as they are needed (the test's world looks at that).
func TestRemovedLaneHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	for _, paused := range []bool{false, true} {
		t.Run(fmt.Sprint("paused=", paused), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := withOld()
			p.Backlog, p.Timing.Events, p.Timing.Publish = 100_000, 60, time.Second
			w.down = func(lane string, in activities.WriteInput) *activities.Failure {
				if lane == "old" {
					return failure(connectors.Gone, "off")
				}
				return nil
			}
			var down atomic.Bool
			down.Store(true)
			w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
				if in.Spill != "" && down.Load() {
					return activities.WriteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "the catalog is away")}, true
				}
				return activities.WriteOutput{}, false
			}
			next := revised(p, 2)
			next.Lanes = p.Lanes[:1]
			var before, during Status
			var pressed bool
			events := append(backlogAt(time.Minute),
				event{10 * time.Minute, func(env *testEnv) { before = w.look(env); pressed = w.published.Pressure }},
				event{11 * time.Minute, w.ask("c", ReconfigureUpdate, next)})
			if paused {
				events = append(events, event{11*time.Minute + time.Second, w.ask("p", PauseUpdate, PauseRequest{})})
			}
			events = append(events, event{2 * time.Hour, func(env *testEnv) { during = w.look(env) }}, event{2 * time.Hour, func(*testEnv) { down.Store(false) }})
			s := w.drive(input(p), 4*time.Hour, events...)
			if !pressed || before.Health != Stopped {
				t.Errorf("before: pressure %t, health %s", pressed, before.Health)
			}
			if len(during.Lanes) != 2 || !during.Lanes[1].Removed || during.Lanes[1].Lag != 300 || w.published.Pressure {
				t.Errorf("while it drains: lanes %+v, pressure %t", during.Lanes, w.published.Pressure)
			}
			if len(s.Lanes) != 1 || s.QueueEntries != 0 || w.spilled["old"] != 300 || w.runs < 3 {
				t.Errorf("%d lanes and %d entries are left, %d records in quarantine, %d runs", len(s.Lanes), s.QueueEntries, w.spilled["old"], w.runs)
			}
		})
	}
}

// A lane that is put back while it drains goes on where it stands: what is in quarantine by then stays there, the rest is
// delivered with what came meanwhile. Put back when it is gone, it is a new one and begins with what comes next.
func TestRemovedLanePutBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		back               time.Duration
		spilled, delivered int64
	}{{"while it drains", 12 * time.Minute, 65, 255}, {"when it is gone", 3 * time.Hour, 300, 10}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gaps = true
			var up, away atomic.Bool
			away.Store(c.back < time.Hour)
			w.down = func(lane string, in activities.WriteInput) *activities.Failure {
				if lane == "old" && !up.Load() {
					return failure(connectors.Unavailable, "off")
				}
				return nil
			}
			w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
				if in.Spill != "" && in.First >= 20 && away.Load() { // the catalog goes away after the first batch
					return activities.WriteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "the catalog is away")}, true
				}
				return activities.WriteOutput{}, false
			}
			// One record is frozen, 32 are in each batch of the rest.
			s := w.drive(input(withOld()), 5*time.Hour, append(backlogAt(time.Minute, 1<<20),
				event{11 * time.Minute, w.ask("c", ReconfigureUpdate, revised(realtimePlan(), 2))},
				event{11*time.Minute + 30*time.Second, signal(arrivalOf(31, 31, 10))},
				event{c.back, func(env *testEnv) {
					up.Store(true)
					w.ask("b", ReconfigureUpdate, revised(withOld(), 3))(env)
				}},
				event{4 * time.Hour, func(env *testEnv) { away.Store(false); signal(arrivalOf(32, 32, 10))(env) }})...)
			old := s.Lanes[1]
			if w.spilled["old"] != c.spilled || old.Delivered != c.delivered || old.Lag != 0 || old.Removed {
				t.Errorf("%d in quarantine, delivered %d, behind %d", w.spilled["old"], old.Delivered, old.Lag)
			}
		})
	}
}

// An uninstall while a removed lane drains puts the rest of it into quarantine within its bound, or names what it left.
func TestUninstallWhileALaneDrains(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprint("quarantine is away=", away), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.down = func(lane string, in activities.WriteInput) *activities.Failure {
				if lane == "old" {
					return failure(connectors.Gone, "off")
				}
				return nil
			}
			var down atomic.Bool
			down.Store(true)
			w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
				if in.Spill != "" && down.Load() {
					return activities.WriteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "the catalog is away")}, true
				}
				return activities.WriteOutput{}, false
			}
			s := w.drive(input(withOld()), 24*time.Hour, append(backlogAt(time.Minute),
				event{11 * time.Minute, w.ask("c", ReconfigureUpdate, revised(realtimePlan(), 2))},
				event{12 * time.Minute, func(env *testEnv) {
					down.Store(away)
					w.ask("u", UninstallUpdate, struct{}{})(env)
				}})...)
			left := strings.Join(w.summary.Left, "; ")
			if s.Phase != Ended || w.err != nil {
				t.Fatalf("phase %s, error %v", s.Phase, w.err)
			}
			if want := "300 records for old"; away != strings.Contains(left, want) {
				t.Errorf("left %q", left)
			}
			if got := w.summary.Quarantined["old"]; !away && got != 300 {
				t.Errorf("%d records in quarantine", got)
			}
		})
	}
}

// A redelivery whose records had left quarantine when its lane was removed brings them back there, and they alone of what
// came after the removal.
func TestRedeliveryUnderWayToARemovedLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := time.Minute
	s := w.drive(input(withOld()), time.Hour,
		event{at, w.hold(activities.RequeueName)},
		event{at + time.Millisecond, w.ask("r", RedeliverUpdate, RedeliverRequest{Lane: "old"})},
		event{at + 4*time.Millisecond, w.ask("c", ReconfigureUpdate, revised(realtimePlan(), 2))},
		event{at + 6*time.Millisecond, signal(arrivalOf(1, 1, 50))},
		event{at + 9*time.Millisecond, w.release(activities.RequeueName)})
	if len(s.Lanes) != 1 || w.spilled["old"] != 3 || w.ledger["old"] != 53 || s.QueueEntries != 0 {
		t.Errorf("%d lanes, %d records in quarantine up to ordinal %d, %d entries left", len(s.Lanes), w.spilled["old"], w.ledger["old"], s.QueueEntries)
	}
}

// However often destinations are exchanged for others while quarantine is away, there are never more of them than the state
// is proven for (I10); the reconfigure that would have more is refused and says why.
func TestDrainingLanesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gaps = true
	w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
		return activities.WriteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "down")}, true
	}
	plan := func(revision int) Plan {
		p := revised(realtimePlan(), revision)
		p.Lanes = nil
		for i := range 12 {
			p.Lanes = append(p.Lanes, LanePlan{Name: fmt.Sprintf("r%d-%d", revision, i), Records: 1000, Bytes: 1 << 20})
		}
		return p
	}
	s := w.drive(input(plan(1)), time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 10))},
		event{2 * time.Minute, w.send("2", ReconfigureUpdate, plan(2))},
		event{3 * time.Minute, signal(arrivalOf(2, 2, 10))},
		event{4 * time.Minute, w.send("3", ReconfigureUpdate, plan(3))})
	if a := w.answers["2"][0]; a.refused != nil {
		t.Errorf("the second revision was refused: %v", a.refused)
	}
	if a := w.answers["3"][0]; a.refused == nil || !strings.Contains(a.refused.Error(), "24 of them removed") {
		t.Errorf("answer %+v, want a refusal", a)
	}
	if len(s.Lanes) != 24 || s.Revision != 2 {
		t.Errorf("%d destinations by revision %d", len(s.Lanes), s.Revision)
	}
}
