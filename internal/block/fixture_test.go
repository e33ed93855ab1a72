package block_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/integration"
	"tributary/internal/vault"
)

func TestMain(m *testing.M) {
	if os.Getenv(childCatalog) != "" {
		renewAndDie()
	}
	goleak.VerifyTestMain(m)
}

// secret is what a connection of the test's connectors holds.
type secret struct {
	Token string `json:"token" jsonschema:"format=password"`
}

// sink is a destination that notes its life.
type sink struct {
	cfg    connectors.Config
	mu     sync.Mutex
	closes int
	write  func() error // what Write returns; nil = success
	close  func() error
}

var (
	_ connectors.Destination = (*sink)(nil)
	_ connectors.Checker     = (*sink)(nil)
)

func (s *sink) Write(context.Context, connectors.Batch) (connectors.Result, error) {
	if s.write != nil {
		return connectors.Result{}, s.write()
	}
	return connectors.Result{}, nil
}

func (s *sink) Close() error {
	s.mu.Lock()
	s.closes++
	s.mu.Unlock()
	if s.close != nil {
		return s.close()
	}
	return nil
}

func (s *sink) closed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closes
}

func (s *sink) token() string {
	var c secret
	_ = json.Unmarshal(s.cfg.Connection, &c)
	return c.Token
}

func (s *sink) Check(context.Context) error { return s.write() }

// app is a source that remembers how it was opened.
type app struct {
	cfg   connectors.Config
	check func() error
}

func (a *app) Fetch(context.Context, connectors.FetchRequest) (connectors.Page, error) {
	return connectors.Page{}, nil
}

func (a *app) Check(context.Context) error { return a.check() }

// fixture is an Opener on a real catalog and vault, with connectors that the test steers.
type fixture struct {
	*block.Opener
	catalog *catalog.Catalog
	vault   *vault.Vault
	log     bytes.Buffer

	mu    sync.Mutex
	sinks []*sink // in the order in which they were opened
	// fail, when set, is what opening and checking do.
	fail func() error
	// prepare, when set, changes a sink before it is used.
	prepare func(*sink)
}

func (f *fixture) failure() error {
	if f.fail != nil {
		return f.fail()
	}
	return nil
}

func (f *fixture) opened() []*sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*sink(nil), f.sinks...)
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{}
	openSink := func(cfg connectors.Config) (connectors.Destination, error) {
		if err := f.failure(); err != nil {
			return nil, err
		}
		s := &sink{cfg: cfg, write: func() error { return nil }}
		if f.prepare != nil {
			f.prepare(s)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sinks = append(f.sinks, s)
		return s, nil
	}
	modes := []connectors.Mode{connectors.ModeUpsert, connectors.Append}
	reg, err := connectors.NewRegistry(
		connectors.Definition{
			Name: "app", Connection: secret{}, Polls: true, AnyStream: true,
			OpenSource: func(cfg connectors.Config) (any, error) {
				if err := f.failure(); err != nil {
					return nil, err
				}
				return &app{cfg: cfg, check: f.failure}, nil
			},
			AccountOf: func(c json.RawMessage) string { return "account of " + string(c) },
		},
		connectors.Definition{Name: "sink", Connection: secret{}, Modes: modes, OpenDestination: openSink},
		connectors.Definition{Name: "bucket", Modes: modes, OpenDestination: openSink},
	)
	must(t, err)
	folder := t.TempDir()
	f.catalog, err = catalog.Open(t.Context(), filepath.Join(folder, "catalog.db"))
	must(t, err)
	t.Cleanup(func() { must(t, f.catalog.Close()) })
	must(t, vault.GenerateKeyFile(filepath.Join(folder, "key.json")))
	f.vault, err = vault.Open(f.catalog, filepath.Join(folder, "key.json"))
	must(t, err)
	f.Opener = block.New(reg, f.catalog, f.vault, connectors.Env{Log: slog.New(slog.NewTextHandler(&f.log, nil))})
	t.Cleanup(f.Close)
	return f
}

// save stores a definition with these destinations and returns its revision.
func (f *fixture) save(t *testing.T, hidden bool, destinations ...integration.Destination) int {
	t.Helper()
	rev, err := f.catalog.SaveIntegration(t.Context(), integration.Spec{
		Name: "flow", Source: integration.Source{Connector: "app", Connection: "main", Hidden: hidden, Streams: []string{"orders"}, Trigger: integration.Trigger{Kind: integration.Realtime}},
		Destinations: destinations,
	})
	must(t, err)
	return rev
}

func (f *fixture) put(t *testing.T, owner, connector, name, token string) {
	t.Helper()
	_, err := f.vault.Put(t.Context(), owner, connector, name, json.RawMessage(`{"token":"`+token+`"}`), "")
	must(t, err)
}

func (f *fixture) lane(t *testing.T, revision int, user, name string) *block.Lane {
	t.Helper()
	l, err := f.Lane(t.Context(), "flow", revision, user, name)
	must(t, err)
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want checks the kind of an error and what it mentions.
func want(t *testing.T, err error, kind connectors.Kind, mentions ...string) {
	t.Helper()
	e, ok := err.(*connectors.Error)
	if !ok {
		t.Fatalf("got %T %v; want an *Error that is %s", err, err, kind)
	}
	if e.Kind != kind {
		t.Errorf("got %s (%v); want %s", e.Kind, e, kind)
	}
	for _, m := range mentions {
		if !strings.Contains(e.Error(), m) {
			t.Errorf("error %q does not mention %q", e, m)
		}
	}
}
