package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"tributary/internal/catalog"
	"tributary/workflows"
)

func (a *app) list() *cobra.Command {
	var f catalog.Filter
	c := &cobra.Command{
		Use:   "list",
		Short: "List what is installed",
		Long: `list shows the installations of the catalog, with the health that each has told Temporal of. It asks no workflow, so it is
fast with many; ` + "`starter status`" + ` asks one.`,
		Example: `  starter list
  starter list --integration customers
  starter list --user ada --all      # with those that have ended`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.runList(c.Context(), f) },
	}
	c.Flags().StringVarP(&f.Integration, "integration", "i", "", "only this integration's")
	c.Flags().StringVarP(&f.User, "user", "u", "", "only this user's")
	c.Flags().BoolVar(&f.Ended, "all", false, "with those that have ended")
	return c
}

// installationRow is an installation in a list.
type installationRow struct {
	ID          string    `json:"id"`
	Integration string    `json:"integration"`
	User        string    `json:"user"`
	Name        string    `json:"name,omitempty"`
	Epoch       string    `json:"epoch"`
	Revision    int       `json:"revision"`
	State       string    `json:"state"`
	Health      string    `json:"health,omitempty"`
	Note        string    `json:"note,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
}

func (a *app) runList(ctx context.Context, f catalog.Filter) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	all, err := s.Catalog.Installations(ctx, f)
	if err != nil {
		return &failure{exitUnreachable, err}
	}
	health := map[string]string{}
	if len(all) > 0 {
		if health, err = s.healthOfAll(ctx, f); err != nil {
			a.note("note: health is not known: %v", err)
		}
	}
	rows := make([]installationRow, len(all))
	for i, in := range all {
		rows[i] = installationRow{
			ID: in.ID, Integration: in.Integration, User: in.User, Name: in.Name, Epoch: in.Epoch, Revision: in.Revision,
			State: string(in.State), Note: in.Note, CreatedAt: in.CreatedAt, EndedAt: in.EndedAt,
		}
		if in.State != catalog.Ended {
			rows[i].Health = health[in.ID]
		}
	}
	return a.print(rows, func(w io.Writer) {
		if len(rows) == 0 {
			if f.Integration != "" || f.User != "" {
				fmt.Fprintln(w, "Nothing that is installed is as asked for; `starter list` shows all of it.")
				return
			}
			fmt.Fprintln(w, "Nothing is installed here; `starter install FILE --user USER` installs an integration.")
			return
		}
		t := a.table("INSTALLATION", "STATE", "HEALTH", ">REVISION", "SINCE", "NOTE")
		for _, r := range rows {
			t.Row(r.ID, r.State, r.Health, r.Revision, ago(r.CreatedAt), r.Note)
		}
		t.Write(w, "")
	})
}

// healthOfAll reads the health that installations keep as a search attribute; it may be a moment behind.
func (s *session) healthOfAll(ctx context.Context, f catalog.Filter) (map[string]string, error) {
	c, err := s.temporal(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	query := fmt.Sprintf("WorkflowType = %q AND ExecutionStatus = 'Running'", workflows.InstallationName)
	if f.Integration != "" {
		query += fmt.Sprintf(" AND %s = %q", workflows.IntegrationAttribute.GetName(), f.Integration)
	}
	if f.User != "" && plain(f.User) {
		query += fmt.Sprintf(" AND %s = %q", workflows.UserAttribute.GetName(), f.User)
	}
	return readHealth(ctx, c, query)
}

// plain says that Temporal's filter reads a quoted string as Go writes it. Of other users all are asked for, and theirs is taken.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune("\"'\\`", c) })
}

func readHealth(ctx context.Context, c client.Client, query string) (map[string]string, error) {
	health := make(map[string]string)
	var token []byte
	for {
		page, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, PageSize: 1000, NextPageToken: token})
		if err != nil {
			return health, err
		}
		for _, e := range page.GetExecutions() {
			var h string
			if p := e.GetSearchAttributes().GetIndexedFields()[workflows.HealthAttribute.GetName()]; p != nil {
				if err := converter.GetDefaultDataConverter().FromPayload(p, &h); err != nil {
					continue
				}
			}
			health[e.GetExecution().GetWorkflowId()] = h
		}
		if token = page.GetNextPageToken(); len(token) == 0 {
			return health, nil
		}
	}
}
