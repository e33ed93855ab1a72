package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"tributary/activities"
	"tributary/connectors"
)

// beginClosing begins an uninstall, of whatever stands there.
func (r *run) beginClosing(operation string) {
	if r.state.Closing != nil {
		return
	}
	r.state.Closing = &Closing{At: r.now(), Operation: operation}
	r.state.Paused = false
	if r.state.Phase == Installing {
		r.state.Closing.Failed = "uninstalled before the install was complete"
	} else {
		r.state.Phase = Uninstall
	}
	for _, l := range r.state.Lanes { // one more try of everything, however it stands
		l.RetryAt, l.Stopped = time.Time{}, false
	}
	for _, c := range r.state.Completing.Streams {
		c.again()
	}
}

// uninstall goes through its steps, one at a time: mark the epoch ended (so that nothing more is accepted), remove the
// app's webhooks, deliver what is left within a bound, put the rest into quarantine. Each step has a bound, so it always ends,
// whatever is down, and says what it left.
func (r *run) uninstall() {
	c := r.state.Closing
	switch {
	case r.closing:
	case !c.Marked:
		r.closeStep(activities.EndName, activities.EndInput{Target: r.target(r.plan.Revision), Note: c.note()}, "the catalog still lists the installation", func() { c.Marked = true })
	case !c.Unsubscribed && (r.plan.Receives() || r.state.Hooks.registered()):
		left := "webhooks may be left in the app"
		if r.state.Hooks.CheckedAt.IsZero() {
			left = "" // the install failed before it asked for any
		}
		r.closeStep(activities.UnsubscribeName, activities.SubscribeInput{Target: r.target(r.plan.Revision), Streams: r.plan.Streams}, left, func() { c.Unsubscribed = true })
	default:
		if c.Rest.IsZero() {
			c.Rest = r.now()
		}
		r.deliverRest()
	}
}

func (c *Closing) note() string {
	if c.Failed != "" {
		return "install failed: " + c.Failed
	}
	return "uninstalled"
}

// closeStep tries one step until it succeeds, no more tries are of use or its time is over; in any case the next step follows.
// What a step that failed has left is said, unless that is nothing.
func (r *run) closeStep(name string, input any, left string, done func()) {
	c := r.state.Closing
	if c.waits(r.now()) {
		return
	}
	if c.Step.IsZero() {
		c.Step = r.now()
	}
	end := c.Step.Add(r.timing.Closing)
	o := r.quick()
	o.ScheduleToCloseTimeout = max(end.Sub(r.now()), time.Second)
	// A worker may have died with the task: then there is time for another.
	o.StartToCloseTimeout = min(o.StartToCloseTimeout, o.ScheduleToCloseTimeout, max(r.timing.Closing/3, time.Second))
	r.closing = true
	r.start(name, "uninstall", input, o, func(f activityFuture) {
		r.closing = false
		var out activities.CheckOutput
		if err := f.Get(r.ctx, &out); err != nil {
			out.Failure = &activities.Failure{Kind: connectors.Unavailable, Message: plain(err)}
		}
		if out.Failure != nil {
			if r.retry(&c.Trouble, out.Failure); !out.Failure.Kind.Stops() && c.RetryAt.Before(end) {
				return
			}
			if left != "" {
				c.Left = append(c.Left, left+": "+c.Failure.Message)
			}
		}
		c.Step, c.Trouble = time.Time{}, Trouble{}
		done()
	})
}

// deliverRest flushes the lanes until the bound, then spills what is left, then ends.
func (r *run) deliverRest() {
	c := r.state.Closing
	now := r.now()
	flushed, spilled := c.Rest.Add(r.timing.Flush), c.Rest.Add(r.timing.Flush+r.timing.Closing)
	waits := now.Before(spilled) && r.completeRest(!now.Before(flushed))
	if (waits || r.owes()) && now.Before(spilled) {
		for _, l := range r.state.Lanes {
			l.Flush = r.state.Head
			if !now.Before(flushed) {
				r.giveUp(l)
			}
		}
		if !r.full() {
			r.write()
		}
		if waits || r.owes() {
			return
		}
	}
	if r.open > 0 && now.Before(spilled) {
		return // what is still running after that finds the ledger as it is; its records are counted as left
	}
	c.Left = append(c.Left, r.leftWaiting()...)
	for _, l := range r.state.Lanes {
		if records, _ := r.lag(l); records > 0 {
			c.Left = append(c.Left, fmt.Sprintf("%d records for %s, in segments of epoch %s", records, l.Name, r.in.Epoch))
		}
	}
	r.state.Phase = Ended
	r.settle()
	for _, op := range r.state.Operations {
		if !op.Done {
			r.finish(op.ID, "uninstalled before it was done")
		}
	}
}

// giveUp has the lane's next batch go to quarantine.
func (r *run) giveUp(l *Lane) {
	if r.writing[l.Name] || (l.Batch != nil && l.Batch.Spill != nil) {
		return
	}
	why := &activities.Failure{Kind: connectors.Gone, Message: "uninstalled before it could be delivered"}
	if l.Failure != nil {
		why.Message += ": " + l.Failure.Message
	}
	if l.Batch == nil {
		r.spillNext(l, why)
		return
	}
	l.Batch.Spill = why
}

// owes says that some lane has not settled everything.
func (r *run) owes() bool {
	for _, l := range r.state.Lanes {
		if l.Batch != nil {
			return true
		}
		r.skip(l)
		if records, _ := r.lag(l); records > 0 {
			return true
		}
	}
	return false
}

// closingDue is when uninstall must look again although nothing happens.
func (r *run) closingDue() time.Time {
	if r.closing || r.full() {
		return time.Time{}
	}
	c := r.state.Closing
	if c.Rest.IsZero() {
		return c.RetryAt
	}
	due := c.Rest.Add(r.timing.Flush)
	if !r.now().Before(due) {
		due = due.Add(r.timing.Closing)
	}
	for _, w := range r.state.Completing.Streams {
		if at := r.completeDue(w); at.After(r.now()) && at.Before(due) {
			due = at
		}
	}
	for _, l := range r.state.Lanes {
		if at := r.laneDue(l); !r.writing[l.Name] && at.After(r.now()) && at.Before(due) {
			due = at
		}
	}
	return due
}

// summary is the run's result; of an install that failed, its error.
func (r *run) summary() (*Summary, error) {
	if c := r.state.Closing; c.Failed != "" {
		return nil, temporal.NewNonRetryableApplicationError(strings.Join(append([]string{c.note()}, c.Left...), "; "), InstallFailed, nil)
	}
	s := &Summary{Received: r.state.Received, Delivered: map[string]int64{}, Left: r.state.Closing.Left}
	for _, l := range r.state.Lanes {
		s.Delivered[l.Name] = l.Delivered
		if l.Quarantined > 0 {
			if s.Quarantined == nil {
				s.Quarantined = map[string]int64{}
			}
			s.Quarantined[l.Name] = l.Quarantined
		}
	}
	return s, nil
}
