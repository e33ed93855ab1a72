package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"tributary/activities"
	"tributary/connectors"
	"tributary/connectors/datastream"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/engine"
	"tributary/internal/integration"
	"tributary/internal/terminal"
	"tributary/workflows"
)

const connectionHelp = `A connection is stored credentials for one connector, of a user or of the operator, who is you. Blocks that are hidden from
users use the operator's. Some connectors need the credentials of the app that you have registered with the vendor besides: --app
stores them once, under the name of the connections that belong to the app. Everything is encrypted with the key file and never shown again.`

func (a *app) connection() *cobra.Command {
	c := &cobra.Command{Use: "connection", Short: "Store, check and delete credentials", Long: connectionHelp,
		Example: `  starter connection set shopify --user ada --file shop.json
  starter connection check shopify --user ada
  starter connection list`}
	c.AddCommand(a.connectionSet(), a.connectionList(), a.connectionCheck(), a.connectionDelete())
	return c
}

// connectionName says which connection is meant.
type connectionName struct {
	ownerFlags
	name string
}

// ownerFlags say whose it is.
type ownerFlags struct {
	user          string
	operator, app bool
}

func (n *connectionName) flags(c *cobra.Command) {
	c.Flags().StringVarP(&n.user, "user", "u", "", "the user whose connection it is")
	c.Flags().BoolVar(&n.operator, "operator", false, "it is the operator's, for hidden blocks")
	c.Flags().BoolVar(&n.app, "app", false, "it is the app's that is registered with the vendor, for all accounts that install it")
	c.Flags().StringVar(&n.name, "name", block.DefaultConnection, "name, where there are several of one connector")
}

// owner is "" where nothing says whose.
func (f ownerFlags) owner() (string, error) {
	switch {
	case f.user != "" && (f.operator || f.app), f.operator && f.app:
		return "", usage("--user, --operator and --app exclude each other: whose connection is it?")
	case f.operator:
		return engine.Operator, nil
	case f.app:
		return engine.App, nil
	case f.user == "":
		return "", nil
	}
	return engine.User(f.user), checkIDPart("--user", f.user, true)
}

func (n *connectionName) owner() (string, error) {
	owner, err := n.ownerFlags.owner()
	if err == nil && owner == "" {
		err = usage("whose connection is it? Give --user USER, --operator or --app")
	}
	return owner, err
}

const connectionSetHelp = `set stores credentials as a JSON object. They come from a file, an environment variable or stdin, never from arguments,
which others could see. Which fields there are: ` + "`starter connectors describe CONNECTOR`" + `.

With --app they are those of the app that you have registered with the vendor, such as its client ID and secret. Connections of
users and of the operator belong to the app of their own name.

Setting a connection that exists replaces it; running installations use the new one from their next batch or poll on, and
those that wait for reauthorization go on by themselves.`

func (a *app) connectionSet() *cobra.Command {
	var n connectionName
	var file, env string
	var generate bool
	c := &cobra.Command{
		Use:   "set CONNECTOR (--user USER | --operator | --app) [--file FILE | --env VARIABLE]",
		Short: "Store credentials",
		Long:  connectionSetHelp,
		Example: `  echo '{"shop": "example.myshopify.com", "access_token": "..."}' | starter connection set shopify --user ada
  starter connection set postgres --operator --file warehouse.json
  starter connection set shopify --user ada --env SHOPIFY_CONNECTION
  starter connection set hubspot --app --file app.json           # the app's client ID and secret
  starter connection set datastream --operator --generate        # a new signing key and secret`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeConnections,
		RunE: func(c *cobra.Command, args []string) error {
			owner, err := n.owner()
			if err != nil {
				return err
			}
			read := func() ([]byte, error) { return a.readSecret(file, env) }
			if generate {
				if args[0] != datastream.Definition().Name {
					return usage("--generate is for datastream; the credentials of %s come from the app", args[0])
				}
				read = func() ([]byte, error) { return datastream.GenerateConnection() }
			}
			return a.runConnectionSet(c.Context(), args[0], owner, n.name, read)
		},
	}
	n.flags(c)
	c.Flags().StringVarP(&file, "file", "f", "", "file with the JSON object; - = stdin")
	c.Flags().StringVar(&env, "env", "", "environment variable with the JSON object")
	c.Flags().BoolVar(&generate, "generate", false, "make new keys (datastream)")
	c.MarkFlagsMutuallyExclusive("file", "env", "generate")
	return c
}

