package activities

import (
	"context"
	"encoding/json"
	"errors"
	"os"
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
	maxSpans = 200
	// loaders is how many segments of a batch are loaded at once.
	loaders = 8
)

// writing is an attempt at a batch.
type writing struct {
	a    *Activities
	in   WriteInput
	lane *block.Lane // nil when spilling
	late map[string]memory

	// settled has a place for each ordinal of the batch: what no record claims is nobody's and settled.
	settled []bool
	records []connectors.Record
	// raw are the payloads as they came, for quarantine: a map or select has changed those in records.
	raw  [][]byte
	held []refusal
	out  WriteOutput
}

// refusal is a record that goes to quarantine.
type refusal struct {
	record connectors.Record
	kind   connectors.Kind
	reason string
}

// Write delivers a frozen batch, or what an earlier attempt left of it. Every record ends delivered, filtered by the block's
// own rule, or in quarantine with the reason (I4).
func (a *Activities) Write(ctx context.Context, in WriteInput) (WriteOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	stop := pulse(ctx, func() any { return nil })
	defer stop()
	w := &writing{a: a, in: in, settled: make([]bool, in.Next-in.First), late: make(map[string]memory)}
	err := w.run(ctx)
	w.tally()
	w.out.Failure = NewFailure("write to "+in.Lane, err)
	return w.out, nil
}

