package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/internal/integration"
)

// Updates accept at once, return their operation's ID and are done by the loop: none of them holds up
// continue-as-new. The ID is the Update's own, so that a repeated Update is recognised.

// Accepted is what every Update returns.
type Accepted struct {
	Operation string `json:"operation"`
	Note      string `json:"note,omitempty"`
}

// PauseRequest pauses: nothing is read or written, webhooks are kept.
type PauseRequest struct {
	Reason string `json:"reason,omitempty"`
}

// ResumeRequest resumes what was paused and tries again what had stopped. Lane or stream names narrow it to those.
type ResumeRequest struct {
	Only []string `json:"only,omitempty"`
}

// StreamsRequest names streams; none = all.
type StreamsRequest struct {
	Streams []string  `json:"streams,omitempty"`
	Since   time.Time `json:"since,omitzero"` // backfill only
}

// FlushRequest delivers now what waits for a batch to fill; Lanes none = all.
type FlushRequest struct {
	Lanes []string `json:"lanes,omitempty"`
}

// RedeliverRequest sends quarantined records again; IDs none = all of the lane.
type RedeliverRequest struct {
	Lane string  `json:"lane"`
	IDs  []int64 `json:"ids,omitempty"`
}

const maxRedeliverIDs = 1000

// handle registers the Updates and the Query.
func (r *run) handle() error {
	o := workflow.QueryHandlerOptions{Description: "How it does: health, what it received, each destination and stream, operations."}
	if err := workflow.SetQueryHandlerWithOptions(r.ctx, StatusQuery, func() (Status, error) { return r.status(), nil }, o); err != nil {
		return err
	}
	return firstError(
		update(r, PauseUpdate, `Hold reading and writing until resumed; webhooks are still accepted and kept. {"reason": "..."}`, func(PauseRequest) error { return r.checkOpen() }, func(op *Operation, req PauseRequest) {
			r.state.Paused, r.state.PauseReason, op.Done = true, r.clip(req.Reason), true
		}),
		update(r, ResumeUpdate, `End a pause and try again what stopped or waits. {"only": [destination or stream]} leaves a pause as it is.`, r.checkResume, func(op *Operation, req ResumeRequest) {
			r.resume(req.Only)
			op.Done = true
		}),
		update(r, PollUpdate, `Read streams now, from where the last poll ended. {"streams": [...]}, none = all.`, r.checkPolls, func(op *Operation, req StreamsRequest) {
			for _, s := range r.named(req.Streams) {
				s.Trouble, s.Asked = Trouble{}, r.now()
				if !s.Mid {
					s.Next = r.now()
				}
			}
			op.Streams = few(req.Streams)
		}),
		update(r, BackfillUpdate, `Read streams again from a time on. {"since": "2026-01-31T00:00:00Z", "streams": [...]}`, r.checkPolls, func(op *Operation, req StreamsRequest) {
			for _, s := range r.named(req.Streams) {
				s.Trouble, s.Bookmark, s.Since, s.Mid, s.Restart = Trouble{}, activities.Bookmark{}, req.Since, false, r.reading(s)
				s.Next = r.now()
			}
			op.Streams = few(req.Streams)
		}),
		update(r, FlushUpdate, `Deliver now what waits for a batch to fill. {"lanes": [...]}, none = all.`, r.checkFlush, func(op *Operation, req FlushRequest) {
			op.Until, op.Lanes = r.state.Head, req.Lanes
			if len(r.state.Completing.Streams) > 0 {
				op.Waiting = r.state.Completing.Head
				for _, c := range r.state.Completing.Streams {
					c.RetryAt = 0
				}
			}
			for _, l := range r.state.Lanes {
				if len(req.Lanes) == 0 || slices.Contains(req.Lanes, l.Name) {
					l.Flush, l.RetryAt = r.state.Head, time.Time{}
				}
			}
		}),
		update(r, ReconfigureUpdate, "Go over to another revision; `starter install --reconfigure` sends it.", r.checkPlan, func(op *Operation, p Plan) {
			r.adoptPlan(p)
			op.Done = true
		}),
		update(r, RedeliverUpdate, `Send records from quarantine again. {"lane": "...", "ids": [...]}, none = all.`, r.checkRedeliver, func(op *Operation, req RedeliverRequest) {
			r.state.Requeue = append(r.state.Requeue, Requeue{Operation: op.ID, Lane: req.Lane, IDs: req.IDs})
		}),
		update(r, UninstallUpdate, `End the installation: remove webhooks, deliver what is left, quarantine the rest.`, nil, func(op *Operation, _ struct{}) {
			if r.state.Closing != nil {
				op.Note = "it is being uninstalled already"
				return
			}
			r.beginClosing(op.ID)
		}),
	)
}

