// Package demo shows the whole engine at work in one process: a sandbox shop sends signed webhooks and is polled, a worker is
// killed on the way, and at the end what was sent is compared with what arrived.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"tributary/connectors/duckdb"
	"tributary/internal/engine"
	"tributary/internal/sandbox"
	"tributary/internal/terminal"
)

// Options size the demo.
type Options struct {
	// Dir holds everything; it is made when it is missing.
	Dir string
	// Changes is how many webhooks the shop sends, at Rate a second; Products how many there are to poll.
	Changes  int
	Rate     float64
	Products int
	// Kill has the worker part killed on the way.
	Kill bool
	// Patience bounds the wait for everything to arrive, Grace the wait after which nothing more is expected to.
	Patience, Grace time.Duration
	// UIPort is wanted for the Temporal UI, see engine.DevOptions.
	UIPort int
	// Sabotage, for tests of the demo itself, has destinations lie: drop, alter or double a record.
	Sabotage Sabotage
	// Out hears the story; Refresh says that it is a terminal on which a block may be refreshed.
	Out     io.Writer
	Refresh bool
	Log     *slog.Logger
}

// user is who the integrations are installed for.
const user = "ada"

// Demo is a running stack with a sandbox shop and an endpoint beside it.
type Demo struct {
	Dev   *engine.Dev
	Files *duckdb.Files

	o        Options
	shop     *sandbox.Shop
	shopSite *httptest.Server
	endpoint *endpoint
	story    *story
	seed     uint64
}

// Start starts the stack, the shop and the endpoint.
func Start(ctx context.Context, o Options) (_ *Demo, err error) {
	d := &Demo{o: o, story: &story{out: o.Out}, seed: uint64(time.Now().UnixNano())}
	if o.Refresh {
		d.story.block = &terminal.Block{Out: o.Out}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	// The demo is the same whatever the environment says.
	cfg, err := engine.Load(func(name string) string {
		return map[string]string{"TRIBUTARY_DIR": o.Dir, "TRIBUTARY_LISTEN": "127.0.0.1:0", "TRIBUTARY_OPS_LISTEN": "127.0.0.1:0"}[name]
	})
	if err != nil {
		return nil, err
	}
	registry, files, err := sabotaged(o.Sabotage)
	if err != nil {
		return nil, err
	}
	d.Files = files
	if d.Dev, err = engine.StartDev(ctx, cfg, registry, engine.DevOptions{UIPort: o.UIPort, Query: files.Query}, o.Log); err != nil {
		return nil, err
	}
	d.shop = sandbox.New(sandbox.Options{
		Seed: d.seed, Customers: 200, Orders: 100, Products: o.Products,
		// Real retries take hours; what is to be seen here is that they end well.
		Retries: []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second},
	})
	d.shopSite = httptest.NewServer(d.shop)
	if d.endpoint, err = openEndpoint(ctx, d.Dev); err != nil {
		return nil, err
	}
	return d, nil
}

// Stop stops everything; the directory stays.
func (d *Demo) Stop(ctx context.Context) error {
	var errs []error
	if d.shop != nil {
		d.shop.Close()
	}
	if d.shopSite != nil {
		d.shopSite.Close()
	}
	if d.Dev != nil {
		errs = append(errs, d.Dev.Stop(ctx))
	}
	if d.endpoint != nil {
		errs = append(errs, d.endpoint.close())
	}
	if d.Files != nil {
		errs = append(errs, d.Files.Close())
	}
	return errors.Join(errs...)
}

// warehouse is the DuckDB file that both integrations write.
func (d *Demo) warehouse() string { return filepath.Join(d.Dev.Engine.Config.Dir, "warehouse.duckdb") }

// files are the demo's integrations, left in its directory to be read and changed.
func (d *Demo) definitions() map[string]string {
	return map[string]string{
		"customers": fmt.Sprintf(`# Every customer and order as it changes: the shop's webhooks, into the warehouse and to an endpoint.
name: customers
source:
  connector: shopify
  trigger: realtime
  streams: [customers, orders]
destinations:
  - name: warehouse
    connector: duckdb
    hidden: true
    settings: {path: warehouse.duckdb, table: "shopify_{stream}"}
    batch: {age: 200ms}
  - name: endpoint
    connector: datastream
    hidden: true
    settings: {url: %q}
`, d.endpoint.url),
		"products": `# All products, read page by page and again every minute.
name: products
source:
  connector: shopify
  trigger: {kind: polling, interval: 1m}
  streams: [products]
destinations:
  - name: warehouse
    connector: duckdb
    hidden: true
    mode: upsert
    settings: {path: warehouse.duckdb, table: shopify_products}
`,
	}
}

func listen(handler http.Handler) (*http.Server, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	return s, "http://" + l.Addr().String(), nil
}
