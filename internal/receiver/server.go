// Package receiver takes webhooks in: an HTTP server that answers 200 when what came is durable in the journal (I2), and
// a forwarder that hands it from there to the installations' workflows, once.
package receiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"tributary/connectors"
	"tributary/internal/catalog"
)

// Intake is what the server needs of the journal.
type Intake interface {
	// AppendAll returns when all entries are durable; after an error none is in the journal, unless ctx ended. It keeps them.
	AppendAll(ctx context.Context, entries [][]byte) (first uint64, err error)
	Size() int64
}

// Directory is what the server needs of the catalog.
type Directory interface {
	Ping(ctx context.Context) error
	Integration(ctx context.Context, name string, revision int) (catalog.Integration, error)
	InstallationByToken(ctx context.Context, hash [32]byte) (catalog.Installation, error)
	InstallationsByAccount(ctx context.Context, connector, account string) ([]catalog.Installation, error)
	Quarantine
}

// Opener opens connectors with their settings and credentials. The server calls it again every Limits.CacheTime, so that
// a rotated secret counts soon; what it returns is used by many goroutines.
type Opener interface {
	// Receiver opens the source of an installation and names the streams that its integration asked for.
	Receiver(ctx context.Context, in catalog.Installation) (r connectors.Receiver, streams []string, err error)
	// AppReceiver opens an app-wide connector with a connection of the operator. An error of kind NotFound means that there
	// is no such connector or connection.
	AppReceiver(ctx context.Context, connector, connection string) (connectors.Receiver, error)
}

// Config is what a Server is made of.
type Config struct {
	// Public and Ops are the listeners; the server closes them.
	Public, Ops net.Listener
	// PublicURL is how senders reach Public, such as https://hooks.example.com; signatures may cover it.
	PublicURL string
	Journal   Intake
	// Store keeps what can't be understood of a webhook.
	Store   Store
	Catalog Directory
	Opener  Opener
	// Keys gives the public keys of Data Stream as a JSON document; nil = there are none to serve.
	Keys func(context.Context) ([]byte, error)
	// Temporal reports whether Temporal is reachable.
	Temporal func(context.Context) error
	Limits   Limits
	Metrics  *Metrics
	// Log never gets a payload, a token or a secret (I7).
	Log *slog.Logger
}

// Server is the webhook server and its operators' port.
type Server struct {
	cfg    Config
	limits Limits
	log    *slog.Logger
	// quiet bounds what senders can make the server log.
	quiet *rate.Limiter

	slots   chan struct{}
	all     *rate.Limiter
	each    *limiter
	stopped atomic.Bool

	installations *cache[[32]byte, catalog.Installation]
	accounts      *cache[accountKey, []catalog.Installation]
	integrations  *cache[integrationKey, catalog.Integration]
	receivers     *cache[receiverKey, opened]
	apps          *cache[appKey, connectors.Receiver]
}

// maxCached bounds each cache: more installations than this at once cost look-ups, not memory.
const maxCached = 50_000

