package workflows

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/connectors"
)

// Summary is the result of an installation that was uninstalled.
type Summary struct {
	Received    int64            `json:"received"`
	Delivered   map[string]int64 `json:"delivered"`
	Quarantined map[string]int64 `json:"quarantined,omitempty"`
	// Left says in plain words what could not be cleaned up.
	Left []string `json:"left,omitempty"`
}

// Installation is one integration installed for one user, for as long as it is installed. One loop takes in
// arrivals, starts what can be started and waits for what comes first; everything it knows stands in State.
func Installation(ctx workflow.Context, in Input) (*Summary, error) {
	r := newRun(ctx, in)
	if err := r.handle(); err != nil {
		return nil, err
	}
	if r.state.Phase == Installing && r.state.Closing == nil {
		r.install()
	}
	for {
		r.drain()
		r.step()
		r.show()
		if r.state.Phase == Ended {
			return r.summary()
		}
		if r.full() && r.open == 0 {
			// Drained last: nothing may yield between here and the end of the run, or a signal that
			// arrives meanwhile would be left behind in the old run.
			r.drain()
			in.State = r.state
			in.Plan = r.plan
			in.Generation = max(in.Generation, Generation)
			return nil, workflow.NewContinueAsNewErrorWithOptions(ctx, workflow.ContinueAsNewErrorOptions{
				InitialVersioningBehavior: workflow.ContinueAsNewVersioningBehaviorAutoUpgrade,
			}, InstallationName, in)
		}
		r.wait()
	}
}

// run is one run of the workflow: the state that is carried over, and what is under way.
type run struct {
	ctx    workflow.Context
	in     Input
	plan   Plan
	timing Timing
	state  *State

	arrivals workflow.ReceiveChannel
	poke     workflow.Channel
	selector workflow.Selector

	// unmet is what an install under way is tried again for.
	unmet string

	// What is under way, by name; it ends before the run does.
	open       int
	writing    map[string]bool
	fetching   map[string]uint64 // stream -> chunk
	completing map[string]uint64 // stream -> sequence
	healing    bool
	rolling    bool
	publishing bool
	requeueing bool
	closing    bool

	publishNow bool
	details    string
	health     string

	timer  workflow.CancelFunc
	wakeAt time.Time
}

func newRun(ctx workflow.Context, in Input) *run {
	info := workflow.GetInfo(ctx)
	asked := ctx
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	r := &run{
		ctx: ctx, in: in, plan: in.Plan, timing: in.Plan.Timing.withDefaults(), state: in.State,
		arrivals: workflow.GetSignalChannel(ctx, ArrivalSignal),
		poke:     workflow.NewBufferedChannel(ctx, 1),
		selector: workflow.NewSelector(ctx),
		writing:  make(map[string]bool), fetching: make(map[string]uint64), completing: make(map[string]uint64),
	}
	if r.state == nil {
		r.state = &State{Phase: Installing, Ledger: in.Epoch, Started: workflow.Now(ctx), PublishedAt: in.Asked}
		r.adoptPlan(in.Plan)
	}
	r.state.Runs++
	// A reset run goes back to earlier ordinals, and its records are others than those that destinations' ledgers know by
	// these numbers. So it continues under an epoch of its own, and the records' keys keep the effect once (I3). The
	// run's ID differs from the original one in a reset run only; what replays of the part before the reset compute is
	// not compared, because activity inputs are not.
	if info.OriginalRunID != "" && info.WorkflowExecution.RunID != info.OriginalRunID {
		r.state.Ledger = in.Epoch + "." + shorten(info.WorkflowExecution.RunID)
		r.state.Resets++
	}
	r.selector.AddReceive(r.arrivals, func(c workflow.ReceiveChannel, _ bool) {
		var raw converter.RawValue
		if c.ReceiveAsync(&raw) {
			r.take(raw)
		}
	})
	r.selector.AddReceive(r.poke, func(c workflow.ReceiveChannel, _ bool) { c.ReceiveAsync(nil) })
	// Whoever asks Temporal to cancel the workflow means uninstall. The work itself goes on under a context of its own:
	// a cancelled one would start nothing more, not even what ends it.
	workflow.Go(ctx, func(ctx workflow.Context) {
		asked.Done().Receive(ctx, nil)
		r.beginClosing("")
		r.poke.SendAsync(struct{}{})
	})
	return r
}

