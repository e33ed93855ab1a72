package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What is measured runs in processes of their own, so that their CPU time and memory are theirs alone: the engine, the Temporal
// Server and the floor. They are this program again, told by an environment variable what to be, and end when their
// standard input does: whoever started them may die in any way.

const childVariable = "TRIBUTARY_BENCH_CHILD"

// task is what a child is to be.
type task struct {
	Role     string        `json:"role"`
	Engine   *engineTask   `json:"engine,omitempty"`
	Temporal *temporalTask `json:"temporal,omitempty"`
	Floor    *floorTask    `json:"floor,omitempty"`
	Reader   *readerTask   `json:"reader,omitempty"`
}

// greeting is the line that a child prints when it is ready.
type greeting struct {
	Control string `json:"control"` // URL of its control server
	Address string `json:"address"` // of what it serves
}

// usage is what a process has cost so far.
type usage struct {
	CPU  float64 `json:"cpu"`  // seconds, user and system
	RSS  int64   `json:"rss"`  // resident bytes, now
	Heap int64   `json:"heap"` // resident bytes after a garbage collection that returns what it can; 0 = not asked for
}

// serve is a child's life: start begins the work and names its address; mux takes further controls.
func serve(start func(ctx context.Context, mux *http.ServeMux) (address string, stop func(), err error)) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	mux := http.NewServeMux()
	address, stop, err := start(ctx, mux)
	if err != nil {
		return err
	}
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var profile bytes.Buffer
	mux.HandleFunc("POST /profile/start", func(w http.ResponseWriter, r *http.Request) {
		profile.Reset()
		if err := pprof.StartCPUProfile(&profile); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("POST /profile/stop", func(w http.ResponseWriter, r *http.Request) {
		pprof.StopCPUProfile()
		_, _ = w.Write(profile.Bytes())
	})
	mux.HandleFunc("GET /usage", func(w http.ResponseWriter, r *http.Request) {
		u, err := used()
		if err == nil && r.FormValue("collect") != "" {
			debug.FreeOSMemory()
			u.Heap, err = resident()
		}
		answer(w, u, err)
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	if err := json.NewEncoder(os.Stdout).Encode(greeting{Control: "http://" + l.Addr().String(), Address: address}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

// used reads this process's own counters.
func used() (u usage, err error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return u, fmt.Errorf("getrusage: %w", err)
	}
	u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
	u.RSS, err = resident()
	return u, err
}

// resident reads the anonymous part of the resident set from proc(5), in bytes: the program's own text is not in it, of which this
// program has that of a Temporal Server, too.
func resident() (int64, error) {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("resident set: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			var kib int64
			_, err := fmt.Sscan(value, &kib)
			return kib << 10, err
		}
	}
	return 0, errors.New("resident set: /proc/self/status names no RssAnon: Linux 4.5 or later is needed")
}

// child is a running one, as its parent sees it.
type child struct {
	greeting
	cmd   *exec.Cmd
	leash io.WriteCloser
	logs  *tail
}

// spawn starts a child and returns when it is ready.
func spawn(t task) (*child, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self), logs: &tail{}}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(raw))
	c.cmd.Stderr = c.logs
	if c.leash, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewDecoder(out).Decode(&c.greeting); err != nil {
		c.stop()
		return nil, fmt.Errorf("%s did not start: %w\n%s", t.Role, err, c.logs)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return c, nil
}

// stop ends the child and waits for it.
func (c *child) stop() {
	c.leash.Close()
	over := time.AfterFunc(30*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer over.Stop()
	_ = c.cmd.Wait()
}

// call asks the child's control server; what comes back is decoded into out unless that is nil.
func (c *child) call(ctx context.Context, method, path string, out any) error {
	raw, err := c.bytes(ctx, method, path)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

func (c *child) bytes(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Control+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, errors.Join(err, errors.New(c.logs.String()))
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, strings.TrimSpace(string(raw)))
	}
	return raw, err
}

func (c *child) usage(ctx context.Context, collect bool) (u usage, err error) {
	path := "/usage"
	if collect {
		path += "?collect=1"
	}
	return u, c.call(ctx, http.MethodGet, path, &u)
}

// tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytes = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-tailBytes):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