// update registers one Update; the Temporal UI shows what it does. Its handler never yields.
func update[T any](r *run, name, does string, validate func(T) error, apply func(*Operation, T)) error {
	o := workflow.UpdateHandlerOptions{Description: does, Validator: func(ctx workflow.Context, req T) error {
		if validate == nil || r.accepted(workflow.GetCurrentUpdateInfo(ctx).ID) {
			return nil // what was accepted stays accepted, whatever has changed since
		}
		return validate(req)
	}}
	return workflow.SetUpdateHandlerWithOptions(r.ctx, name, func(ctx workflow.Context, req T) (Accepted, error) {
		id := workflow.GetCurrentUpdateInfo(ctx).ID
		if r.accepted(id) {
			return Accepted{Operation: id, Note: "accepted before"}, nil
		}
		op := Operation{ID: id, Name: name, At: r.now()}
		apply(&op, req)
		r.state.Operations = append(r.state.Operations, op)
		if n := len(r.state.Operations) - maxOperations; n > 0 {
			r.state.Operations = slices.Clone(r.state.Operations[n:])
		}
		r.poke.SendAsync(struct{}{})
		return Accepted{Operation: id, Note: op.Note}, nil
	}, o)
}

// accepted says that the Update is one of the latest operations.
func (r *run) accepted(id string) bool {
	return slices.ContainsFunc(r.state.Operations, func(op Operation) bool { return op.ID == id })
}

// few are the names to remember; of many it is remembered that they were many, as if all had been named (I10).
func few(names []string) []string {
	if len(names) > 20 {
		return nil
	}
	return names
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Refused is the type of the error with which an Update is declined.
const Refused = "Refused"

func refuse(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), Refused, nil)
}

func (r *run) checkOpen() error {
	if r.state.Closing != nil {
		return refuse("it is being uninstalled")
	}
	return nil
}

func (r *run) checkResume(req ResumeRequest) error {
	for _, name := range req.Only {
		if s := r.state.stream(name); s == nil && r.state.lane(name) == nil && r.state.Completing.stream(name) == nil {
			return refuse("there is no destination or stream %q; there are %s", name, strings.Join(r.names(), ", "))
		}
	}
	return nil
}

// names are those of the lanes and streams.
func (r *run) names() []string {
	var all []string
	for _, l := range r.plan.Lanes {
		all = append(all, l.Name)
	}
	return append(all, r.plan.Streams...)
}

func (r *run) checkPolls(req StreamsRequest) error {
	if !r.plan.Polls() {
		return refuse("this integration has the trigger %q and reads nothing by itself", r.plan.Trigger)
	}
	if err := r.checkOpen(); err != nil {
		return err
	}
	for _, name := range req.Streams {
		if !slices.Contains(r.plan.Streams, name) {
			return refuse("there is no stream %q; there are %s", name, strings.Join(r.plan.Streams, ", "))
		}
	}
	return nil
}

func (r *run) checkFlush(req FlushRequest) error { return r.checkLanes(req.Lanes...) }

func (r *run) checkLanes(names ...string) error {
	for _, name := range names {
		if !r.takes(name) {
			return refuse("there is no destination %q; there are %s", name, strings.Join(r.names()[:len(r.plan.Lanes)], ", "))
		}
	}
	return nil
}

func (r *run) checkRedeliver(req RedeliverRequest) error {
	if err := r.checkOpen(); err != nil {
		return err
	}
	if len(req.IDs) > maxRedeliverIDs {
		return refuse("at most %d records can be named at once; name none to redeliver all of the destination", maxRedeliverIDs)
	}
	named := len(req.IDs)
	for _, q := range r.state.Requeue {
		named += len(q.IDs)
	}
	if len(r.state.Requeue) >= maxOperations || named > 2*maxRedeliverIDs {
		return refuse("%d redeliveries are waiting already; try again when they are done", len(r.state.Requeue))
	}
	return r.checkLanes(req.Lane)
}

func (r *run) checkPlan(p Plan) error {
	switch err := r.checkOpen(); {
	case err != nil:
		return err
	case len(p.Lanes) == 0 || len(p.Streams) == 0:
		return refuse("a plan needs a destination and a stream")
	case p.Revision < r.plan.Revision:
		return refuse("revision %d is older than the one that runs, %d", p.Revision, r.plan.Revision)
	}
	emptied := 0
	for _, l := range r.state.Lanes {
		if _, ok := p.lane(l.Name); !ok {
			emptied++
		}
	}
	if n := len(p.Lanes) + emptied; n > integration.MaxDestinations {
		return refuse("there would be %d destinations, %d of them removed and not yet emptied into quarantine; at most %d can be: try again when removed ones are gone", n, emptied, integration.MaxDestinations)
	}
	return nil
}

