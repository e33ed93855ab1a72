package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tributary/activities"
	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/terminal"
	"tributary/workflows"
)

const statusHelp = `status asks an installation how it does: its health and why, what it received, and for each destination what was delivered,
how far it is behind, and what is in quarantine.

Health is one of
  ok                      all is well
  degraded                something fails and is tried again by itself
  needs_reauthorization   the app refuses the credentials: set the connection anew
  stopped                 something must be changed first; the problem says what, then resume
  paused                  somebody paused it
  backlogged              a required destination is so far behind that nothing more is read
  closing                 it is being uninstalled`

func (a *app) status() *cobra.Command {
	var watch bool
	var every time.Duration
	c := &cobra.Command{
		Use:   "status INSTALLATION",
		Short: "How an installation does",
		Long:  statusHelp,
		Example: `  starter status customers/ada
  starter status customers/ada --watch
  starter status customers/ada -o json | jq .lag`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.runStatus(c.Context(), args[0], watch, every)
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again until Ctrl-C")
	c.Flags().DurationVar(&every, "every", time.Second, "how often to look with --watch")
	return c
}

// fullStatus is what status prints: the workflow's own words with what the catalog knows besides.
type fullStatus struct {
	workflows.Status
	Integration string `json:"integration"`
	User        string `json:"user"`
	UI          string `json:"ui,omitempty"`
	// Held is how many records each lane's quarantine holds now; a lane's quarantined count is of all that ever went there.
	Held map[string]int64 `json:"held"`
}

func (a *app) runStatus(ctx context.Context, id string, watch bool, every time.Duration) error {
	s, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	inst, err := s.installation(ctx, id)
	if err != nil {
		return err
	}
	if !watch {
		st, err := s.fullStatus(ctx, inst)
		if err != nil {
			return err
		}
		return a.print(st, func(w io.Writer) { writeStatus(w, st, terminal.Width(a.out)) })
	}
	return a.watchStatus(ctx, s, inst, max(every, 100*time.Millisecond))
}

func (s *session) fullStatus(ctx context.Context, inst catalog.Installation) (fullStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	st, err := s.Status(ctx, s.client, inst.ID, "")
	if err != nil {
		return fullStatus{}, explain(inst.ID, err)
	}
	held, err := s.Catalog.CountQuarantined(ctx, st.Epoch)
	return fullStatus{Status: st, Integration: inst.Integration, User: inst.User, UI: s.uiURL(inst.ID, ""), Held: held}, err
}

// watchStatus refreshes a block on a terminal; elsewhere it writes each change, as text or as a JSON object a line.
func (a *app) watchStatus(ctx context.Context, s *session, inst catalog.Installation, every time.Duration) error {
	var block *terminal.Block
	if !a.json() && terminal.IsTerminal(a.out, a.getenv) {
		block = &terminal.Block{Out: a.out}
		defer block.End()
	}
	t := time.NewTicker(every)
	defer t.Stop()
	last := ""
	for {
		st, err := s.fullStatus(ctx, inst)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how one leaves
		}
		if err != nil {
			return err
		}
		var b strings.Builder
		switch {
		case a.json():
			if err := writeJSON(&b, st); err != nil {
				return err
			}
		default:
			writeStatus(&b, st, terminal.Width(a.out))
		}
		if block != nil {
			block.Show(b.String() + time.Now().Format("15:04:05") + "  Ctrl-C leaves")
		} else if b.String() != last {
			last = b.String()
			fmt.Fprintln(a.out, strings.TrimRight(last, "\n"))
		}
		if st.Phase == workflows.Ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func writeStatus(w io.Writer, st fullStatus, width int) {
	fmt.Fprintf(w, "%s  %s", st.Installation, st.Health)
	if st.Phase == workflows.Installing {
		fmt.Fprint(w, ", being installed")
	}
	if why := st.Problem; why != "" {
		fmt.Fprintf(w, ": %s", why)
	} else if st.PauseReason != "" {
		fmt.Fprintf(w, ": %s", st.PauseReason)
	}
	fmt.Fprintf(w, "\nrevision %d, epoch %s, since %s\n", st.Revision, st.Epoch, st.Started.Local().Format(time.DateTime))
	fmt.Fprintf(w, "received %s, last %s", terminal.Count(st.Received), ago(st.ReceivedAt))
	if st.Missed > 0 {
		fmt.Fprintf(w, ", %s that no webhook brought", terminal.Count(st.Missed))
	}
	if st.Undecodable > 0 {
		fmt.Fprintf(w, ", %s signals that could not be read", terminal.Count(st.Undecodable))
	}
	if n := st.Held[""]; n > 0 {
		fmt.Fprintf(w, ", %s in quarantine for no destination", terminal.Count(n))
	}
	fmt.Fprint(w, "\n\n")
	lanes := terminal.NewTable("DESTINATION", ">DELIVERED", ">BEHIND", ">IN QUARANTINE", "LAST", "STATE")
	lanes.Width = width
	for _, l := range st.Lanes {
		lanes.Row(l.Name, terminal.Count(l.Delivered), terminal.Count(l.Lag), terminal.Count(st.Held[l.Name]), ago(l.DeliveredAt),
			troubleState(l.Stopped, l.Failures, l.Failure, l.RetryAt))
	}
	lanes.Write(w, "")
	if len(st.Streams) > 0 {
		fmt.Fprintln(w)
		streams := terminal.NewTable("STREAM", ">POLLS", ">RECORDS", ">MISSED", "NEXT POLL", "STATE")
		streams.Width = width
		for _, p := range st.Streams {
			next := until(p.Next)
			if p.Polling {
				next = "reading now"
			}
			failures := 0
			if p.Failure != nil {
				failures = 1
			}
			state := troubleState(p.Stopped, failures, p.Failure, p.RetryAt)
			if p.Prepares {
				next, state = "asked "+until(p.RetryAt), "the app prepares the next page"
			}
			streams.Row(p.Name, terminal.Count(p.Polls), terminal.Count(p.Records), terminal.Count(p.Missed), next, state)
		}
		streams.Write(w, "")
	}
	if c := st.Completing; c != nil {
		fmt.Fprintf(w, "\ncompleted %s webhooks to %s records, %s wait\n", terminal.Count(c.Taken-c.Refused), terminal.Count(c.Made), terminal.Count(c.Waiting))
		for _, s := range c.Streams {
			if s.Failures > 0 {
				fmt.Fprintf(w, "  %s: %s wait, %s\n", s.Name, terminal.Count(s.Waiting), troubleState(s.Stopped, s.Failures, s.Failure, s.RetryAt))
			}
		}
	}
	if h := st.Hooks; h != nil {
		switch {
		case h.Manual:
			fmt.Fprintln(w, "\nwebhooks: set up by hand in the app")
		default:
			fmt.Fprintf(w, "\nwebhooks: %d registered, checked %s%s\n", h.Active, ago(h.CheckedAt), because(h.Failure))
		}
	}
	for _, op := range st.Operations {
		if !op.Done {
			fmt.Fprintf(w, "under way: %s since %s (operation %s)\n", op.Name, op.At.Local().Format(time.TimeOnly), op.ID)
		}
	}
	for _, l := range st.Left {
		fmt.Fprintln(w, "left:", l)
	}
	if st.UI != "" {
		fmt.Fprintln(w, st.UI)
	}
}

func troubleState(stopped bool, failures int, f *activities.Failure, retry time.Time) string {
	switch {
	case f == nil || failures == 0:
		return "ok"
	case stopped && f.Kind == connectors.Unauthorized:
		return "needs reauthorization: " + f.Message
	case stopped:
		return "stopped: " + f.Message
	}
	return "again " + until(retry) + ": " + f.Message
}

func because(f *activities.Failure) string {
	if f == nil {
		return ""
	}
	return ": " + f.Message
}

// ago and until write times as people say them.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	if d < 2*time.Second {
		return "just now"
	}
	return short(d) + " ago"
}

func until(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := time.Until(t)
	if d < time.Second {
		return "now"
	}
	return "in " + short(d)
}

func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
