package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"tributary/activities"
	"tributary/connectors"
)

// Health is one word for how an installation does; it is a search attribute.
type Health string

const (
	Healthy    Health = "ok"
	Degraded   Health = "degraded"              // something fails and is tried again
	NeedsAuth  Health = "needs_reauthorization" // credentials are refused: set the connection anew
	Stopped    Health = "stopped"               // something must be changed before it can go on
	OnHold     Health = "paused"
	Backlogged Health = "backlogged" // a required destination is so far behind that nothing more is taken in
	Closed     Health = "closing"
)

// Status is the answer to the status Query.
type Status struct {
	Installation string    `json:"installation"`
	Epoch        string    `json:"epoch"`
	Revision     int       `json:"revision"`
	Phase        Phase     `json:"phase"`
	Health       Health    `json:"health"`
	Problem      string    `json:"problem,omitempty"`
	Paused       bool      `json:"paused,omitempty"`
	PauseReason  string    `json:"pause_reason,omitempty"`
	Started      time.Time `json:"started"`

	Received   int64     `json:"received"`
	ReceivedAt time.Time `json:"received_at,omitzero"`
	// Delivered and the like are sums over the lanes; Missed is what reconciliation found that no webhook had brought.
	Delivered   int64 `json:"delivered"`
	Quarantined int64 `json:"quarantined"`
	Missed      int64 `json:"missed"`
	// Lag is how many records the last lane is behind, with those that wait to be completed.
	Lag         int64 `json:"lag"`
	Undecodable int64 `json:"undecodable,omitempty"`

	Lanes   []LaneStatus   `json:"lanes"`
	Streams []StreamStatus `json:"streams,omitempty"`
	// Completing is there where webhooks are completed.
	Completing *CompletingStatus `json:"completing,omitempty"`
	Hooks      *Hooks            `json:"hooks,omitempty"`
	Operations []Operation       `json:"operations,omitempty"`
	Left       []string          `json:"left,omitempty"`

	QueueEntries int   `json:"queue_entries"`
	Runs         int64 `json:"runs"`
	Resets       int   `json:"resets,omitempty"`
	History      int   `json:"history"`
}

// LaneStatus is a Lane as operators see it.
type LaneStatus struct {
	Name        string              `json:"name"`
	Delivered   int64               `json:"delivered"`
	Bytes       int64               `json:"bytes"`
	Filtered    int64               `json:"filtered,omitempty"`
	Recognised  int64               `json:"recognised,omitempty"`
	Quarantined int64               `json:"quarantined"`
	Lag         int64               `json:"lag"`
	LagBytes    int64               `json:"lag_bytes"`
	DeliveredAt time.Time           `json:"delivered_at,omitzero"`
	Stopped     bool                `json:"stopped,omitempty"`
	Failures    int                 `json:"failures,omitempty"`
	Failure     *activities.Failure `json:"failure,omitempty"`
	RetryAt     time.Time           `json:"retry_at,omitzero"`
	Removed     bool                `json:"removed,omitempty"`
}

// StreamStatus is a Stream as operators see it.
type StreamStatus struct {
	Name       string              `json:"name"`
	Polling    bool                `json:"polling"`
	Polls      int64               `json:"polls"`
	Pages      int64               `json:"pages"`
	Records    int64               `json:"records"`
	Repeated   int64               `json:"repeated,omitempty"`
	Missed     int64               `json:"missed"`
	Next       time.Time           `json:"next,omitzero"`
	FinishedAt time.Time           `json:"finished_at,omitzero"`
	Stopped    bool                `json:"stopped,omitempty"`
	Failure    *activities.Failure `json:"failure,omitempty"`
	RetryAt    time.Time           `json:"retry_at,omitzero"`
	// Prepares says that the app prepares the next page and is asked again at RetryAt.
	Prepares bool `json:"prepares,omitempty"`
}

// CompletingStatus is Completing as operators see it.
type CompletingStatus struct {
	// Waiting records have yet to be completed. Taken were: Made records came of them, and Refused went to quarantine as they came.
	Waiting int64              `json:"waiting"`
	Taken   int64              `json:"taken"`
	Made    int64              `json:"made"`
	Refused int64              `json:"refused,omitempty"`
	Streams []CompletionStatus `json:"streams,omitempty"`
}

