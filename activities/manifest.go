package activities

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
)

// flatten lists the segments that hold the span and are wanted, in order, following manifests. A manifest that is gone as an expired
// segment is stands for itself.
func (a *Activities) flatten(ctx context.Context, entries []Entry, span Span, wants func(Entry) bool) ([]Entry, error) {
	var out []Entry
	for _, e := range entries {
		if e.First >= span.Next || e.End() <= span.First {
			continue
		}
		if e.Level > 0 {
			listed, err := a.manifest(ctx, e.Name)
			if errors.Is(err, os.ErrNotExist) {
				if err := a.gone(ctx, e); err != nil {
					return nil, err
				}
				out = append(out, e)
				continue
			}
			if err != nil {
				return nil, err
			}
			if listed, err = a.flatten(ctx, listed, span, wants); err != nil {
				return nil, err
			}
			out = append(out, listed...)
			continue
		}
		if wants(e) {
			out = append(out, e)
		}
	}
	return out, nil
}

// gone explains a segment or manifest that is: nil where every lane had settled it once, before a workflow reset went back
// to it. The epoch that it was sealed for says so: what came for an earlier install is delivered by a later one.
func (a *Activities) gone(ctx context.Context, e Entry) error {
	n, err := segment.ParseName(e.Name)
	if err != nil {
		return connectors.Errorf(connectors.Invalid, "read segment", "%v", err)
	}
	marks, _, err := a.Catalog.Marks(ctx, n.Epoch)
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return catalogError("read marks", err)
	}
	if n.Sequence < marks[n.Origin] {
		return nil
	}
	return connectors.Errorf(connectors.NotFound, "read segment", "%s is missing from the segment store; bring it back, or uninstall", e.Name)
}

// Roll writes entries to a manifest and returns the entry that stands for them.
func (a *Activities) Roll(ctx context.Context, in RollInput) (RollOutput, error) {
	defer alive(ctx)()
	first, last := in.Entries[0], in.Entries[len(in.Entries)-1]
	e := Entry{First: first.First, At: first.At, Level: first.Level + 1, Lane: laneOf(in.Entries), Lows: make(map[string]uint64)}
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

// laneOf is the only lane that takes any of the entries, "" where there is more than one.
func laneOf(entries []Entry) string {
	lane := entries[0].Lane
	for _, e := range entries {
		if e.Lane != lane {
			return ""
		}
	}
	return lane
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
