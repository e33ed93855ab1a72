package workflows

import (
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/connectors"
)

// Webhooks of a trigger that receives no more are removed, which is tried again while the app is away and is shown; the
// trigger that receives again has them back, also when removing them had failed for good.
func TestWebhooksFollowTheTrigger(t *testing.T) {
	t.Parallel()
	for _, kind := range []connectors.Kind{connectors.Unavailable, connectors.Forbidden} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.page, w.subscribe.Active = endless, 2
			away := true
			w.fail = func(name string) *activities.Failure {
				if away && name == activities.UnsubscribeName {
					return failure(kind, "the app said no")
				}
				return nil
			}
			var failing, polling Status
			s := w.drive(input(bothPlan()), 8*time.Hour,
				event{time.Minute, w.ask("c", ReconfigureUpdate, revised(pollingPlan(time.Hour), 2))},
				event{time.Hour, func(env *testEnv) { failing = w.look(env); away = false }},
				event{3 * time.Hour, func(env *testEnv) { polling = w.look(env) }},
				event{4 * time.Hour, w.ask("back", ReconfigureUpdate, revised(bothPlan(), 3))})
			if want := map[connectors.Kind]Health{connectors.Unavailable: Degraded, connectors.Forbidden: Stopped}[kind]; failing.Health != want || failing.Hooks == nil || failing.Hooks.Active != 2 {
				t.Errorf("while the app is away: health %s (%s), hooks %+v", failing.Health, failing.Problem, failing.Hooks)
			}
			calls := w.calls[activities.UnsubscribeName]
			if kind == connectors.Unavailable && (polling.Health != Healthy || polling.Hooks != nil || calls < 5 || calls > 30) {
				t.Errorf("removed: health %s (%s), hooks %+v, %d calls", polling.Health, polling.Problem, polling.Hooks, calls)
			}
			if kind == connectors.Forbidden && calls != 1 {
				t.Errorf("%d calls of what is forbidden", calls)
			}
			if s.Health != Healthy || s.Hooks == nil || s.Hooks.Active != 2 {
				t.Errorf("received again: health %s (%s), hooks %+v", s.Health, s.Problem, s.Hooks)
			}
		})
	}
}

// A trigger that changes to and fro while calls to the app are under way ends with the webhooks that the last one wants.
func TestTriggerChangesWhileWebhooksAreLookedAfter(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	at := time.Hour
	for _, c := range []struct {
		name, held  string
		first, last Plan
		want        string
	}{
		{"subscribing", activities.SubscribeName, bothPlan(), pollingPlan(time.Hour), activities.UnsubscribeName},
		{"unsubscribing", activities.UnsubscribeName, pollingPlan(time.Hour), bothPlan(), activities.SubscribeName},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.page, w.subscribe.Active = endless, 2
			w.drive(input(bothPlan()), 6*time.Hour,
				event{at, w.hold(c.held)},
				event{at + ms, w.ask("one", ReconfigureUpdate, revised(c.first, 2))},
				event{at + 4*ms, w.ask("two", ReconfigureUpdate, revised(c.last, 3))},
				event{at + 8*ms, w.release(c.held)})
			last := ""
			for _, name := range w.hookCalls {
				last = name
			}
			if last != c.want {
				t.Errorf("the app was last asked to %s, want %s: %q", last, c.want, w.hookCalls)
			}
		})
	}
}

// A run that began before removing webhooks was known goes on as it was recorded, and the next run removes them.
func TestRunsOfBeforeLeaveWebhooksToTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.page, w.subscribe.Active = endless, 1
	w.versions = map[string]workflow.Version{removeWebhooks: workflow.DefaultVersion}
	var before int
	w.drive(input(bothPlan()), 6*time.Hour,
		event{time.Minute, w.ask("c", ReconfigureUpdate, revised(pollingPlan(time.Hour), 2))},
		event{2 * time.Hour, func(env *testEnv) {
			before = w.calls[activities.UnsubscribeName]
			w.versions = nil
			w.fill(env)
		}})
	if n := w.events[0]; n-100_000 > 300 {
		t.Errorf("the run of before made %d events in two hours", n-100_000)
	}
	if after := w.calls[activities.UnsubscribeName]; before != 0 || after != 1 {
		t.Errorf("%d calls by the run of before, %d by the next", before, after-before)
	}
}
