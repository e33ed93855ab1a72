package workflows

import (
	"fmt"
	"testing"
	"time"

	"tributary/activities"
	"tributary/internal/segment"
)

// What is small is written within the workflow's task, while the destination is well and quick: a task that waits for a
// destination holds up the other lanes.
func TestSmallBatchesAreWrittenLocally(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := func(m int) time.Duration { return time.Duration(m) * time.Minute }
	var answers func(n int, in activities.WriteInput) (activities.WriteOutput, bool)
	w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) { return answers(len(w.writes), in) }
	answers = func(n int, in activities.WriteInput) (activities.WriteOutput, bool) {
		out := activities.WriteOutput{Next: in.Next, Delivered: in.Next - in.First}
		switch n {
		case 2: // works, but takes its time
			out.Took = slowTime + 1
		case 3:
			out.Took = slowTime
		case 5:
			return activities.WriteOutput{Next: in.First, Failure: unavailableFailure("", in)}, true
		}
		return out, true
	}
	p := realtimePlan()
	p.Lanes[0].Records, p.Lanes[0].Bytes = 50_000, 32<<20
	w.drive(input(p), time.Hour,
		event{at(1), signal(arrivalOf(1, 1, 10))},                                                          // 1: small
		event{at(2), signal(arrivalOf(2, 2, 10))},                                                          // 2: small, and slow
		event{at(3), signal(arrivalOf(3, 3, 10))},                                                          // 3: after a slow one
		event{at(4), signal(arrivalOf(4, 4, 10))},                                                          // 4: quick again
		event{at(5), signal(arrivalOf(5, 5, 10))},                                                          // 5 fails, 6 comes again
		event{at(6), signal(arrivalOf(6, 6, 10))},                                                          // 7: well again
		event{at(7), signal(arrivalOf(7, 7, localRecords+1))},                                              // 8: many
		event{at(8), signal(Arrival{Epoch: testEpoch, Journal: "j1", From: 8, To: 8, Segments: heavy(8)})}, // 9: large
	)
	if got, want := fmt.Sprint(w.locally), fmt.Sprint([]bool{true, true, false, true, true, false, true, false, false}); got != want {
		t.Errorf("local: %s, want %s", got, want)
	}
	for i, in := range w.writes {
		if bound := w.locally[i]; bound != (in.Time == localTime) {
			t.Errorf("write %d: local %t, bound to %s", i+1, bound, in.Time)
		}
	}
}

func heavy(from uint64) []segment.Ref {
	a := arrivalOf(from, from, 10)
	a.Segments[0].Bytes = localBytes + 1
	return a.Segments
}

// A run that began before local writes were known writes as it did; the next one has the ways of today.
func TestRunsOfBeforeWriteByActivities(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := input(realtimePlan())
	in.Generation = localWrites - 1
	w.drive(in, time.Hour,
		event{time.Minute, signal(arrivalOf(1, 1, 10))},
		event{2 * time.Minute, w.fill},
		event{3 * time.Minute, signal(arrivalOf(2, 2, 10))})
	if got := fmt.Sprint(w.locally); w.runs != 2 || got != "[false true]" {
		t.Errorf("%d runs, local: %s", w.runs, got)
	}
}
