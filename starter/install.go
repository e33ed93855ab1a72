package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"tributary/internal/catalog"
	"tributary/internal/engine"
	"tributary/internal/integration"
	"tributary/workflows"
)

const installHelp = `install installs an integration for a user: it checks the file, stores it as the integration's newest revision, starts
the installation's workflow, and returns when connections are checked and, for realtime, the app's webhooks are
registered.

The argument is a file, - for stdin, or the name of an integration that is stored already. An installation's ID is
INTEGRATION/USER, with a NAME added for a second one of the same integration and user.

Installing what is installed already changes nothing and ends with status 4. With --reconfigure the installation
goes over to the newest revision instead: a batch under way is finished as it was begun, destinations are known by
their names.`

type installFlags struct {
	user, name  string
	reconfigure bool
	timeout     time.Duration
}

func (a *app) install() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install FILE|INTEGRATION --user USER",
		Short: "Install an integration for a user",
		Long:  installHelp,
		Example: `  starter install examples/customers.yaml --user ada
  starter install customers --user ada --name eu      # a second one: customers/ada/eu
  starter install examples/customers.yaml --user ada --reconfigure
  cat customers.yaml | starter install - --user ada   # into a container: docker compose exec -T worker starter install ...`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeIntegrations,
		RunE:              func(c *cobra.Command, args []string) error { return a.runInstall(c.Context(), args[0], f) },
	}
	c.Flags().StringVarP(&f.user, "user", "u", "", "the user's ID in your system (required)")
	c.Flags().StringVar(&f.name, "name", "", "tells a second installation of the same integration and user from the first")
	c.Flags().BoolVar(&f.reconfigure, "reconfigure", false, "bring an existing installation to the newest revision")
	c.Flags().DurationVar(&f.timeout, "timeout", 3*time.Minute, "longest wait")
	return c
}

// installed is the result of install.
type installed struct {
	engine.Installed
	Integration string `json:"integration"`
	Revision    int    `json:"revision"`
	UI          string `json:"ui,omitempty"`
	// Operation is that of a reconfiguration.
	Operation string `json:"operation,omitempty"`
}

func (a *app) runInstall(ctx context.Context, what string, f installFlags) error {
	if err := checkIDPart("--user", f.user, true); err != nil {
		return err
	}
	if err := checkIDPart("--name", f.name, false); err != nil {
		return err
	}
	s, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	name, revision, err := s.save(ctx, what)
	if err != nil {
		return err
	}
	id := engine.InstallationID(name, f.user, f.name)
	if f.reconfigure {
		return s.reconfigure(ctx, id, name, revision)
	}
	a.note("Installing %s (revision %d) for %s ...", name, revision, f.user)
	last := ""
	in, err := s.Install(ctx, s.client, engine.InstallRequest{Integration: name, User: f.user, Name: f.name, Progress: func(text string) {
		if text != last {
			a.note("  %s", text)
			last = text
		}
	}})
	if errors.Is(err, catalog.ErrExists) {
		return s.alreadyInstalled(ctx, id, what, revision, err)
	}
	switch {
	case errors.Is(err, catalog.ErrInactive):
		return fail(exitRefused, "%s is deactivated and takes no new installations; `starter activate %s` lets it go on for all", name, name)
	case err != nil && in.RunID != "" && ctx.Err() != nil:
		code, why := exitInterrupted, "interrupted"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			code, why = exitUnreachable, fmt.Sprintf("not installed after %s: %s", f.timeout, last)
		}
		return fail(code, "%s; %s was started and goes on where a worker runs: `starter status %s` shows how far it is, `starter uninstall %s` ends it", why, id, id, id)
	case err != nil:
		return fmt.Errorf("install %s: %w\nNothing is installed: put that right and install again", id, err)
	}
	out := installed{Installed: in, Integration: name, Revision: revision, UI: s.uiURL(in.ID, in.RunID)}
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "Installed %s, epoch %s.\n", in.ID, in.Epoch)
		if in.HookURL != "" && in.Manual {
			fmt.Fprintf(w, "\nSet up the webhook in the app by hand. It is to send to this address, which is as secret as a password:\n  %s\n", in.HookURL)
		}
		if out.UI != "" {
			fmt.Fprintf(w, "Temporal UI: %s\n", out.UI)
		}
		fmt.Fprintf(w, "See how it does: starter status %s --watch\n", in.ID)
	})
}

