package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"tributary/connectors"
	"tributary/internal/integration"
	"tributary/internal/terminal"
)

// streams are what a run of the command line reads and writes; tests give their own.
type streams struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	more     []connectors.Definition // beside those that are built in
}

// app is one run of the command line.
type app struct {
	streams
	output  string // text or json
	dir     string
	verbose bool
}

// run executes a command line and returns its exit status.
func run(ctx context.Context, args []string, s streams) int {
	a := &app{streams: s}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = fail(exitInterrupted, "interrupted")
	}
	a.report(err)
	return codeOf(err)
}

// report writes an error where errors go; with -o json as an object.
func (a *app) report(err error) {
	if errors.As(err, new(silent)) {
		return
	}
	if a.json() {
		out := map[string]any{"code": codeOf(err), "message": err.Error()}
		if problems := integration.Problems(nil); errors.As(err, &problems) {
			out["problems"] = problems
		}
		writeJSON(a.err, map[string]any{"error": out})
		return
	}
	fmt.Fprintln(a.err, "error:", err)
}

const rootHelp = `starter runs a development stack, installs integrations for users and steers what is installed.

Try it:
  starter demo                                  see everything at work, in one process
  starter dev                                   keep a stack running in this directory, with Temporal's UI

Then, in the same directory and another terminal:
  starter connection set shopify --user ada     store ada's credentials, read from stdin
  starter install examples/customers.yaml --user ada
  starter status customers/ada --watch
  starter query 'SELECT count(*) FROM shopify_orders'

Against any other Temporal Service, set the standard variables (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, ...)
and Tributary's own (TRIBUTARY_CATALOG, TRIBUTARY_SEGMENTS, TRIBUTARY_KEY_FILE; see ` + "`worker --help`" + `).`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "starter",
		Short:         "Run, install and steer integrations",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			switch {
			case a.output == "text" || a.output == "json":
			case a.output == "csv" && c.Annotations[csvAnnotation] != "":
			default:
				wrong := a.output
				a.output = "text"
				return usage("-o %q: want text or json (query also csv)", wrong)
			}
			if err := c.ValidateFlagGroups(); err != nil {
				return usage("%v; see `%s --help`", err, c.CommandPath())
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%v; see `%s --help`", err, c.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVarP(&a.output, "output", "o", "text", "write text, or json for programs")
	f.StringVar(&a.dir, "dir", "", "directory of local state (default: TRIBUTARY_DIR, or .tributary)")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what happens to stderr")

	root.AddGroup(&cobra.Group{ID: "try", Title: "Try it:"}, &cobra.Group{ID: "define", Title: "Define and connect:"},
		&cobra.Group{ID: "install", Title: "Install:"}, &cobra.Group{ID: "steer", Title: "Watch and steer:"})
	for group, commands := range map[string][]*cobra.Command{
		"try":     {a.dev(), a.demo(), a.query(), a.send()},
		"define":  {a.validate(), a.schema(), a.connectors(), a.connection(), a.key()},
		"install": {a.install(), a.uninstall(), a.activate(), a.deactivate()},
		"steer":   {a.list(), a.status(), a.pause(), a.resume(), a.poll(), a.backfill(), a.flush(), a.quarantine()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(exitCodes())
	strict(root)
	return root
}

// strict makes wrong arguments of every command a usage error, and a group without its subcommand one too.
func strict(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage("%v; want `%s`; see `%s --help`", err, strings.TrimSuffix(c.UseLine(), " [flags]"), c.CommandPath())
			}
			return nil
		}
	}
	c.SuggestionsMinimumDistance = 2 // letters that a mistyped command may be off
	if c.HasSubCommands() && c.RunE == nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			message := fmt.Sprintf("unknown command %q for `%s`", args[0], c.CommandPath())
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				message += fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
			}
			return usage("%s; see `%s --help`", message, c.CommandPath())
		}
		c.Args = cobra.ArbitraryArgs
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

// csvAnnotation marks the commands that can write -o csv.
const csvAnnotation = "csv"

func (a *app) json() bool { return a.output == "json" }

// log is for what libraries say: nothing unless asked for.
func (a *app) log() *slog.Logger {
	if !a.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// note tells a person something beside the result.
func (a *app) note(format string, args ...any) {
	if !a.json() {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// print writes a result: the object for programs, what text writes for people.
func (a *app) print(v any, text func(w io.Writer)) error {
	if a.json() {
		return writeJSON(a.out, v)
	}
	text(a.out)
	return nil
}

// table is a table as wide as the terminal.
func (a *app) table(headings ...string) *terminal.Table {
	t := terminal.NewTable(headings...)
	t.Width = terminal.Width(a.out)
	return t
}
