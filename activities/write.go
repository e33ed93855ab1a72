package activities

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/segment"
)

const (
	// writeTime bounds one attempt, within the activity's own time-out: what is not durable by then comes again.
	writeTime = 100 * time.Second
	// maxSpans bounds what is remembered of a half-done batch; what is not remembered is sent again, which is harmless (I3).
	maxSpans = 64
	// loaders is how many segments of a batch are loaded at once.
	loaders = 8
)

// writing is an attempt at a batch.
type writing struct {
	a    *Activities
	in   WriteInput
	lane *block.Lane // nil when spilling
	late map[string]memory
	// streams are the only ones that the lane wants; none = all.
	streams []string

	// fates has a place for each ordinal of the batch.
	fates   []fate
	records []connectors.Record
	// raw are the payloads as they came, for quarantine: a map or select has changed those in records.
	raw  [][]byte
	held []refusal
	out  WriteOutput
}

// fate is what became of an ordinal.
type fate uint8

const (
	open fate = iota // still to be settled
	done             // by an earlier attempt, or no record claims it
	delivered
	filtered
	recognised
	quarantined
	expired
)

// refusal is a record that goes to quarantine.
type refusal struct {
	record connectors.Record
	kind   connectors.Kind
	reason string
}

// Write delivers a frozen batch, or what an earlier attempt left of it. Every record ends delivered, filtered by the block's
// own rule, or in quarantine with the reason (I4).
func (a *Activities) Write(ctx context.Context, in WriteInput) (WriteOutput, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, min(cmp.Or(in.Time, writeTime), writeTime))
	defer cancel()
	defer alive(ctx)()
	w := &writing{a: a, in: in, fates: make([]fate, in.Next-in.First), late: make(map[string]memory)}
	err := w.run(ctx)
	w.tally()
	w.out.Failure = NewFailure("write to "+in.Lane, err)
	w.out.Took = time.Since(began).Round(time.Millisecond)
	return w.out, nil
}

func (w *writing) run(ctx context.Context) error {
	w.begin()
	if w.in.Spill == "" {
		lane, err := w.a.Blocks.Lane(ctx, w.in.Integration, w.in.Revision, w.in.User, w.in.Lane)
		if err != nil {
			return err
		}
		defer lane.Release()
		w.lane, w.streams = lane, lane.Block.Streams
	} else {
		spec, err := w.a.Blocks.Spec(ctx, w.in.Integration, w.in.Revision)
		if err != nil {
			return err
		}
		for _, d := range spec.Destinations {
			if d.Name == w.in.Lane {
				w.streams = d.Streams
			}
		}
	}
	if err := w.load(ctx); err != nil {
		// Nothing is known of the records, so nothing is settled but what was before.
		w.begin()
		return err
	}
	if w.in.Spill != "" {
		for i := range w.records {
			w.held = append(w.held, refusal{w.records[i], w.in.SpillKind, w.in.Spill})
		}
		w.records = nil
		return w.quarantine(ctx)
	}
	err := w.deliver(ctx)
	if qerr := w.quarantine(ctx); qerr != nil && err == nil {
		err = qerr
	}
	return err
}

// begin takes over what earlier attempts settled.
func (w *writing) begin() {
	clear(w.fates)
	for _, s := range w.in.Settled {
		for o := max(s.First, w.in.First); o < min(s.Next, w.in.Next); o++ {
			w.fates[o-w.in.First] = done
		}
	}
	w.records, w.held = nil, nil
}

// deliver writes what is to be written and books the outcome of each record.
func (w *writing) deliver(ctx context.Context) error {
	if len(w.records) == 0 {
		return nil
	}
	result, err := w.lane.WriteGuarded(ctx, connectors.Batch{
		Installation: w.in.Installation, Integration: w.in.Integration, User: w.in.User,
		Epoch: w.in.Ledger, Lane: w.in.Lane, First: w.in.First, Next: w.in.Next, Mode: w.lane.Mode, Records: w.records,
	})
	if len(result.Outcomes) != 0 && len(result.Outcomes) != len(w.records) {
		return connectors.Errorf(connectors.Unknown, "", "%s spoke of %d records of %d", w.lane.Block.Connector, len(result.Outcomes), len(w.records))
	}
	mentioned := 0
	for i, o := range result.Outcomes {
		switch o {
		case connectors.Durable:
			w.settle(w.records[i].Ordinal, delivered)
			mentioned++
		case connectors.Rejected:
			r := w.records[i]
			r.Data = w.raw[i]
			w.held = append(w.held, refusal{r, connectors.Invalid, cmp.Or(result.Reasons[i], w.lane.Block.Connector+" gave no reason")})
			mentioned++
		}
	}
	if err == nil && mentioned < len(w.records) {
		return connectors.Errorf(connectors.Unknown, "", "%s left %d records unmentioned", w.lane.Block.Connector, len(w.records)-mentioned)
	}
	return err
}

func (w *writing) settle(ordinal int64, f fate) { w.fates[ordinal-w.in.First] = f }

