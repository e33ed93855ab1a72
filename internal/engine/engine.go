package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/segment"
	"tributary/internal/vault"
)

// Engine holds what worker, receiver and starter share: the catalog, the vault, the segment store and the connectors.
type Engine struct {
	Config   Config
	Registry *connectors.Registry
	Catalog  *catalog.Catalog
	Vault    *vault.Vault
	Segments *segment.Store
	Blocks   *block.Opener
	Log      *slog.Logger
	env      connectors.Env
}

// Open opens the stores. A worker that sees another segment store, or has another key, than the ones that the catalog knows
// refuses to start.
func Open(ctx context.Context, cfg Config, registry *connectors.Registry, logger *slog.Logger) (e *Engine, err error) {
	e = &Engine{Config: cfg, Registry: registry, Log: logger}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if e.Catalog, err = catalog.Open(ctx, cfg.Catalog); err != nil {
		return e, err
	}
	if cfg.KeyFile == "" {
		return e, fmt.Errorf("TRIBUTARY_KEY_FILE is not set: connections are encrypted with a key file; make one with `starter key new FILE`, keep it safe and give the same to every worker, receiver and starter")
	}
	if e.Vault, err = vault.Open(e.Catalog, cfg.KeyFile); err != nil {
		return e, err
	}
	if e.Segments, err = segment.Open(ctx, cfg.Segments); err != nil {
		return e, err
	}
	id, err := e.Segments.ID(ctx)
	if err != nil {
		return e, err
	}
	if err := e.Catalog.BindStore(ctx, "segments", id); err != nil {
		return e, fmt.Errorf("the segment store at %s is not the one that this catalog's installations use: %w", strings.SplitN(cfg.Segments, "?", 2)[0], err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	e.env = connectors.Env{Log: logger, Transport: transport, Networks: cfg.AllowNetworks, Dir: cfg.Dir}
	e.Blocks = block.New(registry, e.Catalog, e.Vault, e.env)
	return e, nil
}

// Close closes the stores.
func (e *Engine) Close() {
	if e.Blocks != nil {
		e.Blocks.Close()
	}
	if e.Segments != nil {
		e.Segments.Close()
	}
	if e.Catalog != nil {
		e.Catalog.Close()
	}
}

// Dial connects to Temporal as the standard environment says; address, when given, wins.
func Dial(ctx context.Context, address string, logger *slog.Logger) (client.Client, error) {
	o, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return nil, fmt.Errorf("read the Temporal settings: %w", err)
	}
	if address != "" {
		o.HostPort = address
	}
	o.Logger = log.NewStructuredLogger(logger)
	o.ConnectionOptions.DialOptions = append(o.ConnectionOptions.DialOptions, dialOptions()...)
	c, err := client.DialContext(ctx, o)
	if err != nil {
		at := o.HostPort
		if at == "" {
			at = client.DefaultHostPort
		}
		return nil, fmt.Errorf("no Temporal Service answers at %s: set TEMPORAL_ADDRESS or TEMPORAL_PROFILE, or start one with `starter dev`: %w", at, err)
	}
	return c, nil
}
