package jq

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"tributary/connectors"
)

const (
	// maxSteps bounds a run in instructions of jq's virtual machine, about a tenth of a second of work. Unlike a time limit it gives the
	// same answer on a busy machine.
	maxSteps = 1_000_000
	// maxTime ends a run whose steps are unusually slow, as a last resort.
	maxTime = 10 * time.Second
)

// Decode reads one JSON value as programs take it, and keeps each number as it is written. Its error may show a part of what it read.
func Decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

// Holds reports whether one output of the program is neither false nor null. The values are those of the variables, in the order
// in which Compile got them.
//
// Errors of this and the other functions are of kind Invalid, or Unavailable when ctx ends; they begin with op and hold nothing of what the
// program works on (I7).
func (p *Program) Holds(ctx context.Context, op string, v any, values ...any) (bool, error) {
	run := p.run(ctx, v, values)
	for {
		switch out, more := run.Next(); v := out.(type) {
		case error:
			return false, failure(ctx, op, v)
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

// One returns the program's one output, or false where it has none. More than one is an error.
func (p *Program) One(ctx context.Context, op string, v any, values ...any) (any, bool, error) {
	run := p.run(ctx, v, values)
	out, ok := run.Next()
	if !ok {
		return nil, false, nil
	}
	if err, failed := out.(error); failed {
		return nil, false, failure(ctx, op, err)
	}
	second, more := run.Next()
	if err, failed := second.(error); more && failed {
		return nil, false, failure(ctx, op, err)
	}
	if more {
		return nil, false, connectors.Errorf(connectors.Invalid, op, "the program has more than one output; put them into an array, as in [.items[]]")
	}
	return out, true, nil
}

// Encode writes an output of a program as JSON, where that takes at most limit bytes.
func Encode(op string, v any, limit int) ([]byte, error) {
	// Estimated first: a value that contains another many times takes little memory until it is written.
	if treeSize(v, limit, 0) <= limit {
		data, err := gojq.Marshal(v)
		if err != nil {
			return nil, connectors.Errorf(connectors.Invalid, op, "the output is not JSON")
		}
		if len(data) <= limit {
			return data, nil
		}
	}
	return nil, connectors.Errorf(connectors.Invalid, op, "the output is too large: at most %d bytes", limit)
}

func (p *Program) run(ctx context.Context, v any, values []any) gojq.Iter {
	return p.code.RunWithContext(&budget{Context: ctx, left: maxSteps, end: time.Now().Add(maxTime)}, v, values...)
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
	errSteps = errors.New("the program takes too many steps ")
	errTime  = errors.New("the program takes too long ")
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