// save stores a file as the newest revision, or finds what is stored under a name.
func (s *session) save(ctx context.Context, what string) (name string, revision int, err error) {
	if !isFile(what) {
		found, err := s.Catalog.Integration(ctx, what, 0)
		if errors.Is(err, catalog.ErrNotFound) {
			return "", 0, fail(exitNotFound, "there is neither a file nor an integration %q: give the path of an integration file", what)
		}
		return what, found.Revision, err
	}
	src, err := s.app.readFile(what, integration.MaxFileBytes+1)
	if err != nil {
		return "", 0, err
	}
	spec, err := integration.Parse(what, src, s.Registry)
	if err != nil {
		return "", 0, usage("%w\nnothing was installed", err)
	}
	revision, err = s.Save(ctx, spec)
	return spec.Name, revision, err
}

// isFile tells a path from the name of an integration.
func isFile(what string) bool {
	if what == "-" || strings.ContainsRune(what, os.PathSeparator) {
		return true
	}
	switch filepath.Ext(what) {
	case ".yaml", ".yml", ".json":
		return true
	}
	info, err := os.Stat(what)
	return err == nil && !info.IsDir()
}

// checkIDPart keeps workflow IDs unambiguous: their parts are joined by slashes.
func checkIDPart(flag, value string, required bool) error {
	switch {
	case value == "" && required:
		return usage("%s is missing: for which user?", flag)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return usage("%s %q: want text without control characters", flag, value)
	case strings.ContainsRune(value, '/'):
		return usage("%s %q: no slash may stand in it", flag, value)
	case len(value) > 200:
		return usage("%s: at most 200 bytes", flag)
	}
	return nil
}

func (s *session) alreadyInstalled(ctx context.Context, id, what string, revision int, cause error) error {
	inst, err := s.Catalog.Installation(ctx, id)
	if err != nil || inst.Revision == 0 || inst.Revision >= revision {
		return fail(exitExists, "%w\n`starter status %s` shows it; `starter uninstall %s` removes it", cause, id, id)
	}
	return fail(exitExists, "%w\nIt runs revision %d and revision %d is newer: `starter install %s --user %s --reconfigure` brings it there",
		cause, inst.Revision, revision, what, inst.User)
}

// reconfigure brings an installation to a revision.
func (s *session) reconfigure(ctx context.Context, id, name string, revision int) error {
	inst, err := s.installation(ctx, id)
	if err != nil {
		return err
	}
	if inst.Revision == revision {
		return s.app.print(installed{Installed: engine.Installed{ID: id, Epoch: inst.Epoch}, Integration: name, Revision: revision}, func(w io.Writer) {
			fmt.Fprintf(w, "%s runs revision %d already; nothing was changed.\n", id, revision)
		})
	}
	stored, err := s.Catalog.Integration(ctx, name, revision)
	if err != nil {
		return err
	}
	accepted, err := s.update(ctx, s.client, id, workflows.ReconfigureUpdate, "", workflows.PlanOf(stored.Spec, revision))
	if err != nil {
		return err
	}
	out := installed{Installed: engine.Installed{ID: id, Epoch: inst.Epoch}, Integration: name, Revision: revision, UI: s.uiURL(id, ""), Operation: accepted.Operation}
	return s.app.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s goes over from revision %d to %d (operation %s).\n", id, inst.Revision, revision, accepted.Operation)
	})
}

// update sends an Update, with the words of explain.
func (s *session) update(ctx context.Context, c client.Client, id, name, operation string, arg any) (workflows.Accepted, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	accepted, err := s.Update(ctx, c, id, name, operation, arg)
	if errors.Is(err, engine.ErrRefused) {
		return accepted, fmt.Errorf("%s refused to %s: %w", id, name, err)
	}
	return accepted, explain(id, err)
}
