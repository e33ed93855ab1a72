package workflows

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// A required destination that is down fills the backlog: pressure is published and polling waits; when it is up again both end.
func TestBacklogHoldsBackAndIsReleased(t *testing.T) {
	t.Parallel()
	for _, why := range []string{"down", "paused"} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.page = endless
			var down atomic.Bool
			w.down = func(lane string, in activities.WriteInput) *activities.Failure {
				if down.Load() {
					return failure(connectors.Unavailable, "connection refused")
				}
				return nil
			}
			p := bothPlan()
			p.Backlog = 100_000 // a record of an arrival is 1,000 bytes
			var events []event
			if why == "paused" {
				events = append(events, event{time.Hour, w.ask("p", PauseUpdate, PauseRequest{})})
			} else {
				events = append(events, event{time.Hour, func(*testEnv) { down.Store(true) }})
			}
			for i := range uint64(12) {
				events = append(events, event{time.Hour + time.Minute + time.Duration(i)*time.Second, signal(arrivalOf(i+1, i+1, 10))})
			}
			var during Status
			fetches := 0
			events = append(events,
				event{time.Hour + 15*time.Minute, func(*testEnv) { fetches = len(w.fetches) }},
				event{3 * time.Hour, func(env *testEnv) {
					during = w.look(env)
					if !w.published.Pressure {
						t.Error("no pressure was published")
					}
					if len(w.fetches) != fetches {
						t.Errorf("%d fetches with the backlog full", len(w.fetches)-fetches)
					}
					down.Store(false)
				}},
				event{3*time.Hour + time.Minute, w.ask("r", ResumeUpdate, ResumeRequest{})})
			s := w.drive(input(p), 6*time.Hour, events...)
			if want := map[string]Health{"down": Backlogged, "paused": OnHold}[why]; during.Health != want || during.Lag < 120 {
				t.Errorf("health %s and lag %d while it was full, want %s", during.Health, during.Lag, want)
			}
			if w.published.Pressure || len(w.fetches) == fetches || s.Lag != 0 || s.Health != Healthy {
				t.Errorf("afterwards: pressure %t, %d more fetches, lag %d, health %s", w.published.Pressure, len(w.fetches)-fetches, s.Lag, s.Health)
			}
		})
	}
}

// A destination that keeps the backlog about full, now a little more and now a little less, does not have polling and the
// receiver go on and off with it: what is held back goes on at four fifths of the limit.
func TestPressureDoesNotFlutter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := realtimePlan()
	p.Backlog = 100_000
	var fast atomic.Bool
	w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
		if fast.Load() || in.Next-in.First <= 10 {
			return activities.WriteOutput{}, false
		}
		return activities.WriteOutput{Next: in.First + 10, Delivered: 10, Failure: &activities.Failure{Kind: connectors.RateLimited, Message: "slow down", Wait: 20 * time.Second}}, true
	}
	events := []event{{time.Second, signal(arrivalOf(1, 1, 98))}}
	for i := range uint64(60) { // as fast as it delivers, in turn with it
		events = append(events, event{11*time.Second + time.Duration(i)*20*time.Second, signal(arrivalOf(i+2, i+2, 11))})
	}
	var during Status
	events = append(events, event{20 * time.Minute, func(env *testEnv) { during = w.look(env); fast.Store(true) }})
	s := w.drive(input(p), time.Hour, events...)
	if during.Health != Backlogged || during.Lanes[0].LagBytes < 80_000 || w.flips != 2 {
		t.Errorf("health %s with %d bytes owed; pressure changed %d times, want on and, when it was delivered, off", during.Health, during.Lanes[0].LagBytes, w.flips)
	}
	if s.Health != Healthy || s.Lag != 0 {
		t.Errorf("afterwards: health %s, behind %d", s.Health, s.Lag)
	}
}