// CompletionStatus is what waits of a stream.
type CompletionStatus struct {
	Name     string              `json:"name"`
	Waiting  int64               `json:"waiting"`
	Stopped  bool                `json:"stopped,omitempty"`
	Failures int                 `json:"failures,omitempty"`
	Failure  *activities.Failure `json:"failure,omitempty"`
	RetryAt  time.Time           `json:"retry_at,omitzero"`
}

func (r *run) completingStatus() *CompletingStatus {
	w := &r.state.Completing
	if !w.On && w.Taken == 0 && len(w.Streams) == 0 {
		return nil
	}
	s := &CompletingStatus{Taken: w.Taken, Made: w.Made, Refused: w.Refused}
	s.Waiting, _ = r.waiting()
	for _, c := range w.Streams {
		t := r.trouble(c)
		s.Streams = append(s.Streams, CompletionStatus{Name: c.Stream, Waiting: c.Records, Stopped: t.Stopped, Failures: t.Failures, Failure: t.Failure, RetryAt: t.RetryAt})
	}
	return s
}

func (r *run) status() Status {
	st := r.state
	s := Status{
		Installation: r.in.Installation, Epoch: r.in.Epoch, Revision: r.plan.Revision, Phase: st.Phase, Paused: st.Paused, PauseReason: st.PauseReason,
		Started: st.Started, Received: st.Received, ReceivedAt: st.ReceivedAt, Undecodable: st.Undecodable,
		QueueEntries: len(st.Queue), Runs: st.Runs, Resets: st.Resets, History: workflow.GetInfo(r.ctx).GetCurrentHistoryLength(),
	}
	s.Health, s.Problem = r.healthNow()
	for _, l := range st.Lanes {
		records, bytes := r.lag(l)
		s.Lanes = append(s.Lanes, LaneStatus{
			Name: l.Name, Delivered: l.Delivered, Bytes: l.Bytes, Filtered: l.Filtered, Recognised: l.Recognised, Quarantined: l.Quarantined,
			Lag: records, LagBytes: bytes, DeliveredAt: l.DeliveredAt, Stopped: l.Stopped, Failures: l.Failures, Failure: l.Failure, RetryAt: l.RetryAt, Removed: l.Removed,
		})
		s.Delivered += l.Delivered
		s.Quarantined += l.Quarantined
		s.Lag = max(s.Lag, records)
	}
	for _, t := range st.Streams {
		s.Streams = append(s.Streams, StreamStatus{
			Name: t.Name, Polling: t.Mid, Polls: t.Polls, Pages: t.Pages, Records: t.Records, Repeated: t.Repeated, Missed: t.Missed,
			Next: t.Next, FinishedAt: t.FinishedAt, Stopped: t.Stopped, Failure: t.Failure, RetryAt: t.RetryAt, Prepares: t.Prepares,
		})
		s.Missed += t.Missed
	}
	if s.Completing = r.completingStatus(); s.Completing != nil {
		s.Lag += s.Completing.Waiting
	}
	if r.plan.Receives() || st.Hooks.registered() {
		h := st.Hooks
		s.Hooks = &h
	}
	for _, op := range st.Operations {
		if !op.Done {
			op.Done, op.Note = r.done(op)
		}
		s.Operations = append(s.Operations, op)
	}
	if st.Closing != nil {
		s.Left = st.Closing.Left
	}
	return s
}

// healthNow is the worst thing that is the matter, and why, in plain words.
func (r *run) healthNow() (Health, string) {
	var stopped, auth, degraded string
	note := func(what string, t Trouble) {
		if t.Failure == nil || t.Failures == 0 {
			return
		}
		text := fmt.Sprintf("%s: %s", what, t.Failure.Message)
		switch {
		case t.Stopped && t.Failure.Kind == connectors.Unauthorized:
			auth = text
		case t.Stopped:
			stopped = text
		default:
			degraded = text
		}
	}
	for _, l := range r.state.Lanes {
		note("destination "+l.Name, l.Trouble)
		if l.Batch != nil {
			note("quarantine of "+l.Name, l.Batch.Quarantine)
		}
	}
	for _, s := range r.state.Streams {
		note("stream "+s.Name, s.Trouble)
	}
	for _, c := range r.state.Completing.Streams {
		note("completing webhooks of "+c.Stream, r.trouble(c))
	}
	note("webhooks", r.state.Hooks.Trouble)
	note("manifests", r.state.Rolling)
	note("low-water marks", r.state.Publishing)
	if len(r.state.Requeue) > 0 {
		note("redelivery to "+r.state.Requeue[0].Lane, r.state.Requeue[0].Trouble)
	}
	switch {
	case r.state.Closing != nil:
		return Closed, ""
	case auth != "":
		return NeedsAuth, auth
	case stopped != "":
		return Stopped, stopped
	case r.state.Paused:
		return OnHold, r.state.PauseReason
	case r.state.Backlogged:
		return Backlogged, degraded
	case degraded != "":
		return Degraded, degraded
	case r.unmet != "":
		return Degraded, r.unmet
	}
	return Healthy, ""
}

