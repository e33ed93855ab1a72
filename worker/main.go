// Command worker runs workflows and activities, and receives webhooks: both in one process, or --role picks one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tributary/connectors/builtin"
	"tributary/internal/engine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// The first signal drains, the second one is not waited for.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stderr))
}

// run returns the exit status: 0 after a signal, 1 when something failed, 2 for wrong flags or settings.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	code := 0
	root := command(getenv, stderr, &code)
	root.SetArgs(args)
	root.SetOut(stderr)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return max(code, 1)
	}
	return 0
}

const help = `worker runs integrations: it takes tasks from Temporal, receives webhooks and forwards them.

It is configured by the environment. Temporal's settings are the standard ones (TEMPORAL_ADDRESS,
TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_..., TEMPORAL_PROFILE). Tributary's own:

  TRIBUTARY_KEY_FILE          key file that encrypts connections (required; ` + "`starter key new FILE`" + ` makes one)
  TRIBUTARY_DIR               local state, default .tributary
  TRIBUTARY_CATALOG           SQLite file or postgres:// DSN, default <dir>/catalog.db
  TRIBUTARY_SEGMENTS          file:///dir, s3://bucket or gs://bucket, default <dir>/segments
  TRIBUTARY_JOURNAL           the receiver's journal, on a volume of its own, default <dir>/journal
  TRIBUTARY_JOURNAL_BYTES     most bytes in the journal, default 4 GiB; past half of it webhooks get 503
  TRIBUTARY_PUBLIC_URL        how apps reach the receiver, default http://<listen>
  TRIBUTARY_LISTEN            where webhooks arrive, default 127.0.0.1:8080
  TRIBUTARY_OPS_LISTEN        /healthz, /readyz and /metrics of the receiver, default 127.0.0.1:9090
  TRIBUTARY_ALLOW_NETWORKS    networks inside your own that URLs in blocks may lead to, such as 10.1.0.0/16
  TRIBUTARY_STICKY_WORKFLOWS  most workflows held in memory, default 2000
  TRIBUTARY_DEPLOYMENT        with TRIBUTARY_BUILD_ID turns on Temporal's worker versioning

SIGTERM and SIGINT stop it: it takes nothing new, finishes what is under way, forwards what it can and leaves.
What is left then goes on at the next start, or on another worker.`

func command(getenv func(string) string, stderr io.Writer, code *int) *cobra.Command {
	var role, format, level string
	c := &cobra.Command{
		Use:   "worker",
		Short: "Run integrations and receive webhooks",
		Long:  help,
		Example: "  worker                   # everything in one process\n" +
			"  worker --role receiver   # only webhooks, on a machine of their own",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, _ []string) error {
			*code = 2
			logger, err := newLogger(stderr, format, level)
			if err != nil {
				return err
			}
			if role != "all" && role != "worker" && role != "receiver" {
				return fmt.Errorf("--role %q: want all, worker or receiver", role)
			}
			cfg, err := engine.Load(getenv)
			if err != nil {
				return fmt.Errorf("settings:\n%w", err)
			}
			*code = 1
			return serve(c.Context(), cfg, role, getenv, logger)
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		*code = 2
		return err
	})
	c.Flags().StringVar(&role, "role", "all", "what to run: all, worker or receiver")
	c.Flags().StringVar(&format, "log", defaultFormat(stderr), "log as json or text")
	c.Flags().StringVar(&level, "log-level", "info", "least severe level to log: debug, info, warn or error")
	return c
}

func defaultFormat(w io.Writer) string {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "text"
	}
	return "json"
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	o.Level = l
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, &o)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, &o)), nil
	}
	return nil, fmt.Errorf("--log %q: want json or text", format)
}

// serve runs until ctx ends, then stops first what takes in and then what works.
func serve(ctx context.Context, cfg engine.Config, role string, getenv func(string) string, logger *slog.Logger) (err error) {
	registry, files, err := builtin.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	e, err := engine.Open(ctx, cfg, registry, logger)
	if err != nil {
		return err
	}
	defer e.Close()
	c, err := engine.Dial(ctx, getenv("TEMPORAL_ADDRESS"), logger)
	if err != nil {
		return err
	}
	defer c.Close()
	var refused, failed <-chan struct{} // never, where that part does not run
	var w *engine.Worker
	if role != "receiver" {
		if w, err = e.StartWorker(ctx, c); err != nil {
			return err
		}
		defer w.Stop()
		refused = w.Ended()
		logger.Info("worker runs", "dir", cfg.Dir)
	}
	if role != "worker" {
		r, rerr := e.StartReceiver(ctx, c)
		if rerr != nil {
			return rerr
		}
		defer func() { err = errors.Join(err, r.Stop(context.WithoutCancel(ctx))) }()
		failed = r.Ended()
		logger.Info("receiver runs", "url", r.URL, "public_url", cfg.PublicURL, "ops_url", r.OpsURL)
	}
	select {
	case <-refused:
		return fmt.Errorf("the worker has ended: Temporal takes it no more; see that the namespace is there and that the versions fit: %w", w.Err())
	case <-failed:
		return errors.New("the receiver has ended")
	case <-ctx.Done():
	}
	logger.Info("stopping: finishing what is under way")
	return nil
}