// tally works out what is settled, and counts what this attempt did of it. What is not remembered comes again and counts then.
func (w *writing) tally() {
	n := 0
	for n < len(w.fates) && w.fates[n] != open {
		n++
	}
	w.out.Next = w.in.First + int64(n)
	known := n
	spans := maxSpans
	if w.in.Spans > 0 {
		spans = min(spans, w.in.Spans)
	}
	for i := n; i < len(w.fates) && len(w.out.Settled) < spans; i++ {
		if w.fates[i] == open {
			continue
		}
		j := i
		for j < len(w.fates) && w.fates[j] != open {
			j++
		}
		w.out.Settled = append(w.out.Settled, Span{First: w.in.First + int64(i), Next: w.in.First + int64(j)})
		i, known = j, j
	}
	for _, f := range w.fates[:known] {
		switch f {
		case delivered:
			w.out.Delivered++
		case filtered:
			w.out.Filtered++
		case recognised:
			w.out.Recognised++
		case quarantined:
			w.out.Quarantined++
		case expired:
			w.out.Expired++
		}
	}
	for _, r := range w.records {
		if i := int(r.Ordinal - w.in.First); i < known && w.fates[i] == delivered {
			w.out.Bytes += int64(len(r.Data))
		}
	}
}

// load reads the batch's segments and makes the records that are to be sent. Segments are loaded a few at once and
// looked at in order.
func (w *writing) load(ctx context.Context) error {
	entries, err := w.a.flatten(ctx, w.in.Entries, Span{w.in.First, w.in.Next}, w.takes)
	if err != nil {
		return err
	}
	before := slices.Clone(w.fates)
	for i := range w.fates {
		w.fates[i] = done
	}
	segments := make([]*segment.Segment, len(entries))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loaders)
	for i, e := range entries {
		if e.Level > 0 {
			continue
		}
		g.Go(func() error {
			s, err := w.a.Segments.Load(gctx, e.Name)
			if errors.Is(err, os.ErrNotExist) {
				return w.a.gone(gctx, e)
			}
			if err != nil {
				return storeError("read segment", err)
			}
			if s.Len() != e.Records {
				return connectors.Errorf(connectors.Unknown, "read segment", "%s has %d records, not %d", e.Name, s.Len(), e.Records)
			}
			segments[i] = s
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, e := range entries {
		from, to := max(w.in.First-e.First, 0), min(w.in.Next, e.End())-e.First
		if segments[i] == nil {
			for o := e.First + from; o < e.First+to; o++ {
				if before[o-w.in.First] == open {
					w.settle(o, expired)
				}
			}
			continue
		}
		for at, r := range segments[i].Slice(int(from), int(to)) {
			r.Ordinal = e.First + int64(at)
			if before[r.Ordinal-w.in.First] != open {
				continue
			}
			if err := w.prepare(ctx, e, r); err != nil {
				return err
			}
		}
		segments[i] = nil
	}
	return nil
}

// prepare decides what becomes of one record: sent, filtered, recognised, or refused because its filter or map fails on it.
func (w *writing) prepare(ctx context.Context, e Entry, r connectors.Record) error {
	if e.Why != nil {
		w.settle(r.Ordinal, open)
		w.held = append(w.held, refusal{r, e.Why.Kind, e.Why.Message})
		return nil
	}
	if w.lane != nil {
		late, err := w.isLate(ctx, e, r)
		if err != nil {
			return err
		}
		if late {
			w.settle(r.Ordinal, recognised)
			return nil
		}
	}
	raw := r.Data
	if w.lane != nil {
		data, keep, err := w.lane.Program.Apply(ctx, r)
		if err != nil {
			if ctx.Err() != nil {
				return connectors.AsError("", ctx.Err())
			}
			w.settle(r.Ordinal, open)
			w.held = append(w.held, refusal{r, connectors.Invalid, err.Error()})
			return nil
		}
		if !keep {
			w.settle(r.Ordinal, filtered)
			return nil
		}
		r.Data = data
	}
	w.settle(r.Ordinal, open)
	w.records, w.raw = append(w.records, r), append(w.raw, raw)
	return nil
}

// isLate recognises a webhook for a change that reconciliation had found first.
func (w *writing) isLate(ctx context.Context, e Entry, r connectors.Record) (bool, error) {
	name := w.in.Extra[r.Stream]
	if name == "" || r.Version == 0 || r.Key == "" || !byWebhook(e.Name) {
		return false, nil
	}
	m, ok := w.late[r.Stream]
	if !ok {
		var err error
		if m, err = w.a.extras(ctx, name); err != nil {
			return false, err
		}
		w.late[r.Stream] = m
	}
	_, late := m[changeOf(r.Stream, r.Key, r.Version)]
	return late, nil
}

// takes says whether the lane wants the entry's records.
func (w *writing) takes(e Entry) bool {
	if e.Lane != "" {
		return e.Lane == w.in.Lane
	}
	return len(w.streams) == 0 || slices.Contains(w.streams, e.Stream)
}
