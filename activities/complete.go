package activities

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/segment"
)

// completes says whether what a source's webhooks bring is to be completed.
func completes(source any) bool {
	c, ok := source.(connectors.Completer)
	return ok && c.Completes()
}

// thin is a record as a webhook brought it, with its ordinal among what waits.
type thin = connectors.Record

// completing is an attempt at completing what waits of a stream.
type completing struct {
	meter
	in CompleteInput
	// source is nil where records go on as they came.
	source connectors.Completer
	until  time.Time

	builder *segment.Builder
	// why, when set, is why what is in the builder goes to quarantine.
	why *Failure
	// seen are the IDs that this attempt has: an object that many records named, far apart, is delivered once.
	seen map[fingerprint]struct{}
	// unsealed is what was done since the last seal: it is progress only when it is sealed.
	unsealed CompleteOutput
	taken    int
	bytes    int64

	mu  sync.Mutex // guards out, which the heartbeat reads
	out CompleteOutput
}

// Complete reads what the webhooks of a stream are about and seals whole records in the order of the webhooks. What is sealed is never
// lost: an error after progress returns the progress, and a killed attempt's heartbeat hands it to the next.
func (a *Activities) Complete(ctx context.Context, in CompleteInput) (CompleteOutput, error) {
	c := &completing{
		meter: meter{a: a, holder: in.Ledger + "/" + in.Stream + "/complete"}, in: in, until: time.Now().Add(in.Time),
		builder: segment.NewBuilder(), seen: make(map[fingerprint]struct{}),
	}
	c.out.Next = in.First
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &c.out); err != nil || c.out.Next < in.First {
			c.out = CompleteOutput{Next: in.First}
		}
	}
	c.taken = int(c.out.Taken)
	for _, p := range c.out.Parts {
		c.bytes += p.Bytes
	}
	c.unsealed.Next = c.out.Next
	stop := pulse(ctx, func() any { return c.progress() })
	defer stop()
	err := c.run(ctx)
	if serr := c.seal(ctx); serr != nil && err == nil {
		err = serr
	}
	out := c.progress()
	if errors.Is(err, errEnough) {
		err = nil
	}
	out.Failure = NewFailure("complete "+in.Stream, err)
	return out, nil
}

// progress is what is sealed so far.
func (c *completing) progress() CompleteOutput {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	out.Parts = slices.Clone(out.Parts)
	return out
}

// errEnough ends an attempt whose time or room is used up. It is not shown.
var errEnough = errors.New("enough")

func (c *completing) run(ctx context.Context) (err error) {
	if c.in.Refuse == nil {
		if err := c.open(ctx); err != nil {
			return err
		}
		defer c.leaveSlot(ctx)
	}
	entries, err := c.a.flatten(ctx, c.in.Entries, Span{c.out.Next, c.in.Next}, func(e Entry) bool { return e.Stream == c.in.Stream })
	if err != nil {
		return err
	}
	var waiting []thin
	for len(entries) > 0 {
		some := entries[:min(loaders, len(entries))]
		entries = entries[len(some):]
		segments, err := c.load(ctx, some)
		if err != nil {
			return err
		}
		for i, e := range some {
			if segments[i] == nil { // settled by every lane once, before a workflow reset went back to it
				if err := c.pass(ctx, waiting); err != nil {
					return err
				}
				waiting = nil
				if e.Level == 0 {
					c.unsealed.Taken += int64(e.Records)
					c.unsealed.Bytes += e.Bytes
				}
				c.unsealed.Next = e.End()
				continue
			}
			from := max(c.out.Next, e.First) - e.First
			for at, r := range segments[i].Slice(int(from), int(min(c.in.Next, e.End())-e.First)) {
				r.Ordinal = e.First + int64(at)
				if waiting = append(waiting, r); len(waiting) == connectors.MaxComplete {
					if err := c.pass(ctx, waiting); err != nil {
						return err
					}
					waiting = nil
				}
			}
		}
	}
	if err := c.pass(ctx, waiting); err != nil {
		return err
	}
	c.unsealed.Next = c.in.Next
	return nil
}

// open opens the source. One that does not complete, because a later revision does not want it, lets records go on as they came.
func (c *completing) open(ctx context.Context) (err error) {
	if c.src, err = c.a.Blocks.Source(ctx, c.in.Integration, c.in.Revision, c.in.User); err != nil {
		return err
	}
	defer block.Guard(c.src.Definition.Name, &err)
	if completes(c.src.Value) {
		c.source = c.src.Value.(connectors.Completer)
	}
	return nil
}

// load reads segments a few at once; nil stands for one that is not needed any more.
func (c *completing) load(ctx context.Context, entries []Entry) ([]*segment.Segment, error) {
	segments := make([]*segment.Segment, len(entries))
	g, ctx := errgroup.WithContext(ctx)
	for i, e := range entries {
		if e.Level > 0 {
			continue // gone
		}
		g.Go(func() error {
			s, err := c.a.Segments.Load(ctx, e.Name)
			switch {
			case errors.Is(err, os.ErrNotExist):
				return c.a.gone(ctx, e)
			case err != nil:
				return storeError("read segment", err)
			case s.Len() != e.Records:
				return connectors.Errorf(connectors.Unknown, "read segment", "%s has %d records, not %d", e.Name, s.Len(), e.Records)
			}
			segments[i] = s
			return nil
		})
	}
	return segments, g.Wait()
}

