package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
)

// quarantineTime bounds sealing and listing, within what writeTime leaves of the activity's time.
const quarantineTime = 15 * time.Second

// QuarantineOrigin marks segments that the janitor leaves alone.
const QuarantineOrigin = "quarantine"

// quarantine seals what was refused into a segment of its own, lists it in the catalog with the reasons, and only then
// counts it as settled (I4). The name follows from the content, so a repeated attempt lists nothing twice.
func (w *writing) quarantine(ctx context.Context) error {
	if len(w.held) == 0 {
		return nil
	}
	// A batch that ran out of time still books what it refused.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quarantineTime)
	defer cancel()
	b := segment.NewBuilder()
	h := sha256.New()
	h.Write([]byte(w.in.Ledger + "\x00" + w.in.Lane))
	for _, x := range w.held {
		h.Write([]byte("\x00" + x.record.ID))
		b.Add(x.record)
	}
	ref, err := w.a.Segments.Seal(ctx, segment.Name{
		Epoch: w.in.Epoch, Stream: w.in.Lane, Origin: QuarantineOrigin,
		Sequence: uint64(w.held[0].record.Ordinal), Suffix: hex.EncodeToString(h.Sum(nil)[:6]),
	}, b)
	if err != nil {
		return storeError("seal quarantine", err)
	}
	rows := make([]catalog.Quarantined, len(w.held))
	for i, x := range w.held {
		r := x.record
		rows[i] = catalog.Quarantined{
			Installation: w.in.Installation, Epoch: w.in.Epoch, Lane: w.in.Lane, Stream: r.Stream, RecordID: r.ID, Key: r.Key,
			Reason: connectors.Clip(x.reason, 500), Kind: x.kind, Ordinal: r.Ordinal, Segment: ref.Name, Index: i, Bytes: int64(len(r.Data)),
			At: w.a.Env.Time(), State: catalog.Held,
		}
	}
	if err := w.a.Catalog.AddQuarantined(ctx, rows); err != nil {
		return catalogError("list quarantine", err)
	}
	for _, x := range w.held {
		w.settle(x.record.Ordinal, quarantined)
	}
	return nil
}

// One redelivery activity takes so many records, and so many bytes and one record more.
const (
	requeueRecords = 5000
	requeueBytes   = 16 << 20
)

// chosen is what a redelivery takes; More says that others wait.
type chosen struct {
	IDs  []int64 `json:"ids"`
	More bool    `json:"more,omitempty"`
}

// Requeue seals quarantined records of a lane into a segment for that lane. The IDs are written down first, under the
// redelivery's own number: a repeated attempt takes the same ones, so none is lost between the catalog and the workflow.
func (a *Activities) Requeue(ctx context.Context, in RequeueInput) (RequeueOutput, error) {
	defer alive(ctx)()
	out, err := a.requeue(ctx, in)
	out.Failure = NewFailure("redeliver", err)
	return out, nil
}

func (a *Activities) requeue(ctx context.Context, in RequeueInput) (out RequeueOutput, err error) {
	name := segment.Name{Epoch: in.Epoch, Stream: in.Lane, Origin: Origin(RequeueOrigin, in.Suffix), Sequence: in.Sequence}
	take, err := a.choose(ctx, name, in)
	if err != nil || len(take.IDs) == 0 {
		return out, err
	}
	rows, err := a.Catalog.Quarantined(ctx, catalog.QuarantineFilter{Installation: in.Installation, Lane: in.Lane, IDs: take.IDs, Limit: len(take.IDs)})
	if err != nil {
		return out, catalogError("read quarantine", err)
	}
	// Between two attempts somebody may have given some of them up, and their payloads are gone.
	rows = slices.DeleteFunc(rows, func(q catalog.Quarantined) bool { return q.State == catalog.Discarded })
	ref, err := a.sealAgain(ctx, name, rows)
	if err != nil {
		return out, err
	}
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	if err := a.Catalog.SetQuarantineState(ctx, ids, catalog.Redelivered); err != nil {
		return out, catalogError("mark redelivered", err)
	}
	if ref.Records > 0 {
		out.Segments = []segment.Ref{ref}
	}
	out.More = take.More
	return out, nil
}

// sealAgain seals quarantined records into a segment of that name. What an earlier attempt sealed stays what it is.
func (a *Activities) sealAgain(ctx context.Context, name segment.Name, rows []catalog.Quarantined) (ref segment.Ref, err error) {
	sealed, err := a.Segments.Load(ctx, name.String())
	if err == nil {
		ref = segment.Ref{Name: name.String(), Stream: name.Stream, Records: sealed.Len()}
		for _, r := range sealed.Records() {
			ref.Bytes += int64(len(r.Data))
		}
		return ref, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return ref, storeError("read redelivery", err)
	}
	b := segment.NewBuilder()
	var loaded *segment.Segment
	at := ""
	for _, row := range rows {
		if row.Segment != at {
			loaded, err = a.Segments.Load(ctx, row.Segment)
			if errors.Is(err, os.ErrNotExist) {
				return ref, connectors.Errorf(connectors.NotFound, "read quarantine", "%s is missing from the segment store; bring it back, or discard record %d", row.Segment, row.ID)
			}
			if err != nil {
				return ref, storeError("read quarantine", err)
			}
			at = row.Segment
		}
		for _, r := range loaded.Slice(row.Index, row.Index+1) {
			b.Add(r)
		}
	}
	if b.Len() == 0 {
		return ref, nil
	}
	if ref, err = a.Segments.Seal(ctx, name, b); err != nil {
		return ref, storeError("seal redelivery", err)
	}
	return ref, nil
}

// choose writes down which records the redelivery takes, or reads what an earlier attempt wrote down.
func (a *Activities) choose(ctx context.Context, n segment.Name, in RequeueInput) (take chosen, err error) {
	n.Suffix = "ids"
	raw, err := a.Segments.Get(ctx, n.String())
	if err == nil {
		if json.Unmarshal(raw, &take) != nil {
			return take, connectors.Errorf(connectors.Unknown, "read redelivery", "%s is damaged", n)
		}
		return take, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return take, storeError("read redelivery", err)
	}
	filter := catalog.QuarantineFilter{Installation: in.Installation, Lane: in.Lane, State: catalog.Held, IDs: in.IDs, Limit: requeueRecords}
	var bytes int64
	for more := true; more && !take.More; {
		rows, err := a.Catalog.Quarantined(ctx, filter)
		if err != nil {
			return take, catalogError("read quarantine", err)
		}
		more = len(rows) == filter.Limit
		for _, r := range rows {
			filter.After = r.ID
			if !in.Before.IsZero() && r.At.After(in.Before) {
				continue
			}
			if take.More = len(take.IDs) == requeueRecords || bytes >= requeueBytes; take.More {
				break
			}
			take.IDs = append(take.IDs, r.ID)
			bytes += r.Bytes
		}
	}
	if len(take.IDs) == 0 {
		return take, nil
	}
	if raw, err = json.Marshal(take); err != nil {
		return take, err
	}
	if err := a.Segments.Put(ctx, n.String(), raw); err != nil {
		return take, storeError("write redelivery", err)
	}
	return take, nil
}
