package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/connectors"
)

// heal keeps the app's webhook subscriptions as the trigger wants them: it looks at them now and then and registers again
// what the app dropped, or removes them where an earlier revision received and this one does not.
func (r *run) heal() {
	h := &r.state.Hooks
	if due := r.hooksDue(); r.healing || due.IsZero() || r.now().Before(due) {
		return
	}
	in := activities.SubscribeInput{Target: r.target(r.plan.Revision), Streams: r.plan.Streams}
	r.healing = true
	if !r.plan.Receives() {
		r.start(activities.UnsubscribeName, "remove webhooks", in, r.quick(), func(f activityFuture) {
			r.healing = false
			r.removed(f)
		})
		return
	}
	h.Registered = true
	r.start(activities.SubscribeName, "look after webhooks", in, r.quick(), func(f activityFuture) {
		r.healing = false
		r.healed(f)
	})
}

// removeWebhooks names the change by which a trigger that receives no more has its webhooks removed while the installation
// runs; before, they stayed until it was uninstalled. A name is never used for another change.
const removeWebhooks = "remove-webhooks"

// removesWebhooks gates that change. A run that began before it has DefaultVersion recorded, by having nothing recorded,
// and goes on without the activity that its history does not have; the run after it removes the webhooks. This is how any
// change of what commands are issued is made: ask for the version only where the way parts, keep the old way for as long as
// runs may have it, and test both (see TestRunsOfBeforeLeaveWebhooksToTheNext).
func (r *run) removesWebhooks() bool {
	return workflow.GetVersion(r.ctx, removeWebhooks, workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

func (r *run) healed(f activityFuture) {
	h := &r.state.Hooks
	h.CheckedAt = r.now()
	h.Next = h.CheckedAt.Add(r.timing.Heal + r.jitter(r.timing.Heal/4, int(h.CheckedAt.Unix())))
	var out activities.SubscribeOutput
	if err := f.Get(r.ctx, &out); err != nil {
		out.Failure = &activities.Failure{Kind: connectors.Unknown, Message: plain(err)}
	}
	if out.Failure != nil {
		r.fail(&h.Trouble, out.Failure)
		return
	}
	h.Trouble = Trouble{}
	h.Manual, h.Registered, h.Active = out.Manual, !out.Manual, out.Active
	r.state.Completing.On = out.Completes
	h.Repaired += out.Repaired
}

func (r *run) removed(f activityFuture) {
	h := &r.state.Hooks
	h.CheckedAt = r.now()
	var out activities.CheckOutput
	if err := f.Get(r.ctx, &out); err != nil {
		out.Failure = &activities.Failure{Kind: connectors.Unknown, Message: plain(err)}
	}
	if out.Failure != nil {
		out.Failure.Message = "remove them: " + out.Failure.Message
		r.fail(&h.Trouble, out.Failure)
		return
	}
	*h = Hooks{CheckedAt: h.CheckedAt, Repaired: h.Repaired, Next: h.CheckedAt}
}

// registered says that the app may have webhooks of this installation.
func (h *Hooks) registered() bool { return h.Registered || h.Active > 0 }

// hooksDue is when the subscriptions are to be looked at.
func (r *run) hooksDue() time.Time {
	h := &r.state.Hooks
	switch {
	case h.Stopped || r.state.Paused:
		return time.Time{}
	case r.plan.Receives() && h.Manual:
		return time.Time{}
	case !r.plan.Receives() && (!h.registered() || !r.removesWebhooks()):
		return time.Time{}
	case h.Failures > 0:
		return h.RetryAt
	}
	return h.Next
}
