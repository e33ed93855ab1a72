package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/internal/engine"
)

// A hundred thousand installations take too long to make: fewer are, with a smaller cache in proportion, and
// the rest is worked out.
const (
	idleTarget = 100_000
	idleSticky = 2_000 // the default cap of the worker's cache of workflows
	idleGoal   = 512   // MiB
	idleTime   = time.Minute
)

// idle measures what installations cost that have nothing to do: the worker's memory, from installations that are in its
// cache and such that no longer are, and what happens in a minute. The cache is full at an eighth of them. What grows up to
// a bound only (the page caches of the catalog's connections, the allocators' own lists) does so before the second half, by which
// the growth beyond the cache is told.
func (b *bench) idle(ctx context.Context) error {
	const name = "idle"
	count := max(b.scaled(b.installations), 8)
	half, sticky := count/2, max(count/8, 1)
	w, err := b.world(ctx, name, sticky)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.definePolling(ctx, pageSettings{Page: pageRecords}, "engine_"+name); err != nil {
		return err
	}
	// One install alone warms up what all share.
	installed, err := w.install(ctx, "pages", 0, 1)
	if err != nil {
		return err
	}
	var heaps []int64
	for _, reached := range []int{1, sticky, half, count} {
		b.say("  installing up to %d times", reached)
		more, err := w.install(ctx, "pages", len(installed), reached)
		if err != nil {
			return err
		}
		installed = append(installed, more...)
		if _, err := w.quiet(ctx, installed); err != nil {
			return w.explain(err)
		}
		u, err := w.engine.usage(ctx, true)
		if err != nil {
			return err
		}
		heaps = append(heaps, u.Heap)
	}
	before, err := w.quiet(ctx, installed)
	if err != nil {
		return w.explain(err)
	}
	costBefore, temporalBefore, err := w.cost(ctx)
	if err != nil {
		return err
	}
	b.say("  watching for %s", idleTime)
	if err := sleep(ctx, idleTime); err != nil {
		return err
	}
	cost, temporal, err := w.cost(ctx)
	if err != nil {
		return err
	}
	after, err := w.events(ctx, installed)
	if err != nil {
		return err
	}
	u, err := w.engine.usage(ctx, false)
	if err != nil {
		return err
	}
	cached := max(float64(heaps[1]-heaps[0])/float64(max(sticky-1, 1)), 0)
	beyond := max(float64(heaps[3]-heaps[2])/float64(count-half), 0)
	total := float64(heaps[0]) + idleSticky*cached + (idleTarget-idleSticky)*beyond
	b.add(row{Key: "idle_memory", Name: fmt.Sprintf("worker's memory for %d idle installations", idleTarget), Unit: "MiB", Less: true,
		Engine: total / (1 << 20), Goal: idleGoal,
		Note: fmt.Sprintf("worked out from %d installations and a cache of %d: %.1f KiB each in the cache, %.2f KiB each beyond, on %.0f MiB; the default cache of %d; resident at the end %.0f MiB",
			count, sticky, cached/1024, beyond/1024, float64(heaps[0])/(1<<20), idleSticky, float64(u.RSS)/(1<<20))})
	b.add(row{Key: "idle_work", Name: fmt.Sprintf("history events of %d idle installations in a minute", count), Unit: "events", Less: true,
		Engine: float64(after - before), Goal: 0, Note: fmt.Sprintf("CPU in that minute: worker and receiver %.2f s, Temporal %.2f s", cost-costBefore, temporal-temporalBefore)})
	return nil
}

// events is the length of all histories.
func (w *world) events(ctx context.Context, installed []engine.Installed) (int64, error) {
	var sum atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, in := range installed {
		g.Go(func() error {
			d, err := w.client.DescribeWorkflowExecution(ctx, in.ID, "")
			if err != nil {
				return err
			}
			sum.Add(d.GetWorkflowExecutionInfo().GetHistoryLength())
			return nil
		})
	}
	err := g.Wait()
	return sum.Load(), err
}

// quiet waits until nothing happens any more after the installs and returns the length of all histories.
func (w *world) quiet(ctx context.Context, installed []engine.Installed) (int64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deliveryTime, fmt.Errorf("idle installations did not come to rest within %s", deliveryTime))
	defer cancel()
	last := int64(-1)
	for {
		n, err := w.events(ctx, installed)
		if err != nil {
			return 0, err
		}
		if n == last {
			return n, nil
		}
		last = n
		if err := sleep(ctx, 3*time.Second); err != nil {
			return 0, context.Cause(ctx)
		}
	}
}