// An optional destination beyond its backlog spills to quarantine, also when it has stopped or all is paused, and stays as it is
// otherwise; a required one beside it gets everything and nobody is held back (I11).
func TestOptionalLaneSpills(t *testing.T) {
	t.Parallel()
	for _, kind := range []connectors.Kind{connectors.Unavailable, connectors.Gone, "paused"} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := realtimePlan()
			p.Backlog = 50_000
			p.Lanes = append(p.Lanes, LanePlan{Name: "extra", Records: 20, Bytes: 1 << 20, Optional: true})
			if kind == "paused" {
				p.Lanes = p.Lanes[1:]
			}
			tries := 0
			w.down = func(lane string, in activities.WriteInput) *activities.Failure {
				if lane == "extra" {
					tries++
					return failure(kind, "it is off")
				}
				return nil
			}
			events := []event{{time.Millisecond, func(env *testEnv) {
				if kind == "paused" {
					w.ask("p", PauseUpdate, PauseRequest{})(env)
				}
			}}}
			for i := range uint64(40) {
				events = append(events, event{time.Second + time.Duration(i)*10*time.Second, signal(arrivalOf(i+1, i+1, 10))})
			}
			s := w.drive(input(p), time.Hour, events...)
			extra := s.Lanes[len(s.Lanes)-1]
			if w.spilled["extra"] < 350-20 || extra.LagBytes > p.Backlog || extra.Quarantined != w.spilled["extra"] || w.published.Pressure {
				t.Errorf("spilled %d, still behind %d bytes, pressure %t", w.spilled["extra"], extra.LagBytes, w.published.Pressure)
			}
			if kind != "paused" && (s.Lanes[0].Delivered != 400 || w.spilled["warehouse"] != 0) {
				t.Errorf("the required lane delivered %d of 400", s.Lanes[0].Delivered)
			}
			switch kind {
			case connectors.Gone:
				if tries != 1 || !extra.Stopped {
					t.Errorf("%d tries, stopped %t: spilling must not bring back a lane that had stopped", tries, extra.Stopped)
				}
			case "paused":
				if tries != 0 {
					t.Errorf("%d tries while paused", tries)
				}
			}
		})
	}
}

// A batch that could wait for more to come is written when the backlog is full: nothing more comes then.
func TestFullBacklogDoesNotWaitForAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := realtimePlan()
	p.Backlog, p.Lanes[0].Age = 50_000, 10*time.Hour
	s := w.drive(input(p), time.Hour, event{time.Second, signal(arrivalOf(1, 1, 60))}, event{2 * time.Second, signal(arrivalOf(2, 2, 10))})
	if s.Delivered != 60 || s.Lag != 10 {
		t.Errorf("delivered %d, behind %d; want the full backlog delivered and the rest waiting for its age", s.Delivered, s.Lag)
	}
}

// Records come one by one for days while a destination is dead and redeliveries mix with arrivals: references roll into
// manifests of manifests, and the state stays small (I10).
func TestStateStaysSmallWhateverIsInTheQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := realtimePlan()
	p.Lanes = append(p.Lanes, LanePlan{Name: "other", Records: 50_000, Bytes: 1 << 30})
	p.Timing.Roll, p.Timing.Events = 32, 400
	w.gaps = true
	var up atomic.Bool
	w.down = func(lane string, in activities.WriteInput) *activities.Failure {
		if lane == "other" && !up.Load() {
			return failure(connectors.Unavailable, "down")
		}
		return nil
	}
	var events []event
	for i := range uint64(1500) {
		at := time.Second + time.Duration(i)*time.Minute
		events = append(events, event{at, signal(arrivalOf(i+1, i+1, 1))})
		if i%2 == 0 {
			events = append(events, event{at + time.Second, w.send(fmt.Sprint("r", i), RedeliverUpdate, RedeliverRequest{Lane: "other"})})
		}
	}
	events = append(events, event{26 * time.Hour, func(*testEnv) { up.Store(true) }})
	s := w.drive(input(p), 30*time.Hour, events...)
	if want := int64(1500 + 750*3); w.ledger["other"] != want || s.Lag != 0 {
		t.Errorf("the ledger stands at %d, want %d; behind %d", w.ledger["other"], want, s.Lag)
	}
	if w.maxState > 24<<10 {
		t.Errorf("largest state %d bytes", w.maxState)
	}
}

// What a run writes into its history for a thousand records stays small.
func TestHistoryStaysSmall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	chunks := 0
	w.page = func(in activities.FetchInput) activities.FetchOutput {
		out := endless(in)
		chunks++
		out.More = chunks < 20
		out.Segments[0].Records, out.Segments[0].Bytes = 50_000, 25<<20
		return out
	}
	p := pollingPlan(24 * time.Hour)
	p.Lanes[0].Records, p.Lanes[0].Bytes = 50_000, 32<<20
	s := w.drive(input(p), time.Hour)
	total := 0
	for _, n := range w.events {
		total += n
	}
	if s.Delivered != 1_000_000 || total > 700 {
		t.Errorf("%d events for %d records", total, s.Delivered)
	}
}
