package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"tributary/connectors"
)

const (
	pageRecords = 500
	pageDelay   = 20 // milliseconds
)

// polls measures reading everything that an app has: from the first page's arrival to the commit of the last row.
func (b *bench) polls(ctx context.Context) error {
	const name = "polls"
	set := pageSettings{Records: b.scaled(b.rows), Page: pageRecords}
	f, floorCPU, err := b.pollFloor(ctx, name, set)
	if err != nil {
		return err
	}
	e, err := b.pollEngine(ctx, name, set)
	if err != nil {
		return err
	}
	b.add(row{Key: name, Name: fmt.Sprintf("%d records of %d B in pages of %d, upsert", set.Records, recordBytes, set.Page), Unit: "rows/s",
		Floor: f, Engine: e.rate, Goal: 0.8})
	b.addCost(name+"_cpu", "CPU of that for 1,000 records", floorCPU, e.engine, e.temporal, set.Records)
	b.add(row{Key: name + "_actions", Name: "Temporal actions of that for a million records", Unit: "actions", Less: true,
		Engine: float64(e.actions.sum()) / float64(set.Records) * 1e6, Goal: 2000, Note: e.actions.describe()})
	return nil
}

// slowPolls measures the same of an app that takes its time for a page. What can't be beaten is that time.
func (b *bench) slowPolls(ctx context.Context) error {
	const name = "polls_slow"
	set := pageSettings{Records: b.scaled(slowCount), Page: pageRecords, Delay: pageDelay}
	bound := pageRecords * 1000.0 / pageDelay
	f, _, err := b.pollFloor(ctx, name, set)
	if err != nil {
		return err
	}
	e, err := b.pollEngine(ctx, name, set)
	if err != nil {
		return err
	}
	b.add(row{Key: name, Name: fmt.Sprintf("%d of them at %d ms a page", set.Records, pageDelay), Unit: "rows/s",
		Floor: bound, Engine: e.rate, Goal: 0.9, Note: fmt.Sprintf("beside the bound of the latency; by hand %.0f", f)})
	return nil
}

func (b *bench) pollFloor(ctx context.Context, name string, set pageSettings) (rate, cpu float64, err error) {
	table := "floor_" + name
	if err := b.db.floorTable(ctx, table, connectors.ModeUpsert); err != nil {
		return 0, 0, err
	}
	dir, err := b.dir(table)
	if err != nil {
		return 0, 0, err
	}
	c, err := spawn(task{Role: "floor", Floor: &floorTask{DSN: b.db.dsn, Dir: dir, Table: table}})
	if err != nil {
		return 0, 0, err
	}
	defer c.stop()
	raw, err := json.Marshal(set)
	if err != nil {
		return 0, 0, err
	}
	b.say("  floor: %d records", set.Records)
	before, err := c.usage(ctx, false)
	if err != nil {
		return 0, 0, err
	}
	if err := c.call(ctx, http.MethodPost, "/poll?settings="+url.QueryEscape(string(raw)), nil); err != nil {
		return 0, 0, err
	}
	after, err := c.usage(ctx, false)
	if err != nil {
		return 0, 0, err
	}
	if rate, err = b.pollRate(ctx, table, set); err != nil {
		return 0, 0, err
	}
	return rate, after.CPU - before.CPU, b.db.drop(ctx, table)
}

// pollRate is rows a second. The first page's latency, which lies before its arrival, is counted.
func (b *bench) pollRate(ctx context.Context, table string, set pageSettings) (float64, error) {
	o, err := b.db.outcome(ctx, table, set.Records)
	if err != nil {
		return 0, err
	}
	return float64(set.Records) / (o.last.Sub(o.first).Seconds() + float64(set.Delay)/1000), nil
}

type polled struct {
	rate             float64
	engine, temporal float64 // CPU seconds
	actions          actions
}

func (b *bench) pollEngine(ctx context.Context, name string, set pageSettings) (p polled, err error) {
	table := "engine_" + name
	w, err := b.world(ctx, name, 0)
	if err != nil {
		return p, err
	}
	defer w.close()
	if err := w.definePolling(ctx, set, table); err != nil {
		return p, err
	}
	stop, err := b.profile(ctx, name, w)
	if err != nil {
		return p, err
	}
	engine, temporal, err := w.cost(ctx)
	if err != nil {
		return p, err
	}
	b.say("  engine: %d records", set.Records)
	installed, err := w.install(ctx, "pages", 0, 1)
	if err != nil {
		return p, err
	}
	if err := await(ctx, int64(set.Records), deliveryTime, b.db.settled); err != nil {
		return p, w.explain(err)
	}
	if p.engine, p.temporal, err = w.cost(ctx); err != nil {
		return p, err
	}
	p.engine, p.temporal = p.engine-engine, p.temporal-temporal
	if err := stop(); err != nil {
		return p, err
	}
	o, err := b.db.outcome(ctx, table, set.Records)
	if err != nil {
		return p, err
	}
	if p.actions, err = countActions(ctx, w.client, installed, o.first); err != nil {
		return p, err
	}
	p.rate, err = b.pollRate(ctx, table, set)
	return p, err
}

// definePolling makes the integration "pages", which polls once a day.
func (w *world) definePolling(ctx context.Context, set pageSettings, table string) error {
	raw, err := json.Marshal(set)
	if err != nil {
		return err
	}
	return w.define(ctx, fmt.Sprintf(`
name: pages
source:
  connector: %s
  settings: %s
  trigger: {kind: polling, interval: 24h}
  streams: [%s]
destinations:
  - name: warehouse
    connector: postgres
    hidden: true
    settings: {table: %s}
    mode: upsert
`, pagesName, raw, pagesStream, table))
}