// show puts what an operator needs on the workflow's page in the Temporal UI; the search attribute only when it changes.
func (r *run) show() {
	health, problem := r.healthNow()
	if text := r.page(health, problem); text != r.details {
		r.details = text
		workflow.SetCurrentDetails(r.ctx, text)
	}
	if string(health) != r.health && string(health) != r.state.Health {
		r.state.Health = string(health)
		if err := workflow.UpsertTypedSearchAttributes(r.ctx, HealthAttribute.ValueSet(string(health))); err != nil {
			workflow.GetLogger(r.ctx).Warn("set search attribute", "error", err)
		}
	}
	r.health = string(health)
}

// page is markdown without anything that changes by the mere passing of time.
func (r *run) page(health Health, problem string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**", health)
	if problem != "" {
		fmt.Fprintf(&b, ": %s", problem)
	}
	fmt.Fprintf(&b, "\n\nRevision %d, %s", r.plan.Revision, r.plan.Trigger)
	if len(r.plan.Streams) > 0 {
		fmt.Fprintf(&b, " of %s", connectors.Clip(strings.Join(r.plan.Streams, ", "), 500))
	}
	fmt.Fprintf(&b, ". Received %d records.\n\n| destination | delivered | behind | quarantined | state |\n| --- | --- | --- | --- | --- |\n", r.state.Received)
	for _, l := range r.state.Lanes {
		records, _ := r.lag(l)
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %s |\n", l.Name, l.Delivered, records, l.Quarantined, cell(l.Trouble))
	}
	if len(r.state.Streams) > 0 {
		b.WriteString("\n| stream | polls | records | missed by webhooks | state |\n| --- | --- | --- | --- | --- |\n")
		for _, s := range r.state.Streams {
			fmt.Fprintf(&b, "| %s | %d | %d | %d | %s |\n", s.Name, s.Polls, s.Records, s.Missed, cell(s.Trouble))
		}
		for _, s := range r.state.Streams {
			if s.Prepares && !s.RetryAt.IsZero() {
				fmt.Fprintf(&b, "\nThe app prepares the next page of %s; it is asked again at %s.\n", s.Name, s.RetryAt.UTC().Format(time.RFC3339))
			}
		}
	}
	if c := r.completingStatus(); c != nil {
		fmt.Fprintf(&b, "\nCompleted %d webhooks to %d records; %d wait to be completed.\n", c.Taken-c.Refused, c.Made, c.Waiting)
		for _, s := range c.Streams {
			if s.Failure != nil && s.Failures > 0 {
				fmt.Fprintf(&b, "\n%d webhooks of %s wait: %s\n", s.Waiting, s.Name, connectors.Clip(s.Failure.Message, 200))
			}
		}
	}
	if r.plan.Receives() || r.state.Hooks.registered() {
		fmt.Fprintf(&b, "\nWebhook subscriptions: %d, repaired %d times.\n", r.state.Hooks.Active, r.state.Hooks.Repaired)
	}
	for _, op := range r.state.Operations {
		if !op.Done {
			if done, _ := r.done(op); !done {
				fmt.Fprintf(&b, "\nUnder way: %s since %s (operation %s).\n", op.Name, op.At.UTC().Format(time.RFC3339), op.ID)
			}
		}
	}
	return b.String()
}

// cell says why something stands still, and when it is tried again.
func cell(t Trouble) string {
	if t.Failure == nil || t.Failures == 0 {
		return ""
	}
	text := strings.NewReplacer("|", "\\|", "\n", " ").Replace(connectors.Clip(t.Failure.Message, 200))
	switch {
	case t.Stopped:
		return "stopped: " + text
	case t.RetryAt.IsZero():
		return text
	}
	return "again at " + t.RetryAt.UTC().Format(time.RFC3339) + ": " + text
}
