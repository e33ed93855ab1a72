package workflows

import (
	"testing"
	"time"

	"tributary/activities"
	"tributary/internal/segment"
)

// Whatever the state names, or something under way may be sealing, keeps its origin's low-water mark down (I12).
func TestLowWaterMarksKeepWhatIsNeeded(t *testing.T) {
	t.Parallel()
	fresh := func() *run {
		return &run{in: Input{Epoch: testEpoch}, plan: pollingPlan(time.Hour), fetching: map[string]uint64{}, state: &State{
			Ledger: testEpoch, Journals: []Journal{{ID: "j1", To: 99}}, Chunks: 99, Manifests: 99, Redeliveries: 99,
			Streams: []*Stream{{Name: "orders"}},
		}}
	}
	for origin, mark := range fresh().marks() {
		if mark != 100 {
			t.Errorf("nothing is needed, and the mark of %s is %d, want 100", origin, mark)
		}
	}
	for name, c := range map[string]struct {
		origin string
		set    func(*run)
	}{
		"a webhook's segment in the queue": {"j1", func(r *run) {
			r.state.Queue = []activities.Entry{{Ref: segment.Ref{Name: name(testEpoch, "orders", "j1", 7), Records: 1}}}
		}},
		"what a manifest lists": {"j1", func(r *run) {
			r.state.Queue = []activities.Entry{{Ref: segment.Ref{Name: name(testEpoch, "manifests", "manifest", 50), Records: 1}, Level: 1, Lows: map[string]uint64{"j1": 7}}}
		}},
		"the manifest itself": {"manifest", func(r *run) {
			r.state.Queue = []activities.Entry{{Ref: segment.Ref{Name: name(testEpoch, "manifests", "manifest", 7), Records: 1}, Level: 1}}
		}},
		"a manifest being written": {"manifest", func(r *run) { r.rolling, r.state.Manifests = true, 7 }},
		"a chunk being fetched":    {"poll", func(r *run) { r.fetching["orders"] = 7 }},
		"a bookmark being written": {"overlap", func(r *run) { r.fetching["orders"] = 7 }},
		"extras being written":     {"extra", func(r *run) { r.fetching["orders"] = 7 }},
		"a bookmark":               {"overlap", func(r *run) { r.state.Streams[0].Bookmark.Object, r.state.Streams[0].Overlap = "x", 7 }},
		"extras":                   {"extra", func(r *run) { r.state.Streams[0].Extra, r.state.Streams[0].ExtraSeq = "x", 7 }},
		"a redelivery under way":   {"requeue", func(r *run) { r.state.Requeue = []Requeue{{Sequence: 7}} }},
		"what polls may find again": {"j1", func(r *run) {
			r.plan = bothPlan()
			r.state.Streams[0].From, r.state.Floors = 3, []Floor{{ID: 3, Moved: map[string]uint64{"j1": 7}}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := fresh()
			c.set(r)
			if got := r.marks()[c.origin]; got != 7 {
				t.Errorf("the mark of %s is %d, want 7", c.origin, got)
			}
		})
	}
}

// A run that is full as soon as it is installed takes along what webhooks brought while it was being installed.
func TestFullAtOnceLeavesNoSignalBehind(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	w := newWorld(t)
	w.hold(activities.ActivateName)(nil)
	s := w.drive(input(realtimePlan()), time.Hour,
		event{5 * ms, signal(arrivalOf(1, 1, 10))},
		event{6 * ms, signal(arrivalOf(2, 2, 10))},
		event{7 * ms, func(*testEnv) { w.grow(100_000) }},
		event{9 * ms, w.release(activities.ActivateName)})
	if w.runs != 2 || s.Received != 20 || s.Delivered != 20 {
		t.Errorf("%d runs, received %d and delivered %d of 20", w.runs, s.Received, s.Delivered)
	}
}

// What a paused installation has kept is delivered when it is uninstalled, not put into quarantine.
func TestUninstallOfAPausedInstallationDelivers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.drive(input(realtimePlan()), 3*time.Hour,
		event{time.Minute, w.ask("p", PauseUpdate, PauseRequest{})},
		event{2 * time.Minute, signal(arrivalOf(1, 1, 10))},
		event{time.Hour, w.ask("u", UninstallUpdate, struct{}{})})
	if w.err != nil || w.summary.Delivered["warehouse"] != 10 || len(w.summary.Left) != 0 {
		t.Errorf("summary %+v, %v", w.summary, w.err)
	}
}
