package workflows

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/integration"
	"tributary/internal/segment"
)

// bothPlan polls and receives, so that every Update has something to do.
func bothPlan() Plan {
	p := realtimePlan()
	p.Trigger, p.Interval = integration.Both, 10*time.Minute
	return p
}

// endless is a stream of which every chunk brings something new and each third ends a poll.
func endless(in activities.FetchInput) activities.FetchOutput {
	return activities.FetchOutput{
		Pages: 1, More: in.Chunk%3 != 0, Bookmark: activities.Bookmark{Inline: fmt.Appendf(nil, "c%d", in.Chunk)},
		Segments: []segment.Ref{{Name: name(testEpoch, in.Stream, activities.Origin("poll", in.Suffix), in.Chunk), Stream: in.Stream, Records: 2, Bytes: 200}},
	}
}

// updates are one of each kind.
func updates() map[string]any {
	next := bothPlan()
	next.Revision = 2
	return map[string]any{
		PauseUpdate: PauseRequest{Reason: "maintenance"}, ResumeUpdate: ResumeRequest{}, PollUpdate: StreamsRequest{},
		BackfillUpdate: StreamsRequest{Streams: []string{"orders"}, Since: began.Add(-time.Hour)}, FlushUpdate: FlushRequest{Lanes: []string{"warehouse"}},
		ReconfigureUpdate: next, RedeliverUpdate: RedeliverRequest{Lane: "warehouse"}, UninstallUpdate: struct{}{},
	}
}

// Every Update, at every point of an installation's life, is accepted with its operation's ID, or refused in words; it does not keep
// runs from continuing; its operation is done in the end; and sent again in a later run it is recognised.
func TestEveryUpdateAtEveryPoint(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	at := time.Minute
	points := map[string]struct {
		before  []event // ends at `at`
		release string
		down    bool // the destination, for a while
		when    time.Duration
	}{
		"installing":        {before: []event{}, release: activities.CheckName, when: 5 * ms},
		"idle":              {when: at},
		"polling":           {before: []event{{at - 5*ms, nil}}, release: activities.FetchName, when: at + 5*ms},
		"writing":           {before: []event{{at - 5*ms, nil}, {at, signal(arrivalOf(1, 1, 10))}}, release: activities.WriteName, when: at + 5*ms},
		"backing off":       {before: []event{{at, signal(arrivalOf(1, 1, 10))}}, down: true, when: at + 20*time.Second},
		"continuing as new": {before: []event{{at - time.Second, signal(arrivalOf(1, 1, 10))}}, when: at},
		"full and writing":  {before: []event{{at - 5*ms, nil}, {at, signal(arrivalOf(1, 1, 10))}}, release: activities.WriteName, when: at + 5*ms},
		"closing":           {before: []event{{at - 5*ms, nil}}, release: activities.EndName, when: at + 5*ms},
	}
	for point, p := range points {
		for update, arg := range updates() {
			t.Run(point+"/"+update, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.subscribe.Active = 1
				w.page = endless
				var env *testEnv
				if p.down {
					w.down = func(lane string, in activities.WriteInput) *activities.Failure {
						if env.Now().Before(began.Add(10 * time.Minute)) {
							return unavailableFailure(lane, in)
						}
						return nil
					}
				}
				events := []event{{time.Nanosecond, func(e *testEnv) { env = e }}}
				if p.release != "" && point == "installing" {
					w.hold(p.release)(nil)
				}
				for _, e := range p.before {
					if e.do == nil {
						e.do = w.hold(p.release)
					}
					events = append(events, e)
				}
				switch point {
				case "polling":
					events = append(events, event{at, w.send("first", PollUpdate, StreamsRequest{})})
				case "continuing as new", "full and writing":
					events = append(events, event{p.when, func(*testEnv) { w.grow(100_000) }})
				case "closing":
					events = append(events, event{at, w.send("first", UninstallUpdate, struct{}{})})
				}
				events = append(events, event{p.when, w.send("u", update, arg)})
				if p.release != "" {
					events = append(events, event{p.when + 5*ms, w.release(p.release)})
				}
				ended := update == UninstallUpdate || point == "closing"
				if !ended {
					events = append(events,
						event{40 * time.Minute, w.send("later", ResumeUpdate, ResumeRequest{})},
						event{2 * time.Hour, w.fill},
						event{2*time.Hour + time.Minute, w.send("u", update, arg)}, // its answer was lost
					)
				}
				s := w.drive(input(bothPlan()), 6*time.Hour, events...)
				if len(w.answers["u"]) == 0 {
					t.Fatal("no answer")
				}
				first, again := w.answers["u"][0], w.answers["u"][len(w.answers["u"])-1]
				refused := point == "closing" && update != UninstallUpdate && update != ResumeUpdate && update != FlushUpdate
				if refused {
					if first.refused == nil || !strings.Contains(first.refused.Error(), "being uninstalled") {
						t.Errorf("answer %+v: want a refusal that says why", first)
					}
				} else if first.refused != nil || first.accepted.Operation != "u" {
					t.Errorf("answer %+v: want it accepted as operation u", first)
				}
				switch {
				case point == "installing" && update == UninstallUpdate:
					if w.err == nil || !strings.Contains(w.err.Error(), "uninstalled before the install was complete") {
						t.Errorf("ended with %v", w.err)
					}
				case ended:
					if s.Phase != Ended || w.err != nil {
						t.Errorf("phase %s, error %v: want it uninstalled", s.Phase, w.err)
					}
				default:
					if s.Health != Healthy || s.Lag != 0 || s.Runs < 2 {
						t.Errorf("health %s (%s), lag %d, %d runs: want all well after a resume, in a second run", s.Health, s.Problem, s.Lag, s.Runs)
					}
					if again.refused != nil || again.accepted.Note != "accepted before" {
						t.Errorf("sent again in a later run: %+v: want it recognised", again)
					}
				}
				for _, op := range s.Operations {
					if !op.Done {
						t.Errorf("operation %s (%s) is not done", op.ID, op.Name)
					}
				}
			})
		}
	}
}

