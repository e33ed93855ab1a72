package main

import (
	"github.com/spf13/cobra"

	"tributary/workflows"
)

func (a *app) flush() *cobra.Command {
	var o operation
	var lanes []string
	c := &cobra.Command{
		Use:               "flush INSTALLATION",
		Short:             "Deliver what waits for a batch to fill",
		Long:              "flush delivers now what was received until now, without waiting for batches to fill or to grow old.",
		Example:           "  starter flush customers/ada --wait",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.steer(c.Context(), args[0], workflows.FlushUpdate, o, workflows.FlushRequest{Lanes: lanes}, "flushing")
		},
	}
	c.Flags().StringSliceVarP(&lanes, "lane", "l", nil, "only these destinations")
	o.flags(c)
	return c
}
