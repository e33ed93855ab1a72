package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/internal/engine"
)

// webhooks measures webhooks flat out: from the first request to the commit of the last row, over a number of installations.
func (b *bench) webhooks(ctx context.Context, installations int) error {
	name := "webhooks_one"
	title, goal := "webhooks of 1 KB, 64 connections, one installation", 0.8
	if installations > 1 {
		name, title, goal = "webhooks_many", fmt.Sprintf("the same over %d installations", installations), 0.5
	}
	count := b.scaled(webhookCount)
	if installations > 1 {
		count = b.scaled(spreadCount)
	}
	floor, err := b.webhookFloor(ctx, name, load{count: count})
	if err != nil {
		return err
	}
	w, err := b.webhookEngine(ctx, name, installations, load{count: count})
	if err != nil {
		return err
	}
	b.add(row{Key: name, Name: title, Unit: "records/s", Floor: floor.rate(), Engine: w.rate(), Goal: goal,
		Note: fmt.Sprintf("acknowledged: floor %.0f/s, engine %.0f/s", floor.acknowledged(), w.acknowledged())})
	b.addCost(name+"_cpu", "CPU of that for 1,000 records", floor.cpu, w.engine, w.temporal, count)
	took := w.took().Seconds()
	b.add(row{Key: name + "_actions", Name: "Temporal actions of that", Unit: "actions/s", Engine: float64(w.actions.sum()) / took, Goal: 30, Less: true,
		Note: w.actions.describe()})
	return nil
}

// latency measures how long a webhook takes to its row while 200 a second come.
func (b *bench) latency(ctx context.Context) error {
	const name = "webhooks_latency"
	l := load{count: b.scaled(latencyCount), rate: 200}
	floor, err := b.webhookFloor(ctx, name, l)
	if err != nil {
		return err
	}
	w, err := b.webhookEngine(ctx, name, 1, l)
	if err != nil {
		return err
	}
	for _, at := range []struct {
		percent int
		goal    float64
	}{{50, 60}, {99, 250}} {
		f, e := percentile(floor.waits, at.percent), percentile(w.waits, at.percent)
		b.add(row{Key: fmt.Sprintf("%s_p%d", name, at.percent), Name: fmt.Sprintf("webhooks at 200/s: source to row, p%d", at.percent), Unit: "ms",
			Floor: f.Seconds() * 1000, Engine: e.Seconds() * 1000, Goal: at.goal, Less: true})
	}
	return nil
}

// delivery is how a load went.
type delivery struct {
	sent
	count int
	last  time.Time       // the last row was committed
	waits []time.Duration // source to row, sorted; only where there is a rate

	cpu              float64 // floor: seconds
	engine, temporal float64 // seconds
	actions          actions
}

func (d *delivery) took() time.Duration   { return d.last.Sub(d.began) }
func (d *delivery) rate() float64         { return float64(d.count) / d.took().Seconds() }
func (d *delivery) acknowledged() float64 { return float64(d.count) / d.ended.Sub(d.began).Seconds() }

// finish looks at the rows.
func (d *delivery) finish(ctx context.Context, db *database, table string) error {
	o, err := db.outcome(ctx, table, d.count)
	if err != nil {
		return err
	}
	d.last = o.last
	if d.due == nil {
		return nil
	}
	commits, err := db.commits(ctx, table, d.count)
	if err != nil {
		return err
	}
	for i, at := range commits {
		d.waits = append(d.waits, at.Sub(d.due[i]))
	}
	slices.Sort(d.waits)
	return nil
}

func percentile(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

func (b *bench) webhookFloor(ctx context.Context, name string, l load) (d delivery, err error) {
	table := "floor_" + name
	if err := b.db.floorTable(ctx, table, connectors.Append); err != nil {
		return d, err
	}
	dir, err := b.dir(table)
	if err != nil {
		return d, err
	}
	c, err := spawn(task{Role: "floor", Floor: &floorTask{DSN: b.db.dsn, Dir: dir, Table: table}})
	if err != nil {
		return d, err
	}
	defer c.stop()
	before, err := c.usage(ctx, false)
	if err != nil {
		return d, err
	}
	l.address, l.paths, d.count = c.Address, []string{"/"}, l.count
	b.say("  floor: %d webhooks", l.count)
	if d.sent, err = l.run(ctx); err != nil {
		return d, err
	}
	err = await(ctx, int64(l.count), deliveryTime, func(ctx context.Context) (n int64, err error) {
		return n, c.call(ctx, http.MethodGet, "/copied", &n)
	})
	if err != nil {
		return d, err
	}
	after, err := c.usage(ctx, false)
	if err != nil {
		return d, err
	}
	d.cpu = after.CPU - before.CPU
	if err := d.finish(ctx, b.db, table); err != nil {
		return d, err
	}
	return d, b.db.drop(ctx, table)
}

func (b *bench) webhookEngine(ctx context.Context, name string, installations int, l load) (d delivery, err error) {
	table := "engine_" + name
	w, err := b.world(ctx, name, 0)
	if err != nil {
		return d, err
	}
	defer w.close()
	if err := w.define(ctx, fmt.Sprintf(`
name: hooks
source:
  connector: webhook
  hidden: true
  settings: {preset: github}
  trigger: realtime
  streams: [%s]
destinations:
  - name: warehouse
    connector: postgres
    hidden: true
    settings: {table: %s}
    mode: append
`, eventName, table)); err != nil {
		return d, err
	}
	b.say("  engine: installing %d times", installations)
	installed, err := w.install(ctx, "hooks", 0, installations)
	if err != nil {
		return d, err
	}
	l.address, d.count = strings.TrimPrefix(w.engine.Address, "http://"), l.count
	if l.paths, err = hookPaths(installed); err != nil {
		return d, err
	}
	stop, err := b.profile(ctx, name, w)
	if err != nil {
		return d, err
	}
	engine, temporal, err := w.cost(ctx)
	if err != nil {
		return d, err
	}
	b.say("  engine: %d webhooks", l.count)
	if d.sent, err = l.run(ctx); err != nil {
		return d, w.explain(err)
	}
	b.say("  engine: all are acknowledged, rows are being written")
	if err := await(ctx, int64(l.count), deliveryTime, b.db.settled); err != nil {
		return d, w.explain(err)
	}
	if d.engine, d.temporal, err = w.cost(ctx); err != nil {
		return d, err
	}
	d.engine, d.temporal = d.engine-engine, d.temporal-temporal
	if err := stop(); err != nil {
		return d, err
	}
	if d.actions, err = countActions(ctx, w.client, installed, d.began); err != nil {
		return d, err
	}
	return d, d.finish(ctx, b.db, table)
}

func hookPaths(installed []engine.Installed) ([]string, error) {
	paths := make([]string, len(installed))
	for i, in := range installed {
		u, err := url.Parse(in.HookURL)
		if err != nil {
			return nil, err
		}
		paths[i] = u.Path
	}
	return paths, nil
}
