package demo

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/internal/block"
	"tributary/internal/engine"
	"tributary/internal/integration"
	"tributary/internal/sandbox"
	"tributary/internal/terminal"
	"tributary/workflows"
)

// Report is how the demo ended.
type Report struct {
	Seconds float64 `json:"seconds"`
	Killed  int     `json:"workers_killed"`
	// Webhooks and Products are the warehouse beside what the shop sent and served, Stream the endpoint beside what the shop sent.
	Webhooks Tally `json:"webhooks_in_warehouse"`
	Stream   Tally `json:"webhooks_at_endpoint"`
	Products Tally `json:"products_in_warehouse"`
	// Repeats came to the endpoint again with the webhook-id of before, Altered did so with another body, Refused had a signature that
	// does not fit.
	Repeats     int   `json:"endpoint_repeats"`
	Altered     int   `json:"endpoint_altered"`
	Refused     int   `json:"endpoint_refused"`
	Quarantined int64 `json:"quarantined"`
	// Settled is false when the demo ran out of patience.
	Settled bool              `json:"settled"`
	UI      map[string]string `json:"ui"`
	Query   string            `json:"query"`
	Rows    engine.Rows       `json:"rows"`
}

// Clean says that every record arrived, once, as it was sent.
func (r Report) Clean() bool {
	return r.Webhooks.Clean() && r.Stream.Clean() && r.Products.Clean() && r.Altered == 0 && r.Refused == 0 && r.Settled
}

// Play installs the integrations, has the shop change, kills the worker on the way, waits until everything has arrived and compares.
func (d *Demo) Play(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &progress{began: time.Now(), worker: "running"}
	report := Report{UI: make(map[string]string)}
	ids, err := d.install(ctx, report.UI)
	if err != nil {
		return report, err
	}
	var g errgroup.Group
	shown := make(chan struct{})
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go func() {
		defer close(shown)
		d.watch(watching, ids, p)
	}()

	d.story.tell("The shop now changes %s customers and orders, %.0f a second, and has %s products to read.",
		terminal.Count(d.o.Changes), d.o.Rate, terminal.Count(d.o.Products))
	g.Go(func() error { return d.shop.Generate(ctx, d.o.Rate, d.o.Changes, sandbox.Customers, sandbox.Orders) })
	if d.o.Kill {
		if err := d.killWorker(ctx, p); err != nil {
			return report, err
		}
		report.Killed++
	}
	if err := g.Wait(); err != nil {
		return report, err
	}
	report.Settled, err = d.settle(ctx, p, &report)
	stopWatching()
	<-shown
	if err != nil {
		return report, err
	}
	d.show(p)
	if d.story.block != nil {
		d.story.block.End()
	}
	report.Seconds = time.Since(p.began).Seconds()
	if report.Webhooks.Arrived == 0 {
		return report, nil // nothing to ask of
	}
	report.Query = ordersByCity
	report.Rows, err = engine.ReadRows(ctx, d.Files.Query, engine.QueryRequest{Path: d.warehouse(), SQL: ordersByCity, Limit: 100})
	return report, err
}

// ordersByCity asks for something that one would want to know, of the orders as they are now.
const ordersByCity = `WITH latest AS (
  SELECT arg_max(data, (_version, _ordinal)) AS o, arg_max(_op, (_version, _ordinal)) AS op
  FROM shopify_orders GROUP BY _key)
SELECT o->>'$.shipping_address.city' AS city, count(*) AS orders,
       sum((o->>'$.total_price')::DECIMAL(12,2)) AS total,
       count(*) FILTER (o->>'$.financial_status' = 'paid') AS paid
FROM latest WHERE op = 'upsert' GROUP BY city ORDER BY total DESC`

// heartbeat is shorter than an installation's default, so that the dead worker is noticed while somebody looks on.
const heartbeat = 3 * time.Second

// install stores the user's connection and installs both integrations, as the starter would.
func (d *Demo) install(ctx context.Context, ui map[string]string) (ids []string, err error) {
	e := d.Dev.Engine
	def, err := e.Registry.Lookup("shopify")
	if err != nil {
		return nil, err
	}
	secret, err := json.Marshal(map[string]string{
		"shop": d.shop.Domain(), "access_token": d.shop.AccessToken(), "client_secret": d.shop.ClientSecret(), "admin_url": d.shopSite.URL,
	})
	if err != nil {
		return nil, err
	}
	if _, err := e.Vault.Put(ctx, engine.User(user), def.Name, block.DefaultConnection, secret, def.AccountOf(secret)); err != nil {
		return nil, err
	}
	d.story.tell("Stored %s's credentials for the sandbox shop, encrypted.", user)
	definitions := d.definitions()
	for _, name := range []string{"customers", "products"} {
		file := filepath.Join(d.o.Dir, name+".yaml")
		if err := os.WriteFile(file, []byte(definitions[name]), 0o600); err != nil {
			return nil, err
		}
		spec, err := integration.Parse(file, []byte(definitions[name]), e.Registry)
		if err != nil {
			return nil, err
		}
		if _, err := e.Save(ctx, spec); err != nil {
			return nil, err
		}
		in, err := e.Install(ctx, d.Dev.Client, engine.InstallRequest{Integration: name, User: user, Timing: workflows.Timing{Heartbeat: heartbeat}})
		if err != nil {
			return nil, err
		}
		ids = append(ids, in.ID)
		ui[in.ID] = d.Dev.Addresses.WorkflowURL(in.ID, "")
		d.story.tell("Installed %s (%s)\n  %s", in.ID, describe(spec), ui[in.ID])
	}
	return ids, nil
}

