package workflows

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/integration"
	"tributary/internal/segment"
)

// world stands for everything outside the workflow: an app that is polled, destinations with ledgers, a catalog. It checks
// what the workflow promises: every ordinal is settled once and in order, also over continue-as-new.
type world struct {
	t  *testing.T
	mu sync.Mutex
	// ledger is, per lane, the ordinal up to which records were delivered.
	ledger  map[string]int64
	spilled map[string]int64
	// down returns the failure of a lane's next write, nil = it works.
	down func(lane string, in activities.WriteInput) *activities.Failure
	page func(in activities.FetchInput) activities.FetchOutput
	// partly may answer a write itself.
	partly func(in activities.WriteInput) (activities.WriteOutput, bool)
	// breaks has publishing fail as an activity.
	breaks func() error
	// fail makes the other activities fail.
	fail func(name string) *activities.Failure

	manifests map[string][]activities.Entry
	calls     map[string]int
	hookCalls []string // in order
	published activities.PublishInput
	flips     int // how often pressure changed
	fetches   []activities.FetchInput
	writes    []activities.WriteInput
	locally   []bool // of each write: by a local activity
	requeues  []activities.RequeueInput
	completes []activities.CompleteInput
	// whole, when set, may answer a Complete itself; completed is, per stream, the ordinal up to which that was done.
	whole     func(in activities.CompleteInput) (activities.CompleteOutput, bool)
	completed map[string]int64
	rolls     []activities.RollInput
	// marks are the greatest that were published, as the catalog keeps them.
	marks     map[string]uint64
	subscribe activities.SubscribeOutput
	maxState  int
	// shift is by how much the clock differs.
	shift time.Duration
	// gaps says that lanes pass over what is not for them.
	gaps bool
	// gates hold activities up, by name.
	gates map[string]chan struct{}
	// over says that the test has seen enough: everything succeeds and nothing is noted from then on.
	over bool
	// events counts, per run, what its history would hold.
	events  []int
	grow    func(int)
	answers map[string][]answer
	resets  map[int]bool // runs that are the continuation of a reset one
	// versions are those that runs began with, where these are not the latest.
	versions map[string]workflow.Version
	inputs   []Input // of each run
	err      error
	summary  Summary
	runs     int
}

func newWorld(t *testing.T) *world {
	return &world{t: t, ledger: map[string]int64{}, spilled: map[string]int64{}, manifests: map[string][]activities.Entry{}, calls: map[string]int{}, completed: map[string]int64{}, answers: map[string][]answer{}}
}

// answer is what an Update was answered.
type answer struct {
	accepted Accepted
	refused  error
}

// hold makes activities of that name wait until release. The environment's clock runs as the wall's meanwhile.
func (w *world) hold(name string) func(*testEnv) {
	return func(*testEnv) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.gates == nil {
			w.gates = map[string]chan struct{}{}
		}
		w.gates[name] = make(chan struct{})
	}
}

func (w *world) release(name string) func(*testEnv) {
	return func(*testEnv) {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(w.gates[name])
		delete(w.gates, name)
	}
}

func (w *world) pass(name string) {
	w.mu.Lock()
	gate := w.gates[name]
	w.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

func (w *world) failure(name string) *activities.Failure {
	w.pass(name)
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return nil
	}
	w.calls[name]++
	if name == activities.SubscribeName || name == activities.UnsubscribeName {
		w.hookCalls = append(w.hookCalls, name)
	}
	fail := w.fail
	w.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(name)
}

