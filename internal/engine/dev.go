package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"

	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"tributary/connectors"
	"tributary/connectors/datastream"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/devserver"
	"tributary/internal/vault"
)

// DevOptions says how the whole stack runs in one process.
type DevOptions struct {
	// IP is what Temporal and its UI listen on; "" = 127.0.0.1. Port and UIPort are the ports wanted, 0 = any free; one that is taken
	// is replaced by a free one. UIPort may be devserver.NoUI.
	IP           string
	Port, UIPort int
	// Query answers `starter query` while the stack holds the warehouse; nil = no such service.
	Query Query
	// Note hears what a user should know, such as that a port was taken; may be nil.
	Note func(string)
}

// The ports that Temporal's tools expect.
const (
	DevPort   = 7233
	DevUIPort = 8233
)

// KeyFileName is the key file that dev makes in its directory.
const KeyFileName = "key.json"

// Dev is the whole stack in one process: Temporal Server with its UI, worker, receiver, catalog, journal and segments.
type Dev struct {
	// Engine is what the receiver and commands use; the worker has one of its own, so that it can die alone.
	Engine    *Engine
	Client    client.Client
	Addresses Addresses

	server   *devserver.Server
	receiver *Receiver
	control  *control

	mu     sync.Mutex
	worker *workerPart
	dying  sync.WaitGroup
}

// workerPart is the worker with all that it needs for itself.
type workerPart struct {
	engine *Engine
	client client.Client
	worker *Worker
	log    *mutable
}

