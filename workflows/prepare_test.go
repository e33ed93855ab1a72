package workflows

import (
	"strings"
	"testing"
	"time"

	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/integration"
)

// preparing answers with a page that is being prepared, until the given number of calls were made.
func preparing(wait time.Duration, calls uint64) func(activities.FetchInput) activities.FetchOutput {
	return func(in activities.FetchInput) activities.FetchOutput {
		out := endless(in)
		out.More = in.Chunk < calls
		if in.Chunk < calls {
			out.Segments, out.Prepares = nil, true
			out.Failure = &activities.Failure{Kind: connectors.Unavailable, Message: "the app prepares the next page", Wait: wait}
		}
		return out
	}
}

// A page that the app prepares is waited for by the one timer, however long: nothing is open meanwhile, nothing is called a failure, the
// pause does not grow, and the run may continue as new.
func TestPreparedPageIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.page = preparing(time.Hour, 40)
	s := w.drive(input(pollingPlan(10*time.Minute)), 38*time.Hour+30*time.Minute, event{3 * time.Hour, w.fill})
	if len(w.fetches) != 39 {
		t.Errorf("%d fetches, want one an hour", len(w.fetches))
	}
	st := s.Streams[0]
	if s.Health != Healthy || s.Problem != "" || st.Failure != nil || !st.Prepares || !st.Polling || st.RetryAt.IsZero() {
		t.Errorf("health %s %q, stream %+v", s.Health, s.Problem, st)
	}
	if w.runs < 2 {
		t.Errorf("%d runs", w.runs)
	}
	w = newWorld(t)
	w.page = preparing(time.Hour, 3)
	s = w.drive(input(pollingPlan(24*time.Hour)), 3*time.Hour)
	if st := s.Streams[0]; st.Prepares || st.Polls != 1 || st.Records != 2 || len(w.fetches) != 3 {
		t.Errorf("%d fetches, stream %+v", len(w.fetches), st)
	}
}

// An app that asks for no wait worth the name is asked no more often than after a failure; a pause and a poll that is asked for end the wait.
func TestPreparedPageIsNotAskedForInALoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.page = preparing(time.Millisecond, 1<<40)
	w.drive(input(pollingPlan(10*time.Minute)), time.Minute)
	if n := len(w.fetches); n < 30 || n > 61 {
		t.Errorf("%d fetches in a minute", n)
	}
	w = newWorld(t)
	w.page = preparing(100*time.Hour, 1<<40) // the workflow clamps it too
	s := w.drive(input(pollingPlan(10*time.Minute)), 7*time.Hour+time.Minute,
		event{time.Hour, w.ask("p", PollUpdate, StreamsRequest{})})
	if len(w.fetches) != 3 || s.Operations[0].Done {
		t.Errorf("%d fetches, want the first, the one asked for and the one after the longest wait: %+v", len(w.fetches), s.Operations)
	}
}

// A failure after a wait is one again.
func TestFailureAfterPreparing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	prepare := preparing(time.Minute, 1<<40)
	w.page = func(in activities.FetchInput) activities.FetchOutput {
		if in.Chunk > 2 {
			return activities.FetchOutput{Failure: failure(connectors.Unauthorized, "the token is refused")}
		}
		return prepare(in)
	}
	s := w.drive(input(pollingPlan(10*time.Minute)), time.Hour)
	if s.Health != NeedsAuth || s.Streams[0].Prepares {
		t.Errorf("%s, %+v", s.Health, s.Streams[0])
	}
}

// The page says what an installation does, what stands still, why, and when it goes on.
func TestPageOfATroubledInstallation(t *testing.T) {
	t.Parallel()
	down := Trouble{Failures: 2, Failure: &activities.Failure{Kind: connectors.Unavailable, Message: "no answer|none"}, RetryAt: began}
	gone := Trouble{Failures: 1, Failure: &activities.Failure{Kind: connectors.NotFound, Message: "no such table"}, Stopped: true}
	r := &run{
		plan: Plan{Revision: 3, Trigger: integration.Polling, Streams: []string{"contacts", "deals"}},
		state: &State{
			Lanes:      []*Lane{{Name: "warehouse", Trouble: down}, {Name: "old", Trouble: gone}, {Name: "fine"}},
			Streams:    []*Stream{{Name: "contacts", Asked: began, Next: began}},
			Operations: []Operation{{ID: "op1", Name: PollUpdate, At: began, Streams: []string{"contacts"}}, {ID: "op2", Name: PauseUpdate, Done: true}},
		},
	}
	text := r.page(r.healthNow())
	for _, want := range []string{
		"**stopped**: destination old: no such table", "Revision 3, polling of contacts, deals.",
		"| warehouse | 0 | 0 | 0 | again at 2026-01-05T09:00:00Z: no answer\\|none |", "| old | 0 | 0 | 0 | stopped: no such table |", "| fine | 0 | 0 | 0 |  |",
		"Under way: poll since 2026-01-05T09:00:00Z (operation op1).",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing of %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "op2") {
		t.Errorf("what is done is not under way:\n%s", text)
	}
}

// The page of the installation says in plain words what is waited for, and calls it no error.
func TestPageOfAPreparingStream(t *testing.T) {
	t.Parallel()
	r := &run{state: &State{Streams: []*Stream{{Name: "contacts", Mid: true, Prepares: true, Trouble: Trouble{RetryAt: began}}}}}
	health, problem := r.healthNow()
	text := r.page(health, problem)
	if !strings.Contains(text, "The app prepares the next page of contacts; it is asked again at 2026-01-05T09:00:00Z.") || health != Healthy {
		t.Errorf("%s: %s", health, text)
	}
}