func shorten(id string) string { return id[:min(8, len(id))] }

// suffix tells the sealed objects of a reset run from those of before.
func (r *run) suffix() string {
	if n := len(r.in.Epoch); len(r.state.Ledger) > n {
		return r.state.Ledger[n+1:]
	}
	return ""
}

func (r *run) now() time.Time { return workflow.Now(r.ctx) }

func (r *run) target(revision int) activities.Target {
	return activities.Target{
		Installation: r.in.Installation, Integration: r.in.Integration, User: r.in.User,
		Epoch: r.in.Epoch, Ledger: r.state.Ledger, Revision: revision,
	}
}

// full says that the history is long enough: what is open ends, nothing new is started.
func (r *run) full() bool {
	info := workflow.GetInfo(r.ctx)
	return info.GetContinueAsNewSuggested() || info.GetTargetWorkerDeploymentVersionChanged() ||
		info.GetCurrentHistoryLength() > r.timing.Events
}

// drain takes in every arrival that is there.
func (r *run) drain() {
	for {
		var raw converter.RawValue
		if !r.arrivals.ReceiveAsync(&raw) {
			return
		}
		r.take(raw)
	}
}

// take decodes an arrival by itself: a channel drops in silence what it can't decode.
func (r *run) take(raw converter.RawValue) {
	var a Arrival
	if err := json.Unmarshal(raw.Payload().GetData(), &a); err != nil || a.Journal == "" || slices.ContainsFunc(a.Parts(), func(p Part) bool { return p.To < p.From }) {
		r.state.Undecodable++
		workflow.GetLogger(r.ctx).Error("a signal could not be understood; it stands in the history", "signal", ArrivalSignal)
		return
	}
	r.arrive(a)
}

// start runs an activity; done is called with its future when it ends, however it ends.
func (r *run) start(name, summary string, input any, o workflow.ActivityOptions, done func(workflow.Future)) {
	o.Summary = summary
	// With eager starts, the kill test found installations that did nothing for minutes after a worker's death; without, for seconds.
	o.DisableEagerExecution = true
	r.open++
	r.selector.AddFuture(workflow.ExecuteActivity(workflow.WithActivityOptions(r.ctx, o), name, input), func(f workflow.Future) {
		r.open--
		done(f)
	})
}

// startLocal runs an activity within the workflow's task; done is called as with start. It is not tried twice: its failure is
// returned to the workflow as any other, and the next attempt is an activity of its own.
func (r *run) startLocal(name, summary string, input any, done func(workflow.Future)) {
	ctx := workflow.WithLocalActivityOptions(r.ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: 5 * localTime, // for one that does not end in time by itself
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:             summary,
	})
	r.open++
	r.selector.AddFuture(workflow.ExecuteLocalActivity(ctx, name, input), func(f workflow.Future) {
		r.open--
		done(f)
	})
}

// quick are the options of an activity that touches only our own stores or asks one question: it retries by itself
// for a moment only, because an open activity holds up continue-as-new; the workflow has the patience.
func (r *run) quick() workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    20 * time.Second,
		ScheduleToCloseTimeout: time.Minute,
		HeartbeatTimeout:       r.timing.Heartbeat,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 5 * time.Second},
	}
}

// long are the options of a fetch or a write: connectors' errors come back as results, so what Temporal retries are
// dead workers only, noticed by the missing heartbeat.
func (r *run) long() workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    2 * time.Minute,
		ScheduleToCloseTimeout: 5 * time.Minute,
		HeartbeatTimeout:       r.timing.Heartbeat,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: 2 * time.Second},
	}
}

// step starts whatever can be started now.
func (r *run) step() {
	r.calm()
	r.trim()
	r.trimWaiting()
	r.gauge()
	r.settle()
	if r.state.Closing != nil {
		r.uninstall()
		r.roll()
		return
	}
	if r.full() {
		return
	}
	r.heal()
	r.requeue()
	r.complete(nil)
	r.write()
	r.fetch()
	r.roll()
	r.publish()
}

