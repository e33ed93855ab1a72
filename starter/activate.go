package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tributary/internal/catalog"
	"tributary/workflows"
)

// deactivatedReason tells a pause that came with a deactivation from others.
const deactivatedReason = "integration deactivated"

func (a *app) activate() *cobra.Command {
	return &cobra.Command{
		Use:   "activate INTEGRATION",
		Short: "Let an integration go on for all its users",
		Long: `activate undoes deactivate: the integration takes new installations, and those that were paused with it go on. What was paused
for another reason stays paused.`,
		Example:           "  starter activate customers",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeIntegrations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.setActive(c.Context(), args[0], true)
		},
	}
}

func (a *app) deactivate() *cobra.Command {
	return &cobra.Command{
		Use:   "deactivate INTEGRATION",
		Short: "Hold an integration for all its users",
		Long: `deactivate keeps an integration from being installed, and pauses all its installations. Their webhooks are still accepted and kept.
Nothing is lost; activate lets all go on.`,
		Example:           "  starter deactivate customers",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeIntegrations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.setActive(c.Context(), args[0], false)
		},
	}
}

// activation is the result of activate and deactivate.
type activation struct {
	Integration string `json:"integration"`
	Active      bool   `json:"active"`
	// Changed counts installations that were paused or resumed, Unchanged those that were as they should be.
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	// Failed names those that could not be reached, with the reason.
	Failed map[string]string `json:"failed,omitempty"`
}

// atOnce is how many installations are asked at a time.
const atOnce = 16

// setActive first sets the switch, after which no installation can be added, and then goes through those that there are.
func (a *app) setActive(ctx context.Context, name string, active bool) error {
	s, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	err = s.Catalog.SetActive(ctx, name, active)
	if errors.Is(err, catalog.ErrNotFound) {
		return fail(exitNotFound, "there is no integration %s; `starter list` shows what is installed", name)
	}
	if err != nil {
		return err
	}
	all, err := s.Catalog.Installations(ctx, catalog.Filter{Integration: name})
	if err != nil {
		return err
	}
	out := activation{Integration: name, Active: active, Failed: map[string]string{}}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(atOnce)
	told := time.Now()
	for _, in := range all {
		g.Go(func() error {
			changed, err := s.hold(ctx, in.ID, !active)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				out.Failed[in.ID] = err.Error()
			case changed:
				out.Changed++
			default:
				out.Unchanged++
			}
			if done := out.Changed + out.Unchanged + len(out.Failed); time.Since(told) > time.Second {
				told = time.Now()
				a.note("  %d of %d installations", done, len(all))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := a.print(out, func(w io.Writer) { out.write(w) }); err != nil {
		return err
	}
	if len(out.Failed) > 0 {
		return silent{exitFailed}
	}
	return nil
}

// hold pauses an installation, or resumes it when it was paused with its integration.
func (s *session) hold(ctx context.Context, id string, pause bool) (changed bool, err error) {
	qctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	st, err := s.Status(qctx, s.client, id, "")
	if err != nil {
		return false, explain(id, err)
	}
	if pause == st.Paused || !pause && st.PauseReason != deactivatedReason {
		return false, nil
	}
	if pause {
		_, err = s.update(ctx, s.client, id, workflows.PauseUpdate, "", workflows.PauseRequest{Reason: deactivatedReason})
	} else {
		_, err = s.update(ctx, s.client, id, workflows.ResumeUpdate, "", workflows.ResumeRequest{})
	}
	return err == nil, err
}

func (o activation) write(w io.Writer) {
	verb := "paused"
	word := "inactive: it takes no new installations"
	if o.Active {
		verb, word = "resumed", "active"
	}
	fmt.Fprintf(w, "%s is %s. %d %s %s, %d left as they were.\n", o.Integration, word, o.Changed, plural(o.Changed, "installation"), verb, o.Unchanged)
	for id, why := range o.Failed {
		fmt.Fprintf(w, "  %s could not be %s: %s\n", id, verb, why)
	}
	if len(o.Failed) > 0 {
		fmt.Fprintln(w, "Run the command again when the reason is gone: what is done already stays as it is.")
	}
}
