// Package devserver runs a Temporal Server with its UI inside this process, for one machine: starter dev, the demo and
// the tests. It keeps everything in one SQLite file or in memory.
package devserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

// NoUI is the UIPort of a server without a UI.
const NoUI = -1

// Options says where a server keeps its data and where it listens. The zero value is a server in memory on free ports.
type Options struct {
	// Dir holds the server's database and is made if it is missing; empty: in memory, gone when the process ends.
	Dir string
	// IP is the address that the server and the UI listen on, by default 127.0.0.1. There is no authentication.
	IP string
	// Port is the frontend's port; 0: any free one.
	Port int
	// UIPort is the UI's port; 0: any free one, NoUI: no UI.
	UIPort int
	// Namespace is made at the first start, by default "default".
	Namespace string
	// SyncFull makes every commit wait for the disk. Without it a loss of power, but no crash of the process, may undo the
	// last moments.
	SyncFull bool
	// Logger gets what the server says, by default slog.Default(). From Stop on it gets nothing: parts that end complain of
	// others that ended before.
	Logger *slog.Logger
	// LogLevel is the least severe level that reaches Logger. Nil: warnings, and while the server starts and its parts don't
	// find each other yet, errors.
	LogLevel slog.Leveler
}

// Server is a running Temporal Server.
type Server struct {
	temporal temporal.Server
	ui       *ui // nil = none
	lock     *lock
	frontend string
	level    slog.LevelVar // of the log: it changes with what the server does
	stop     sync.Once
}

// Start starts a server and returns when it takes requests in its namespace and its UI answers. It may be started again with
// the same options after Stop, and then goes on where it was, unless it was in memory. A second server on the same Dir is
// refused. The context bounds the start alone.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	o.IP = cmp.Or(o.IP, "127.0.0.1")
	o.Namespace = cmp.Or(o.Namespace, "default")
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Server{}
	running := slog.LevelWarn
	if o.LogLevel == nil {
		s.level.Set(slog.LevelError)
	} else {
		running = o.LogLevel.Level()
		s.level.Set(running)
	}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("temporal: %w", err)
		}
		if s.lock, err = acquire(o.Dir); err != nil {
			return nil, fmt.Errorf("temporal: %w", err)
		}
	}
	database, err := prepare(o)
	if err != nil {
		return nil, fmt.Errorf("temporal: database: %w", err)
	}
	log := newLogger(o.Logger, &s.level)
	var a address
	for attempt := 1; s.temporal == nil; attempt++ {
		if a, err = addresses(o); err != nil {
			return nil, fmt.Errorf("temporal: %w", err)
		}
		s.temporal, err = build(a, database, log)
		if err != nil && (attempt == attempts || !errors.As(err, new(fatal))) {
			return nil, fmt.Errorf("temporal: %w", err)
		}
	}
	s.frontend = a.reach(primitives.FrontendService)
	if err := s.temporal.Start(); err != nil {
		return nil, fmt.Errorf("temporal: start: %w", err)
	}
	if err := ready(ctx, s.frontend, o.Namespace, log); err != nil {
		return nil, fmt.Errorf("temporal: start: %w", err)
	}
	if o.UIPort != NoUI {
		if s.ui, err = startUI(ctx, a.ip, a.ui, s.frontend, o.Namespace); err != nil {
			return nil, fmt.Errorf("temporal ui: %w", err)
		}
	}
	s.level.Set(running)
	return s, nil
}

// attempts to find free ports: one may be taken between its being found and its use.
const attempts = 5

// build makes the server, which listens from then on. What the server would end the process for is an error, a fatal.
func build(a address, database *config.SQL, log logger) (_ temporal.Server, err error) {
	defer func() {
		switch f := recover().(type) {
		case nil:
		case fatal:
			err = f
		default:
			panic(f)
		}
	}()
	return temporal.NewServer(
		temporal.WithConfig(configure(a, database)),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(a.hosts()),
		temporal.WithDynamicConfigClient(settings()),
		temporal.WithLogger(log),
	)
}

// FrontendAddress is the host and port for clients on this machine.
func (s *Server) FrontendAddress() string { return s.frontend }

// UIURL is where a browser on this machine finds the UI; empty where there is none.
func (s *Server) UIURL() string {
	if s.ui == nil {
		return ""
	}
	return s.ui.url
}