// NewServer makes a server that Run starts.
func NewServer(cfg Config) (*Server, error) {
	switch {
	case cfg.Public == nil || cfg.Ops == nil:
		return nil, errors.New("receiver: both listeners are needed")
	case cfg.Journal == nil || cfg.Store == nil || cfg.Catalog == nil || cfg.Opener == nil || cfg.Temporal == nil || cfg.Metrics == nil:
		return nil, errors.New("receiver: journal, store, catalog, opener, Temporal and metrics are needed")
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := cfg.Limits.withDefaults()
	s := &Server{
		cfg: cfg, limits: l, log: cfg.Log,
		quiet: rate.NewLimiter(5, 20),
		slots: make(chan struct{}, l.Concurrent),
		all:   rate.NewLimiter(rate.Inf, 0),
		each:  newLimiter(l.InstallationRate, l.InstallationBurst),

		installations: newCache[[32]byte, catalog.Installation](l.CacheTime, maxCached, isNotFound),
		accounts:      newCache[accountKey, []catalog.Installation](l.CacheTime, maxCached, isNotFound),
		integrations:  newCache[integrationKey, catalog.Integration](l.CacheTime, maxCached, isNotFound),
		receivers:     newCache[receiverKey, opened](l.CacheTime, maxCached, never),
		apps: newCache[appKey, connectors.Receiver](l.CacheTime, maxCached, func(err error) bool {
			return isKind(err, connectors.NotFound)
		}),
	}
	if l.Rate > 0 {
		s.all = rate.NewLimiter(rate.Limit(l.Rate), l.Burst)
	}
	return s, nil
}

func isNotFound(err error) bool { return errors.Is(err, catalog.ErrNotFound) }
func never(error) bool          { return false }

// Run serves until ctx ends; then it stops accepting, finishes what is in flight within Limits.StopTime and returns.
// Everything that got its 200 is in the journal.
func (s *Server) Run(ctx context.Context) error {
	public := s.serverOf(s.public())
	ops := s.serverOf(s.ops())
	failed := make(chan error, 2)
	go func() { failed <- public.Serve(s.cfg.Public) }()
	go func() { failed <- ops.Serve(s.cfg.Ops) }()

	var err error
	ended := 0
	select {
	case <-ctx.Done():
	case err = <-failed:
		ended = 1
		err = fmt.Errorf("receiver: serve: %w", err)
	}
	s.stopped.Store(true)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.StopTime)
	defer cancel()
	for _, server := range []*http.Server{public, ops} {
		if late := server.Shutdown(stop); late != nil {
			s.log.Warn("cutting off requests that did not finish in time", "after", s.limits.StopTime)
			_ = server.Close()
		}
	}
	for ; ended < 2; ended++ {
		<-failed
	}
	return err
}

func (s *Server) serverOf(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		MaxHeaderBytes:    s.limits.HeaderBytes,
		ReadHeaderTimeout: s.limits.HeaderTime,
		ReadTimeout:       s.limits.ReadTime,
		WriteTimeout:      s.limits.ReadTime + time.Minute,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

func (s *Server) public() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hooks/{token}", s.guard("hook", s.hook))
	mux.HandleFunc("/apps/{connector}/{connection}", s.guard("app", s.app))
	mux.HandleFunc("GET /.well-known/tributary/keys", s.keys)
	return mux
}

// guard holds what goes for every webhook, whoever it is for: how many at once, which methods, and that the worker
// outlives a connector that panics.
func (s *Server) guard(route string, handle func(http.ResponseWriter, *http.Request) *refusal) http.HandlerFunc {
	took := s.cfg.Metrics.took.WithLabelValues(route)
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.panicked(route, p)
				s.refuse(w, route, refusePanic)
			}
			took.Observe(time.Since(start).Seconds())
		}()
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		default:
			s.refuse(w, route, refuseBusy)
			return
		}
		refused := refuseMethod
		switch {
		case r.Method != http.MethodPost && r.Method != http.MethodGet:
		case !s.all.Allow():
			refused = refuseRate
		default:
			refused = handle(w, r)
		}
		if refused != nil {
			s.refuse(w, route, refused)
		}
	}
}

func (s *Server) refuse(w http.ResponseWriter, route string, r *refusal) {
	s.cfg.Metrics.refused.WithLabelValues(r.reason).Inc()
	if r.cause != nil && s.quiet.Allow() {
		s.log.Warn("refused a webhook", "route", route, "reason", r.reason, "error", r.cause)
	}
	r.write(w)
}

// panicked logs where a connector panicked; the value itself may hold a payload unless it is the runtime's (I7).
func (s *Server) panicked(route string, p any) {
	what := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	stack := make([]byte, 8<<10)
	stack = stack[:runtime.Stack(stack, false)]
	s.log.Error("a connector panicked on a webhook", "route", route, "panic", what, "stack", string(stack))
}

func (s *Server) keys(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Keys == nil {
		http.NotFound(w, r)
		return
	}
	doc, err := s.cfg.Keys(r.Context())
	if err != nil {
		s.refuse(w, "keys", refuseDirectory.because(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(doc)
}
