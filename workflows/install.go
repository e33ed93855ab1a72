package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/connectors"
)

// InstallFailed is the type of the error with which an installation ends that could not be installed.
const InstallFailed = "InstallFailed"

// install checks every connection and has the app's webhooks registered before it reports the installation as running.
// What is merely unavailable is tried again for a while. An install that fails is undone as an uninstall is: what webhooks
// brought meanwhile was acknowledged, so it too ends delivered or in quarantine (I4).
func (r *run) install() {
	deadline := r.now().Add(r.timing.Install)
	for attempt := 1; ; attempt++ {
		failures := r.checkAll()
		if len(failures) == 0 && r.plan.Receives() {
			var out activities.SubscribeOutput
			f := r.call(activities.SubscribeName, activities.SubscribeInput{Target: r.target(r.plan.Revision), Streams: r.plan.Streams}, &out)
			if f == nil {
				f = out.Failure
			}
			if f != nil {
				f.Message = "register webhooks: " + f.Message
				failures = append(failures, f)
			}
			r.state.Completing.On = out.Completes
			h := &r.state.Hooks
			h.Manual, h.Registered, h.Active, h.CheckedAt = out.Manual, !out.Manual, out.Active, r.now()
			h.Next = h.CheckedAt.Add(r.timing.Heal)
		}
		if len(failures) == 0 {
			if f := r.call(activities.ActivateName, activities.EndInput{Target: r.target(r.plan.Revision)}, nil); f != nil {
				failures = append(failures, f)
			}
		}
		if len(failures) == 0 && r.state.Closing == nil {
			r.state.Phase, r.unmet = Running, ""
			return
		}
		if r.state.Closing != nil {
			return
		}
		stop := r.now().After(deadline)
		var texts []string
		for _, f := range failures {
			stop = stop || f.Kind.Stops()
			texts = append(texts, fmt.Sprintf("%s (%s)", f.Message, f.Kind))
		}
		if stop {
			r.state.Closing = &Closing{At: r.now(), Failed: connectors.Clip(strings.Join(texts, "; "), 1000)}
			return
		}
		r.unmet = connectors.Clip(strings.Join(texts, "; "), 1000)
		// Only the page: show would set the search attribute too, which runs of before have not set here.
		workflow.SetCurrentDetails(r.ctx, r.page(r.healthNow()))
		// A timer that is not cancelled does not fail.
		d := r.timing.Backoff * 2
		_ = workflow.Sleep(r.ctx, d+r.jitter(d/4, attempt))
	}
}

// checkAll checks the source and every destination at once.
func (r *run) checkAll() []*activities.Failure {
	lanes := []string{""}
	for _, l := range r.plan.Lanes {
		lanes = append(lanes, l.Name)
	}
	ctx := workflow.WithActivityOptions(r.ctx, r.quick())
	futures := make([]workflow.Future, len(lanes))
	for i, lane := range lanes {
		futures[i] = workflow.ExecuteActivity(ctx, activities.CheckName, activities.CheckInput{Target: r.target(r.plan.Revision), Lane: lane})
	}
	var failures []*activities.Failure
	for i, f := range futures {
		var out activities.CheckOutput
		if err := f.Get(ctx, &out); err != nil {
			out.Failure = &activities.Failure{Kind: connectors.Unavailable, Message: plain(err)}
		}
		if out.Failure != nil {
			what := "source"
			if lanes[i] != "" {
				what = "destination " + lanes[i]
			}
			out.Failure.Message = what + ": " + out.Failure.Message
			failures = append(failures, out.Failure)
		}
	}
	return failures
}

// call runs a quick activity to its end.
func (r *run) call(name string, input, out any) *activities.Failure {
	ctx := workflow.WithActivityOptions(r.ctx, r.quick())
	if err := workflow.ExecuteActivity(ctx, name, input).Get(ctx, out); err != nil {
		return &activities.Failure{Kind: connectors.Unavailable, Message: plain(err)}
	}
	return nil
}
