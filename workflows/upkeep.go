package workflows

import (
	"time"

	"tributary/activities"
	"tributary/connectors"
)

// publish tells the catalog what the janitor may delete and whether the receiver must hold back. Pressure goes out at
// once, marks now and then.
func (r *run) publish() {
	if r.publishing {
		return
	}
	due := r.publishDue()
	if due.IsZero() || r.now().Before(due) {
		return
	}
	pressure, marks := r.state.Backlogged, r.marks()
	r.publishing, r.publishNow, r.state.Moved = true, false, false
	r.state.PublishedAt = r.now()
	r.start(activities.PublishName, "publish low-water marks", activities.PublishInput{
		Target: r.target(r.plan.Revision), Marks: marks, Retention: r.plan.Keep, Pressure: pressure,
	}, r.quick(), func(f activityFuture) {
		r.publishing = false
		if err := f.Get(r.ctx, nil); err != nil {
			r.publishNow = true
			r.retry(&r.state.Publishing, &activities.Failure{Kind: connectors.Unavailable, Message: plain(err)})
			return
		}
		r.state.Pressure, r.state.Publishing = pressure, Trouble{}
	})
}

// publishDue is when to publish next, zero = nothing to tell. However it flutters, not more often than once in
// Timing.Backoff.
func (r *run) publishDue() time.Time {
	switch {
	case r.state.Publishing.Failures > 0:
		return r.state.Publishing.RetryAt
	case r.publishNow || r.state.Backlogged != r.state.Pressure:
		return r.state.PublishedAt.Add(r.timing.Backoff)
	case r.state.Moved:
		return r.state.PublishedAt.Add(r.timing.Publish)
	}
	return time.Time{}
}

// requeue brings quarantined records back into the sequence of the lane that refused them.
func (r *run) requeue() {
	for !r.requeueing && len(r.state.Requeue) > 0 && r.state.Requeue[0].Sequence == 0 && !r.takes(r.state.Requeue[0].Lane) {
		r.finish(r.state.Requeue[0].Operation, "the destination was removed; the records are still in quarantine")
		r.state.Requeue = r.state.Requeue[1:]
	}
	if r.requeueing || r.state.Paused || len(r.state.Requeue) == 0 || r.state.Requeue[0].waits(r.now()) {
		return
	}
	q := &r.state.Requeue[0]
	if q.Sequence == 0 {
		r.state.Redeliveries++
		q.Sequence = r.state.Redeliveries
	}
	r.requeueing = true
	begun := r.now()
	r.start(activities.RequeueName, "redeliver to "+q.Lane, activities.RequeueInput{
		Target: r.target(r.plan.Revision), Lane: q.Lane, IDs: q.IDs, Sequence: q.Sequence, Suffix: r.suffix(), Before: q.Begun,
	}, r.quick(), func(f activityFuture) {
		r.requeueing = false
		r.requeued(&r.state.Requeue[0], begun, f) // the list may have grown, and moved, since
	})
}

// takes says that a lane is there that takes records.
func (r *run) takes(lane string) bool {
	l := r.state.lane(lane)
	return l != nil && !l.Removed
}

func (r *run) requeued(q *Requeue, begun time.Time, f activityFuture) {
	var out activities.RequeueOutput
	if err := f.Get(r.ctx, &out); err != nil {
		out.Failure = &activities.Failure{Kind: connectors.Unknown, Message: plain(err)}
	}
	first := r.state.Head
	for _, ref := range out.Segments {
		r.enqueue(activities.Entry{Ref: ref, Lane: q.Lane})
	}
	if l := r.state.lane(q.Lane); l != nil && l.Removed {
		l.owe(first, r.state.Head) // they have left quarantine
	}
	if out.Failure != nil {
		// Until it is known to have done nothing it is tried again, and is the same redelivery: its records have left quarantine perhaps.
		if r.fail(&q.Trouble, out.Failure); !q.Stopped {
			return
		}
	}
	q.Sequence = 0
	if out.Failure == nil && out.More {
		if q.Trouble = (Trouble{}); q.Begun.IsZero() {
			q.Begun = begun
		}
		return
	}
	note := ""
	if out.Failure != nil {
		note = out.Failure.Message
	}
	r.finish(q.Operation, note)
	r.state.Requeue = r.state.Requeue[1:]
}
