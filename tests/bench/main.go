// Command bench measures what Tributary costs: every row of the table of costs in one run, beside floors that do the same durable
// work without an engine. Figures drift with the machine and its load, so only those of one run are compared, and it fails when the
// engine's share of a floor falls below what a file says.
//
// It needs Linux and a PostgreSQL that pgtest finds. Sizes are those of the table: 1,000,000 polled records, 1,000 installations,
// 200,000 and, spread, 600,000 webhooks; -scale 0.01 makes all of them smaller, to try it out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/internal/pgtest"
)

const (
	webhookCount     = 200_000
	spreadCount      = 600_000 // several times what installations gather between two signals
	latencyCount     = 6_000   // half a minute
	slowCount        = 500_000
	spreadOver       = 1_000
	deliveryTime     = 15 * time.Minute
	defaultRows      = 1_000_000
	defaultInstalled = 2_000
)

// bench is one run.
type bench struct {
	scale         float64
	rows          int
	installations int
	profiles      string

	db      *database
	folder  string
	began   time.Time
	results []row
}

// parts are what a run measures, in order.
var parts = []struct {
	name, about string
	run         func(*bench, context.Context) error
}{
	{"webhooks", "webhooks flat out into one installation", func(b *bench, ctx context.Context) error { return b.webhooks(ctx, 1) }},
	{"spread", "the same spread over many installations", func(b *bench, ctx context.Context) error { return b.webhooks(ctx, max(b.scaled(spreadOver), 2)) }},
	{"latency", "how long a webhook takes to its row", (*bench).latency},
	{"polls", "reading all that an app has", (*bench).polls},
	{"slow", "the same of an app that takes its time for a page", (*bench).slowPolls},
	{"destinations", "a write of each destination beside a load by hand", (*bench).writes},
	{"sources", "reading an app's stand-in with the vendor's page size", (*bench).reads},
	{"idle", "what installations cost that have nothing to do", (*bench).idle},
}

// about is the head of -h.
const about = `bench measures the engine against floors: the same durable work, on the same machine in the same run, done by hand
without an engine. The ratio is the engine's share of its floor, or of the goal where there is no floor; more is better. Compare
ratios and not figures, which drift with the machine, and let nothing else run beside it.

It takes about 15 minutes on 2 cores and ends with status 1 when a ratio is below tests/bench/ratios.json.

  make bench                                            everything, against the recorded ratios
  make bench ARGS='-record'                             everything, and record 85 % of each ratio as the least
  make bench ARGS='-scale 0.1 -only polls,slow -ratios ""'  a quick look at two parts, compared with nothing
  make bench ARGS='-only latency -cpuprofile /tmp/cpu -ratios ""'   where the time goes: go tool pprof -top FILE

Parts:
`

func help() {
	w := flag.CommandLine.Output()
	fmt.Fprint(w, about)
	for _, p := range parts {
		fmt.Fprintf(w, "  %-12s %s\n", p.name, p.about)
	}
	fmt.Fprint(w, "\nFlags:\n")
	flag.PrintDefaults()
}

