package workflows

import (
	"fmt"
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// uninstall goes through its steps, one at a time: mark the epoch ended (so that nothing more is accepted), remove the
// app's webhooks, deliver what is left within a bound, put the rest into quarantine. Each step has a bound, so it always ends,
// whatever is down, and says what it left.
func (r *run) uninstall() {
	c := r.state.Closing
	switch {
	case r.closing:
	case !c.Marked:
		r.closeStep(activities.EndName, activities.EndInput{Target: r.target(r.plan.Revision), Note: "uninstalled"}, "the catalog still lists the installation", func() { c.Marked = true })
	case !c.Unsubscribed && !r.plan.Receives():
		c.Unsubscribed = true
		r.uninstall()
	case !c.Unsubscribed:
		r.closeStep(activities.UnsubscribeName, activities.SubscribeInput{Target: r.target(r.plan.Revision), Streams: r.plan.Streams}, "webhooks may be left in the app", func() { c.Unsubscribed = true })
	default:
		r.deliverRest()
	}
}

// closeStep tries one step until it succeeds or its time is over; either way the next step follows.
func (r *run) closeStep(name string, input any, left string, done func()) {
	c := r.state.Closing
	o := r.quick()
	o.StartToCloseTimeout = min(o.StartToCloseTimeout, r.timing.Closing/3) // a worker may have died with the task
	o.ScheduleToCloseTimeout = r.timing.Closing
	r.closing = true
	r.start(name, "uninstall", input, o, func(f activityFuture) {
		r.closing = false
		var out activities.CheckOutput
		if err := f.Get(r.ctx, &out); err != nil {
			out.Failure = &activities.Failure{Message: plain(err)}
		}
		if out.Failure != nil {
			c.Left = append(c.Left, connectors.Clip(left+": "+out.Failure.Message, 500))
		}
		done()
	})
}

// deliverRest flushes the lanes until the bound, then spills what is left, then ends.
func (r *run) deliverRest() {
	c := r.state.Closing
	now := r.now()
	if c.FlushedAt.IsZero() {
		c.FlushedAt = now
	}
	if now.Before(c.FlushedAt.Add(r.timing.Flush)) {
		if r.owes() {
			for _, l := range r.state.Lanes {
				l.Flush = r.state.Head
			}
			if !r.full() {
				r.write()
			}
			if r.owes() {
				return
			}
		}
	} else if r.owes() && now.Before(c.FlushedAt.Add(r.timing.Flush+r.timing.Closing)) {
		for _, l := range r.state.Lanes {
			if r.writing[l.Name] || l.Next >= r.state.Head {
				continue
			}
			why := &activities.Failure{Kind: connectors.Gone, Message: "uninstalled before it could be delivered"}
			if l.Failure != nil {
				why.Message += ": " + l.Failure.Message
			}
			if l.Batch == nil {
				r.skip(l)
				if l.Next >= r.state.Head {
					continue
				}
				l.Batch = &Batch{First: l.Next, Next: min(r.state.Head, l.Next+50_000), Revision: r.plan.Revision}
			}
			if l.Batch.Spill == nil {
				l.Batch.Spill, l.RetryAt = why, time.Time{}
			}
			if !now.Before(l.RetryAt) && !r.full() {
				r.send(l)
			}
		}
		if r.owes() {
			return
		}
	}
	if r.open > 0 {
		if now.Before(c.FlushedAt.Add(r.timing.Flush + r.timing.Closing)) {
			return
		}
		// What is still running finds the ledger as it is; its records are counted as left.
	}
	for _, l := range r.state.Lanes {
		if records, _ := r.lag(l); records > 0 {
			c.Left = append(c.Left, fmt.Sprintf("%d records for %s, in segments of epoch %s", records, l.Name, r.in.Epoch))
		}
	}
	r.state.Phase = Ended
	r.finish(c.Operation, "")
}

// owes says that some lane has not settled everything.
func (r *run) owes() bool {
	for _, l := range r.state.Lanes {
		r.skip(l)
		if l.Next < r.state.Head {
			return true
		}
	}
	return false
}

// closingDue is when uninstall must look again although nothing happens.
func (r *run) closingDue() time.Time {
	c := r.state.Closing
	if r.closing || c.FlushedAt.IsZero() || (r.full() && r.open == 0) {
		return time.Time{}
	}
	due := c.FlushedAt.Add(r.timing.Flush)
	if !r.now().Before(due) {
		due = c.FlushedAt.Add(r.timing.Flush + r.timing.Closing)
	}
	for _, l := range r.state.Lanes {
		if !r.writing[l.Name] && !l.Stopped && l.RetryAt.After(r.now()) && l.RetryAt.Before(due) {
			due = l.RetryAt
		}
	}
	return due
}

func (r *run) summary() *Summary {
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
	return s
}
