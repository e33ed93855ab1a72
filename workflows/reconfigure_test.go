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
	"tributary/internal/integration"
	"tributary/internal/segment"
)

// A definition that changes while a batch is in flight leaves that batch as it was frozen; what comes after goes by the new one;
// new lanes begin with what comes next and lanes that are unchanged go on.
func TestReconfigureAroundAFrozenBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next := realtimePlan()
	next.Revision = 2
	next.Lanes = []LanePlan{{Name: "warehouse", Records: 5, Bytes: 1 << 20}, {Name: "new", Records: 1000, Bytes: 1 << 20}}
	at := time.Minute
	w.gaps = true
	s := w.drive(input(realtimePlan()), time.Hour,
		event{at - time.Millisecond, w.hold(activities.WriteName)},
		event{at, signal(arrivalOf(1, 1, 10))},
		event{at + 3*time.Millisecond, w.ask("c", ReconfigureUpdate, next)},
		event{at + 6*time.Millisecond, w.release(activities.WriteName)},
		event{at + time.Minute, signal(arrivalOf(2, 2, 10))})
	var got []string
	for _, in := range w.writes {
		got = append(got, fmt.Sprintf("%s %d-%d r%d", in.Lane, in.First, in.Next, in.Revision))
	}
	slices.Sort(got)
	if want := []string{"new 10-20 r2", "warehouse 0-10 r1", "warehouse 10-15 r2", "warehouse 15-20 r2"}; !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
	if s.Revision != 2 {
		t.Errorf("revision %d", s.Revision)
	}
}

// What failed by a definition is tried by the one that replaced it: that may be what mends it.
func TestReconfigureMendsWhatFails(t *testing.T) {
	t.Parallel()
	for _, kind := range []connectors.Kind{connectors.NotFound, connectors.Unavailable} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.down = func(_ string, in activities.WriteInput) *activities.Failure {
				if in.Revision == 1 {
					return failure(kind, "no such table")
				}
				return nil
			}
			next := realtimePlan()
			next.Revision = 2
			s := w.drive(input(realtimePlan()), time.Hour, event{time.Minute, signal(arrivalOf(1, 1, 10))}, event{30 * time.Minute, w.ask("c", ReconfigureUpdate, next)})
			if s.Health != Healthy || s.Delivered != 10 {
				t.Errorf("health %s (%s), delivered %d", s.Health, s.Problem, s.Delivered)
			}
		})
	}
}

// Streams come and go with the definition, also while they are being read; a trigger that polls no more leaves none behind.
func TestReconfigureStreamsAndTrigger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.page = endless
	w.subscribe.Active = 2
	two := bothPlan()
	two.Revision, two.Streams = 2, []string{"orders", "customers"}
	other := bothPlan()
	other.Revision, other.Streams = 3, []string{"customers"}
	realtime := realtimePlan()
	realtime.Revision = 4
	at := time.Hour
	var during, after Status
	w.drive(input(bothPlan()), 5*time.Hour,
		event{time.Minute, w.ask("c2", ReconfigureUpdate, two)},
		event{at, w.hold(activities.FetchName)},
		event{at + time.Millisecond, w.ask("p", PollUpdate, StreamsRequest{})},
		event{at + 3*time.Millisecond, w.ask("c3", ReconfigureUpdate, other)},
		event{at + 6*time.Millisecond, w.release(activities.FetchName)},
		event{at + time.Hour, func(env *testEnv) { during = w.look(env) }},
		event{3*time.Hour - time.Second, w.ask("p2", PollUpdate, StreamsRequest{})},
		event{3 * time.Hour, w.ask("c4", ReconfigureUpdate, realtime)},
		event{4 * time.Hour, func(env *testEnv) { after = w.look(env) }})
	if len(during.Streams) != 1 || during.Streams[0].Name != "customers" || during.Streams[0].Polls < 5 {
		t.Errorf("streams %+v, want customers alone, polled on", during.Streams)
	}
	if len(after.Streams) != 0 || after.Lag != 0 || after.Received != int64(2*len(w.fetches)) {
		t.Errorf("%d streams, behind %d, received %d of %d", len(after.Streams), after.Lag, after.Received, 2*len(w.fetches))
	}
	for _, op := range after.Operations {
		if !op.Done {
			t.Errorf("operation %s (%s) is not done", op.ID, op.Name)
		}
	}
}

