// Package stack runs the whole of Tributary for a test: an embedded Temporal Server shared by the test process, and for each
// test an engine of its own with catalog, journal, segments, worker and receiver in a temporary folder.
package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"tributary/connectors"
	"tributary/connectors/builtin"
	"tributary/connectors/duckdb"
	"tributary/internal/devserver"
	"tributary/internal/engine"
	"tributary/internal/integration"
	"tributary/internal/vault"
	"tributary/workflows"
)

var shared struct {
	sync.Once
	server *devserver.Server
	err    error
}

// Temporal returns the address of the process's embedded Temporal Server. It ends with the process.
func Temporal(t testing.TB) string {
	t.Helper()
	shared.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		shared.server, shared.err = devserver.Start(ctx, devserver.Options{UIPort: devserver.NoUI, Logger: slog.New(slog.DiscardHandler)})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server.FrontendAddress()
}

// Stack is a running Tributary.
type Stack struct {
	*engine.Engine
	Client client.Client
	// Temporal is the address of the Temporal Service that it uses.
	Temporal string
	// User is one that no other stack has: stacks share a namespace, where installations are named for their users.
	User     string
	Files    *duckdb.Files
	Worker   *engine.Worker
	Receiver *engine.Receiver
	t        testing.TB
	logs     *syncBuffer
	taskTime time.Duration
}

// Setup is what a stack is made of.
type Setup struct {
	engine.Config
	// Temporal is the address of a Temporal Service; "" = that of Temporal.
	Temporal string
	// Connectors are there beside the builtin ones.
	Connectors []connectors.Definition
	// LogLevel is the least severe level that is logged.
	LogLevel slog.Level
	// TaskTime is how long a worker that took a workflow task is waited for; 0 = Temporal's own 10 s.
	TaskTime time.Duration
}

// Option changes a stack before it starts.
type Option func(*Setup)

// Start starts worker and receiver; the test's end stops them.
func Start(t testing.TB, options ...Option) *Stack {
	t.Helper()
	s := OpenStores(t, options...)
	ctx := context.Background()
	var err error
	if s.Worker, err = s.StartWorker(ctx, s.Client); err != nil {
		t.Fatal(err)
	}
	if s.Receiver, err = s.StartReceiver(ctx, s.Client); err != nil {
		t.Fatal(err)
	}
	return s
}

// OpenStores opens a stack without worker and receiver.
func OpenStores(t testing.TB, options ...Option) *Stack {
	t.Helper()
	dir := t.TempDir()
	cfg, err := engine.Load(func(k string) string {
		return map[string]string{"TRIBUTARY_DIR": dir, "TRIBUTARY_LISTEN": freeAddress(t), "TRIBUTARY_OPS_LISTEN": "127.0.0.1:0"}[k]
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.KeyFile = filepath.Join(dir, "key.json")
	cfg.AllowNetworks = engine.DevNetworks()
	cfg.TaskQueue = "test-" + uuid.NewString()
	setup := Setup{Config: cfg, LogLevel: slog.LevelWarn}
	for _, o := range options {
		o(&setup)
	}
	if err := vault.GenerateKeyFile(setup.KeyFile); err != nil {
		t.Fatal(err)
	}
	return open(t, setup)
}

func open(t testing.TB, setup Setup) *Stack {
	t.Helper()
	ctx := context.Background()
	registry, files, err := builtin.New(setup.Connectors...)
	if err != nil {
		t.Fatal(err)
	}
	s := &Stack{t: t, Files: files, Temporal: setup.Temporal, User: "u-" + uuid.NewString()[:8], logs: &syncBuffer{}, taskTime: setup.TaskTime}
	if s.Temporal == "" {
		s.Temporal = Temporal(t)
	}
	logger := slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: setup.LogLevel}))
	if s.Engine, err = engine.Open(ctx, setup.Config, registry, logger); err != nil {
		t.Fatal(err)
	}
	if s.Client, err = engine.Dial(ctx, s.Temporal, logger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", s.logs)
		}
		if s.Receiver != nil {
			if err := s.Receiver.Stop(ctx); err != nil {
				t.Errorf("stop receiver: %v", err)
			}
		}
		if s.Worker != nil {
			s.Worker.Stop()
		}
		s.Client.Close()
		s.Engine.Close()
	})
	return s
}

// Logs is what was logged so far.
func (s *Stack) Logs() string { return s.logs.String() }

// Define parses and saves an integration file.
func (s *Stack) Define(yaml string) integration.Spec {
	s.t.Helper()
	spec, err := integration.Parse("test.yaml", []byte(yaml), s.Registry)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.Save(context.Background(), spec); err != nil {
		s.t.Fatal(err)
	}
	return spec
}

// Connect stores a connection under the name that blocks have by default.
func (s *Stack) Connect(owner, connector string, secret any) {
	s.t.Helper()
	s.ConnectAs(owner, connector, "default", secret)
}

// ConnectAs stores a connection under a name.
func (s *Stack) ConnectAs(owner, connector, name string, secret any) {
	s.t.Helper()
	raw, ok := secret.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(secret); err != nil {
			s.t.Fatal(err)
		}
	}
	def, err := s.Registry.Lookup(connector)
	if err != nil {
		s.t.Fatal(err)
	}
	account := ""
	if def.AccountOf != nil {
		account = def.AccountOf(raw)
	}
	if _, err := s.Vault.Put(context.Background(), owner, connector, name, raw, account); err != nil {
		s.t.Fatal(err)
	}
}

// Install installs for a user and fails the test when that fails.
func (s *Stack) Install(integration, user string, timing ...workflows.Timing) engine.Installed {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req := engine.InstallRequest{Integration: integration, User: user, TaskTime: s.taskTime}
	if len(timing) > 0 {
		req.Timing = timing[0]
	}
	in, err := s.Engine.Install(ctx, s.Client, req)
	if err != nil {
		s.t.Fatalf("install: %v", err)
	}
	s.t.Cleanup(func() { _ = s.Client.TerminateWorkflow(context.Background(), in.ID, "", "test is over") })
	return in
}

// Await polls an installation's status until the condition holds.
func (s *Stack) Await(id string, within time.Duration, what string, ok func(workflows.Status) bool) workflows.Status {
	s.t.Helper()
	deadline := time.Now().Add(within)
	var last workflows.Status
	var lastErr error
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		st, err := s.Status(ctx, s.Client, id, "")
		cancel()
		if lastErr = err; err == nil {
			if last = st; ok(st) {
				return st
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	raw, _ := json.MarshalIndent(last, "", "  ")
	s.t.Fatalf("%s: not within %s; last error %v, last status %s", what, within, lastErr, raw)
	return last
}

// Settled says that everything received was delivered or quarantined.
func Settled(received int64) func(workflows.Status) bool {
	return func(st workflows.Status) bool { return st.Received >= received && st.Lag == 0 }
}

// Query reads a DuckDB file of the stack.
func (s *Stack) Query(path, sql string) [][]any {
	s.t.Helper()
	_, rows, err := s.Files.Query(context.Background(), filepath.Join(s.Config.Dir, path), sql, 1_000_000)
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

var given sync.Map // ports that freeAddress has given

// freeAddress is one that stays free while what listens there is killed and started again: from below the ports that kernels give to whoever asks for any
// (https://docs.kernel.org/networking/ip-sysctl.html, ip_local_port_range), such as the connections of other tests.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		l, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		l.Close()
		if _, taken := given.LoadOrStore(at, true); !taken {
			return at
		}
	}
	t.Fatal("no port is free")
	return ""
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