const maxSecretBytes = 1 << 20

func (a *app) readSecret(file, env string) ([]byte, error) {
	switch {
	case env != "":
		v := a.getenv(env)
		if v == "" {
			return nil, usage("--env: %s is not set", env)
		}
		return []byte(v), nil
	case file != "" && file != "-":
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxSecretBytes))
	}
	if terminal.IsTerminal(a.in, a.getenv) {
		a.note("Type or paste the JSON object, then Ctrl-D:")
	}
	return io.ReadAll(io.LimitReader(a.in, maxSecretBytes))
}

// stored is what connection set did.
type stored struct {
	connectionRow
	// Resumed are the installations that had waited for it.
	Resumed []string `json:"resumed,omitempty"`
}

func (a *app) runConnectionSet(ctx context.Context, connector, owner, name string, read func() ([]byte, error)) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	def, err := s.Registry.Lookup(connector)
	if err != nil {
		return err
	}
	what, like := "the connection", def.Connection
	switch {
	case owner == engine.App && def.App == nil:
		return usage("%s has no credentials of an app: it needs the connections of its users, or the operator's, alone", connector)
	case owner == engine.App:
		what, like = "the app's credentials", def.App
	case def.Connection == nil:
		return usage("%s has no connection: there is nothing to store", connector)
	}
	secret, err := read()
	if err != nil {
		return err
	}
	if err := checkAgainst(def.Name, what, like, secret); err != nil {
		return err
	}
	account := ""
	if def.AccountOf != nil && owner != engine.App {
		account = def.AccountOf(json.RawMessage(secret))
	}
	version, err := s.Vault.Put(ctx, owner, def.Name, name, secret, account)
	if err != nil {
		return err
	}
	out := stored{connectionRow: connectionRow{Owner: owner, Connector: def.Name, Name: name, Account: account, Version: version, UpdatedAt: time.Now().UTC()}}
	out.Resumed, err = s.connectionChanged(ctx, owner, def, name, account)
	if err != nil {
		a.note("note: it is stored, but installations that wait for it could not be told: %v\nResume them with `starter resume INSTALLATION`.", err)
	}
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "Stored connection %s of %s for %s%s.\n", name, def.Name, owner, ofAccount(account))
		for _, id := range out.Resumed {
			fmt.Fprintf(w, "Resumed %s, which had waited for it.\n", id)
		}
	})
}

func ofAccount(account string) string {
	if account == "" {
		return ""
	}
	return ", account " + account
}

// connectionChanged routes the account's webhooks to the installations that use the connection, and resumes those that wait for it. Those of
// an app's connections keep their accounts.
func (s *session) connectionChanged(ctx context.Context, owner string, def connectors.Definition, name, account string) (resumed []string, err error) {
	users, err := s.usersOf(ctx, owner, def.Name, name)
	if err != nil || len(users) == 0 {
		return nil, err
	}
	c, err := s.temporal(ctx)
	if err != nil {
		return nil, err
	}
	var g errgroup.Group
	g.SetLimit(8)
	var mu sync.Mutex
	for _, u := range users {
		g.Go(func() error {
			if u.source && u.Account != account && owner != engine.App {
				if err := s.Catalog.SetAccount(ctx, u.Epoch, account); err != nil {
					return err
				}
			}
			waits, err := s.resumeWaiting(ctx, c, u.ID)
			if waits {
				mu.Lock()
				defer mu.Unlock()
				resumed = append(resumed, u.ID)
			}
			return err
		})
	}
	return resumed, g.Wait()
}

func (s *session) resumeWaiting(ctx context.Context, c client.Client, id string) (bool, error) {
	qctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	st, err := s.Status(qctx, c, id, "")
	if err != nil || st.Health != workflows.NeedsAuth {
		return false, explain(id, err)
	}
	_, err = s.update(ctx, c, id, workflows.ResumeUpdate, "", workflows.ResumeRequest{})
	return err == nil, err
}

// using is an installation that uses a connection, perhaps as its source's.
type using struct {
	catalog.Installation
	source bool
}