// Webhooks that were registered once are removed at uninstall, though the trigger polls by now.
func TestUninstallRemovesWebhooksOfAnEarlierTrigger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.page = endless
	w.subscribe.Active = 1
	next := pollingPlan(time.Hour)
	next.Revision = 2
	w.drive(input(realtimePlan()), 2*time.Hour, event{time.Minute, w.ask("c", ReconfigureUpdate, next)}, event{time.Hour, w.ask("u", UninstallUpdate, struct{}{})})
	if w.err != nil || w.calls[activities.UnsubscribeName] != 1 {
		t.Errorf("%d calls to remove webhooks, %v", w.calls[activities.UnsubscribeName], w.err)
	}
}

// A redelivery is one thing however often it is tried, goes to its lane alone, and others may be asked for while it is under way.
func TestRedeliveryIsTheSameWhenRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var fails atomic.Int32
	fails.Store(3)
	w.fail = func(name string) *activities.Failure {
		if name == activities.RequeueName && fails.Add(-1) >= 0 {
			return failure(connectors.Unavailable, "the catalog is away")
		}
		return nil
	}
	p := realtimePlan()
	p.Lanes = append(p.Lanes, LanePlan{Name: "other", Records: 1000, Bytes: 1 << 20})
	at := time.Minute
	w.gaps = true
	s := w.drive(input(p), time.Hour,
		event{at, w.hold(activities.RequeueName)},
		event{at + time.Millisecond, w.ask("r1", RedeliverUpdate, RedeliverRequest{Lane: "other", IDs: []int64{4, 5}})},
		event{at + 3*time.Millisecond, w.ask("r2", RedeliverUpdate, RedeliverRequest{Lane: "other"})},
		event{at + 5*time.Millisecond, w.ask("r3", RedeliverUpdate, RedeliverRequest{Lane: "warehouse"})},
		event{at + 8*time.Millisecond, w.release(activities.RequeueName)})
	var got []string
	for _, in := range w.requeues {
		got = append(got, fmt.Sprintf("%s %v #%d", in.Lane, in.IDs, in.Sequence))
	}
	want := []string{"other [4 5] #1", "other [4 5] #1", "other [4 5] #1", "other [4 5] #1", "other [] #2", "warehouse [] #3"}
	if !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
	if s.Lanes[0].Delivered != 3 || s.Lanes[1].Delivered != 6 {
		t.Errorf("delivered %d and %d, want each redelivery to its own lane", s.Lanes[0].Delivered, s.Lanes[1].Delivered)
	}
	for _, op := range s.Operations {
		if !op.Done || op.Note != "" {
			t.Errorf("operation %s: done %t, %q", op.ID, op.Done, op.Note)
		}
	}
}

// A redelivery to a lane that was removed while it waited leaves the records in quarantine and says so.
func TestRedeliveryToARemovedLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := realtimePlan()
	p.Lanes = append(p.Lanes, LanePlan{Name: "old", Records: 1000, Bytes: 1 << 20})
	next := realtimePlan()
	next.Revision = 2
	s := w.drive(input(p), time.Hour,
		event{time.Minute, w.ask("p", PauseUpdate, PauseRequest{})},
		event{2 * time.Minute, w.ask("r", RedeliverUpdate, RedeliverRequest{Lane: "old"})},
		event{3 * time.Minute, w.ask("c", ReconfigureUpdate, next)},
		event{4 * time.Minute, w.ask("go", ResumeUpdate, ResumeRequest{})})
	if len(w.requeues) != 0 || !strings.Contains(s.Operations[1].Note, "still in quarantine") {
		t.Errorf("%d redeliveries, operation %+v", len(w.requeues), s.Operations[1])
	}
}

// Lanes that want some streams pass over the others without an activity, also when these come between.
func TestLanesTakeTheirStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := realtimePlan()
	p.Trigger = integration.Realtime
	p.Streams = []string{"orders", "customers"}
	p.Lanes = append(p.Lanes, LanePlan{Name: "people", Records: 1000, Bytes: 1 << 20, Streams: []string{"customers"}})
	var events []event
	for i := range uint64(20) {
		events = append(events, event{time.Duration(i+1) * time.Second, signal(arrivalOf(i+1, i+1, 5))})
	}
	a := arrivalOf(21, 21, 5)
	a.Segments = append(a.Segments, segment.Ref{Name: name(testEpoch, "customers", "j1", 21), Stream: "customers", Records: 2, Bytes: 20})
	w.gaps = true
	s := w.drive(input(p), time.Hour, append(events, event{time.Minute, signal(a)})...)
	people := 0
	for _, in := range w.writes {
		if in.Lane == "people" {
			people++
		}
	}
	if people != 1 || s.Lanes[0].Delivered != 107 || s.Lag != 0 {
		t.Errorf("%d writes of the lane that wants two records, behind %d", people, s.Lag)
	}
}