// StartDev starts the stack in cfg.Dir and returns when it works. It makes what is missing: the key file and the operator's
// Data Stream connection. It allows URLs to lead to this machine. Started again on the same directory it goes on where it was, on the same ports
// where they are free.
func StartDev(ctx context.Context, cfg Config, registry *connectors.Registry, o DevOptions, logger *slog.Logger) (_ *Dev, err error) {
	if o.Note == nil {
		o.Note = func(string) {}
	}
	if o.IP == "" {
		o.IP = "127.0.0.1"
	}
	if cfg.KeyFile == "" {
		cfg.KeyFile = filepath.Join(cfg.Dir, KeyFileName)
		if err := vault.GenerateKeyFile(cfg.KeyFile); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	cfg.AllowNetworks = append(cfg.AllowNetworks, DevNetworks()...)
	d := &Dev{}
	defer func() {
		if err != nil {
			d.Stop(context.WithoutCancel(ctx))
		}
	}()
	last := lastAddresses(cfg.Dir)
	if d.server, err = startServer(ctx, cfg.Dir, o, last, logger); err != nil {
		return nil, err
	}
	if err := placeReceiver(&cfg, last, o.Note); err != nil {
		return nil, err
	}
	if d.Engine, err = Open(ctx, cfg, registry, logger); err != nil {
		return nil, err
	}
	if err := d.Engine.ensureSigningKey(ctx); err != nil {
		return nil, err
	}
	d.Addresses = Addresses{
		Temporal: d.server.FrontendAddress(), Namespace: namespaceOf(ctx, nil), UI: d.server.UIURL(),
		Listen: cfg.Listen, OpsListen: cfg.OpsListen, PublicURL: cfg.PublicURL, Socket: socketPath(cfg.Dir),
	}
	if d.Client, err = d.Addresses.Dial(ctx, logger); err != nil {
		return nil, err
	}
	if err := d.StartWorker(ctx); err != nil {
		return nil, err
	}
	if d.receiver, err = d.Engine.StartReceiver(ctx, d.Client); err != nil {
		return nil, err
	}
	if d.control, err = listenControl(&d.Addresses, cfg.Dir, o.Query); err != nil {
		return nil, err
	}
	return d, d.Addresses.save(cfg.Dir)
}

func startServer(ctx context.Context, dir string, o DevOptions, last Addresses, logger *slog.Logger) (*devserver.Server, error) {
	port, err := freePort("Temporal", o.IP, sticky(o.Port, DevPort, portOf(last.Temporal)), o.Note)
	if err != nil {
		return nil, err
	}
	ui := o.UIPort
	if ui != devserver.NoUI {
		if ui, err = freePort("The Temporal UI", o.IP, sticky(ui, DevUIPort, portOf(last.UI)), o.Note); err != nil {
			return nil, err
		}
	}
	return devserver.Start(ctx, devserver.Options{
		Dir: filepath.Join(dir, "temporal"), IP: o.IP, Port: port, UIPort: ui, Namespace: namespaceOf(ctx, nil), Logger: logger,
	})
}

// placeReceiver finds free addresses for the receiver near those wanted.
func placeReceiver(cfg *Config, last Addresses, note func(string)) error {
	ownURL := cfg.PublicURL == "http://"+cfg.Listen
	for _, at := range []struct {
		what, otherwise, last string
		address               *string
	}{
		{"The receiver", defaultListen, last.Listen, &cfg.Listen},
		{"The receiver's second port", defaultOpsListen, last.OpsListen, &cfg.OpsListen},
	} {
		if *at.address == at.otherwise && at.last != "" {
			*at.address = at.last
		}
		free, err := freeAddress(at.what, *at.address, note)
		if err != nil {
			return err
		}
		*at.address = free
	}
	if ownURL {
		cfg.PublicURL = "http://" + cfg.Listen
	}
	return nil
}

// ensureSigningKey makes the operator's Data Stream connection, so that an integration that sends there can be tried at once.
func (e *Engine) ensureSigningKey(ctx context.Context) error {
	def := datastream.Definition()
	_, err := e.Catalog.Connection(ctx, vault.Operator, def.Name, block.DefaultConnection)
	if !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	secret, err := datastream.GenerateConnection()
	if err != nil {
		return err
	}
	_, err = e.Vault.Put(ctx, vault.Operator, def.Name, block.DefaultConnection, secret, "")
	return err
}

// Failed is closed when a part has ended that nobody stopped; Stop then says why.
func (d *Dev) Failed() <-chan struct{} { return d.receiver.Ended() }

// StartWorker starts the worker part, which StartDev has done already unless it was killed.
func (d *Dev) StartWorker(ctx context.Context) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.worker != nil {
		return errors.New("start worker: it runs already")
	}
	p := &workerPart{log: &mutable{Handler: d.Engine.Log.Handler(), muted: new(mute)}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	logger := slog.New(p.log)
	if p.engine, err = Open(ctx, d.Engine.Config, d.Engine.Registry, logger); err != nil {
		return err
	}
	if p.client, err = d.Addresses.Dial(ctx, logger); err != nil {
		return err
	}
	if p.worker, err = p.engine.StartWorker(ctx, p.client); err != nil {
		return err
	}
	d.worker = p
	return nil
}

// KillWorker ends the worker part as a crash would, as far as that can be done within a process: its connection is cut, running
// writes are broken off, nothing is drained and no answer arrives any more. StartWorker brings up another.
func (d *Dev) KillWorker() {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.worker
	if p == nil {
		return
	}
	d.worker = nil
	p.log.muted.Store(true) // it would complain of what is done to it
	p.client.Close()
	p.engine.Blocks.Close()
	worker.PurgeStickyWorkflowCache() // the memory of a process that died
	d.dying.Go(p.close)
}

func (p *workerPart) close() {
	if p.worker != nil {
		p.worker.Stop()
	}
	if p.client != nil {
		p.client.Close()
	}
	if p.engine != nil {
		p.engine.Close()
	}
}

// Stop stops the stack: first what takes in, then what works, last what they need. What is under way goes on at the next start.
func (d *Dev) Stop(ctx context.Context) error {
	var errs []error
	if d.control != nil {
		errs = append(errs, d.control.close())
	}
	if d.receiver != nil {
		errs = append(errs, d.receiver.Stop(ctx))
	}
	d.mu.Lock()
	p := d.worker
	d.worker = nil
	d.mu.Unlock()
	if p != nil {
		p.close()
	}
	d.dying.Wait()
	if d.Client != nil {
		d.Client.Close()
	}
	if d.Engine != nil {
		d.Engine.Close()
	}
	if d.server != nil {
		errs = append(errs, d.server.Stop())
	}
	return errors.Join(errs...)
}

// Dial connects to the stack's Temporal Server; what the environment says of another one does not count.
func (a Addresses) Dial(ctx context.Context, logger *slog.Logger) (client.Client, error) {
	c, err := client.DialContext(ctx, client.Options{
		HostPort: a.Temporal, Namespace: a.Namespace, Logger: sdklog.NewStructuredLogger(logger),
		ConnectionOptions: client.ConnectionOptions{DialOptions: dialOptions()},
	})
	if err != nil {
		return nil, fmt.Errorf("no Temporal Server answers at %s: %w", a.Temporal, err)
	}
	return c, nil
}
