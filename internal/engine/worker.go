package engine

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/internal/segment"
	"tributary/workflows"
)

// Worker runs workflows and activities until it is stopped.
type Worker struct {
	worker worker.Worker
	stop   context.CancelFunc
	done   chan struct{}
	ended  chan struct{}
	err    error // once ended
}

// stopTime is how long activities may take to finish when a worker stops: a write that is cut off comes again anyway.
const stopTime = 20 * time.Second

func (c Config) taskQueue() string { return or(c.TaskQueue, workflows.TaskQueue) }

// StartWorker starts a worker and the janitor.
func (e *Engine) StartWorker(ctx context.Context, c client.Client) (*Worker, error) {
	collectLess()
	if err := ensureAttributes(ctx, c); err != nil {
		return nil, err
	}
	worker.SetStickyWorkflowCacheSize(e.Config.StickyWorkflows)
	out := &Worker{done: make(chan struct{}), ended: make(chan struct{})}
	o := worker.Options{
		DisableRegistrationAliasing: true,
		WorkerStopTimeout:           stopTime,
		// A write may hold a batch of 32 MiB, a fetch a segment: memory is bounded by how many run at once.
		MaxConcurrentActivityExecutionSize:      32,
		MaxConcurrentLocalActivityExecutionSize: 64, // writes of a MiB at most
		MaxConcurrentWorkflowTaskPollers:        4,
		MaxConcurrentActivityTaskPollers:        4,
		OnFatalError: func(err error) {
			out.err = err
			close(out.ended)
		},
	}
	if e.Config.Deployment != "" {
		o.DeploymentOptions = worker.DeploymentOptions{
			UseVersioning:             true,
			Version:                   worker.WorkerDeploymentVersion{DeploymentName: e.Config.Deployment, BuildID: e.Config.BuildID},
			DefaultVersioningBehavior: workflow.VersioningBehaviorAutoUpgrade,
		}
	}
	out.worker = worker.New(c, e.Config.taskQueue(), o)
	RegisterWorkflows(out.worker)
	(&activities.Activities{
		Blocks: e.Blocks, Catalog: e.Catalog, Vault: e.Vault, Segments: e.Segments, PublicURL: e.Config.PublicURL, Env: e.env,
	}).Register(out.worker)
	if err := out.worker.Start(); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	jctx, stop := context.WithCancel(context.Background())
	out.stop = stop
	go func() {
		defer close(out.done)
		e.sweep(jctx)
	}()
	return out, nil
}

// RegisterWorkflows registers the workflows under their fixed names.
func RegisterWorkflows(r worker.WorkflowRegistry) {
	r.RegisterWorkflowWithOptions(workflows.Installation, workflow.RegisterOptions{Name: workflows.InstallationName})
	r.RegisterWorkflowWithOptions(workflows.CheckConnection, workflow.RegisterOptions{Name: workflows.CheckName})
}

// Ended is closed when Temporal takes the worker no more, such as when the namespace was deleted: it then asks for no more tasks, and must not seem to
// run. Err then says why.
func (w *Worker) Ended() <-chan struct{} { return w.ended }

// Err is why the worker has ended by itself; only when Ended is closed.
func (w *Worker) Err() error { return w.err }

// Stop drains and leaves.
func (w *Worker) Stop() {
	w.worker.Stop()
	w.stop()
	<-w.done
}

const (
	sweepEvery = time.Hour
	sweepGrace = 24 * time.Hour
	// endedKeep is how long the segments of an ended epoch are kept: what an uninstall left, and what a receiver may yet
	// have to hand over, can be looked after for that long.
	endedKeep = 30 * 24 * time.Hour
)

// sweep deletes, now and then and on one worker at a time, the segments that nobody needs (I12), and keeps connections alive that nobody uses.
// It never asks workflows.
func (e *Engine) sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	holder := fmt.Sprintf("%p@%d", e, time.Now().UnixNano())
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		ok, err := e.Catalog.AcquireLease(ctx, "janitor", holder, sweepEvery/2, time.Now())
		if err != nil || !ok {
			continue
		}
		n, err := segment.Sweep(ctx, e.Segments, e.sweepInfo, time.Now(), sweepGrace)
		if err != nil && ctx.Err() == nil {
			e.Log.Warn("sweep segments", "error", err)
		} else if n > 0 {
			e.Log.Info("swept segments", "deleted", n)
		}
		kctx, cancel := context.WithTimeout(ctx, sweepEvery/4)
		if err := e.Blocks.KeepAlive(kctx); err != nil && ctx.Err() == nil {
			e.Log.Warn("keep connections alive", "error", err)
		}
		cancel()
	}
}

func (e *Engine) sweepInfo(ctx context.Context, epoch string) (map[string]uint64, time.Duration, bool, error) {
	marks, retention, ended, err := e.Catalog.SweepInfo(ctx, epoch)
	if ended {
		retention = max(retention, endedKeep)
	}
	return marks, retention, ended, err
}

// ensureAttributes registers the search attributes in a namespace that lacks them.
func ensureAttributes(ctx context.Context, c client.Client) error {
	ns := namespaceOf(ctx, c)
	have, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: ns})
	if err != nil {
		return fmt.Errorf("list search attributes of namespace %s: %w", ns, err)
	}
	missing := map[string]enums.IndexedValueType{}
	for _, k := range []temporal.SearchAttributeKeyKeyword{workflows.IntegrationAttribute, workflows.UserAttribute, workflows.HealthAttribute} {
		if _, ok := have.GetCustomAttributes()[k.GetName()]; !ok {
			missing[k.GetName()] = enums.INDEXED_VALUE_TYPE_KEYWORD
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: ns, SearchAttributes: missing})
	if err != nil {
		return fmt.Errorf("namespace %s lacks search attributes of type Keyword that installations carry, and this client may not add them; add %v: %w", ns, missing, err)
	}
	return nil
}