func (w *writing) run(ctx context.Context) error {
	for _, s := range w.in.Settled {
		for o := max(s.First, w.in.First); o < min(s.Next, w.in.Next); o++ {
			w.settled[o-w.in.First] = true
		}
	}
	if w.in.Spill == "" {
		lane, err := w.a.Blocks.Lane(ctx, w.in.Integration, w.in.Revision, w.in.User, w.in.Lane)
		if err != nil {
			return w.stay(err)
		}
		defer lane.Release()
		w.lane = lane
	}
	if err := w.load(ctx); err != nil {
		return w.stay(err)
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

// stay says that nothing is known of the records: none of the batch is settled but what was before.
func (w *writing) stay(err error) error {
	w.settled = make([]bool, len(w.settled))
	for _, s := range w.in.Settled {
		for o := max(s.First, w.in.First); o < min(s.Next, w.in.Next); o++ {
			w.settled[o-w.in.First] = true
		}
	}
	w.out = WriteOutput{}
	w.records, w.held = nil, nil
	return err
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
	done := 0
	for i, o := range result.Outcomes {
		switch o {
		case connectors.Durable:
			w.settle(w.records[i].Ordinal)
			w.out.Delivered++
			w.out.Bytes += int64(len(w.records[i].Data))
			done++
		case connectors.Rejected:
			r := w.records[i]
			r.Data = w.raw[i]
			w.held = append(w.held, refusal{r, connectors.Invalid, result.Reasons[i]})
			done++
		}
	}
	if err == nil && done < len(w.records) {
		return connectors.Errorf(connectors.Unknown, "", "%s left %d records unmentioned", w.lane.Block.Connector, len(w.records)-done)
	}
	return err
}

func (w *writing) settle(ordinal int64) { w.settled[ordinal-w.in.First] = true }

// tally works out from where on the batch is unsettled.
func (w *writing) tally() {
	n := 0
	for n < len(w.settled) && w.settled[n] {
		n++
	}
	w.out.Next = w.in.First + int64(n)
	for i := n; i < len(w.settled) && len(w.out.Settled) < maxSpans; i++ {
		if !w.settled[i] {
			continue
		}
		j := i
		for j < len(w.settled) && w.settled[j] {
			j++
		}
		w.out.Settled = append(w.out.Settled, Span{First: w.in.First + int64(i), Next: w.in.First + int64(j)})
		i = j
	}
}

// load reads the batch's segments and makes the records that are to be sent. Segments are loaded a few at once and
// looked at in order.
func (w *writing) load(ctx context.Context) error {
	entries, err := w.flatten(ctx, w.in.Entries)
	if err != nil {
		return err
	}
	before := append([]bool(nil), w.settled...)
	for i := range w.settled {
		w.settled[i] = true
	}
	segments := make([]*segment.Segment, len(entries))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loaders)
	for i, e := range entries {
		g.Go(func() error {
			s, err := w.a.Segments.Load(gctx, e.Name)
			if errors.Is(err, os.ErrNotExist) {
				return w.expired(gctx, e)
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
			w.out.Expired += max(to-from, 0)
			continue
		}
		for at, r := range segments[i].Slice(int(from), int(to)) {
			r.Ordinal = e.First + int64(at)
			if before[r.Ordinal-w.in.First] {
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
	if w.lane != nil {
		late, err := w.isLate(ctx, e, r)
		if err != nil {
			return err
		}
		if late {
			w.out.Recognised++
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
			w.settled[r.Ordinal-w.in.First] = false
			w.held = append(w.held, refusal{r, connectors.Invalid, err.Error()})
			return nil
		}
		if !keep {
			w.out.Filtered++
			return nil
		}
		r.Data = data
	}
	w.settled[r.Ordinal-w.in.First] = false
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

// flatten lists the segments that the batch needs, in order, following manifests.
func (w *writing) flatten(ctx context.Context, entries []Entry) ([]Entry, error) {
	var out []Entry
	for _, e := range entries {
		if e.First >= w.in.Next || e.End() <= w.in.First {
			continue
		}
		if e.Level > 0 {
			listed, err := w.a.manifest(ctx, e.Name)
			if err != nil {
				return nil, err
			}
			if listed, err = w.flatten(ctx, listed); err != nil {
				return nil, err
			}
			out = append(out, listed...)
			continue
		}
		if w.takes(e) {
			out = append(out, e)
		}
	}
	return out, nil
}

// takes says whether the lane wants the entry's records.
func (w *writing) takes(e Entry) bool {
	if e.Lane != "" {
		return e.Lane == w.in.Lane
	}
	if w.lane == nil || len(w.lane.Block.Streams) == 0 {
		return true
	}
	for _, s := range w.lane.Block.Streams {
		if s == e.Stream {
			return true
		}
	}
	return false
}

// expired explains a segment that is gone: nil where every lane had settled it once, before a workflow reset went back to it.
func (w *writing) expired(ctx context.Context, e Entry) error {
	n, err := segment.ParseName(e.Name)
	if err != nil {
		return connectors.Errorf(connectors.Invalid, "read segment", "%v", err)
	}
	marks, _, err := w.a.Catalog.Marks(ctx, w.in.Epoch)
	if err != nil {
		return storeError("read marks", err)
	}
	if n.Sequence < marks[n.Origin] {
		return nil
	}
	return connectors.Errorf(connectors.NotFound, "read segment", "%s is missing from the segment store; bring it back, or uninstall", e.Name)
}

// Roll writes entries to a manifest and returns the entry that stands for them.
func (a *Activities) Roll(ctx context.Context, in RollInput) (RollOutput, error) {
	first, last := in.Entries[0], in.Entries[len(in.Entries)-1]
	e := Entry{First: first.First, At: first.At, Level: first.Level + 1, Lane: first.Lane, Lows: make(map[string]uint64)}
	e.Records = int(last.End() - first.First)
	for _, x := range in.Entries {
		e.Bytes += x.Bytes
		n, err := segment.ParseName(x.Name)
		if err != nil {
			return RollOutput{Failure: NewFailure("roll", err)}, nil
		}
		low(e.Lows, n.Origin, n.Sequence)
		for origin, seq := range x.Lows {
			low(e.Lows, origin, seq)
		}
	}
	raw, err := json.Marshal(in.Entries)
	if err != nil {
		return RollOutput{}, err
	}
	e.Name, err = a.put(ctx, segment.Name{
		Epoch: in.Epoch, Stream: "manifests", Origin: Origin(ManifestOrigin, in.Suffix), Sequence: in.Sequence, Suffix: attempt(),
	}, raw)
	if err != nil {
		return RollOutput{Failure: NewFailure("roll", err)}, nil
	}
	return RollOutput{Entry: e}, nil
}

func low(m map[string]uint64, origin string, seq uint64) {
	if v, ok := m[origin]; !ok || seq < v {
		m[origin] = seq
	}
}

// manifest reads the entries that a manifest lists.
func (a *Activities) manifest(ctx context.Context, name string) ([]Entry, error) {
	raw, err := a.Segments.Get(ctx, name)
	if err != nil {
		return nil, storeError("read manifest", err)
	}
	var entries []Entry
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, connectors.Errorf(connectors.Unknown, "read manifest", "%s is damaged", name)
	}
	return entries, nil
}
