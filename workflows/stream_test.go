package workflows

import (
	"fmt"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// A backfill while a chunk is being fetched begins anew as soon as that chunk is there, whether it succeeds or fails; what
// the chunk brought is kept, and where it had got to is not.
func TestBackfillWhileFetching(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails=", fails), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.page = func(in activities.FetchInput) activities.FetchOutput {
				if in.Chunk == 4 && fails {
					return activities.FetchOutput{Failure: failure(connectors.Unavailable, "502")}
				}
				return endless(in)
			}
			since := began.Add(-24 * time.Hour)
			at := 10*time.Minute - 20*time.Second
			s := w.drive(input(pollingPlan(10*time.Minute)), 11*time.Minute,
				event{at, w.hold(activities.FetchName)},
				event{at + time.Millisecond, w.ask("p", PollUpdate, StreamsRequest{})},
				event{at + 4*time.Millisecond, w.ask("b", BackfillUpdate, StreamsRequest{Since: since})},
				event{at + 8*time.Millisecond, w.release(activities.FetchName)})
			if len(w.fetches) < 6 {
				t.Fatalf("%d fetches", len(w.fetches))
			}
			if in := w.fetches[4]; !in.Bookmark.IsZero() || !in.Since.Equal(since) {
				t.Errorf("the backfill began at %q since %s", in.Bookmark.Inline, in.Since)
			}
			if in := w.fetches[5]; string(in.Bookmark.Inline) != "c5" {
				t.Errorf("the backfill went on at %q, want where its first chunk got to", in.Bookmark.Inline)
			}
			if want := int64(2 * len(w.fetches)); !fails && s.Received != want {
				t.Errorf("received %d of %d", s.Received, want)
			}
		})
	}
}

// A poll that is asked for while one is under way follows it at once: the change that it is for may have been passed already.
func TestPollAskedForWhilePolling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.page = endless
	s := w.drive(input(pollingPlan(24*time.Hour)), time.Hour,
		event{time.Minute, w.hold(activities.FetchName)},
		event{time.Minute + time.Millisecond, w.ask("p", PollUpdate, StreamsRequest{})},
		event{time.Minute + 3*time.Millisecond, w.ask("q", PollUpdate, StreamsRequest{Streams: []string{"orders"}})},
		event{time.Minute + 6*time.Millisecond, w.release(activities.FetchName)})
	if s.Streams[0].Polls != 3 || !s.Operations[1].Done {
		t.Errorf("%d polls, want the first, the one asked for and the one after it; done: %t", s.Streams[0].Polls, s.Operations[1].Done)
	}
}

// Reconciliation leaves out what webhooks brought since the poll before the last one began, of every journal, also of one that is
// new since and also when there was none; what is read from the beginning is not counted as missed.
func TestReconciliationWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.subscribe.Active = 1
	w.page = func(in activities.FetchInput) activities.FetchOutput {
		out := endless(in)
		out.Extra = name(testEpoch, in.Stream, "extra", in.ExtraSequence)
		return out
	}
	p := bothPlan()
	p.Timing.Events = 30 // continue as new in the middle of polls, with an empty floor
	at := func(m int) time.Duration { return time.Duration(m) * time.Minute }
	second := arrivalOf(1, 3, 4)
	second.Journal, second.Segments[0].Name = "j2", name(testEpoch, "orders", "j2", 1)
	s := w.drive(input(p), at(75),
		event{at(1), signal(arrivalOf(1, 5, 10))},
		event{at(15), signal(arrivalOf(6, 9, 10))},
		event{at(35), signal(second)},
		event{at(61), w.ask("b", BackfillUpdate, StreamsRequest{})})
	if w.err != nil || w.runs < 3 {
		t.Fatalf("%d runs, %v", w.runs, w.err)
	}
	polls := 0
	for i, in := range w.fetches {
		if !in.Reconcile {
			t.Fatalf("fetch %d does not reconcile", i)
		}
		if i%3 != 0 {
			continue
		}
		polls++
		want := map[int]string{1: "map[]", 2: "map[j1:0]", 3: "map[j1:6]", 4: "map[j1:10]", 5: "map[j1:10 j2:0]", 6: "map[j1:10 j2:4]"}[polls]
		if got := fmt.Sprint(in.Seen); want != "" && got != want {
			t.Errorf("poll %d looks for webhooks from %s on, want %s", polls, got, want)
		}
	}
	// 7 polls in the rhythm and the backfill, 3 chunks of 2 records each; the first and the backfill read everything.
	if full := int64(2 * 6); s.Missed != s.Streams[0].Records-full {
		t.Errorf("missed %d of %d records found, want all but %d", s.Missed, s.Streams[0].Records, full)
	}
}

// Clocks that jump neither pile polls up nor keep the installation from polling.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	t.Run("ahead", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.page = endless
		w.drive(input(pollingPlan(time.Hour)), 85*time.Minute+time.Second, event{time.Second, signal(arrivalOf(1, 1, 10))}, event{85 * time.Minute, w.fill})
		polled := len(w.fetches)
		in := w.inputs[len(w.inputs)-1]
		w.jump(365 * 24 * time.Hour)
		w.drive(in, 90*time.Minute)
		if n := (len(w.fetches) - polled) / 3; n < 1 || n > 3 {
			t.Errorf("%d polls in 90 minutes after the clock went a year ahead", n)
		}
	})
	t.Run("back", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.page = endless
		w.down = unavailableFailure
		w.drive(input(pollingPlan(time.Hour)), 85*time.Minute+time.Second, event{time.Second, signal(arrivalOf(1, 1, 10))}, event{85 * time.Minute, w.fill})
		polled, wrote := len(w.fetches), len(w.writes)
		in := w.inputs[len(w.inputs)-1]
		w.jump(-30 * 24 * time.Hour)
		w.down = nil
		s := w.drive(in, 7*time.Hour)
		if n := (len(w.fetches) - polled) / 3; n < 6 || n > 8 {
			t.Errorf("%d polls in 7 hours after the clock went a month back", n)
		}
		if len(w.writes) == wrote || s.Lag != 0 {
			t.Errorf("behind %d: the retry waits for a time that is a month away", s.Lag)
		}
	})
}