func (w *world) register(env *testsuite.TestWorkflowEnvironment) {
	reg := func(name string, f any) { env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name}) }
	env.RegisterWorkflowWithOptions(Installation, workflow.RegisterOptions{Name: InstallationName})
	reg(activities.CheckName, func(context.Context, activities.CheckInput) (activities.CheckOutput, error) {
		return activities.CheckOutput{Failure: w.failure(activities.CheckName)}, nil
	})
	reg(activities.SubscribeName, func(context.Context, activities.SubscribeInput) (activities.SubscribeOutput, error) {
		out := w.subscribe
		out.Failure = w.failure(activities.SubscribeName)
		return out, nil
	})
	reg(activities.UnsubscribeName, func(context.Context, activities.SubscribeInput) (activities.CheckOutput, error) {
		return activities.CheckOutput{Failure: w.failure(activities.UnsubscribeName)}, nil
	})
	asError := func(f *activities.Failure) error {
		if f == nil {
			return nil
		}
		return temporal.NewApplicationError(f.Message, activities.CatalogErrorType)
	}
	reg(activities.ActivateName, func(context.Context, activities.EndInput) error { return asError(w.failure(activities.ActivateName)) })
	reg(activities.EndName, func(context.Context, activities.EndInput) (activities.CheckOutput, error) {
		return activities.CheckOutput{}, asError(w.failure(activities.EndName))
	})
	reg(activities.PublishName, func(_ context.Context, in activities.PublishInput) error {
		w.mu.Lock()
		if !w.over {
			if in.Pressure != w.published.Pressure {
				w.flips++
			}
			w.published = in
			w.checkMarks(in.Marks)
		}
		breaks := w.breaks
		w.mu.Unlock()
		if breaks != nil {
			return breaks()
		}
		return asError(w.failure(activities.PublishName))
	})
	reg(activities.RollName, w.roll)
	reg(activities.WriteName, w.write)
	reg(activities.FetchName, func(_ context.Context, in activities.FetchInput) (activities.FetchOutput, error) {
		w.pass(activities.FetchName)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.over {
			return activities.FetchOutput{}, nil
		}
		w.fetches = append(w.fetches, in)
		for journal, from := range in.Seen {
			if mark := w.marks[journal]; mark > max(from, 1) {
				w.t.Errorf("reconciliation asks for %s from %d on, its mark was published as %d", journal, from, mark)
			}
		}
		return w.page(in), nil
	})
	reg(activities.CompleteName, w.complete)
	reg(activities.RequeueName, func(_ context.Context, in activities.RequeueInput) (activities.RequeueOutput, error) {
		f := w.failure(activities.RequeueName)
		w.mu.Lock()
		w.requeues = append(w.requeues, in)
		w.mu.Unlock()
		if f != nil {
			return activities.RequeueOutput{Failure: f}, nil
		}
		return activities.RequeueOutput{Segments: []segment.Ref{{Name: name(in.Epoch, in.Lane, "requeue", in.Sequence), Stream: in.Lane, Records: 3, Bytes: 30}}}, nil
	})
}

func (w *world) roll(_ context.Context, in activities.RollInput) (activities.RollOutput, error) {
	if f := w.failure(activities.RollName); f != nil {
		return activities.RollOutput{Failure: f}, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	first, last := in.Entries[0], in.Entries[len(in.Entries)-1]
	e := activities.Entry{First: first.First, At: first.At, Level: first.Level + 1, Lows: map[string]uint64{}}
	e.Records = int(last.End() - first.First)
	for _, x := range in.Entries {
		e.Bytes += x.Bytes
		for origin, seq := range needs(x) {
			if v, ok := e.Lows[origin]; !ok || seq < v {
				e.Lows[origin] = seq
			}
		}
	}
	e.Name = name(in.Epoch, "manifests", activities.Origin(activities.ManifestOrigin, in.Suffix), in.Sequence)
	w.rolls = append(w.rolls, in)
	w.manifests[e.Name] = in.Entries
	return activities.RollOutput{Entry: e}, nil
}

// complete makes one whole record of each that waits, and checks that a stream is completed in order, each record once, from entries that
// are still there.
func (w *world) complete(_ context.Context, in activities.CompleteInput) (activities.CompleteOutput, error) {
	w.pass(activities.CompleteName)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return activities.CompleteOutput{Next: in.Next}, nil
	}
	w.completes = append(w.completes, in)
	for _, e := range in.Entries {
		w.checkNeeded(e)
	}
	if at := w.completed[in.Stream]; in.First < at {
		w.t.Errorf("%s: a batch begins at %d, it is completed up to %d", in.Stream, in.First, at)
	}
	if w.whole != nil {
		if out, ok := w.whole(in); ok {
			w.completed[in.Stream] = max(w.completed[in.Stream], out.Next)
			return out, nil
		}
	}
	out := w.wholeOf(in)
	w.completed[in.Stream] = out.Next
	return out, nil
}

// wholeOf completes all of a batch.
func (w *world) wholeOf(in activities.CompleteInput) activities.CompleteOutput {
	out := activities.CompleteOutput{Next: in.Next}
	var walk func([]activities.Entry)
	walk = func(entries []activities.Entry) {
		for _, e := range entries {
			if e.Level > 0 {
				walk(w.manifests[e.Name])
			} else if n := min(e.End(), in.Next) - max(e.First, in.First); n > 0 && e.Stream == in.Stream {
				out.Taken += n
				out.Bytes += e.Bytes / int64(e.Records) * n
			}
		}
	}
	walk(in.Entries)
	if out.Taken > 0 {
		ref := segment.Ref{Name: name(in.Epoch, in.Stream, activities.Origin(activities.CompleteOrigin, in.Suffix), in.Sequence), Stream: in.Stream, Records: int(out.Taken), Bytes: 10 * out.Bytes}
		out.Parts = []activities.Part{{Ref: ref, Why: in.Refuse}}
	}
	return out
}

