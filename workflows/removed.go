package workflows

import (
	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/integration"
)

// A lane that a new revision removes keeps what it had taken in: the batch that it had frozen is tried some more under the
// revision of that, and the rest goes to quarantine batch by batch (I4). What comes after the removal is none of its own.
// Until it is through, the lane counts for the low-water marks and not for the backlog. Put back before, it goes on where it
// stands.

// removedTries is how often a removed lane tries to finish its batch before that goes to quarantine.
const removedTries = 10

// remove takes the lane out of the plan that still holds.
func (r *run) remove(l *Lane) {
	if l.Removed {
		return
	}
	l.Removed, l.Revision = true, r.plan.Revision
	l.owe(l.Next, r.state.Head)
}

// owe adds ordinals to what a removed lane has to settle.
func (l *Lane) owe(first, next int64) {
	if first < next {
		l.Owed = append(l.Owed, activities.Span{First: first, Next: next})
	}
}

// passed drops what is settled of what a removed lane owes, and stands it where the rest begins.
func (r *run) passed(l *Lane) {
	if !l.Removed {
		return
	}
	for len(l.Owed) > 0 && l.Owed[0].Next <= l.Next {
		l.Owed = l.Owed[1:]
	}
	next := r.state.Head
	if len(l.Owed) > 0 {
		next = l.Owed[0].First
	}
	l.Next = max(l.Next, next)
}

// through says that a removed lane has settled everything. A redelivery that is under way may still bring it something.
func (r *run) through(l *Lane) bool {
	if !l.Removed || l.Batch != nil {
		return false
	}
	r.skip(l)
	for _, q := range r.state.Requeue {
		if q.Lane == l.Name && q.Sequence > 0 {
			return false
		}
	}
	return len(l.Owed) == 0
}

// spillRemoved sends what a removed lane can't finish to quarantine: nobody will mend it any more.
func (r *run) spillRemoved(l *Lane) {
	if l.Batch == nil {
		r.spillNext(l, &activities.Failure{Kind: connectors.Gone, Message: "the destination was removed from the integration before this was delivered"})
		return
	}
	if l.Failure != nil && (l.Stopped || l.Failures >= removedTries) {
		l.Batch.Spill = &activities.Failure{Kind: l.Failure.Kind, Message: "the destination was removed from the integration: " + l.Failure.Message}
	}
}

// spillNext cuts the lane's next batch, of whatever the engine bears, for quarantine.
func (r *run) spillNext(l *Lane, why *activities.Failure) {
	r.skip(l)
	if b, _ := r.cut(l, integration.DefaultBatchRecords, integration.DefaultBatchBytes); b != nil {
		b.Spill = why
		l.Batch = b
	}
}
