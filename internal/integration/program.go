package integration

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"tributary/connectors"
)

const (
	// MaxMapGrowth is how many bytes longer than what it is made from a mapped payload may be.
	MaxMapGrowth = 1 << 20
	// maxSteps bounds a program's run on one record in instructions of jq's virtual machine, about a tenth of a second of
	// work. Unlike a time limit it gives the same answer on a busy machine.
	maxSteps = 1_000_000
	// maxTime ends a run whose steps are unusually slow, as a last resort.
	maxTime = 10 * time.Second
)

// Program is what a destination block makes of records: select, filter and map. It is safe for concurrent use.
type Program struct {
	steps          []step
	filter, mapper *jq
}

// Compile prepares a block's select, filter and map. The error says which of them is wrong and why.
func Compile(d Destination) (*Program, error) {
	var p Program
	var err error
	if p.steps, err = parsePath(d.Select); err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "select", "%s", err)
	}
	if d.Filter != "" {
		if p.filter, err = compileJQ(d.Filter); err != nil {
			return nil, connectors.Errorf(connectors.Invalid, "filter", "%s", err)
		}
	}
	if d.Map != "" {
		if p.mapper, err = compileJQ(d.Map); err != nil {
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
	if p.filter != nil && (!deleted || p.filter.seesOp) {
		if whole, err = decodePayload(r.Data); err != nil {
			return nil, false, err
		}
		decoded = true
		if keep, err := p.filter.holds(ctx, whole, r); err != nil || !keep {
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
		if whole, err = decodePayload(data); err != nil {
			return nil, false, err
		}
	}
	return p.mapper.output(ctx, whole, r, len(data)+MaxMapGrowth)
}

func decodePayload(raw []byte) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	v, err := decodeNumbers(raw)
	if err != nil {
		// The error's text may show a part of the payload.
		return nil, connectors.Errorf(connectors.Invalid, "read payload", "it is not JSON that can be read, or nested too deep")
	}
	return v, nil
}

// holds runs a filter.
func (q *jq) holds(ctx context.Context, v any, r connectors.Record) (bool, error) {
	run := q.run(ctx, v, r)
	for {
		switch out, more := run.Next(); v := out.(type) {
		case error:
			return false, failure(ctx, "filter", v)
		default:
			if !more {
				return false, nil
			}
			if v != nil && v != false {
				return true, nil
			}
		}
	}
}

// output runs a map.
func (q *jq) output(ctx context.Context, v any, r connectors.Record, limit int) ([]byte, bool, error) {
	run := q.run(ctx, v, r)
	out, ok := run.Next()
	if !ok {
		return nil, false, nil
	}
	if err, failed := out.(error); failed {
		return nil, false, failure(ctx, "map", err)
	}
	switch second, more := run.Next(); {
	case !more:
	default:
		if err, failed := second.(error); failed {
			return nil, false, failure(ctx, "map", err)
		}
		return nil, false, connectors.Errorf(connectors.Invalid, "map", "the program has more than one output; put them into an array, as in [.items[]]")
	}
	// Estimated first: a value that contains another many times takes little memory until it is written.
	if treeSize(out, limit, 0) <= limit {
		data, err := gojq.Marshal(out)
		if err != nil {
			return nil, false, connectors.Errorf(connectors.Invalid, "map", "the output is not JSON")
		}
		if len(data) <= limit {
			return data, true, nil
		}
	}
	return nil, false, connectors.Errorf(connectors.Invalid, "map", "the output is too large: at most 1 MiB more than what it is made from")
}

func (q *jq) run(ctx context.Context, v any, r connectors.Record) gojq.Iter {
	b := &budget{Context: ctx, left: maxSteps, end: time.Now().Add(maxTime)}
	return q.code.RunWithContext(b, v, r.ID, r.Stream, r.Key, string(r.Op), timestamp(r.OccurredAt), timestamp(r.ReceivedAt))
}

func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// budget is a context that ends after a number of steps: jq's machine asks it before every instruction whether it is done.
// It is for one goroutine.
type budget struct {
	context.Context
	left int
	end  time.Time
	over error
}

var (
	errSteps = errors.New("the program takes too many steps for one record")
	errTime  = errors.New("the program takes too long for one record")
	closed   = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
)

func (b *budget) Done() <-chan struct{} {
	b.left--
	switch {
	case b.over != nil:
	case b.left < 0:
		b.over = errSteps
	case b.left&1023 == 0 && time.Now().After(b.end):
		b.over = errTime
	}
	if b.over != nil {
		return closed
	}
	return b.Context.Done()
}

func (b *budget) Err() error {
	if b.over != nil {
		return b.over
	}
	return b.Context.Err()
}

// failure says what went wrong in a program without showing any value: jq's own messages do.
func failure(ctx context.Context, op string, err error) *connectors.Error {
	var called gojq.ValueError
	switch {
	case ctx.Err() != nil:
		return connectors.AsError(op, ctx.Err())
	case errors.Is(err, errSteps), errors.Is(err, errTime):
		return connectors.Errorf(connectors.Invalid, op, "%w", err)
	case errors.Is(err, errTooLarge):
		return connectors.Errorf(connectors.Invalid, op, "the program makes a value that is too large")
	case errors.As(err, &called):
		return connectors.Errorf(connectors.Invalid, op, "the program calls error")
	}
	return connectors.Errorf(connectors.Invalid, op, "the program fails on the record: %s", reason(err.Error()))
}

// reasons are the beginnings of jq's messages that hold nothing of the payload.
var reasons = []string{
	"expected an object", "expected an array", "expected a string for object key", "expected a number for indexing an array",
	"expected a number for indexing a string", "cannot iterate over", "cannot add", "cannot subtract", "cannot multiply",
	"cannot divide", "cannot modulo", "cannot negate", "array index too large", "invalid path",
}

// reason is the part of a message of jq that is known to hold nothing of the payload: a phrase and the type found.
func reason(message string) string {
	for _, phrase := range reasons {
		rest, ok := strings.CutPrefix(message, phrase)
		if !ok {
			continue
		}
		_, found, _ := strings.Cut(rest, ": ")
		found, _, _ = strings.Cut(found, " ")
		switch found {
		case "null", "boolean", "number", "string", "array", "object":
			return phrase + ", got " + found
		}
		return phrase
	}
	return "a function does not take such a value"
}
