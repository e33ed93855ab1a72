package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/temporal"

	"tributary/internal/catalog"
)

// CheckConnectionName is the activity behind `starter connection check`.
const CheckConnectionName = "CheckConnection"

// Check asks a block of the installation whether its connection and settings work.
func (a *Activities) Check(ctx context.Context, in CheckInput) (CheckOutput, error) {
	defer alive(ctx)()
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
	defer alive(ctx)()
	return CheckOutput{Failure: NewFailure("", a.Blocks.CheckConnection(ctx, in.Owner, in.Connector, in.Name, in.Settings))}, nil
}

// Activate tells the catalog that the installation runs.
func (a *Activities) Activate(ctx context.Context, in EndInput) error {
	defer alive(ctx)()
	return plain("activate", a.Catalog.SetState(ctx, in.Epoch, catalog.Active, ""))
}

// End tells the catalog that the epoch has ended: from now on the receiver answers 410.
func (a *Activities) End(ctx context.Context, in EndInput) (CheckOutput, error) {
	defer alive(ctx)()
	err := a.Catalog.SetState(ctx, in.Epoch, catalog.Ended, in.Note)
	if errors.Is(err, catalog.ErrNotFound) {
		err = nil // nothing to end
	}
	return CheckOutput{}, plain("end", err)
}

// Publish tells the catalog what the janitor and the receiver need to know.
func (a *Activities) Publish(ctx context.Context, in PublishInput) error {
	defer alive(ctx)()
	if err := a.Catalog.PublishMarks(ctx, in.Epoch, in.Marks, in.Retention); err != nil {
		return plain("publish", err)
	}
	if err := a.Catalog.SetRevision(ctx, in.Epoch, in.Revision); err != nil {
		return plain("publish", err)
	}
	return plain("publish", a.Catalog.SetPressure(ctx, in.Epoch, in.Pressure))
}

// plain is an error of the catalog for Temporal to retry. It has no causes: a history would hold the text of each.
func plain(op string, err error) error {
	if err == nil {
		return nil
	}
	return temporal.NewApplicationError(catalogError(op, err).Error(), CatalogErrorType)
}