// write keeps a ledger as an SQL destination does, and checks that the entries cover the batch without a hole.
func (w *world) write(ctx context.Context, in activities.WriteInput) (activities.WriteOutput, error) {
	w.pass(activities.WriteName)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return activities.WriteOutput{Next: in.Next}, nil
	}
	w.writes = append(w.writes, in)
	w.locally = append(w.locally, activity.GetInfo(ctx).IsLocalActivity)
	for _, e := range in.Entries {
		w.checkNeeded(e)
	}
	at := in.First
	for _, e := range in.Entries {
		if e.First > at {
			w.t.Errorf("batch %d-%d of %s has a hole at %d", in.First, in.Next, in.Lane, at)
		}
		at = max(at, e.End())
	}
	if at < in.Next {
		w.t.Errorf("batch %d-%d of %s has no entries from %d on", in.First, in.Next, in.Lane, at)
	}
	if w.partly != nil {
		if out, ok := w.partly(in); ok {
			w.ledger[in.Lane] = out.Next
			return out, nil
		}
	}
	out := activities.WriteOutput{Next: in.First}
	if in.Spill != "" {
		w.spilled[in.Lane] += in.Next - in.First
		out.Next, out.Quarantined = in.Next, in.Next-in.First
		w.ledger[in.Lane] = in.Next
		return out, nil
	}
	if w.down != nil {
		if f := w.down(in.Lane, in); f != nil {
			out.Failure = f
			return out, nil
		}
	}
	if got := w.ledger[in.Lane]; got > in.First || got < in.First && !w.gaps {
		w.t.Errorf("lane %s: batch starts at %d, the ledger stands at %d", in.Lane, in.First, got)
	}
	w.ledger[in.Lane] = in.Next
	out.Next, out.Delivered = in.Next, in.Next-in.First
	return out, nil
}

func name(epoch, stream, origin string, seq uint64) string {
	return segment.Name{Epoch: epoch, Stream: stream, Origin: origin, Sequence: seq}.String()
}

// began is when every test begins.
var began = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

const testEpoch = "6f1f2c39-6a3c-4c5e-9f57-0c2f8a0f7a11"

func realtimePlan() Plan {
	return Plan{Revision: 1, Trigger: integration.Realtime, Streams: []string{"orders"}, Backlog: 1 << 30,
		Lanes: []LanePlan{{Name: "warehouse", Records: 1000, Bytes: 1 << 20}}}
}

func pollingPlan(every time.Duration) Plan {
	p := realtimePlan()
	p.Trigger, p.Interval = integration.Polling, every
	return p
}

func input(p Plan) Input {
	return Input{Installation: "shop/u1", Integration: "shop", User: "u1", Epoch: testEpoch, Plan: p, Generation: Generation}
}

func arrivalOf(from, to uint64, records int) Arrival {
	return Arrival{Epoch: testEpoch, Journal: "j1", From: from, To: to, Segments: []segment.Ref{
		{Name: name(testEpoch, "orders", "j1", from), Stream: "orders", Records: records, Bytes: int64(records) * 1000}}}
}

func unavailableFailure(string, activities.WriteInput) *activities.Failure {
	return &activities.Failure{Kind: connectors.Unavailable, Message: "connection refused"}
}

// needs are the sequences by which an entry is kept.
func needs(e activities.Entry) map[string]uint64 {
	m := map[string]uint64{}
	if n, err := segment.ParseName(e.Name); err == nil && n.Epoch == testEpoch {
		m[n.Origin] = n.Sequence
	}
	for origin, seq := range e.Lows {
		if v, ok := m[origin]; !ok || seq < v {
			m[origin] = seq
		}
	}
	return m
}

// checkMarks keeps the greatest marks, as the catalog does.
func (w *world) checkMarks(marks map[string]uint64) {
	if w.marks == nil {
		w.marks = map[string]uint64{}
	}
	for origin, mark := range marks {
		w.marks[origin] = max(w.marks[origin], mark)
	}
}

// checkNeeded fails the test when a janitor might have deleted what an activity is given (I12).
func (w *world) checkNeeded(e activities.Entry) {
	for origin, seq := range needs(e) {
		if seq < w.marks[origin] {
			w.t.Errorf("%s-%d is needed for ordinals %d to %d, its mark was published as %d", origin, seq, e.First, e.End(), w.marks[origin])
		}
	}
}
