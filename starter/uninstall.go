package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"tributary/internal/catalog"
	"tributary/internal/terminal"
	"tributary/workflows"
)

const uninstallHelp = `uninstall ends an installation: it takes nothing new, the app's webhooks are removed, what was received is delivered as far
as that is possible within a bound, and the rest goes to quarantine. It always ends, whatever is down, and says
what it left. What was delivered stays in the destinations.

Where the workflow is gone already, only the catalog is tidied up.`

func (a *app) uninstall() *cobra.Command {
	var timeout time.Duration
	var async bool
	c := &cobra.Command{
		Use:               "uninstall INSTALLATION",
		Short:             "End an installation and remove its webhooks",
		Long:              uninstallHelp,
		Example:           "  starter uninstall customers/ada",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.runUninstall(c.Context(), args[0], async, timeout)
		},
	}
	c.Flags().BoolVar(&async, "async", false, "return when it has begun")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "longest wait; the uninstall goes on by itself")
	return c
}

// uninstalled is the result of uninstall.
type uninstalled struct {
	ID        string `json:"id"`
	Operation string `json:"operation,omitempty"`
	// Gone says that the workflow had ended before, and only the catalog was tidied up.
	Gone    bool               `json:"gone,omitempty"`
	Summary *workflows.Summary `json:"summary,omitempty"`
	// Held is how many records each lane's quarantine holds.
	Held map[string]int64 `json:"held,omitempty"`
}

func (a *app) runUninstall(ctx context.Context, id string, async bool, timeout time.Duration) error {
	s, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	inst, err := s.installation(ctx, id)
	if err != nil {
		return err
	}
	uctx, cancel := context.WithTimeout(ctx, answerTime)
	accepted, err := s.Update(uctx, s.client, id, workflows.UninstallUpdate, "", struct{}{})
	cancel()
	if errors.As(err, new(*serviceerror.NotFound)) {
		if err := s.Catalog.SetState(ctx, inst.Epoch, catalog.Ended, "its workflow had ended"); err != nil {
			return err
		}
		return a.print(uninstalled{ID: id, Gone: true}, func(w io.Writer) {
			fmt.Fprintf(w, "%s had no workflow any more; the catalog no longer lists it. If its webhooks are still in the app, remove them there.\n", id)
		})
	}
	if err != nil {
		return explain(id, err)
	}
	out := uninstalled{ID: id, Operation: accepted.Operation}
	if async {
		return a.print(out, func(w io.Writer) {
			fmt.Fprintf(w, "Uninstalling %s (operation %s).\n", id, accepted.Operation)
		})
	}
	a.note("Uninstalling %s: removing webhooks, delivering what is left ...", id)
	wctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan struct{})
	go a.tellClosing(wctx, s, id, done)
	err = s.client.GetWorkflow(wctx, id, "").Get(wctx, &out.Summary)
	close(done)
	var incomplete *temporal.ApplicationError
	switch {
	case ctx.Err() != nil:
		return fail(exitInterrupted, "interrupted; %s goes on being uninstalled by itself; `starter status %s` shows how far it is", id, id)
	case wctx.Err() != nil:
		return fail(exitFailed, "%s is still being uninstalled after %s and goes on by itself; `starter status %s` shows how far it is", id, timeout, id)
	case errors.As(err, &incomplete) && incomplete.Type() == workflows.InstallFailed:
		return a.print(out, func(w io.Writer) { fmt.Fprintf(w, "Ended %s: %s.\n", id, incomplete.Message()) })
	case err != nil:
		return explain(id, err)
	}
	if out.Held, err = s.Catalog.CountQuarantined(ctx, inst.Epoch); err != nil {
		return fmt.Errorf("%s is uninstalled: %w", id, err)
	}
	return a.print(out, func(w io.Writer) { writeSummary(w, id, out.Summary, out.Held) })
}

// tellClosing says now and then what is still to deliver.
func (a *app) tellClosing(ctx context.Context, s *session, id string, done <-chan struct{}) {
	t := time.NewTicker(3 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-t.C:
		}
		st, err := s.Status(ctx, s.client, id, "")
		if err != nil {
			continue
		}
		for _, l := range st.Lanes {
			if l.Lag > 0 {
				a.note("  %s: %s records to deliver%s", l.Name, terminal.Count(l.Lag), because(l.Failure))
			}
		}
	}
}

func writeSummary(w io.Writer, id string, sum *workflows.Summary, held map[string]int64) {
	fmt.Fprintf(w, "Uninstalled %s. It received %s records.\n", id, terminal.Count(sum.Received))
	for _, lane := range slices.Sorted(maps.Keys(sum.Delivered)) {
		fmt.Fprintf(w, "  %s: %s delivered", lane, terminal.Count(sum.Delivered[lane]))
		if n := held[lane]; n > 0 {
			fmt.Fprintf(w, ", %s in quarantine (starter quarantine list %s --lane %s)", terminal.Count(n), id, lane)
		}
		fmt.Fprintln(w)
	}
	if len(sum.Left) > 0 {
		fmt.Fprintln(w, "It left behind:")
		for _, l := range sum.Left {
			fmt.Fprintln(w, "  -", l)
		}
	}
}