// Stop ends the server within a few seconds: open calls get a second to finish. It may be called more than once.
func (s *Server) Stop() (err error) {
	s.stop.Do(func() {
		s.level.Set(silent)
		if s.ui != nil {
			s.ui.close()
		}
		if s.temporal != nil {
			err = s.temporal.Stop()
		}
		if s.lock != nil {
			err = errors.Join(err, s.lock.release())
		}
	})
	return err
}

// address says where each part listens.
type address struct {
	ip    string
	ports map[primitives.ServiceName]int
	ui    int
}

// addresses finds free ports for all that have none, and makes sure that the others are free: the server itself would end the
// process on a port that is taken.
func addresses(o Options) (address, error) {
	a := address{ip: o.IP, ports: map[primitives.ServiceName]int{}}
	if net.ParseIP(o.IP) == nil {
		return a, fmt.Errorf("%q is no IP address to listen on", o.IP)
	}
	var held []net.Listener // until all are chosen, so that they differ
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	choose := func(ip string, port int) (int, error) {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			return 0, fmt.Errorf("port %d can't be used, choose another or end what listens there: %w", port, err)
		}
		held = append(held, l)
		return l.Addr().(*net.TCPAddr).Port, nil
	}
	var err error
	if a.ports[primitives.FrontendService], err = choose(o.IP, o.Port); err != nil {
		return a, err
	}
	if o.UIPort != NoUI {
		if a.ui, err = choose(o.IP, o.UIPort); err != nil {
			return a, err
		}
	}
	for _, service := range []primitives.ServiceName{primitives.HistoryService, primitives.MatchingService, primitives.WorkerService} {
		if a.ports[service], err = choose("127.0.0.1", 0); err != nil {
			return a, err
		}
	}
	return a, nil
}

// listen is the IP of a service: only the frontend is for others.
func (a address) listen(service primitives.ServiceName) string {
	if service == primitives.FrontendService {
		return a.ip
	}
	return "127.0.0.1"
}

// reach is the address under which this machine reaches a service.
func (a address) reach(service primitives.ServiceName) string {
	return net.JoinHostPort(reachable(a.listen(service)), strconv.Itoa(a.ports[service]))
}

// reachable turns "all addresses" into one that can be dialed.
func reachable(ip string) string {
	switch parsed := net.ParseIP(ip); {
	case !parsed.IsUnspecified():
		return ip
	case parsed.To4() != nil:
		return "127.0.0.1"
	default:
		return "::1"
	}
}

func (a address) hosts() map[primitives.ServiceName]static.Hosts {
	hosts := map[primitives.ServiceName]static.Hosts{}
	for service := range a.ports {
		hosts[service] = static.SingleLocalHost(a.reach(service))
	}
	return hosts
}

func (a address) services() map[string]config.Service {
	services := map[string]config.Service{}
	for service, port := range a.ports {
		services[string(service)] = config.Service{RPC: config.RPC{GRPCPort: port, BindOnIP: a.listen(service)}}
	}
	return services
}

// settings differ from the server's defaults for one process that one program uses.
func settings() dynamicconfig.Client {
	const unlimited = 1 << 20 // a second: limits protect a shared cluster
	return dynamicconfig.StaticClient{
		// One server needs no partitions, and fairness is kept in each of them by itself.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
		// Fairness keys do nothing without it.
		dynamicconfig.MatchingEnableFairness.Key(): true,
		// The server would ask a host of its makers for newer versions.
		dynamicconfig.EnableServerVersionCheck.Key(): false,
		// Entries; an installation is one, and a miss costs reads of the whole of its state.
		dynamicconfig.HistoryCacheHostLevelMaxSize.Key(): 256 << 10,

		dynamicconfig.FrontendRPS.Key():                        unlimited,
		dynamicconfig.FrontendMaxNamespaceRPSPerInstance.Key(): unlimited,
		dynamicconfig.HistoryRPS.Key():                         unlimited,
		dynamicconfig.MatchingRPS.Key():                        unlimited,
		dynamicconfig.FrontendPersistenceMaxQPS.Key():          unlimited,
		dynamicconfig.HistoryPersistenceMaxQPS.Key():           unlimited,
		dynamicconfig.MatchingPersistenceMaxQPS.Key():          unlimited,
	}
}
