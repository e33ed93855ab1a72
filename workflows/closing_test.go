package workflows

import (
	"strings"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// An uninstall ends within its bound from wherever it begins, with everything outside away from then on, and what was
// acknowledged and neither delivered nor put into quarantine is named.
func TestUninstallEndsFromEveryPoint(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	at := time.Hour
	both := bothPlan()
	both.Lanes = append(both.Lanes, LanePlan{Name: "extra", Records: 20, Bytes: 1 << 20, Optional: true})
	fewer := bothPlan()
	fewer.Revision = 2
	for point, c := range map[string]struct {
		held string // an activity that never answers again
		away bool   // the destinations, from before
	}{
		"idle":               {},
		"fetching":           {held: activities.FetchName},
		"writing":            {held: activities.WriteName},
		"backing off":        {away: true},
		"spilling":           {away: true},
		"paused":             {},
		"lane draining":      {away: true},
		"redelivery waiting": {},
		"redelivery failing": {},
		"continuing as new":  {},
		"removing webhooks":  {},
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gaps, w.subscribe.Active, w.page = true, 1, endless
			plan := both
			plan.Backlog = 500_000
			var env *testEnv
			cut := began.Add(at)
			w.fail = func(name string) *activities.Failure {
				if env != nil && !env.Now().Before(cut) || name == activities.RequeueName || point == "removing webhooks" && name == activities.UnsubscribeName {
					return failure(connectors.Unavailable, "no route to host")
				}
				return nil
			}
			w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
				if !env.Now().Before(cut) || c.away && env.Now().After(began.Add(30*time.Minute)) {
					return activities.WriteOutput{Next: in.First, Failure: failure(connectors.Unavailable, "no route to host")}, true
				}
				return activities.WriteOutput{}, false
			}
			events := []event{{time.Nanosecond, func(e *testEnv) { env = e }}, {time.Minute, signal(arrivalOf(1, 1, 50))}}
			switch point {
			case "fetching":
				events = append(events, event{at - 9*ms, w.hold(c.held)}, event{at - 6*ms, w.ask("p", PollUpdate, StreamsRequest{})})
			case "writing":
				events = append(events, event{at - 9*ms, w.hold(c.held)}, event{at - 6*ms, signal(arrivalOf(2, 2, 30))})
			case "spilling":
				events = append(events, event{at - 10*time.Minute, signal(arrivalOf(900, 900, 2000))})
			case "backing off":
				events = append(events, event{at - 10*time.Minute, signal(arrivalOf(2, 2, 30))})
			case "paused":
				events = append(events, event{at - time.Minute, w.ask("p", PauseUpdate, PauseRequest{})}, event{at - time.Second, signal(arrivalOf(2, 2, 30))})
			case "lane draining":
				events = append(events, event{at - 10*time.Minute, signal(arrivalOf(2, 2, 30))}, event{at - time.Second, w.ask("c", ReconfigureUpdate, fewer)})
			case "redelivery waiting":
				events = append(events, event{at - time.Minute, w.ask("p", PauseUpdate, PauseRequest{})}, event{at - time.Second, w.ask("r", RedeliverUpdate, RedeliverRequest{Lane: "extra"})})
			case "redelivery failing":
				events = append(events, event{at - time.Minute, w.ask("r", RedeliverUpdate, RedeliverRequest{Lane: "extra"})})
			case "continuing as new":
				events = append(events, event{at - ms, func(*testEnv) { w.grow(100_000) }})
			case "removing webhooks":
				events = append(events, event{at - time.Minute, w.ask("c", ReconfigureUpdate, revised(pollingPlan(time.Hour), 2))})
			}
			var ended time.Time
			events = append(events, event{at, w.ask("u", UninstallUpdate, struct{}{})})
			if c.held != "" {
				events = append(events, event{at + 20*ms, w.release(c.held)})
			}
			s := w.drive(input(plan), 24*time.Hour, events...)
			ended = env.Now()
			timing := plan.Timing.withDefaults()
			bound := 2*timing.Closing + timing.Flush + timing.Closing + time.Minute
			if s.Phase != Ended || w.err != nil || ended.After(cut.Add(bound)) {
				t.Fatalf("phase %s after %s, error %v", s.Phase, ended.Sub(cut), w.err)
			}
			left := strings.Join(w.summary.Left, "; ")
			for _, want := range []string{"the catalog still lists", "webhooks may be left"} {
				if !strings.Contains(left, want) {
					t.Errorf("left %q, want it to say that %s", left, want)
				}
			}
			if s.Lag > 0 != strings.Contains(left, "records for") {
				t.Errorf("behind %d, left %q", s.Lag, left)
			}
			for _, op := range s.Operations {
				if !op.Done {
					t.Errorf("operation %s (%s) is not done", op.ID, op.Name)
				}
			}
		})
	}
}

// After a workflow reset the run goes on under an epoch of its own, with its queue and its redeliveries, also over the
// runs that follow, and what it seals is numbered apart from before (I3).
func TestResetCarriesQueueAndRedeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gaps, w.resets = true, map[int]bool{2: true}
	p := realtimePlan()
	w.drive(input(p), time.Hour,
		event{time.Minute, w.ask("p", PauseUpdate, PauseRequest{})},
		event{2 * time.Minute, signal(arrivalOf(1, 1, 50))},
		event{3 * time.Minute, w.ask("r", RedeliverUpdate, RedeliverRequest{Lane: "warehouse", IDs: []int64{7}})},
		event{4 * time.Minute, w.fill},
		event{5 * time.Minute, w.ask("go", ResumeUpdate, ResumeRequest{})},
		event{10 * time.Minute, w.fill},
		event{20 * time.Minute, signal(arrivalOf(2, 2, 20))},
		event{30 * time.Minute, signal(arrivalOf(1, 1, 50))})
	if w.runs != 3 || w.ledger["warehouse"] != 73 || len(w.requeues) != 1 {
		t.Fatalf("%d runs, the ledger stands at %d, %d redeliveries", w.runs, w.ledger["warehouse"], len(w.requeues))
	}
	ledger := w.writes[0].Ledger
	if !strings.HasPrefix(ledger, testEpoch+".") || w.requeues[0].Suffix == "" || !strings.HasSuffix(ledger, w.requeues[0].Suffix) {
		t.Errorf("after the reset it wrote as %s and redelivered as %q", ledger, w.requeues[0].Suffix)
	}
	for _, in := range w.writes {
		if in.Ledger != ledger || in.Epoch != testEpoch {
			t.Errorf("wrote as %s of %s", in.Ledger, in.Epoch)
		}
	}
}
