package workflows

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// A batch that was frozen before a new definition came is halved under its own revision: what its first attempt wrote, if only
// in part, was written by that.
func TestSplitBatchKeepsItsRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.down = func(_ string, in activities.WriteInput) *activities.Failure {
		if in.Next-in.First > 6 {
			return failure(connectors.TooLarge, "at most 6")
		}
		return nil
	}
	at := time.Minute
	w.drive(input(realtimePlan()), time.Hour,
		event{at - time.Millisecond, w.hold(activities.WriteName)},
		event{at, signal(arrivalOf(1, 1, 10))},
		event{at + 3*time.Millisecond, w.ask("c", ReconfigureUpdate, revised(realtimePlan(), 2))},
		event{at + 6*time.Millisecond, w.release(activities.WriteName)})
	var got []string
	for _, in := range w.writes {
		got = append(got, fmt.Sprintf("%d-%d r%d", in.First, in.Next, in.Revision))
	}
	if want := []string{"0-10 r1", "0-5 r1", "5-10 r2"}; !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

// A batch that is half done and then halved remembers of what is settled only what lies in its first half.
func TestSplitBatchForgetsWhatIsSettledBeyondIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.partly = func(in activities.WriteInput) (activities.WriteOutput, bool) {
		if in.Next-in.First > 6 {
			return activities.WriteOutput{Next: in.First, Settled: []activities.Span{{First: 2, Next: 7}, {First: 8, Next: 9}}, Failure: failure(connectors.TooLarge, "at most 6")}, true
		}
		return activities.WriteOutput{}, false
	}
	w.drive(input(realtimePlan()), time.Hour, event{time.Minute, signal(arrivalOf(1, 1, 10))})
	if len(w.writes) != 3 {
		t.Fatalf("%d writes", len(w.writes))
	}
	if got, want := w.writes[1].Settled, []activities.Span{{First: 2, Next: 5}}; !slices.Equal(got, want) {
		t.Errorf("the first half was told %v, want %v", got, want)
	}
	if got := w.writes[2].Settled; len(got) != 0 {
		t.Errorf("the second half was told %v", got)
	}
}
