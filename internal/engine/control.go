package engine

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
	"path/filepath"
	"time"

	"tributary/connectors"
)

// Query reads a DuckDB file; duckdb.Files has one that works while destinations write.
type Query func(ctx context.Context, path, sql string, limit int) (columns []string, rows [][]any, err error)

// QueryRequest asks a dev stack to read its warehouse: DuckDB lets one process have a file.
type QueryRequest struct {
	Path  string `json:"path"`
	SQL   string `json:"sql"`
	Limit int    `json:"limit"`
}

// Rows is what a query found. Values are as JSON has them; what it has not, such as a time, is text.
type Rows struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
}

// control is a socket that only the stack's own user can open, so that commands find it and can ask it.
type control struct {
	server *http.Server
	done   chan error
	remove func()
}

// maxSocketPath is the least of what operating systems bear, with room for the terminating zero.
const maxSocketPath = 100

// socketPath lies in the stack's directory; "" where that is too deep for a socket's name.
func socketPath(dir string) string {
	path := filepath.Join(dir, "dev.sock")
	if len(path) > maxSocketPath {
		return ""
	}
	return path
}

func listenControl(a *Addresses, dir string, query Query) (*control, error) {
	c := &control{done: make(chan error, 1), remove: func() {}}
	if a.Socket == "" {
		short, err := os.MkdirTemp("", "tributary-")
		if err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
		a.Socket = filepath.Join(short, "dev.sock")
		c.remove = func() { _ = os.RemoveAll(short) }
	}
	// The server of this directory holds its lock: a socket that is left over belongs to one that was killed.
	if err := os.Remove(a.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := net.Listen("unix", a.Socket)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// The directory is its owner's alone already; this is for one that was made by hand.
	if err := os.Chmod(a.Socket, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/addresses", func(w http.ResponseWriter, r *http.Request) { reply(w, *a, nil) })
	mux.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) {
		var q QueryRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&q); err != nil {
			reply(w, nil, connectors.Errorf(connectors.Invalid, "query", "the request could not be read"))
			return
		}
		if query == nil {
			reply(w, nil, connectors.Errorf(connectors.NotFound, "query", "this stack has no warehouse"))
			return
		}
		rows, err := ReadRows(r.Context(), query, q)
		reply(w, rows, err)
	})
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { c.done <- c.server.Serve(l) }()
	return c, nil
}

func (c *control) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.server.Shutdown(ctx); err != nil {
		_ = c.server.Close()
	}
	c.remove()
	if err := <-c.done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

type controlError struct {
	Kind    connectors.Kind `json:"kind"`
	Message string          `json:"message"`
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := connectors.AsError("", err)
		w.WriteHeader(http.StatusUnprocessableEntity)
		v = controlError{e.Kind, e.Error()}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // who asked is gone
}

// AskQuery has the stack that runs in dir read its warehouse; ErrNoDev.
func AskQuery(ctx context.Context, a Addresses, q QueryRequest) (Rows, error) {
	var rows Rows
	err := askControl(ctx, a.Socket, "/query", q, &rows)
	return rows, err
}

func askControl(ctx context.Context, socket, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://dev"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer t.CloseIdleConnections()
	res, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoDev, err)
	}
	defer res.Body.Close()
	d := json.NewDecoder(res.Body)
	d.UseNumber()
	if res.StatusCode != http.StatusOK {
		var e controlError
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("the dev stack answered %s", res.Status)
		}
		return &connectors.Error{Kind: e.Kind, Message: e.Message}
	}
	return d.Decode(out)
}
