package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"tributary/connectors/builtin"
	"tributary/internal/devserver"
	"tributary/internal/engine"
)

// What a test kills runs in a child process: this test's binary, told by a variable what to be.

const childVariable = "TRIBUTARY_TEST_CHILD"

func TestMain(m *testing.M) {
	if raw := os.Getenv(childVariable); raw != "" {
		if err := play([]byte(raw)); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// role says what a child is.
type role struct {
	// Worker and Receiver are those of the engine with this Config, at this Temporal.
	Worker, Receiver bool
	Config           engine.Config
	Temporal         string
	// Server is a Temporal Server that keeps its data in Dir and listens on Port.
	Server bool
	Dir    string
	Port   int
	// Seed decides what unruly destinations do.
	Seed uint64
}

// play is a child, until it is killed.
func play(raw []byte) error {
	var r role
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	boundFiles()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	if r.Server {
		if _, err := devserver.Start(ctx, devserver.Options{Dir: r.Dir, Port: r.Port, UIPort: devserver.NoUI, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			return err
		}
	}
	if r.Worker || r.Receiver {
		r.Config.AllowNetworks = engine.DevNetworks()
		registry, _, err := builtin.New(append(unruly(r.Seed), thin())...)
		if err != nil {
			return err
		}
		e, err := engine.Open(ctx, r.Config, registry, logger)
		if err != nil {
			return err
		}
		c, err := engine.Dial(ctx, r.Temporal, logger)
		if err != nil {
			return err
		}
		if r.Worker {
			if _, err := e.StartWorker(ctx, c); err != nil {
				return err
			}
		}
		if r.Receiver {
			if _, err := e.StartReceiver(ctx, c); err != nil {
				return err
			}
		}
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}

// fullAt is the size in bytes that no file of a child can grow beyond while its disk is full.
const fullAt = 1 << 20

// boundFiles lets the parent fill and empty the disk, as far as this process can tell: the kernel cuts off a write that
// goes beyond the limit on file sizes just as one that finds no room.
func boundFiles() {
	signal.Ignore(syscall.SIGXFSZ)
	var unbounded syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &unbounded); err != nil {
		panic(err)
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range asked {
			limit := unbounded
			if s == syscall.SIGUSR1 {
				limit.Cur = fullAt
			}
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
				panic(err)
			}
		}
	}()
}

// child is a process in a role.
type child struct {
	cmd  *exec.Cmd
	logs *lockedBuffer
	gone sync.Once
}

// spawn starts a child and returns when it is what it is to be. It dies with the test, and with the test's process.
func spawn(t *testing.T, r role) *child {
	t.Helper()
	r.Config.AllowNetworks = nil // has no form in JSON
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(os.Args[0]), logs: &lockedBuffer{}}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(raw))
	c.cmd.Stderr = c.logs
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("child %d: %s", c.cmd.Process.Pid, c.logs)
		}
	})
	if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
		c.kill()
		t.Fatalf("the child did not start: %s", c.logs)
	}
	return c
}

// kill ends the child on the spot.
func (c *child) kill() {
	c.gone.Do(func() {
		c.signal(syscall.SIGKILL)
		_ = c.cmd.Wait()
	})
}

func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
