package activities

import (
	"context"
	"errors"

	"tributary/connectors"
	"tributary/internal/catalog"
)

// CheckConnectionName is the activity behind `starter connection check`.
const CheckConnectionName = "CheckConnection"

// Check asks a block of the installation whether its connection and settings work.
func (a *Activities) Check(ctx context.Context, in CheckInput) (CheckOutput, error) {
	return CheckOutput{Failure: NewFailure("", a.check(ctx, in))}, nil
}

func (a *Activities) check(ctx context.Context, in CheckInput) error {
	if in.Lane == "" {
		s, err := a.Blocks.Source(ctx, in.Integration, in.Revision, in.User)
		if err != nil {
			return err
		}
		return s.Check(ctx)
	}
	l, err := a.Blocks.Lane(ctx, in.Integration, in.Revision, in.User, in.Lane)
	if err != nil {
		return err
	}
	defer l.Release()
	return l.Check(ctx)
}

// CheckConnection asks a connector whether a stored connection works.
func (a *Activities) CheckConnection(ctx context.Context, in ConnectionInput) (CheckOutput, error) {
	return CheckOutput{Failure: NewFailure("", a.Blocks.CheckConnection(ctx, in.Owner, in.Connector, in.Name, in.Settings))}, nil
}

// Activate tells the catalog that the installation runs.
func (a *Activities) Activate(ctx context.Context, in EndInput) error {
	return a.Catalog.SetState(ctx, in.Epoch, catalog.Active, "")
}

// End tells the catalog that the epoch has ended: from now on the receiver answers 410.
func (a *Activities) End(ctx context.Context, in EndInput) (CheckOutput, error) {
	err := a.Catalog.SetState(ctx, in.Epoch, catalog.Ended, in.Note)
	if errors.Is(err, catalog.ErrNotFound) {
		err = nil // nothing to end
	}
	return CheckOutput{}, err
}

// Publish tells the catalog what the janitor and the receiver need to know.
func (a *Activities) Publish(ctx context.Context, in PublishInput) error {
	if err := a.Catalog.PublishMarks(ctx, in.Epoch, in.Marks, in.Retention); err != nil {
		return err
	}
	if err := a.Catalog.SetRevision(ctx, in.Epoch, in.Revision); err != nil {
		return err
	}
	return a.Catalog.SetPressure(ctx, in.Epoch, in.Pressure)
}

// Subscribe has the app's webhooks be as the definition says, and counts what was missing.
func (a *Activities) Subscribe(ctx context.Context, in SubscribeInput) (SubscribeOutput, error) {
	var out SubscribeOutput
	err := func() (err error) {
		s, err := a.Blocks.Source(ctx, in.Integration, in.Revision, in.User)
		if err != nil {
			return err
		}
		app, ok := s.Value.(connectors.Subscriber)
		if !ok {
			out.Manual = true
			return nil
		}
		defer guard(s.Definition.Name, &err)
		url, shared, err := a.hookURL(ctx, in.Target, s)
		if err != nil {
			return err
		}
		req := connectors.SubscribeRequest{URL: url, Streams: in.Streams}
		if shared != "" {
			if _, err := a.Catalog.AddSubscriber(ctx, shared, in.Epoch); err != nil {
				return err
			}
		}
		before, err := app.Subscriptions(ctx, req)
		if err != nil {
			return err
		}
		after, err := app.Subscribe(ctx, req)
		if err != nil {
			return err
		}
		known := make(map[string]bool, len(before))
		for _, b := range before {
			known[b.ID] = true
		}
		for _, s := range after {
			if !known[s.ID] {
				out.Repaired++
			}
		}
		out.Active = len(after)
		return nil
	}()
	out.Failure = NewFailure("subscribe", err)
	return out, nil
}

// Unsubscribe removes the app's webhooks; those of an app-wide URL only with its last installation.
func (a *Activities) Unsubscribe(ctx context.Context, in SubscribeInput) (CheckOutput, error) {
	err := func() (err error) {
		s, err := a.Blocks.Source(ctx, in.Integration, in.Revision, in.User)
		if err != nil {
			return err
		}
		app, ok := s.Value.(connectors.Subscriber)
		if !ok {
			return nil
		}
		defer guard(s.Definition.Name, &err)
		url, shared, err := a.hookURL(ctx, in.Target, s)
		if err != nil {
			return err
		}
		if shared != "" {
			left, err := a.Catalog.RemoveSubscriber(ctx, shared, in.Epoch)
			if err != nil || left > 0 {
				return err
			}
		}
		return app.Unsubscribe(ctx, connectors.SubscribeRequest{URL: url, Streams: in.Streams})
	}()
	return CheckOutput{Failure: NewFailure("unsubscribe", err)}, nil
}
