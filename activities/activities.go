// Package activities holds what the workflow calls: fetch, complete, write, subscribe, unsubscribe, check and the upkeep of the
// engine's own stores. A connector's error is not an activity's error: it is returned as a Failure beside the progress
// made, and the workflow waits on its own timer. What fails as an activity, a panic or a dead worker, Temporal retries.
package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/segment"
	"tributary/internal/vault"
)

// Activities holds what activities work with. It is shared by all of them at once.
type Activities struct {
	Blocks   *block.Opener
	Catalog  *catalog.Catalog
	Vault    *vault.Vault
	Segments *segment.Store
	// PublicURL is where apps reach the receiver, without a slash at the end.
	PublicURL string
	Env       connectors.Env

	allowed allowances
}

// Register registers every activity under its fixed name.
func (a *Activities) Register(w worker.Registry) {
	for name, f := range map[string]any{
		FetchName: a.Fetch, WriteName: a.Write, CheckName: a.Check, CheckConnectionName: a.CheckConnection,
		SubscribeName: a.Subscribe, UnsubscribeName: a.Unsubscribe, ActivateName: a.Activate, EndName: a.End,
		PublishName: a.Publish, RollName: a.Roll, RequeueName: a.Requeue,
		CompleteName: a.Complete,
	} {
		w.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name, DisableAlreadyRegisteredCheck: false})
	}
}

// alive heartbeats while an activity without progress works. Its worker's death holds up the installation until it is noticed.
func alive(ctx context.Context) (stop func()) { return pulse(ctx, func() any { return nil }) }

// pulse heartbeats in the background while an activity works, so that its worker's death is noticed in
// seconds. A short activity never sends one: the first comes after a third of the time-out.
func pulse(ctx context.Context, details func() any) (stop func()) {
	every := activity.GetInfo(ctx).HeartbeatTimeout / 3
	if every <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				activity.RecordHeartbeat(ctx, details())
			case <-done:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { close(done) }
}
