package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// event is something that happens to the installation at a time after its start.
type event struct {
	after time.Duration
	do    func(*testsuite.TestWorkflowEnvironment)
}

// drive runs an installation through all its runs with skipped time until it ends or `until` has passed, and returns its last
// status.
func (w *world) drive(in Input, until time.Duration, events ...event) Status {
	w.t.Helper()
	start, now := began.Add(w.shift), began.Add(w.shift)
	w.over = false
	var status Status
	for {
		w.runs++
		w.inputs = append(w.inputs, in)
		suite := testsuite.WorkflowTestSuite{}
		suite.SetDisableRegistrationAliasing(true)
		env := suite.NewTestWorkflowEnvironment()
		env.SetStartTime(now)
		env.SetTestTimeout(time.Minute)
		env.SetWorkflowRunTimeout(100 * 365 * 24 * time.Hour)
		w.register(env)
		for change, v := range w.versions {
			env.OnGetVersion(change, workflow.DefaultVersion, workflow.Version(1)).Return(v)
		}
		env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Minute, Interceptors: []interceptor.WorkerInterceptor{&original{run: "of-the-test", reset: w.resets[w.runs]}}})
		ended := false
		grow := w.history(env)
		w.grow = grow
		var arm func()
		arm = func() { // one callback at a time: the environment holds only so many
			if len(events) == 0 {
				return
			}
			e := events[0]
			env.RegisterDelayedCallback(func() {
				if env.IsWorkflowCompleted() {
					return // it is for the next run
				}
				events = events[1:]
				grow(3)
				e.do(env)
				arm()
			}, max(start.Add(e.after).Sub(env.Now()), time.Microsecond))
		}
		arm()
		env.RegisterDelayedCallback(func() {
			status = w.look(env)
			ended = true
			w.mu.Lock()
			w.over = true
			w.mu.Unlock()
			env.CancelWorkflow()
		}, max(start.Add(until).Sub(now), time.Microsecond))
		env.ExecuteWorkflow(InstallationName, in)
		now = env.Now()
		err := env.GetWorkflowError()
		var again *workflow.ContinueAsNewError
		if ended {
			return status
		}
		if errors.As(err, &again) {
			var next Input
			if err := converter.GetDefaultDataConverter().FromPayloads(again.Input, &next); err != nil {
				w.t.Fatal(err)
			}
			if n := len(again.Input.Payloads[0].Data); n > w.maxState {
				w.maxState = n
			}
			in = next
			continue
		}
		v, qerr := env.QueryWorkflow(StatusQuery)
		if qerr == nil {
			_ = v.Get(&status)
		}
		w.err = err
		if err == nil {
			_ = env.GetWorkflowResult(&w.summary)
		}
		return status
	}
}

// history lets the run's history grow as a server would write it; the environment itself doesn't count.
func (w *world) history(env *testEnv) func(int) {
	w.events = append(w.events, 0)
	n := 3
	grow := func(by int) {
		n += by
		w.events[len(w.events)-1] = n
		env.SetCurrentHistoryLength(n)
	}
	env.SetOnActivityCompletedListener(func(*activity.Info, converter.EncodedValue, error) { grow(6) })
	env.SetOnLocalActivityCompletedListener(func(*activity.Info, converter.EncodedValue, error) { grow(1) })
	env.SetOnTimerFiredListener(func(string) { grow(4) })
	env.SetOnTimerCanceledListener(func(string) { grow(2) })
	return grow
}

// original is an interceptor that says which run a run was before it was reset, which the environment doesn't.
type original struct {
	interceptor.WorkerInterceptorBase
	interceptor.WorkflowInboundInterceptorBase
	interceptor.WorkflowOutboundInterceptorBase
	run   string
	reset bool
}

func (o *original) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	i := &original{run: o.run, reset: o.reset}
	i.WorkflowInboundInterceptorBase.Next = next
	return i
}

func (o *original) Init(next interceptor.WorkflowOutboundInterceptor) error {
	o.WorkflowOutboundInterceptorBase.Next = next
	return o.WorkflowInboundInterceptorBase.Init(o)
}

func (o *original) GetInfo(ctx workflow.Context) *workflow.Info {
	info := *o.WorkflowOutboundInterceptorBase.GetInfo(ctx)
	if info.OriginalRunID = info.WorkflowExecution.RunID; o.reset {
		info.OriginalRunID = "the-run-before"
	}
	return &info
}

// jump sets the clock on, or back.
func (w *world) jump(by time.Duration) { w.shift += by }

// look asks for the status.
func (w *world) look(env *testEnv) (s Status) {
	v, err := env.QueryWorkflow(StatusQuery)
	if err == nil {
		err = v.Get(&s)
	}
	if err != nil {
		w.t.Errorf("query: %v", err)
	}
	return s
}

// fill fills the run's history, so that it continues as new.
func (w *world) fill(env *testEnv) {
	w.grow(100_000)
	env.SignalWorkflow(ArrivalSignal, arrivalOf(1, 1, 10)) // perhaps seen before: it wakes the run
}

func signal(a Arrival) func(*testEnv) {
	return func(env *testEnv) { env.SignalWorkflow(ArrivalSignal, a) }
}

// send sends an Update and keeps its answer under its ID.
func (w *world) send(id, name string, arg any) func(*testEnv) {
	return func(env *testEnv) {
		env.UpdateWorkflow(name, id, &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { w.answers[id] = append(w.answers[id], answer{refused: err}) },
			OnComplete: func(v any, err error) {
				a, _ := v.(Accepted)
				w.answers[id] = append(w.answers[id], answer{accepted: a, refused: err})
			},
		}, arg)
	}
}

// ask sends an Update and fails the test when it is refused.
func (w *world) ask(id, name string, arg any) func(*testEnv) {
	return func(env *testEnv) {
		w.send(id, name, arg)(env)
		env.RegisterDelayedCallback(func() {
			if a := w.answers[id]; len(a) == 0 || a[0].accepted.Operation != id {
				w.t.Errorf("%s: answers %+v", name, a)
			}
		}, time.Millisecond)
	}
}

type testEnv = testsuite.TestWorkflowEnvironment
