package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
	"tributary/workflows"
)

const sendHelp = `send puts a record into an installation as if its source had sent it, and it goes to all its destinations. The payload is a file, or
stdin for -, and is delivered byte for byte.

Each send is a record of its own. With --id it is that record, and sending it again has no further effect where it is known already.`

// origin is the journal that records come from which the starter sends.
const origin = "starter"

type sendFlags struct {
	stream, key, id, op string
	version             int64
}

func (a *app) send() *cobra.Command {
	var f sendFlags
	c := &cobra.Command{
		Use:   "send INSTALLATION --stream STREAM FILE|-",
		Short: "Put a test record into an installation",
		Long:  sendHelp,
		Example: `  echo '{"id": 1, "email": "ada@example.com"}' | starter send customers/ada --stream customers --key 1 -
  starter send customers/ada --stream customers --key 1 --op delete -  < /dev/null`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			return a.runSend(c.Context(), args[0], args[1], f)
		},
	}
	c.Flags().StringVarP(&f.stream, "stream", "s", "", "the stream that it belongs to (required)")
	c.Flags().StringVar(&f.key, "key", "", "the object's key; without one it is an event about no object")
	c.Flags().StringVar(&f.id, "id", "", "the change's ID (default: a new one)")
	c.Flags().StringVar(&f.op, "op", string(connectors.Upsert), "upsert or delete")
	c.Flags().Int64Var(&f.version, "version", 0, "orders changes of a key, the greater wins; 0 = the later arrival wins")
	return c
}

// sent is the result of send.
type sent struct {
	Installation string `json:"installation"`
	Stream       string `json:"stream"`
	ID           string `json:"id"`
	Key          string `json:"key,omitempty"`
	Op           string `json:"op"`
	Bytes        int    `json:"bytes"`
	Segment      string `json:"segment"`
}

// maxSend is what the receiver takes as a body.
const maxSend = 5 << 20

func (a *app) runSend(ctx context.Context, id, file string, f sendFlags) error {
	op := connectors.Op(f.op)
	if op != connectors.Upsert && op != connectors.Delete {
		return usage("--op %q: want upsert or delete", f.op)
	}
	for _, limited := range []struct{ flag, value string }{{"--key", f.key}, {"--id", f.id}} {
		if len(limited.value) > connectors.MaxIDBytes {
			return usage("%s: at most %d bytes", limited.flag, connectors.MaxIDBytes)
		}
	}
	data, err := a.readFile(file, maxSend+1)
	if err != nil {
		return err
	}
	switch {
	case len(data) > maxSend:
		return usage("%s is larger than %d MiB", file, maxSend>>20)
	case len(data) == 0 && op == connectors.Delete:
	default:
		if err := connectors.CheckPayload(file, data); err != nil {
			return err
		}
	}
	s, err := a.connected(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	inst, err := s.installation(ctx, id)
	if err != nil {
		return err
	}
	if err := s.checkStream(ctx, inst, f.stream); err != nil {
		return err
	}
	r := connectors.Record{
		ID: f.id, Stream: f.stream, Key: f.key, Op: op, Version: f.version, ReceivedAt: time.Now(), Data: data,
	}
	if r.ID == "" {
		r.ID = uuid.NewString()
	}
	ref, err := s.inject(ctx, inst, r)
	if err != nil {
		return err
	}
	out := sent{Installation: id, Stream: r.Stream, ID: r.ID, Key: r.Key, Op: string(r.Op), Bytes: len(data), Segment: ref.Name}
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "Sent record %s of %s (%d bytes) to %s. `starter flush %s --wait` delivers it at once.\n", r.ID, r.Stream, len(data), id, id)
	})
}

// checkStream refuses a stream that the installation's integration does not read.
func (s *session) checkStream(ctx context.Context, inst catalog.Installation, stream string) error {
	stored, err := s.Catalog.Integration(ctx, inst.Integration, inst.Revision)
	if err != nil {
		return err
	}
	if known := stored.Spec.Source.Streams; !slices.Contains(known, stream) {
		return usage("--stream %q: %s has the streams %s", stream, inst.Integration, strings.Join(known, ", "))
	}
	return nil
}

const (
	leaseTime = 30 * time.Second
	leaseTry  = 50 * time.Millisecond
)

// inject seals the record and signals the workflow. The workflow takes each journal's arrivals in the order of their
// numbers and drops what is behind, so that two senders at once must take turns, or the slower one's record would be lost (I4).
func (s *session) inject(ctx context.Context, inst catalog.Installation, r connectors.Record) (segment.Ref, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	lease, holder := "send/"+inst.Epoch, uuid.NewString()
	for {
		ok, err := s.Catalog.AcquireLease(ctx, lease, holder, leaseTime, time.Now())
		if err != nil {
			return segment.Ref{}, err
		}
		if ok {
			break
		}
		select {
		case <-ctx.Done():
			return segment.Ref{}, fail(exitExists, "others keep sending to %s: try again", inst.ID)
		case <-time.After(leaseTry):
		}
	}
	defer func() { _ = s.Catalog.ReleaseLease(context.WithoutCancel(ctx), lease, holder) }() // it ends by itself
	sequence := uint64(time.Now().UnixNano())
	b := segment.NewBuilder()
	b.Add(r)
	ref, err := s.Segments.Seal(ctx, segment.Name{Epoch: inst.Epoch, Stream: r.Stream, Origin: origin, Sequence: sequence}, b)
	if err != nil {
		return ref, err
	}
	err = s.client.SignalWorkflow(ctx, inst.ID, "", workflows.ArrivalSignal, workflows.Arrival{
		Epoch: inst.Epoch, Journal: origin, From: sequence, To: sequence, Segments: []segment.Ref{ref}, At: r.ReceivedAt,
	})
	if errors.As(err, new(*serviceerror.NotFound)) {
		return ref, explain(inst.ID, err)
	}
	if err != nil {
		return ref, fmt.Errorf("signal %s: %w", inst.ID, err)
	}
	return ref, nil
}
