package block

import (
	"context"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/integration"
	"tributary/internal/vault"
)

const MaxPooled = maxPooled

// RenewLease is how long a worker that died at a renewal keeps others off.
const RenewLease = renewLease

// SetPatience shortens how long a renewal is waited for.
func (o *Opener) SetPatience(d time.Duration) { o.patience = d }

type silent struct{ closed int }

func (*silent) Write(context.Context, connectors.Batch) (connectors.Result, error) {
	return connectors.Result{}, nil
}

func (s *silent) Close() error { s.closed++; return nil }

// Who read the connection just before it was rotated, and comes later, gets the destination of the newer one: it is not
// displaced by one with the old secret.
func TestOlderReaderGetsNewerConnection(t *testing.T) {
	t.Parallel()
	var opened []*silent
	def := connectors.Definition{Name: "sink", OpenDestination: func(connectors.Config) (connectors.Destination, error) {
		opened = append(opened, &silent{})
		return opened[len(opened)-1], nil
	}}
	o := New(nil, nil, nil, connectors.Env{})
	defer o.Close()
	key := poolKey{"flow", 1, "out", "operator"}
	newer, _, err := o.lend(key, credentials{conn: vault.Connection{Version: 2}}, integration.Destination{}, def, connectors.Config{})
	if err != nil {
		t.Fatal(err)
	}
	older, old, err := o.lend(key, credentials{conn: vault.Connection{Version: 1}}, integration.Destination{}, def, connectors.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if older != newer || len(old) != 0 || len(opened) != 1 {
		t.Errorf("%d destinations were opened, %d displaced", len(opened), len(old))
	}
}