func main() {
	run := parent
	if raw := os.Getenv(childVariable); raw != "" {
		run = func() error { return childhood(raw) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// childhood is the life of a child process.
func childhood(raw string) error {
	var t task
	if err := json.Unmarshal([]byte(raw), &t); err != nil {
		return err
	}
	signal.Ignore(os.Interrupt) // the parent ends it
	switch {
	case t.Engine != nil:
		return serve(t.Engine.serve)
	case t.Temporal != nil:
		return serve(t.Temporal.serve)
	case t.Floor != nil:
		return serve(t.Floor.serve)
	case t.Reader != nil:
		return serve(t.Reader.serve)
	}
	return fmt.Errorf("a child without a task: $%s is for this program alone", childVariable)
}

func parent() (err error) {
	b := &bench{}
	flag.IntVar(&b.rows, "rows", defaultRows, "records to poll")
	flag.Float64Var(&b.scale, "scale", 1, "multiplies every size")
	flag.IntVar(&b.installations, "idle", defaultInstalled, "idle installations to make")
	flag.StringVar(&b.profiles, "cpuprofile", "", "folder for CPU profiles of the engine and of Temporal")
	file := flag.String("ratios", "tests/bench/ratios.json", "file of the least ratios; empty: compare nothing")
	write := flag.Bool("record", false, "write the file of ratios instead of comparing")
	output := flag.String("o", "table", "table or json")
	only := flag.String("only", "", "comma-separated parts to run, of "+partNames()+"; empty: all")
	flag.Usage = help
	flag.Parse()
	chosen := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	for _, name := range chosen {
		if !slices.Contains(strings.Split(partNames(), ", "), name) {
			return fmt.Errorf("-only %s: want some of %s", name, partNames())
		}
	}
	whole := len(chosen) == 0
	if *output != "table" && *output != "json" || flag.NArg() > 0 || !(b.scale > 0) {
		flag.Usage()
		return errors.New("wrong flags")
	}
	size := Size{Scale: b.scale, Rows: b.rows, Installations: b.installations}
	if *file != "" && !*write {
		if _, err := compare(*file, size, nil, false); err != nil {
			return err // before half an hour of work
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if b.folder, err = os.MkdirTemp("", "tributary-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.folder)
	server, err := pgtest.Launch(settings...)
	if err != nil {
		return err
	}
	defer server.Close()
	b.db = &database{dsn: server.DSN("postgres")}
	if b.db.Conn, err = pgx.Connect(ctx, b.db.dsn); err != nil {
		return err
	}
	defer b.db.Close(context.WithoutCancel(ctx))
	b.began = time.Now()
	for _, p := range parts {
		if !whole && !slices.Contains(chosen, p.name) {
			continue
		}
		b.say("%s: %s", p.name, p.about)
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := b.db.clear(ctx); err != nil {
			return err
		}
	}
	if err := b.print(os.Stdout, *output); err != nil {
		return err
	}
	switch {
	case *file == "":
		return nil
	case *write:
		return record(*file, size, b.results)
	}
	return verdict(*file, size, b.results, whole)
}

// verdict is an error that names the rows that fell below the file's ratios, of a whole run also those that it lacks.
func verdict(file string, size Size, rows []row, whole bool) error {
	below, err := compare(file, size, rows, whole)
	if err == nil && len(below) > 0 {
		err = errors.New("slower than " + file + " allows:\n  " + strings.Join(below, "\n  "))
	}
	return err
}

func partNames() string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return strings.Join(names, ", ")
}

func (b *bench) print(w io.Writer, output string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(b.results)
	}
	return print(w, b.results)
}

// scaled is a size at the run's scale, at least 1.
func (b *bench) scaled(n int) int { return max(int(float64(n)*b.scale), 1) }

func (b *bench) add(r row) {
	r = r.judged()
	b.results = append(b.results, r)
	b.say("  %s: %s %s, ratio %.2f", r.Name, figure(r.Engine), r.Unit, r.Ratio)
}

// say tells whoever waits what goes on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// addCost adds CPU time. That of PostgreSQL and of the generator counts for neither.
func (b *bench) addCost(key, name string, floor, engine, temporal float64, records int) {
	per := 1000 / float64(records)
	b.add(row{Key: key, Name: name, Unit: "CPU s", Floor: floor * per, Engine: (engine + temporal) * per, Less: true,
		Note: fmt.Sprintf("worker and receiver %.4f, Temporal %.4f", engine*per, temporal*per)})
}

// dir makes a folder.
func (b *bench) dir(name string) (string, error) {
	dir := filepath.Join(b.folder, name)
	return dir, os.Mkdir(dir, 0o700)
}

func (b *bench) world(ctx context.Context, name string, sticky int) (*world, error) {
	dir, err := b.dir(name)
	if err != nil {
		return nil, err
	}
	return newWorld(ctx, dir, b.db.dsn, sticky)
}

// profile starts CPU profiles of a world, if any are wanted; what it returns ends and writes them.
func (b *bench) profile(ctx context.Context, name string, w *world) (stop func() error, err error) {
	if b.profiles == "" {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return nil, err
	}
	children := map[string]*child{"engine": w.engine, "temporal": w.temporal}
	for _, c := range children {
		if err := c.call(ctx, http.MethodPost, "/profile/start", nil); err != nil {
			return nil, err
		}
	}
	return func() error {
		for what, c := range children {
			raw, err := c.bytes(ctx, http.MethodPost, "/profile/stop")
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(b.profiles, name+"."+what+".pprof"), raw, 0o644); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
