package main

import (
	"github.com/spf13/cobra"

	"tributary/workflows"
)

func (a *app) poll() *cobra.Command {
	var o operation
	var streams []string
	c := &cobra.Command{
		Use:               "poll INSTALLATION",
		Short:             "Read what is new now, without waiting for the interval",
		Long:              "poll reads the streams now, from where the last poll ended. The rhythm of polls goes on from it.",
		Example:           "  starter poll products/ada --wait",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.steer(c.Context(), args[0], workflows.PollUpdate, o, workflows.StreamsRequest{Streams: streams}, "polling")
		},
	}
	c.Flags().StringSliceVarP(&streams, "stream", "s", nil, "only these streams")
	o.flags(c)
	return c
}