func describe(s integration.Spec) string {
	text := string(s.Source.Trigger.Kind) + ": "
	for i, stream := range s.Source.Streams {
		if i > 0 {
			text += ", "
		}
		text += stream
	}
	for i, b := range s.Destinations {
		if i == 0 {
			text += " -> "
		} else {
			text += " and "
		}
		text += b.Connector
	}
	return text
}

// killWorker waits until the load is well under way, kills the worker part and starts another.
func (d *Demo) killWorker(ctx context.Context, p *progress) error {
	err := wait(ctx, func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.ledger.sent >= d.o.Changes*2/5, nil
	})
	if err != nil {
		return err
	}
	d.Dev.KillWorker()
	p.set("KILLED")
	d.story.tell("%5s  Killed the worker in the middle of its work. Webhooks go on being accepted; nobody delivers them.", p.elapsed())
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * time.Second): // so that it can be seen
	}
	if err := d.Dev.StartWorker(ctx); err != nil {
		return err
	}
	p.set("running, the second one")
	d.story.tell("%5s  Started another worker. Temporal hands it what the dead one had begun, once that one's heartbeats are missed.", p.elapsed())
	return nil
}

// wait polls a condition.
func wait(ctx context.Context, ok func() (bool, error)) error {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// settle waits until the workflows say that everything was delivered and what arrived is what was sent. When the workflows
// have said so for the time of grace and it is not, it never will be.
func (d *Demo) settle(ctx context.Context, p *progress, report *Report) (bool, error) {
	if err := d.shop.Settle(ctx); err != nil {
		return false, err
	}
	deadline := time.Now().Add(d.o.Patience)
	var quiet time.Time
	for {
		idle := d.idle(p)
		if !idle {
			quiet = time.Time{}
		} else if quiet.IsZero() {
			quiet = time.Now()
		}
		if idle || time.Now().After(deadline) {
			if err := d.compare(ctx, report); err != nil {
				return false, err
			}
			clean := report.Webhooks.Clean() && report.Stream.Clean() && report.Products.Clean()
			switch {
			case idle && (clean || time.Since(quiet) > d.o.Grace):
				return true, nil
			case time.Now().After(deadline):
				return false, nil
			}
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// idle says that the workflows have received everything and owe nothing.
func (d *Demo) idle(p *progress) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent || len(p.last) < 2 {
		return false
	}
	for _, s := range p.last {
		if s.Lag > 0 {
			return false
		}
		for _, t := range s.Streams {
			if t.Polling || t.Polls == 0 {
				return false
			}
		}
	}
	return p.last[0].Received >= int64(p.ledger.acknowledged) && p.ledger.acknowledged == p.ledger.sent
}

// compare reads what arrived.
func (d *Demo) compare(ctx context.Context, report *Report) error {
	var webhooks, products []change
	for _, w := range d.shop.Acknowledged() {
		webhooks = append(webhooks, change{string(w.Stream), fmt.Sprint(w.ID), w.SHA256})
	}
	for _, n := range d.shop.Served() {
		products = append(products, change{string(n.Stream), fmt.Sprint(n.ID), n.SHA256})
	}
	rows, err := d.rows(ctx, "shopify_customers", "shopify_orders")
	if err != nil {
		return err
	}
	report.Webhooks = compare(webhooks, rows)
	report.Stream = compare(webhooks, d.endpoint.arrived())
	report.Repeats, report.Altered, report.Refused = d.endpoint.counts()
	if rows, err = d.rows(ctx, "shopify_products"); err != nil {
		return err
	}
	report.Products = compare(products, rows)
	return nil
}

// rows reads tables of the warehouse; DuckDB itself hashes the payloads, so that what is compared is what is stored.
func (d *Demo) rows(ctx context.Context, tables ...string) (out []change, err error) {
	for _, table := range tables {
		// A table is made by its first record.
		_, made, err := d.Files.Query(ctx, d.warehouse(), `SELECT 1 FROM information_schema.tables WHERE table_name = '`+table+`'`, 1)
		if err != nil {
			return nil, err
		}
		if len(made) == 0 {
			continue
		}
		_, rows, err := d.Files.Query(ctx, d.warehouse(), `SELECT _stream, _key, sha256(data::VARCHAR) FROM `+table, 10_000_000)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			c := change{stream: r[0].(string), key: r[1].(string)}
			if n, err := hex.Decode(c.sum[:], []byte(r[2].(string))); err != nil || n != len(c.sum) {
				return nil, fmt.Errorf("read %s: a hash is not a SHA-256", table)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// watch asks the workflows and the shop and shows what they say, until ctx ends.
func (d *Demo) watch(ctx context.Context, ids []string, p *progress) {
	every, lines := 250*time.Millisecond, 2*time.Second
	var told time.Time
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		p.count(d.shop)
		all := make([]workflows.Status, 0, len(ids))
		for _, id := range ids {
			qctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			s, err := d.Dev.Engine.Status(qctx, d.Dev.Client, id, "")
			cancel()
			if err == nil {
				all = append(all, s)
			}
		}
		if ctx.Err() != nil {
			return
		}
		p.take(all, len(all) == len(ids))
		if d.story.block != nil || time.Since(told) >= lines {
			told = time.Now()
			d.show(p)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (d *Demo) show(p *progress) {
	if d.story.block != nil {
		d.story.block.Show(p.table(terminal.Width(d.o.Out)))
		return
	}
	d.story.tell("%s", p.line())
}