// named are the streams of these names, all when there are none.
func (r *run) named(names []string) []*Stream {
	var out []*Stream
	for _, s := range r.state.Streams {
		if !s.Removed && (len(names) == 0 || slices.Contains(names, s.Name)) {
			out = append(out, s)
		}
	}
	return out
}

// resume clears what stands in the way.
func (r *run) resume(only []string) {
	of := func(name string) bool { return len(only) == 0 || slices.Contains(only, name) }
	if len(only) == 0 {
		r.state.Paused, r.state.PauseReason = false, ""
		r.state.Hooks.Trouble = Trouble{}
	}
	for _, l := range r.state.Lanes {
		if of(l.Name) {
			l.Stopped, l.RetryAt = false, time.Time{}
		}
	}
	for _, s := range r.state.Streams {
		if of(s.Name) {
			s.Stopped, s.RetryAt, s.Resyncs = false, time.Time{}, 0
		}
	}
	for _, c := range r.state.Completing.Streams {
		if of(c.Stream) {
			c.again()
		}
	}
}

// adoptPlan makes the lanes and streams those of the plan, at install and when the definition changes. Lanes and streams
// are known by name. A new lane begins with what comes next; a removed one settles what it owes; a changed one goes on where
// it stands.
func (r *run) adoptPlan(p Plan) {
	if p.Timing == (Timing{}) {
		p.Timing = r.plan.Timing
	}
	for _, l := range r.state.Lanes {
		if _, ok := p.lane(l.Name); !ok {
			r.remove(l)
		}
	}
	r.plan, r.timing = p, p.Timing.withDefaults()
	for _, lp := range p.Lanes {
		if l := r.state.lane(lp.Name); l == nil {
			r.state.Lanes = append(r.state.Lanes, &Lane{Name: lp.Name, Next: r.state.Head})
		} else {
			l.Removed, l.Owed, l.Revision = false, nil, 0
			l.Stopped, l.RetryAt = false, time.Time{}
		}
	}
	for _, s := range r.state.Streams {
		s.Removed = !slices.Contains(p.Streams, s.Name) || !p.Polls()
	}
	if p.Polls() {
		for _, name := range p.Streams {
			if s := r.state.stream(name); s == nil {
				r.state.Streams = append(r.state.Streams, &Stream{Name: name})
			} else {
				s.Stopped, s.RetryAt = false, time.Time{}
				if latest := r.now().Add(p.Interval); s.Next.After(latest) {
					s.Next = latest
				}
			}
		}
	}
	for _, c := range r.state.Completing.Streams {
		c.again()
	}
	if !p.Reconciles() {
		r.state.Floors = nil
		for _, s := range r.state.Streams {
			s.From, s.Then = 0, 0
		}
	}
	h := &r.state.Hooks
	h.Next, h.Stopped, h.RetryAt = r.now(), false, r.now()
	if p.Receives() {
		h.Manual = false
	}
	r.publishNow = r.state.Phase != Installing
}

// settle marks the operations that have come true meanwhile.
func (r *run) settle() {
	for i := range r.state.Operations {
		if op := &r.state.Operations[i]; !op.Done {
			op.Done, op.Note = r.done(*op)
		}
	}
}

// done works out whether an operation that only waits for the loop has come true, and what is to be said of it.
func (r *run) done(op Operation) (bool, string) {
	among := func(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }
	switch op.Name {
	case FlushUpdate:
		if op.Waiting > 0 && r.waitsBelow(op.Waiting) {
			return false, op.Note
		}
		for _, l := range r.state.Lanes {
			if !l.Removed && among(op.Lanes, l.Name) && l.Next < op.Until {
				return false, op.Note
			}
		}
		return true, op.Note
	case PollUpdate, BackfillUpdate:
		note := op.Note
		for _, s := range r.state.Streams {
			switch {
			case s.Removed || !among(op.Streams, s.Name):
			case s.Stopped && s.Failure != nil:
				note = r.clip("stream " + s.Name + ": " + s.Failure.Message)
			case s.Mid || s.Begun.Before(op.At):
				return false, op.Note
			}
		}
		return true, note
	case UninstallUpdate:
		return r.state.Phase == Ended, op.Note
	}
	return false, op.Note
}

// finish marks an operation as done.
func (r *run) finish(id, note string) {
	for i := range r.state.Operations {
		if r.state.Operations[i].ID == id {
			r.state.Operations[i].Done, r.state.Operations[i].Note = true, note
		}
	}
}