// wait sleeps until something happens: an arrival, an update, the end of an activity, or the next time that
// something is due.
func (r *run) wait() {
	at, what := r.due()
	r.arm(at, what)
	r.selector.Select(r.ctx)
	for r.selector.HasPending() {
		r.selector.Select(r.ctx)
	}
}

// arm sets the run's one timer. It is replaced only when something is due earlier: a timer that rings for nothing
// costs less history than one that is cancelled each time.
func (r *run) arm(at time.Time, what string) {
	if at.IsZero() {
		return
	}
	if now := r.now(); !at.After(now) {
		// step has just acted on whatever was due; what still is must not make the loop spin.
		at = now.Add(r.timing.Backoff)
	}
	if r.timer != nil && !at.Before(r.wakeAt) {
		return
	}
	if r.timer != nil {
		r.timer()
	}
	ctx, cancel := workflow.WithCancel(r.ctx)
	r.timer, r.wakeAt = cancel, at
	d := max(at.Sub(r.now()), time.Millisecond)
	f := workflow.NewTimerWithOptions(ctx, d, workflow.TimerOptions{Summary: connectors.Clip(what, 200)})
	r.selector.AddFuture(f, func(f workflow.Future) {
		if f.Get(ctx, nil) == nil && r.wakeAt.Equal(at) {
			r.timer, r.wakeAt = nil, time.Time{}
		}
	})
}

// due is when something must be done although nothing happens, and what, for the timer's summary in the Temporal UI; zero = never.
func (r *run) due() (at time.Time, what string) {
	sooner := func(t time.Time, format string, args ...any) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at, what = t, fmt.Sprintf(format, args...)
		}
	}
	if r.state.Closing != nil {
		return r.closingDue(), "uninstall"
	}
	if r.full() {
		return at, what // what is open ends by itself
	}
	for _, l := range r.state.Lanes {
		if !r.writing[l.Name] {
			sooner(r.laneDue(l), "write to %s", l.Name)
		}
	}
	for _, s := range r.state.Streams {
		if !r.reading(s) {
			sooner(r.streamDue(s), "read %s", s.Name)
		}
	}
	for _, c := range r.state.Completing.Streams {
		sooner(r.completeDue(c), "complete %s", c.Stream)
	}
	if !r.healing {
		sooner(r.hooksDue(), "look after webhooks")
	}
	if !r.rolling {
		sooner(r.state.Rolling.RetryAt, "write a manifest")
	}
	if !r.requeueing && len(r.state.Requeue) > 0 && !r.state.Paused {
		sooner(r.state.Requeue[0].RetryAt, "redeliver to %s", r.state.Requeue[0].Lane)
	}
	if !r.publishing {
		sooner(r.publishDue(), "publish low-water marks")
	}
	return at, what
}

// calm brings back what was put off further than anything ever is: the clock was set back since.
func (r *run) calm() {
	now := r.now()
	near := func(t *time.Time, d time.Duration) {
		if latest := now.Add(d); t.After(latest) {
			*t = latest
		}
	}
	longest := max(connectors.MaxWait, r.timing.MaxBackoff+r.timing.MaxBackoff/4)
	for _, l := range r.state.Lanes {
		near(&l.RetryAt, longest)
		if l.Batch != nil {
			near(&l.Batch.Quarantine.RetryAt, longest)
		}
	}
	for _, s := range r.state.Streams {
		near(&s.RetryAt, longest)
		near(&s.Next, r.plan.Interval+r.plan.Interval/20)
	}
	for _, c := range r.state.Completing.Streams {
		if latest := now.Add(longest).UnixMilli(); c.RetryAt > latest {
			c.RetryAt = latest
		}
	}
	for i := range r.state.Completing.Queue {
		e := &r.state.Completing.Queue[i]
		e.At = min(e.At, now.UnixMilli())
	}
	for i := range r.state.Requeue {
		near(&r.state.Requeue[i].RetryAt, longest)
	}
	near(&r.state.Rolling.RetryAt, longest)
	near(&r.state.Publishing.RetryAt, longest)
	near(&r.state.Hooks.RetryAt, longest)
	near(&r.state.Hooks.Next, r.timing.Heal+r.timing.Heal/4)
	near(&r.state.PublishedAt, 0)
	for i := range r.state.Queue {
		r.state.Queue[i].At = min(r.state.Queue[i].At, now.UnixMilli())
	}
}
