package main

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"tributary/internal/engine"
)

// actions counts what Temporal Cloud bills as Actions, by its page https://docs.temporal.io/cloud/actions: each start of a
// run (also by continue-as-new), each attempt of an activity, each heartbeat, timer started, signal, update, change of search
// attributes and recorded side effect. Workflow tasks are none. Heartbeats stand in no history: they are worked out from how long the
// last attempt of each activity took, and are none below a third of its heartbeat time-out. Not counted: queries, which only people and
// installs send, and surcharges for features such as fairness.
type actions struct {
	Starts, Activities, Heartbeats, Timers, Signals, Updates, Attributes, SideEffects int64
	// Tasks are workflow tasks and Events all events of the histories, for comparison.
	Tasks, Events int64
}

func (a actions) sum() int64 {
	return a.Starts + a.Activities + a.Heartbeats + a.Timers + a.Signals + a.Updates + a.Attributes + a.SideEffects
}

// countActions reads the histories of installations, run by run, and counts what happened from since on.
func countActions(ctx context.Context, c client.Client, installed []engine.Installed, since time.Time) (actions, error) {
	var mu sync.Mutex
	var total actions
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, in := range installed {
		g.Go(func() error {
			var a actions
			for run := in.RunID; run != ""; {
				next, err := a.addRun(ctx, c, in.ID, run, since)
				if err != nil {
					return err
				}
				run = next
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(a)
			return nil
		})
	}
	return total, g.Wait()
}

// addRun returns the run that continues this one.
func (a *actions) addRun(ctx context.Context, c client.Client, id, run string, since time.Time) (next string, err error) {
	events := c.GetWorkflowHistory(ctx, id, run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	beat := map[int64]time.Duration{}            // scheduled event -> interval of heartbeats
	started := map[int64]*history.HistoryEvent{} // scheduled event -> its last start
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return "", err
		}
		if at := e.GetActivityTaskScheduledEventAttributes(); at != nil {
			beat[e.GetEventId()] = at.GetHeartbeatTimeout().AsDuration() / 3
		}
		if done := e.GetWorkflowExecutionContinuedAsNewEventAttributes(); done != nil {
			next = done.GetNewExecutionRunId()
		}
		if e.GetEventTime().AsTime().Before(since) {
			continue
		}
		a.Events++
		switch e.GetEventType() {
		case enums.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
			a.Starts++
		case enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
			a.Tasks++
		case enums.EVENT_TYPE_ACTIVITY_TASK_STARTED:
			at := e.GetActivityTaskStartedEventAttributes()
			a.Activities += int64(at.GetAttempt())
			started[at.GetScheduledEventId()] = e
		case enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
			scheduled := e.GetActivityTaskCompletedEventAttributes().GetScheduledEventId()
			if s, every := started[scheduled], beat[scheduled]; s != nil && every > 0 {
				a.Heartbeats += int64(e.GetEventTime().AsTime().Sub(s.GetEventTime().AsTime()) / every)
			}
		case enums.EVENT_TYPE_TIMER_STARTED:
			a.Timers++
		case enums.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
			a.Signals++
		case enums.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
			a.Updates++
		case enums.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
			a.Attributes++
		case enums.EVENT_TYPE_MARKER_RECORDED:
			switch e.GetMarkerRecordedEventAttributes().GetMarkerName() {
			case "SideEffect":
				a.SideEffects++
			case "LocalActivity": // one for all of a workflow task would do
				a.Activities++
			}
		}
	}
	return next, nil
}

func (a *actions) add(b actions) {
	a.Starts += b.Starts
	a.Activities += b.Activities
	a.Heartbeats += b.Heartbeats
	a.Timers += b.Timers
	a.Signals += b.Signals
	a.Updates += b.Updates
	a.Attributes += b.Attributes
	a.SideEffects += b.SideEffects
	a.Tasks += b.Tasks
	a.Events += b.Events
}
