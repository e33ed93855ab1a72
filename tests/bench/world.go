package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/connectors/builtin"
	"tributary/connectors/postgres"
	"tributary/connectors/webhook"
	"tributary/internal/devserver"
	"tributary/internal/engine"
	"tributary/internal/integration"
	"tributary/internal/vault"
)

type temporalTask struct {
	Dir string `json:"dir"`
}

func (t temporalTask) serve(ctx context.Context, _ *http.ServeMux) (string, func(), error) {
	s, err := devserver.Start(ctx, devserver.Options{Dir: t.Dir, UIPort: devserver.NoUI, SyncFull: true, Logger: quiet()})
	if err != nil {
		return "", nil, err
	}
	return s.FrontendAddress(), func() { _ = s.Stop() }, nil
}

type engineTask struct {
	Config   engine.Config `json:"config"`
	Temporal string        `json:"temporal"`
}

// serve runs worker and receiver.
func (t engineTask) serve(ctx context.Context, _ *http.ServeMux) (string, func(), error) {
	e, c, err := open(ctx, t.Config, t.Temporal)
	if err != nil {
		return "", nil, err
	}
	w, err := e.StartWorker(ctx, c)
	if err != nil {
		return "", nil, err
	}
	r, err := e.StartReceiver(ctx, c)
	if err != nil {
		return "", nil, err
	}
	return r.URL, func() {
		_ = r.Stop(context.Background())
		w.Stop()
		c.Close()
		e.Close()
	}, nil
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// open opens an engine's stores and connects to Temporal.
func open(ctx context.Context, cfg engine.Config, temporal string) (*engine.Engine, client.Client, error) {
	registry, _, err := builtin.New(pagesDefinition())
	if err != nil {
		return nil, nil, err
	}
	cfg.AllowNetworks = engine.DevNetworks()
	e, err := engine.Open(ctx, cfg, registry, quiet())
	if err != nil {
		return nil, nil, err
	}
	c, err := engine.Dial(ctx, temporal, quiet())
	if err != nil {
		e.Close()
		return nil, nil, err
	}
	return e, c, nil
}

// world is an engine with a Temporal Server of its own and nothing in them.
type world struct {
	*engine.Engine
	client           client.Client
	engine, temporal *child
}

func newWorld(ctx context.Context, dir, dsn string, sticky int) (_ *world, err error) {
	w := &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.temporal, err = spawn(task{Role: "temporal", Temporal: &temporalTask{Dir: filepath.Join(dir, "temporal")}}); err != nil {
		return nil, err
	}
	cfg, err := engine.Load(func(k string) string {
		return map[string]string{
			"TRIBUTARY_DIR": filepath.Join(dir, "engine"), "TRIBUTARY_LISTEN": "127.0.0.1:0", "TRIBUTARY_OPS_LISTEN": "127.0.0.1:0",
			"TRIBUTARY_KEY_FILE": filepath.Join(dir, "engine", "key.json"),
		}[k]
	})
	if err != nil {
		return nil, err
	}
	if sticky > 0 {
		cfg.StickyWorkflows = sticky
	}
	if err := vault.GenerateKeyFile(cfg.KeyFile); err != nil {
		return nil, err
	}
	if w.Engine, w.client, err = open(ctx, cfg, w.temporal.Address); err != nil {
		return nil, err
	}
	for connector, secret := range map[string]any{
		"postgres": postgres.Connection{URL: dsn}, "webhook": webhook.Connection{Secret: hookSecret},
	} {
		raw, err := json.Marshal(secret)
		if err != nil {
			return nil, err
		}
		if _, err := w.Vault.Put(ctx, vault.Operator, connector, integration.DefaultConnection, raw, ""); err != nil {
			return nil, err
		}
	}
	w.engine, err = spawn(task{Role: "engine", Engine: &engineTask{Config: cfg, Temporal: w.temporal.Address}})
	return w, err
}

func (w *world) close() {
	if w.engine != nil {
		w.engine.stop()
	}
	if w.client != nil {
		w.client.Close()
	}
	if w.Engine != nil {
		w.Engine.Close()
	}
	if w.temporal != nil {
		w.temporal.stop()
	}
}

// explain adds what the engine said to an error.
func (w *world) explain(err error) error {
	if logs := w.engine.logs.String(); logs != "" {
		return fmt.Errorf("%w; the engine says:\n%s", err, logs)
	}
	return err
}

// define saves a definition.
func (w *world) define(ctx context.Context, yaml string) error {
	spec, err := integration.Parse("bench.yaml", []byte(yaml), w.Registry)
	if err != nil {
		return err
	}
	_, err = w.Save(ctx, spec)
	return err
}

// installers is how many installs run at once.
const installers = 32

// install installs for users from first up to next.
func (w *world) install(ctx context.Context, name string, first, next int) ([]engine.Installed, error) {
	out := make([]engine.Installed, next-first)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(installers)
	for i := range out {
		g.Go(func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
			defer cancel()
			out[i], err = w.Install(ctx, w.client, engine.InstallRequest{Integration: name, User: fmt.Sprintf("u%d", first+i)})
			if err != nil {
				return fmt.Errorf("install %d: %w", first+i, w.explain(err))
			}
			return nil
		})
	}
	return out, g.Wait()
}

// cost is the CPU time of the engine and of its Temporal Server, in seconds.
func (w *world) cost(ctx context.Context) (engine, temporal float64, err error) {
	e, err := w.engine.usage(ctx, false)
	if err != nil {
		return 0, 0, err
	}
	t, err := w.temporal.usage(ctx, false)
	return e.CPU, t.CPU, err
}

// shape makes the tables that floors fill like those that the PostgreSQL destination makes for itself: it writes a record
// by that, which the caller's tables are then made like.
func shape(ctx context.Context, dsn string, mode connectors.Mode, like string) error {
	raw, err := json.Marshal(postgres.Connection{URL: dsn})
	if err != nil {
		return err
	}
	settings, err := json.Marshal(postgres.Settings{Table: like})
	if err != nil {
		return err
	}
	d, err := postgres.Definition().OpenDestination(connectors.Config{
		Settings: settings, Connection: raw, Mode: mode, Env: connectors.Env{Networks: engine.DevNetworks()},
	})
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.Write(ctx, connectors.Batch{
		Installation: "shape", Integration: "shape", User: "shape", Epoch: "shape", Lane: "shape-" + like, Next: 1, Mode: mode,
		Records: []connectors.Record{{ID: "1", Stream: "shape", Key: "1", Op: connectors.Upsert, Data: []byte(`{}`)}},
	})
	return err
}