// usersOf finds the installations whose running revision uses a connection, or any that belongs to an app.
func (s *session) usersOf(ctx context.Context, owner, connector, name string) ([]using, error) {
	all, err := s.Catalog.Installations(ctx, catalog.Filter{})
	if err != nil {
		return nil, err
	}
	type revision struct {
		name   string
		number int
	}
	specs := make(map[revision]integration.Spec)
	var out []using
	for _, i := range all {
		key := revision{i.Integration, i.Revision}
		spec, ok := specs[key]
		if !ok {
			found, err := s.Catalog.Integration(ctx, i.Integration, i.Revision)
			if err != nil {
				return nil, err
			}
			spec = found.Spec
			specs[key] = spec
		}
		is := func(c, connection string, hidden bool) bool {
			if connection == "" {
				connection = block.DefaultConnection
			}
			return c == connector && connection == name && (owner == engine.App || block.Owner(hidden, i.User) == owner)
		}
		u := using{i, is(spec.Source.Connector, spec.Source.Connection, spec.Source.Hidden)}
		uses := u.source
		for _, d := range spec.Destinations {
			uses = uses || is(d.Connector, d.Connection, d.Hidden)
		}
		if uses {
			out = append(out, u)
		}
	}
	return out, nil
}

// connectionRow is a connection without its secret.
type connectionRow struct {
	Owner     string    `json:"owner"`
	Connector string    `json:"connector"`
	Name      string    `json:"name"`
	Account   string    `json:"account,omitempty"`
	Version   int64     `json:"version"`
	UpdatedAt time.Time `json:"updated_at"`
}

func (a *app) connectionList() *cobra.Command {
	var f ownerFlags
	c := &cobra.Command{
		Use:     "list",
		Short:   "List connections, without their secrets",
		Example: "  starter connection list\n  starter connection list --user ada\n  starter connection list --app",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			owner, err := f.owner()
			if err != nil {
				return err
			}
			return a.runConnectionList(c.Context(), owner)
		},
	}
	c.Flags().StringVarP(&f.user, "user", "u", "", "only this user's")
	c.Flags().BoolVar(&f.operator, "operator", false, "only the operator's")
	c.Flags().BoolVar(&f.app, "app", false, "only those of apps")
	return c
}

func (a *app) runConnectionList(ctx context.Context, owner string) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	all, err := s.Catalog.Connections(ctx, owner)
	if err != nil {
		return &failure{exitUnreachable, err}
	}
	rows := make([]connectionRow, len(all))
	for i, c := range all {
		rows[i] = connectionRow{c.Owner, c.Connector, c.Name, c.Account, c.Version, c.UpdatedAt}
	}
	return a.print(rows, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintln(w, "There are no connections; `starter connection set` stores one.")
			return
		}
		t := a.table("OWNER", "CONNECTOR", "NAME", "ACCOUNT", ">VERSION", "UPDATED")
		for _, r := range rows {
			t.Row(r.Owner, r.Connector, r.Name, r.Account, r.Version, ago(r.UpdatedAt))
		}
		t.Write(w, "")
	})
}

