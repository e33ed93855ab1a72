package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"tributary/internal/devserver"
	"tributary/internal/engine"
)

const devHelp = `dev runs everything in one process on this machine: a Temporal Server with its UI, a worker, the webhook
receiver, and stores in local files. It goes on until Ctrl-C; started again in the same directory it goes on where it was.

What runs here is for development: Temporal and its UI ask for no password, and URLs in blocks may lead to this
machine, so that a local server or a tunnel can be tried.

Other starter commands that run in the same directory find this stack by themselves.`

func (a *app) dev() *cobra.Command {
	var o engine.DevOptions
	var headless bool
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run the whole stack in this directory",
		Long:  devHelp,
		Example: `  starter dev
  starter dev --port 7300 --ui-port 8300          # other ports; taken ones are replaced by free ones anyway
  TRIBUTARY_PUBLIC_URL=https://me.tunnel.example starter dev   # let apps reach the receiver through a tunnel`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := cmp.Or(checkPort("--port", o.Port), checkPort("--ui-port", o.UIPort)); err != nil {
				return err
			}
			if headless {
				o.UIPort = devserver.NoUI
			}
			return a.runDev(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.IP, "ip", "127.0.0.1", "address that Temporal and its UI listen on")
	c.Flags().IntVar(&o.Port, "port", engine.DevPort, "Temporal's port; 0 = any free")
	c.Flags().IntVar(&o.UIPort, "ui-port", engine.DevUIPort, "the Temporal UI's port; 0 = any free")
	c.Flags().BoolVar(&headless, "headless", false, "without the UI")
	return c
}

func checkPort(flag string, port int) error {
	if port < 0 || port > 65535 {
		return usage("%s %d: want a port from 1 to 65535, or 0 for any that is free", flag, port)
	}
	return nil
}

func (a *app) runDev(ctx context.Context, o engine.DevOptions) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	if at, err := engine.FindDev(ctx, cfg.Dir); err == nil {
		return fail(exitExists, "starter dev runs in %s already, with Temporal at %s: stop it with Ctrl-C where it was started, or give another directory with --dir", cfg.Dir, at.Temporal)
	}
	reg, files, err := a.registry()
	if err != nil {
		return err
	}
	o.Query = files.Query
	o.Note = func(text string) { a.note("note: %s", text) }
	a.note("Starting Temporal, worker and receiver in %s ...", cfg.Dir)
	d, err := engine.StartDev(ctx, cfg, reg, o, a.devLog())
	if err != nil {
		return err
	}
	if err := a.print(d.Addresses, func(w io.Writer) { a.devBanner(w, d, cfg.Dir) }); err != nil {
		_ = d.Stop(context.WithoutCancel(ctx))
		return err
	}
	select {
	case <-ctx.Done():
	case <-d.Failed():
		a.note("The receiver has failed.")
	}
	a.note("\nStopping ...")
	if err := errors.Join(d.Stop(context.WithoutCancel(ctx)), files.Close()); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	a.note("Stopped. `starter dev` goes on from here.")
	return nil
}

// devLog tells what goes wrong; all with --verbose.
func (a *app) devLog() *slog.Logger {
	level := slog.LevelWarn
	if a.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// demoLog keeps the story clean: a worker that is killed leaves warnings everywhere.
func (a *app) demoLog() *slog.Logger {
	if a.verbose {
		return a.devLog()
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelError + 1}))
}

func (a *app) devBanner(w io.Writer, d *engine.Dev, dir string) {
	at := d.Addresses
	ui := at.UI
	if ui == "" {
		ui = "none (--headless)"
	}
	fmt.Fprintf(w, `
Tributary runs.

  Temporal UI   %s
  Temporal      %s   (namespace %s)
  Webhooks      %s
  Health        http://%s/readyz   /metrics
  Data          %s

Next, in another terminal in the same directory:

  starter connection set shopify --user ada < shop.json    credentials for a user; `+"`starter connectors describe shopify`"+`
  starter install examples/customers.yaml --user ada
  starter status customers/ada --watch
  starter query 'SHOW TABLES'

Ctrl-C stops it; nothing is lost.
`, ui, at.Temporal, at.Namespace, at.PublicURL, at.OpsListen, relative(dir))
}

// relative shortens a path that lies below the working directory.
func relative(path string) string {
	if wd, err := os.Getwd(); err == nil && len(path) > len(wd)+1 && path[:len(wd)+1] == wd+"/" {
		return path[len(wd)+1:]
	}
	return path
}
