package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
)

// QuarantineOrigin marks segments that the janitor leaves alone.
const QuarantineOrigin = "quarantine"

// quarantine seals what was refused into a segment of its own, lists it in the catalog with the reasons, and only then
// counts it as settled (I4). The name follows from the content, so a repeated attempt lists nothing twice.
func (w *writing) quarantine(ctx context.Context) error {
	if len(w.held) == 0 {
		return nil
	}
	// A batch that ran out of time still books what it refused.
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
		return storeError("list quarantine", err)
	}
	for _, x := range w.held {
		w.settle(x.record.Ordinal)
	}
	w.out.Quarantined += int64(len(w.held))
	return nil
}

// requeueLimit is how many records one redelivery activity takes.
const requeueLimit = 5000

// Requeue seals quarantined records of a lane into a segment for that lane. The IDs are written down first, under the
// redelivery's own number: a repeated attempt takes the same ones, so none is lost between the catalog and the workflow.
func (a *Activities) Requeue(ctx context.Context, in RequeueInput) (RequeueOutput, error) {
	out, err := a.requeue(ctx, in)
	out.Failure = NewFailure("redeliver", err)
	return out, nil
}

func (a *Activities) requeue(ctx context.Context, in RequeueInput) (out RequeueOutput, err error) {
	name := segment.Name{Epoch: in.Epoch, Stream: in.Lane, Origin: Origin(RequeueOrigin, in.Suffix), Sequence: in.Sequence}
	list := segment.Name{Epoch: in.Epoch, Stream: in.Lane, Origin: name.Origin, Sequence: in.Sequence, Suffix: "ids"}.String()
	var ids []int64
	raw, err := a.Segments.Get(ctx, list)
	switch {
	case err == nil:
		if err := json.Unmarshal(raw, &ids); err != nil {
			return out, err
		}
	case !errors.Is(err, os.ErrNotExist):
		return out, storeError("read redelivery", err)
	default:
		rows, err := a.Catalog.Quarantined(ctx, catalog.QuarantineFilter{
			Installation: in.Installation, Lane: in.Lane, State: catalog.Held, IDs: in.IDs, Limit: requeueLimit,
		})
		if err != nil {
			return out, storeError("read quarantine", err)
		}
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		if raw, err = json.Marshal(ids); err != nil {
			return out, err
		}
		if err := a.Segments.Put(ctx, list, raw); err != nil {
			return out, storeError("write redelivery", err)
		}
	}
	if len(ids) == 0 {
		return out, nil
	}
	rows, err := a.Catalog.Quarantined(ctx, catalog.QuarantineFilter{Installation: in.Installation, Lane: in.Lane, IDs: ids, Limit: len(ids)})
	if err != nil {
		return out, storeError("read quarantine", err)
	}
	b := segment.NewBuilder()
	var loaded *segment.Segment
	at := ""
	for _, row := range rows {
		if row.Segment != at {
			if loaded, err = a.Segments.Load(ctx, row.Segment); err != nil {
				return out, storeError("read quarantine", err)
			}
			at = row.Segment
		}
		for _, r := range loaded.Slice(row.Index, row.Index+1) {
			b.Add(r)
		}
	}
	ref, err := a.Segments.Seal(ctx, name, b)
	if err != nil {
		return out, storeError("seal redelivery", err)
	}
	if err := a.Catalog.SetQuarantineState(ctx, ids, catalog.Redelivered); err != nil {
		return out, storeError("mark redelivered", err)
	}
	out.Segments = []segment.Ref{ref}
	out.More = len(in.IDs) == 0 && len(ids) == requeueLimit
	return out, nil
}
