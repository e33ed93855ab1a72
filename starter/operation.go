package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tributary/workflows"
)

// operation is an Update on its way: what every command that steers an installation has in common.
type operation struct {
	id      string
	wait    bool
	timeout time.Duration
	check   func(context.Context, *session) error // looks before it is asked for; nil = nothing to look at
}

func (o *operation) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.id, "operation", "", "ID of the operation; the same one again is recognised and not done twice")
	c.Flags().BoolVarP(&o.wait, "wait", "w", false, "wait until it is done")
	c.Flags().DurationVar(&o.timeout, "timeout", 10*time.Minute, "longest wait with --wait; the operation goes on by itself")
}

// operated is what such a command prints.
type operated struct {
	ID        string `json:"id"`
	Operation string `json:"operation"`
	Done      bool   `json:"done"`
	Note      string `json:"note,omitempty"`
}

// steer sends an Update to an installation and, with --wait, waits until the installation says that it is done.
func (a *app) steer(ctx context.Context, id, update string, o operation, arg any, what string) error {
	s, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.installation(ctx, id); err != nil {
		return err
	}
	if o.check != nil {
		if err := o.check(ctx, s); err != nil {
			return err
		}
	}
	accepted, err := s.update(ctx, s.client, id, update, o.id, arg)
	if err != nil {
		return err
	}
	out := operated{ID: id, Operation: accepted.Operation, Note: accepted.Note}
	if o.wait {
		op, err := s.await(ctx, id, accepted.Operation, o.timeout)
		if err != nil {
			return err
		}
		out.Done, out.Note = true, op.Note
	}
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s", id, what)
		if out.Done {
			fmt.Fprint(w, ", done")
		}
		if out.Note != "" {
			fmt.Fprintf(w, " (%s)", out.Note)
		}
		fmt.Fprintf(w, ". Operation %s\n", out.Operation)
	})
}

// await asks until an operation is done. One that the installation no longer lists was done long ago: it keeps the latest.
func (s *session) await(ctx context.Context, id, operation string, timeout time.Duration) (workflows.Operation, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		qctx, cancel := context.WithTimeout(ctx, answerTime)
		st, err := s.Status(qctx, s.client, id, "")
		cancel()
		if err != nil && ctx.Err() == nil {
			return workflows.Operation{}, explain(id, err)
		}
		if err == nil {
			op, listed := find(st.Operations, operation)
			if !listed || op.Done {
				return op, nil
			}
			if st.Health == workflows.OnHold {
				return op, fail(exitRefused, "operation %s waits because %s is paused; `starter resume %s` lets it go on", operation, id, id)
			}
			if l, stands := stopped(st.Lanes, op); stands {
				return op, fail(exitRefused, "operation %s waits because destination %s %s; put that right, then `starter resume %s`",
					operation, l.Name, troubleState(l.Stopped, l.Failures, l.Failure, l.RetryAt), id)
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return workflows.Operation{}, fail(exitInterrupted, "interrupted; operation %s of %s goes on by itself; `starter status %s` shows it", operation, id, id)
			}
			return workflows.Operation{}, fail(exitFailed, "operation %s of %s is not done after %s and goes on by itself; `starter status %s` shows it", operation, id, timeout, id)
		case <-t.C:
		}
	}
}

// stopped finds a destination that a flush waits for and that will not go on by itself.
func stopped(lanes []workflows.LaneStatus, op workflows.Operation) (workflows.LaneStatus, bool) {
	for _, l := range lanes {
		if op.Name == workflows.FlushUpdate && l.Stopped && l.Lag > 0 && (len(op.Lanes) == 0 || slices.Contains(op.Lanes, l.Name)) {
			return l, true
		}
	}
	return workflows.LaneStatus{}, false
}

func find(all []workflows.Operation, id string) (workflows.Operation, bool) {
	for _, op := range all {
		if op.ID == id {
			return op, true
		}
	}
	return workflows.Operation{}, false
}