func (a *app) connectionCheck() *cobra.Command {
	var n connectionName
	var settings string
	c := &cobra.Command{
		Use:   "check CONNECTOR (--user USER | --operator | --app)",
		Short: "Have a worker try a connection",
		Long: `check has a worker open a connection and ask the app or the destination whether it works. It changes nothing but a token that is
due: that is renewed. The secret stays where it is: the worker reads it itself. Some connectors can't be opened without a block's
settings: --settings gives them.

With --app it opens what receives the app's webhooks. Whether the vendor accepts the app shows when a connection that belongs to it is
checked.`,
		Example: `  starter connection check shopify --user ada
  starter connection check datastream --operator --settings '{"url": "https://example.com/hook"}'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeConnections,
		RunE: func(c *cobra.Command, args []string) error {
			owner, err := n.owner()
			if err != nil {
				return err
			}
			in := activities.ConnectionInput{Owner: owner, Connector: args[0], Name: n.name}
			if settings != "" {
				var object map[string]json.RawMessage
				if json.Unmarshal([]byte(settings), &object) != nil || object == nil {
					return usage("--settings: want a JSON object, as a block of an integration has it")
				}
				in.Settings = json.RawMessage(settings)
			}
			return a.runConnectionCheck(c.Context(), in)
		},
	}
	n.flags(c)
	c.Flags().StringVar(&settings, "settings", "", "a block's settings as JSON; no secret belongs there")
	return c
}

// checked is the result of connection check.
type checked struct {
	activities.ConnectionInput
	OK      bool                `json:"ok"`
	Failure *activities.Failure `json:"failure,omitempty"`
}

func (a *app) runConnectionCheck(ctx context.Context, in activities.ConnectionInput) error {
	s, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.haveConnection(ctx, in.Owner, in.Connector, in.Name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	id := "check/" + in.Owner + "/" + in.Connector + "/" + in.Name + "/" + uuid.NewString()[:8]
	r, err := s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: workflows.TaskQueue, WorkflowExecutionTimeout: 80 * time.Second, StaticSummary: "check " + in.Connector,
	}, workflows.CheckName, in)
	if err != nil {
		return err
	}
	var out activities.CheckOutput
	if err := r.Get(ctx, &out); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fail(exitUnreachable, "no worker answered: is one running? (`worker`, or `starter dev`)")
		}
		return fmt.Errorf("check: %w", err)
	}
	res := checked{in, out.Failure == nil, out.Failure}
	if err := a.print(res, func(w io.Writer) {
		if res.OK && in.Owner == engine.App {
			fmt.Fprintf(w, "The credentials %s of the app of %s can be used. Whether the vendor accepts them shows when a connection is checked.\n", in.Name, in.Connector)
			return
		}
		if res.OK {
			fmt.Fprintf(w, "Connection %s of %s for %s works.\n", in.Name, in.Connector, in.Owner)
			return
		}
		fmt.Fprintf(w, "Connection %s of %s for %s could not be shown to work: %s (%s)\n", in.Name, in.Connector, in.Owner, out.Failure.Message, out.Failure.Kind)
		if in.Settings == nil && out.Failure.Kind == connectors.Invalid {
			fmt.Fprintln(w, "If that is about a block's settings, give them with --settings.")
		}
	}); err != nil || res.OK {
		return err
	}
	return silent{exitFailed}
}

func (s *session) haveConnection(ctx context.Context, owner, connector, name string) error {
	_, err := s.Catalog.Connection(ctx, owner, connector, name)
	if errors.Is(err, catalog.ErrNotFound) {
		return fail(exitNotFound, "there is no connection %s of %s for %s; `starter connection list` shows what there is", name, connector, owner)
	}
	return err
}

func (a *app) connectionDelete() *cobra.Command {
	var n connectionName
	var force bool
	c := &cobra.Command{
		Use:   "delete CONNECTOR (--user USER | --operator | --app)",
		Short: "Delete credentials",
		Long: `delete forgets credentials. Installations that use them, or whose connections belong to the app, stop at their next batch or poll
and say so: what is in use is deleted with --force only.`,
		Example:           "  starter connection delete shopify --user ada",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeConnections,
		RunE: func(c *cobra.Command, args []string) error {
			owner, err := n.owner()
			if err != nil {
				return err
			}
			return a.runConnectionDelete(c.Context(), args[0], owner, n.name, force)
		},
	}
	n.flags(c)
	c.Flags().BoolVar(&force, "force", false, "also when installations use it")
	return c
}

func (a *app) runConnectionDelete(ctx context.Context, connector, owner, name string, force bool) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.haveConnection(ctx, owner, connector, name); err != nil {
		return err
	}
	users, err := s.usersOf(ctx, owner, connector, name)
	if err != nil {
		return err
	}
	if len(users) > 0 && !force {
		return fail(exitExists, "%d installations use it, such as %s: uninstall them first, or delete it with --force and they stop", len(users), users[0].ID)
	}
	if err := s.Catalog.DeleteConnection(ctx, owner, connector, name); err != nil {
		return err
	}
	return a.print(map[string]any{"owner": owner, "connector": connector, "name": name, "deleted": true, "used_by": len(users)}, func(w io.Writer) {
		fmt.Fprintf(w, "Deleted connection %s of %s for %s.\n", name, connector, owner)
	})
}
