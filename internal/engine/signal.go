package engine

import (
	"context"
	"errors"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"tributary/internal/receiver"
	"tributary/workflows"
)

// signaler hands arrivals to workflows. Closing, "too many" and time-outs mean again; only "not found" means ended.
type signaler struct{ client client.Client }

var _ receiver.Signaler = signaler{}

func (s signaler) Signal(ctx context.Context, installation string, a workflows.Arrival) error {
	// Never SignalWithStart: it would bring back the uninstalled.
	err := s.client.SignalWorkflow(ctx, installation, "", workflows.ArrivalSignal, a)
	var gone *serviceerror.NotFound
	switch {
	case err == nil:
		return nil
	case errors.As(err, &gone):
		return errors.Join(receiver.ErrEnded, err)
	}
	return errors.Join(receiver.ErrAgain, err)
}

func namespaceOf(context.Context, client.Client) string {
	if o, err := envconfig.LoadDefaultClientOptions(); err == nil && o.Namespace != "" {
		return o.Namespace
	}
	return client.DefaultNamespace
}
