package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/connectors"
)

// InstallFailed is the type of the error with which an installation ends that could not be installed.
const InstallFailed = "InstallFailed"

// install checks every connection and has the app's webhooks registered before it reports the installation as running.
// What is merely unavailable is tried again for a while. An install that fails leaves nothing behind.
func (r *run) install() error {
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
			h := &r.state.Hooks
			h.Manual, h.Active, h.CheckedAt = out.Manual, out.Active, r.now()
			h.Next = h.CheckedAt.Add(r.timing.Heal)
		}
		if len(failures) == 0 {
			if f := r.call(activities.ActivateName, activities.EndInput{Target: r.target(r.plan.Revision)}, nil); f != nil {
				failures = append(failures, f)
			}
		}
		if len(failures) == 0 && r.state.Closing == nil {
			r.state.Phase = Running
			return nil
		}
		stop := r.state.Closing != nil || r.now().After(deadline)
		var texts []string
		for _, f := range failures {
			stop = stop || f.Kind.Stops()
			texts = append(texts, fmt.Sprintf("%s (%s)", f.Message, f.Kind))
		}
		if stop {
			return r.abandon(strings.Join(texts, "; "))
		}
		d := r.timing.Backoff * 2
		if err := workflow.NewTimer(r.ctx, d+r.jitter(d/4, attempt)).Get(r.ctx, nil); err != nil {
			return err
		}
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

// abandon undoes a failed install as far as that can be done.
func (r *run) abandon(why string) error {
	if r.state.Closing != nil {
		why = "uninstalled before the install was complete"
	}
	note := "install failed: " + why
	if r.plan.Receives() {
		if f := r.call(activities.UnsubscribeName, activities.SubscribeInput{Target: r.target(r.plan.Revision)}, nil); f != nil {
			note += "; webhooks may be left in the app: " + f.Message
		}
	}
	if f := r.call(activities.EndName, activities.EndInput{Target: r.target(r.plan.Revision), Note: connectors.Clip(note, 1000)}, nil); f != nil {
		note += "; the catalog still lists it: " + f.Message
	}
	return temporal.NewNonRetryableApplicationError(note, InstallFailed, nil)
}
