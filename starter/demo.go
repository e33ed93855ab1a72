package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tributary/internal/demo"
	"tributary/internal/engine"
	"tributary/internal/terminal"
)

const demoHelp = `demo shows everything at work, in one process and a temporary directory:

  - a Temporal Server with its UI, a worker, the webhook receiver and local stores
  - a sandbox shop that speaks Shopify's Admin GraphQL and sends signed webhooks
  - an endpoint that verifies the signature of every request that Data Stream sends it
  - customers and orders in real time into DuckDB and to the endpoint; thousands of products by polling into DuckDB

On the way it kills its own worker and starts another. At the end it compares what the shop sent with what arrived,
byte for byte, and ends with status 7 if a record is missing, doubled or changed.`

func (a *app) demo() *cobra.Command {
	o := demo.Options{Grace: 5 * time.Second}
	var keep, spare bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "See everything at work, with a sandbox shop",
		Long:  demoHelp,
		Example: `  starter demo
  starter demo --keep                       # go on running afterwards, as starter dev does
  starter demo --changes 10000 --rate 500   # more of it`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Changes < 1 || o.Products < 1 || o.Rate <= 0 {
				return usage("--changes, --products and --rate must be greater than 0")
			}
			if err := checkPort("--ui-port", o.UIPort); err != nil {
				return err
			}
			o.Kill = !spare
			return a.runDemo(c.Context(), o, keep)
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "keep the directory and go on running until Ctrl-C")
	c.Flags().IntVar(&o.Changes, "changes", 2000, "how many customers and orders change")
	c.Flags().Float64Var(&o.Rate, "rate", 200, "changes a second")
	c.Flags().IntVar(&o.Products, "products", 3000, "how many products there are to read")
	c.Flags().IntVar(&o.UIPort, "ui-port", engine.DevUIPort, "the Temporal UI's port; another free one if it is taken")
	c.Flags().DurationVar(&o.Patience, "patience", 2*time.Minute, "longest wait for everything to arrive")
	c.Flags().BoolVar(&spare, "spare-worker", false, "do not kill the worker")
	c.Flags().StringVar((*string)(&o.Sabotage), "sabotage", "", "have destinations lie about a record: drop, alter or double")
	if err := c.Flags().MarkHidden("sabotage"); err != nil {
		panic(err) // only when there is no such flag
	}
	return c
}

// demoResult is what demo -o json prints.
type demoResult struct {
	demo.Report
	OK  bool   `json:"ok"`
	Dir string `json:"dir,omitempty"`
}

func (a *app) runDemo(ctx context.Context, o demo.Options, keep bool) (err error) {
	if o.Dir = a.dir; o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "tributary-demo-"); err != nil {
			return err
		}
		if !keep {
			defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
		}
	}
	o.Out, o.Log = a.out, a.demoLog()
	if a.json() {
		o.Out = a.err // the story; the result alone is for programs
	}
	o.Refresh = terminal.IsTerminal(o.Out, a.getenv)
	fmt.Fprintln(o.Out, "Tributary demo: from a sandbox shop's webhooks and pages to DuckDB and a signed endpoint.")
	fmt.Fprintln(o.Out, "Starting Temporal with its UI, worker, receiver, sandbox shop and endpoint ...")
	d, err := demo.Start(ctx, o)
	if err != nil {
		return err
	}
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		return d.Stop(context.WithoutCancel(ctx))
	}
	defer func() { err = errors.Join(err, stop()) }()
	report, err := d.Play(ctx)
	if err != nil {
		return err
	}
	res := demoResult{Report: report, OK: report.Clean()}
	if keep {
		res.Dir = o.Dir
	}
	if err := a.print(res, func(w io.Writer) { a.writeReport(w, report, o.Sabotage) }); err != nil {
		return err
	}
	if keep {
		a.goOn(o.Out, d, o.Dir)
		<-ctx.Done()
		fmt.Fprintln(o.Out, "\nStopping ...")
	} else if !a.json() {
		fmt.Fprintln(a.out, "\nGo on: `starter demo --keep` leaves all of this running to look around; `starter dev` starts a stack for your own apps.")
	}
	if err := stop(); err != nil {
		return err
	}
	if !report.Clean() {
		return silent{exitMismatch}
	}
	return nil
}

func (a *app) writeReport(w io.Writer, r demo.Report, sabotage demo.Sabotage) {
	fmt.Fprintf(w, "\nAfter %.0f s, %d worker killed: what was sent beside what arrived, byte for byte by SHA-256\n\n", r.Seconds, r.Killed)
	t := terminal.NewTable("", ">SENT", ">ARRIVED", ">MISSING", ">DOUBLED", ">CHANGED", ">UNSENT", "")
	for _, row := range []struct {
		what string
		demo.Tally
	}{
		{"webhooks in DuckDB", r.Webhooks}, {"webhooks at the endpoint", r.Stream}, {"products in DuckDB", r.Products},
	} {
		verdict := "ok"
		if !row.Clean() {
			verdict = "WRONG"
		}
		t.Row(row.what, terminal.Count(row.Sent), terminal.Count(row.Arrived), row.Missing, row.Doubled, row.Changed, row.Unsent, verdict)
	}
	t.Write(w, "  ")
	fmt.Fprintf(w, "\n  The endpoint refused %d signatures", r.Refused)
	if r.Repeats > 0 {
		fmt.Fprintf(w, "; %d requests came again after the kill and were known by their webhook-id", r.Repeats)
	}
	fmt.Fprintln(w, ".")
	if !r.Settled {
		fmt.Fprintln(w, "  It did not settle in time (--patience).")
	}
	if r.Clean() {
		fmt.Fprintln(w, "  Every record arrived, once, as it was sent.")
	} else {
		fmt.Fprintln(w, "  THIS IS WRONG: records are missing, doubled or changed.")
	}
	if sabotage != "" {
		fmt.Fprintf(w, "  (Sabotage %q was asked for.)\n", sabotage)
	}
	fmt.Fprintf(w, "\nThe warehouse, asked with SQL:\n\n%s\n\n", indent(r.Query, "  "))
	a.writeRows(w, r.Rows, "  ")
	fmt.Fprintln(w, "\nThe workflows in the Temporal UI:")
	for _, id := range []string{"customers/ada", "products/ada"} {
		fmt.Fprintf(w, "  %-14s %s\n", id, r.UI[id])
	}
}

func (a *app) goOn(w io.Writer, d *demo.Demo, dir string) {
	fmt.Fprintf(w, `
It goes on running until Ctrl-C. In another terminal:

  export TRIBUTARY_DIR=%s
  starter status customers/ada --watch
  starter query 'SELECT _op, count(*) FROM shopify_customers GROUP BY _op'
  starter pause customers/ada --reason 'looking around'
  starter uninstall products/ada

Temporal UI: %s
`, dir, d.Dev.Addresses.UI)
}

func indent(text, by string) string { return by + strings.ReplaceAll(text, "\n", "\n"+by) }
