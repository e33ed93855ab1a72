package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const checkTimeout = 5 * time.Second

// ops is the operators' port: alive, ready, metrics.
func (s *Server) ops() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.cfg.Metrics.handler())
	return mux
}

// ready answers 200 when a webhook that came now would get through, else 503; the body has a line per part.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.stopped.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "server: stopping")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	checks := []struct {
		name  string
		check func(context.Context) error
	}{
		{"journal", s.writable},
		{"catalog", s.cfg.Catalog.Ping},
		{"temporal", s.cfg.Temporal},
	}
	lines := make([]string, len(checks))
	var g errgroup.Group
	for i, c := range checks {
		g.Go(func() error {
			err := c.check(ctx)
			lines[i] = c.name + ": ok\n"
			if err != nil {
				lines[i] = fmt.Sprintf("%s: %v\n", c.name, err)
			}
			return err
		})
	}
	if g.Wait() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprint(w, strings.Join(lines, ""))
}

// writable proves that the journal takes writes by writing to it.
func (s *Server) writable(ctx context.Context) error {
	if s.cfg.Journal.Size() >= s.limits.JournalBytes {
		return errors.New("full: the forwarder is behind, or Temporal does not answer")
	}
	_, err := s.cfg.Journal.AppendAll(ctx, [][]byte{{entryProbe}})
	return err
}