// A request that makes no sense is refused in words that name what there is.
func TestUpdatesAreRefusedInWords(t *testing.T) {
	t.Parallel()
	older := realtimePlan()
	older.Revision = 0
	for _, c := range []struct {
		name string
		plan Plan
		arg  any
		want string
	}{
		{PollUpdate, realtimePlan(), StreamsRequest{}, "reads nothing by itself"},
		{BackfillUpdate, bothPlan(), StreamsRequest{Streams: []string{"nosuch"}}, `no stream "nosuch"; there are orders`},
		{FlushUpdate, realtimePlan(), FlushRequest{Lanes: []string{"nosuch"}}, `no destination "nosuch"; there are warehouse`},
		{ResumeUpdate, bothPlan(), ResumeRequest{Only: []string{"nosuch"}}, `no destination or stream "nosuch"; there are warehouse, orders`},
		{ReconfigureUpdate, realtimePlan(), older, "revision 0 is older"},
		{ReconfigureUpdate, realtimePlan(), Plan{Revision: 9}, "needs a destination and a stream"},
		{RedeliverUpdate, realtimePlan(), RedeliverRequest{Lane: "nosuch"}, `no destination "nosuch"`},
		{RedeliverUpdate, realtimePlan(), RedeliverRequest{Lane: "warehouse", IDs: make([]int64, maxRedeliverIDs+1)}, "at most 1000 records"},
	} {
		t.Run(c.name+": "+c.want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.page = endless
			s := w.drive(input(c.plan), time.Hour, event{time.Minute, w.send("u", c.name, c.arg)})
			if a := w.answers["u"][0]; a.refused == nil || !strings.Contains(a.refused.Error(), c.want) {
				t.Errorf("answer %+v, want a refusal with %q", a, c.want)
			}
			if len(s.Operations) != 0 {
				t.Errorf("what was refused is listed: %+v", s.Operations)
			}
		})
	}
}

// Operations stay done, and stay few.
func TestOperationsAreBoundedAndStayDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var events []event
	for i := range maxOperations + 5 {
		events = append(events, event{time.Minute + time.Duration(i)*time.Second, w.send(fmt.Sprint("u", i), FlushUpdate, FlushRequest{})})
	}
	events = append(events, event{time.Hour, w.send("poll", PollUpdate, StreamsRequest{})})
	var down atomic.Bool
	w.page = func(in activities.FetchInput) activities.FetchOutput {
		if down.Load() {
			return activities.FetchOutput{Failure: &activities.Failure{Kind: connectors.Unavailable, Message: "no route to host"}}
		}
		return endless(in)
	}
	events = append(events, event{time.Hour + 5*time.Minute, func(*testEnv) { down.Store(true) }})
	s := w.drive(input(pollingPlan(10*time.Minute)), 2*time.Hour, events...)
	if w.err != nil {
		t.Fatal(w.err)
	}
	if !s.Streams[0].Polling {
		t.Error("the test means to look while a later poll is under way")
	}
	if len(s.Operations) != maxOperations {
		t.Errorf("%d operations are listed, want the latest %d", len(s.Operations), maxOperations)
	}
	for _, op := range s.Operations {
		if !op.Done {
			t.Errorf("operation %s is not done", op.ID)
		}
	}
}
