package activities

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"tributary/connectors"
	"tributary/internal/block"
)

// Subscribe has the app's webhooks be as the definition says, and counts what was missing.
func (a *Activities) Subscribe(ctx context.Context, in SubscribeInput) (SubscribeOutput, error) {
	defer alive(ctx)()
	var out SubscribeOutput
	err := a.withSubscriber(ctx, in, func(ctx context.Context, app connectors.Subscriber, url, shared string) error {
		if shared != "" {
			if _, err := a.Catalog.AddSubscriber(ctx, shared, in.Epoch); err != nil {
				return catalogError("count installations", err)
			}
		}
		req := connectors.SubscribeRequest{URL: url, Streams: in.Streams}
		before, err := app.Subscriptions(ctx, req)
		if err != nil {
			return err
		}
		known := make(map[string]bool, len(before))
		for _, b := range before {
			known[b.ID] = true
			// Subscribe removes what it is not asked for, and others that share the URL asked for this.
			if shared != "" && b.Stream != "" && !slices.Contains(req.Streams, b.Stream) {
				req.Streams = append(slices.Clip(req.Streams), b.Stream)
			}
		}
		after, err := app.Subscribe(ctx, req)
		if err != nil {
			return err
		}
		for _, s := range after {
			if !known[s.ID] {
				out.Repaired++
			}
		}
		out.Active = len(after)
		out.Completes = completes(app)
		return nil
	}, func(source any) { out.Manual, out.Completes = true, completes(source) })
	out.Failure = NewFailure("subscribe", err)
	return out, nil
}

// Unsubscribe removes the app's webhooks; those of an app-wide URL only with its last installation.
func (a *Activities) Unsubscribe(ctx context.Context, in SubscribeInput) (CheckOutput, error) {
	defer alive(ctx)()
	err := a.withSubscriber(ctx, in, func(ctx context.Context, app connectors.Subscriber, url, shared string) error {
		if shared != "" {
			left, err := a.Catalog.RemoveSubscriber(ctx, shared, in.Epoch)
			if err != nil {
				return catalogError("count installations", err)
			}
			if left > 0 {
				return nil
			}
		}
		return app.Unsubscribe(ctx, connectors.SubscribeRequest{URL: url, Streams: in.Streams})
	}, func(any) {})
	return CheckOutput{Failure: NewFailure("unsubscribe", err)}, nil
}

// withSubscriber opens the source and calls do with its webhooks' URL, alone where others share that, or manual when the
// source is no Subscriber.
func (a *Activities) withSubscriber(ctx context.Context, in SubscribeInput,
	do func(ctx context.Context, app connectors.Subscriber, url, shared string) error, manual func(source any),
) (err error) {
	s, err := a.Blocks.Source(ctx, in.Integration, in.Revision, in.User)
	if err != nil {
		return err
	}
	defer block.Guard(s.Definition.Name, &err)
	app, ok := s.Value.(connectors.Subscriber)
	if !ok {
		manual(s.Value)
		return nil
	}
	url, shared, err := a.hookURL(ctx, in.Target, s)
	if err != nil {
		return err
	}
	if shared != "" {
		release, err := a.lease(ctx, "webhooks "+shared)
		if err != nil {
			return err
		}
		defer release()
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, leaseWork)
		defer cancel()
	}
	return do(ctx, app, url, shared)
}

const (
	// leaseTime is how long a lease holds when its worker died. It outlives leaseWork by more than clocks differ.
	leaseTime = 90 * time.Second
	// leaseWork bounds what is done under a lease.
	leaseWork = 20 * time.Second
	// leasePatience is how long an activity waits for a lease; after that the workflow waits.
	leasePatience = 5 * time.Second
	leaseRetry    = 50 * time.Millisecond
)

// lease has only one worker at a time do what the name stands for: counting an app's installations and calling the app
// about it must not interleave, or one that goes removes the webhooks of one that comes.
func (a *Activities) lease(ctx context.Context, name string) (release func(), err error) {
	holder := uuid.NewString()
	patience := time.NewTimer(leasePatience)
	defer patience.Stop()
	for {
		ok, err := a.Catalog.AcquireLease(ctx, name, holder, leaseTime, a.Env.Time())
		if err != nil {
			return nil, catalogError("take lease", err)
		}
		if ok {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			return nil, &connectors.Error{
				Kind: connectors.Unavailable, Message: "another installation is changing the webhooks that it shares with this one", Wait: leasePatience,
			}
		case <-time.After(leaseRetry):
		}
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leasePatience)
		defer cancel()
		_ = a.Catalog.ReleaseLease(ctx, name, holder) // else it ends by itself
	}, nil
}
