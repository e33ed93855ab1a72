package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"go.temporal.io/sdk/client"

	"tributary/connectors"
	"tributary/connectors/datastream"
	"tributary/internal/catalog"
	"tributary/internal/journal"
	"tributary/internal/receiver"
	"tributary/internal/vault"
)

// Receiver serves webhooks and forwards them until it is stopped.
type Receiver struct {
	// URL and OpsURL are where it listens.
	URL, OpsURL string

	stop  context.CancelFunc
	ended chan struct{}
	err   error // once ended
}

// flushTime bounds how long a stopping receiver goes on forwarding; what is left stands in its journal.
const flushTime = 10 * time.Second

// StartReceiver opens the journal and starts the webhook server and the forwarder.
func (e *Engine) StartReceiver(ctx context.Context, c client.Client) (_ *Receiver, err error) {
	collectLess()
	j, err := journal.Open(e.Config.Journal, journal.Options{MaxBytes: e.Config.JournalBytes, Logger: e.Log})
	if err != nil {
		return nil, err
	}
	var public, ops net.Listener
	defer func() {
		if err != nil {
			j.Close()
			for _, l := range []net.Listener{public, ops} {
				if l != nil {
					l.Close()
				}
			}
		}
	}()
	if public, err = net.Listen("tcp", e.Config.Listen); err != nil {
		return nil, fmt.Errorf("TRIBUTARY_LISTEN: %w", err)
	}
	if ops, err = net.Listen("tcp", e.Config.OpsListen); err != nil {
		return nil, fmt.Errorf("TRIBUTARY_OPS_LISTEN: %w", err)
	}
	metrics := receiver.NewMetrics()
	f, err := receiver.NewForwarder(receiver.ForwarderConfig{
		Journal: j, Store: e.Segments, Catalog: e.Catalog, Signaler: signaler{c}, Metrics: metrics, Log: e.Log,
	})
	if err != nil {
		return nil, err
	}
	s, err := receiver.NewServer(receiver.Config{
		Public: public, Ops: ops, PublicURL: e.Config.PublicURL, Journal: j, Store: e.Segments, Catalog: e.Catalog, Opener: opener{e},
		Keys: e.publicKeys,
		Temporal: func(ctx context.Context) error {
			_, err := c.CheckHealth(ctx, &client.CheckHealthRequest{})
			return err
		},
		Limits: receiver.Limits{JournalBytes: e.Config.JournalBytes / 2}, Metrics: metrics, Log: e.Log,
	})
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.Background())
	r := &Receiver{
		URL: "http://" + public.Addr().String(), OpsURL: "http://" + ops.Addr().String(), stop: stop, ended: make(chan struct{}),
	}
	go func() {
		defer close(r.ended)
		err := receiver.Run(serving, s, f, flushTime, e.Log)
		r.err = errors.Join(err, j.Close())
	}()
	return r, nil
}

// Ended is closed when the receiver has ended, also when nobody stopped it: half a receiver must not go on. Stop then says why.
func (r *Receiver) Ended() <-chan struct{} { return r.ended }

// Stop stops accepting, finishes what is in flight, forwards what it can for a moment and closes the journal. It waits for that as long
// as ctx lasts.
func (r *Receiver) Stop(ctx context.Context) error {
	r.stop()
	select {
	case <-r.ended:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("stop the receiver: %w", ctx.Err())
	}
}

// opener opens connectors for the receiver.
type opener struct{ e *Engine }

func (o opener) Receiver(ctx context.Context, in catalog.Installation) (connectors.Receiver, []string, error) {
	s, err := o.e.Blocks.Receiver(ctx, in.Integration, in.Revision, in.User)
	if err != nil {
		return nil, nil, err
	}
	r, ok := s.Value.(connectors.Receiver)
	if !ok || !s.Spec.Source.Trigger.Kind.Receives() {
		return nil, nil, connectors.Errorf(connectors.NotFound, "", "%s takes no webhooks", in.Integration)
	}
	return r, s.Spec.Source.Streams, nil
}

func (o opener) AppReceiver(ctx context.Context, connector, connection string) (connectors.Receiver, error) {
	v, err := o.e.Blocks.AppReceiver(ctx, connector, connection)
	if err != nil {
		return nil, err
	}
	r, ok := v.(connectors.Receiver)
	if !ok {
		return nil, connectors.Errorf(connectors.NotFound, "", "%s takes no webhooks", connector)
	}
	return r, nil
}

// publicKeys lists the keys that verify what Data Stream signs, of all connections of the operator.
func (e *Engine) publicKeys(ctx context.Context) ([]byte, error) {
	conns, err := e.Catalog.Connections(ctx, vault.Operator)
	if err != nil {
		return nil, err
	}
	keys := []datastream.PublicKey{}
	for _, c := range conns {
		if c.Connector != datastream.Definition().Name {
			continue
		}
		conn, err := e.Vault.Get(ctx, c.Owner, c.Connector, c.Name)
		if err != nil {
			return nil, err
		}
		more, err := datastream.PublicKeys(conn.Secret)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	return json.Marshal(map[string]any{"keys": keys})
}
