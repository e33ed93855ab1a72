package main

import (
	"github.com/spf13/cobra"

	"tributary/workflows"
)

func (a *app) resume() *cobra.Command {
	var o operation
	var only []string
	c := &cobra.Command{
		Use:   "resume INSTALLATION",
		Short: "Go on after a pause, or after what had stopped was put right",
		Long: `resume ends a pause, and tries again at once what had stopped or is waiting after failures. With --only it is for these
destinations and streams alone and leaves a pause as it is.`,
		Example:           "  starter resume customers/ada\n  starter resume customers/ada --only endpoint",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.steer(c.Context(), args[0], workflows.ResumeUpdate, o, workflows.ResumeRequest{Only: only}, "resumed")
		},
	}
	c.Flags().StringSliceVar(&only, "only", nil, "names of destinations or streams")
	o.flags(c)
	return c
}
