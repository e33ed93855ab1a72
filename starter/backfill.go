package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tributary/internal/integration"
	"tributary/workflows"
)

func (a *app) backfill() *cobra.Command {
	var o operation
	var streams []string
	var since string
	var all bool
	c := &cobra.Command{
		Use:   "backfill INSTALLATION (--since TIME | --all)",
		Short: "Read again what was last changed since a time",
		Long: `backfill reads the streams again from a time on, or from the beginning, and then goes on as before. Records that the destinations
have already are recognised there: an upsert keeps one row an object, an append one row a change.

A source that can't filter by time reads everything.`,
		Example: `  starter backfill products/ada --since 7d
  starter backfill products/ada --since 2026-01-31
  starter backfill products/ada --since 2026-01-31T12:00:00Z --stream products --wait
  starter backfill products/ada --all`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			if all == (since != "") {
				return usage("give --since TIME, or --all to read from the beginning")
			}
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			what := "reading everything again"
			if !from.IsZero() {
				what = "reading again what changed since " + from.Local().Format(time.DateTime)
			}
			return a.steer(c.Context(), args[0], workflows.BackfillUpdate, o, workflows.StreamsRequest{Streams: streams, Since: from}, what)
		},
	}
	c.Flags().StringVar(&since, "since", "", "a time such as 2026-01-31T12:00:00Z, a date, or how long ago, such as 7d")
	c.Flags().BoolVar(&all, "all", false, "from the beginning")
	c.Flags().StringSliceVarP(&streams, "stream", "s", nil, "only these streams")
	o.flags(c)
	return c
}

// parseSince reads a time, a date in local time, or a duration before now; "" = the beginning.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		at, err = time.ParseInLocation(time.DateOnly, s, now.Location())
	}
	if err != nil {
		d, derr := integration.ParseDuration(strings.TrimSuffix(s, " ago"))
		if derr != nil {
			return at, usage("--since %q: want a time such as 2026-01-31T12:00:00Z, a date such as 2026-01-31, or how long ago, such as 7d", s)
		}
		at = now.Add(-time.Duration(d))
	}
	if at.After(now) {
		return at, usage("--since %q lies in the future", s)
	}
	return at, nil
}