// pass sees a run of records, one after the other, to where they go.
func (c *completing) pass(ctx context.Context, waiting []thin) error {
	switch {
	case len(waiting) == 0:
		return nil
	case c.enough():
		return errEnough
	case c.in.Refuse != nil:
		return c.refuse(ctx, waiting, c.in.Refuse)
	case c.source == nil:
		return c.add(ctx, waiting, waiting)
	}
	whole, err := c.call(ctx, waiting)
	if err == nil {
		return c.add(ctx, waiting, whole)
	}
	e := connectors.AsError("", err)
	switch e.Kind {
	case connectors.Invalid, connectors.NotFound, connectors.TooLarge:
		// Coming again is no use. Half of them each, down to those that are the matter: the others must not wait for these.
		if n := len(waiting); n > 1 {
			if err := c.pass(ctx, waiting[:n/2]); err != nil {
				return err
			}
			return c.pass(ctx, waiting[n/2:])
		}
		why := NewFailure("", e)
		why.Message = "the app could not complete the webhook: " + connectors.Clip(why.Message, 200)
		return c.refuse(ctx, waiting, why)
	}
	return err
}

// maxParts bounds what comes of an attempt: the parts stand in the history, and in the workflow's state (I10).
const maxParts = 32

// enough says that the attempt has done its part. It does something however late it is.
func (c *completing) enough() bool {
	if c.taken == 0 {
		return false
	}
	return c.taken >= c.in.Records || c.bytes >= c.in.Bytes || len(c.out.Parts) >= maxParts || !time.Now().Before(c.until)
}

// call has the source complete records, by one call of the account's budget; those that it took besides are charged afterwards, also when it
// failed, for nobody knows how far it came.
func (c *completing) call(ctx context.Context, waiting []thin) (whole []connectors.Record, err error) {
	if err := c.take(ctx, c.src.Definition.Budget); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	defer block.Guard(c.src.Definition.Name, &err)
	given := slices.Clone(waiting)
	for i := range given {
		given[i].Ordinal = 0
	}
	// Before it calls: what the source knows afterwards, such as the names of fields, it had to ask for.
	defer c.charge(ctx, c.source.CompleteCalls(given)-1)
	return c.source.Complete(ctx, given)
}

// add takes what came of records.
func (c *completing) add(ctx context.Context, waiting []thin, whole []connectors.Record) error {
	if c.why != nil {
		if err := c.seal(ctx); err != nil {
			return err
		}
	}
	now := c.a.Env.Time()
	for i := range whole {
		r := whole[i]
		r.Stream, r.Ordinal = c.in.Stream, 0
		if r.ReceivedAt.IsZero() {
			r.ReceivedAt = now
		}
		if r.ID == "" || len(r.ID) > connectors.MaxIDBytes {
			r.ID = connectors.RecordID(r.Stream, r.Key, r.Version, r.Data)
		}
		id := fingerprintOf(r.ID)
		if _, again := c.seen[id]; again {
			continue
		}
		c.seen[id] = struct{}{}
		c.builder.Add(r)
		c.bytes += int64(len(r.Data))
	}
	c.done(waiting)
	return c.sealFull(ctx)
}

func (c *completing) sealFull(ctx context.Context) error {
	if c.builder.Bytes() >= segmentBytes || c.builder.Len() >= segmentRecords {
		return c.seal(ctx)
	}
	return nil
}

// refuse takes records as they came, for quarantine. Neighbours with one reason go together.
func (c *completing) refuse(ctx context.Context, waiting []thin, why *Failure) error {
	if c.builder.Len() > 0 && (c.why == nil || *c.why != *why) {
		if err := c.seal(ctx); err != nil {
			return err
		}
	}
	c.why = why
	for _, r := range waiting {
		c.builder.Add(r)
		c.bytes += int64(len(r.Data))
	}
	c.done(waiting)
	return c.sealFull(ctx)
}

// done books that records are settled here.
func (c *completing) done(waiting []thin) {
	c.taken += len(waiting)
	c.unsealed.Taken += int64(len(waiting))
	for _, r := range waiting {
		c.unsealed.Bytes += int64(len(r.Data))
	}
	c.unsealed.Next = waiting[len(waiting)-1].Ordinal + 1
}

// seal makes what was done durable.
func (c *completing) seal(ctx context.Context) error {
	// An attempt that was told to stop still seals: what it has read is paid for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var parts []Part
	if c.builder.Len() > 0 {
		ref, err := c.a.Segments.Seal(ctx, segment.Name{
			Epoch: c.in.Epoch, Stream: c.in.Stream, Origin: Origin(CompleteOrigin, c.in.Suffix), Sequence: c.in.Sequence, Suffix: attempt(),
		}, c.builder)
		if err != nil {
			return storeError("seal", err)
		}
		parts = append(parts, Part{Ref: ref, Why: c.why})
		c.builder.Reset()
	}
	c.why = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Parts = append(c.out.Parts, parts...)
	c.out.Next = c.unsealed.Next
	c.out.Taken += c.unsealed.Taken
	c.out.Bytes += c.unsealed.Bytes
	c.unsealed = CompleteOutput{Next: c.out.Next}
	return nil
}
