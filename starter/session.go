package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"tributary/connectors"
	"tributary/connectors/builtin"
	"tributary/connectors/duckdb"
	"tributary/internal/catalog"
	"tributary/internal/engine"
)

// session is what commands work with: the stores, and Temporal when it is asked for.
type session struct {
	*engine.Engine
	Files *duckdb.Files
	// dev is the stack that runs in the directory; nil = none does.
	dev    *engine.Addresses
	app    *app
	client client.Client
}

func (a *app) registry() (*connectors.Registry, *duckdb.Files, error) { return builtin.New(a.more...) }

// directory is where local state is.
func (a *app) directory() string {
	if a.dir != "" {
		return a.dir
	}
	if dir := a.getenv("TRIBUTARY_DIR"); dir != "" {
		return dir
	}
	return ".tributary"
}

// config reads the environment, with --dir before it.
func (a *app) config() (engine.Config, error) {
	cfg, err := engine.Load(func(name string) string {
		if name == "TRIBUTARY_DIR" {
			return a.directory()
		}
		return a.getenv(name)
	})
	if err != nil {
		return cfg, usage("settings: %w", err)
	}
	return cfg, nil
}

// open opens the stores: those of the environment or, where it names none, those of the dev stack in the directory.
func (a *app) open(ctx context.Context) (*session, error) {
	if a.getenv("TRIBUTARY_CATALOG") == "" && a.nothingHere() {
		return nil, fail(exitUnreachable, "there is no Tributary in %s: start one with `starter dev`, run this where it was started, or set TRIBUTARY_CATALOG", a.directory())
	}
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	s := &session{app: a}
	if a.getenv("TRIBUTARY_CATALOG") == "" { // the installations in this directory are the dev stack's
		if dev, err := engine.FindDev(ctx, cfg.Dir); err == nil {
			s.dev = &dev
			cfg.PublicURL = dev.PublicURL
			cfg.AllowNetworks = append(cfg.AllowNetworks, engine.DevNetworks()...)
		}
	}
	if made := filepath.Join(cfg.Dir, engine.KeyFileName); cfg.KeyFile == "" {
		if _, err := os.Stat(made); err == nil {
			cfg.KeyFile = made
		}
	}
	reg, files, err := a.registry()
	if err != nil {
		return nil, err
	}
	s.Files = files
	if s.Engine, err = engine.Open(ctx, cfg, reg, a.log()); err != nil {
		return nil, &failure{exitUnreachable, err}
	}
	return s, nil
}

// nothingHere says that the directory is not one of local state: it is missing, or nothing has made a catalog there and nothing may now,
// for want of a key file.
func (a *app) nothingHere() bool {
	place := a.directory()
	if a.getenv("TRIBUTARY_KEY_FILE") == "" {
		place = filepath.Join(place, "catalog.db")
	}
	_, err := os.Stat(place)
	return errors.Is(err, os.ErrNotExist)
}

func (s *session) close() {
	if s.client != nil {
		s.client.Close()
	}
	s.Close()
	_ = s.Files.Close() // nothing was written
}

// dialTime bounds the wait for Temporal: a person is waiting.
const dialTime = 10 * time.Second

// temporal connects to Temporal, once: to what the environment says or else to the dev stack.
func (s *session) temporal(ctx context.Context) (client.Client, error) {
	if s.client != nil {
		return s.client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var err error
	switch {
	case s.dev != nil:
		s.client, err = s.dev.Dial(ctx, s.app.log())
	case s.app.getenv("TEMPORAL_ADDRESS") == "" && s.app.getenv("TEMPORAL_PROFILE") == "" && engine.HadDev(s.Config.Dir):
		err = fmt.Errorf("the dev stack in %s is not running: start it again with `starter dev`", s.Config.Dir)
	default:
		s.client, err = engine.Dial(ctx, s.app.getenv("TEMPORAL_ADDRESS"), s.app.log())
	}
	if err != nil {
		return nil, &failure{exitUnreachable, err}
	}
	return s.client, nil
}

// connected opens the stores and Temporal.
func (a *app) connected(ctx context.Context) (*session, error) {
	s, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.temporal(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// installation finds what is installed under an ID; what has ended is not found.
func (s *session) installation(ctx context.Context, id string) (catalog.Installation, error) {
	inst, err := s.Catalog.Installation(ctx, id)
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		return inst, fail(exitNotFound, "there is no installation %s; `starter list` shows what is installed", id)
	case err != nil:
		return inst, &failure{exitUnreachable, err}
	case inst.State == catalog.Ended:
		return inst, fail(exitNotFound, "%s is not installed: it ended on %s (%s)", id, inst.EndedAt.Local().Format(time.DateTime), inst.Note)
	}
	return inst, nil
}

// explain turns Temporal's answer about an installation into words.
func explain(id string, err error) error {
	var gone *serviceerror.NotFound
	var failed *serviceerror.QueryFailed
	switch {
	case err == nil:
		return nil
	case errors.As(err, &gone):
		return fail(exitNotFound, "there is no running workflow %s: `starter uninstall %s` tidies up what is left of it", id, id)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, new(*serviceerror.DeadlineExceeded)):
		return fail(exitUnreachable, "%s does not answer: is a worker running? (`worker`, or `starter dev`)", id)
	case errors.As(err, &failed):
		return fail(exitFailed, "%s can't answer: %s", id, failed.Message)
	}
	return err
}

// answerTime bounds the wait for a workflow to answer.
const answerTime = 15 * time.Second

// uiURL is the installation's page in the Temporal UI; "" where the UI is not known.
func (s *session) uiURL(id, run string) string {
	if s.dev == nil || s.dev.UI == "" {
		return ""
	}
	return s.dev.WorkflowURL(id, run)
}
