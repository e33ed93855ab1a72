package main

import (
	"github.com/spf13/cobra"

	"tributary/workflows"
)

func (a *app) pause() *cobra.Command {
	var o operation
	var reason string
	c := &cobra.Command{
		Use:   "pause INSTALLATION",
		Short: "Stop reading and writing for a while",
		Long: `pause holds an installation: it polls and delivers nothing. Webhooks are still accepted and kept, up to the integration's
backlog; past that the app is told to come again later.`,
		Example:           "  starter pause customers/ada --reason 'warehouse is being moved'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.steer(c.Context(), args[0], workflows.PauseUpdate, o, workflows.PauseRequest{Reason: reason}, "paused")
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; operators see it")
	o.flags(c)
	return c
}
