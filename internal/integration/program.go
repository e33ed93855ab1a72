package integration

import (
	"context"
	"encoding/json"

	"tributary/connectors"
	"tributary/connectors/jq"
)

// MaxMapGrowth is how many bytes longer than what it is made from a mapped payload may be.
const MaxMapGrowth = 1 << 20

// Program is what a destination block makes of records: select, filter and map. It is safe for concurrent use.
type Program struct {
	steps          []step
	filter, mapper *jq.Program
}

// Compile prepares a block's select, filter and map. The error says which of them is wrong and why.
func Compile(d Destination) (*Program, error) {
	var p Program
	var err error
	if p.steps, err = parsePath(d.Select); err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "select", "%s", err)
	}
	if d.Filter != "" {
		if p.filter, err = jq.Compile(d.Filter, jq.Variables...); err != nil {
			return nil, connectors.Errorf(connectors.Invalid, "filter", "%s", err)
		}
	}
	if d.Map != "" {
		if p.mapper, err = jq.Compile(d.Map, jq.Variables...); err != nil {
			return nil, connectors.Errorf(connectors.Invalid, "map", "%s", err)
		}
	}
	return &p, nil
}

// Apply returns the payload that goes to the destination, and whether the record goes at all. Without map it is the
// record's own bytes or a part of them (I8), in the same memory.
//
// Filter and select look at the whole payload; map gets the selected part. A record goes when one output of the filter is
// neither false nor null, and when the part exists. The map's one output is the payload; none keeps the record out.
//
// A delete tells little about the object, so it is not held back by conditions on content: a filter that does not look at
// $op lets it pass, a part that it lacks leaves it without payload, and one without payload isn't mapped.
//
// Programs know $id, $stream, $key, $op, $occurred_at and $received_at (RFC 3339 in UTC, null = unknown). Numbers that a
// map passes on keep their digits; those that it calculates with are int64, big integers, or float64 where they have a
// fraction or exponent.
//
// The error is an *connectors.Error of kind invalid that holds nothing of the payload (I7), or unavailable when ctx ends.
func (p *Program) Apply(ctx context.Context, r connectors.Record) (data []byte, keep bool, err error) {
	if p.steps == nil && p.filter == nil && p.mapper == nil {
		return r.Data, true, nil
	}
	deleted := r.Op == connectors.Delete
	if len(r.Data) > 0 && !json.Valid(r.Data) {
		return nil, false, connectors.Errorf(connectors.Invalid, "read payload", "it is not JSON")
	}
	var whole any
	decoded := false
	if p.filter != nil && (!deleted || p.filter.Uses("$op")) {
		if whole, err = jq.Payload(r.Data); err != nil {
			return nil, false, err
		}
		decoded = true
		if keep, err := p.filter.Holds(ctx, "filter", whole, jq.Values(&r)...); err != nil || !keep {
			return nil, false, err
		}
	}
	if deleted && len(r.Data) == 0 {
		return r.Data, true, nil
	}
	data = r.Data
	if len(p.steps) > 0 {
		part, ok := find(r.Data, p.steps)
		if !ok {
			return nil, deleted, nil
		}
		data, decoded = part, false
	}
	if p.mapper == nil {
		return data, true, nil
	}
	if !decoded {
		if whole, err = jq.Payload(data); err != nil {
			return nil, false, err
		}
	}
	out, keep, err := p.mapper.One(ctx, "map", whole, jq.Values(&r)...)
	if err != nil || !keep {
		return nil, false, err
	}
	if data, err = jq.Encode("map", out, len(data)+MaxMapGrowth); err != nil {
		return nil, false, err
	}
	return data, true, nil
}
