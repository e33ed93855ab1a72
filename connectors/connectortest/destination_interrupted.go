package connectortest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// A write that is cut short leaves nothing half and nothing twice.

// strike is what befalls a write, and what puts it right.
type strike struct {
	ctx    context.Context
	target connectors.Destination
	now    func()
	after  func()
}

// interrupted strikes at four different moments of a write and then writes the rest as the engine does.
func (t *destinationTest) interrupted(prepare func() strike) {
	size := t.size(6_000)
	if t.columns {
		size = t.size(1_500) // looking at what is there takes longer
	}
	started := time.Now()
	all := []connectors.Batch{t.batch(0, records(0, size)...)}
	t.write(t.open(), all[0])
	took := time.Since(started)
	for i := range 4 {
		from := size * (i + 1)
		b := t.batch(int64(from), records(from, from+size)...)
		all = append(all, b)
		s, struck := prepare(), make(chan struct{})
		time.AfterFunc(took*time.Duration(2*i+1)/8, func() {
			defer close(struck)
			s.now()
		})
		r, err := s.target.Write(s.ctx, b)
		<-struck
		t.wantHonest(b, r, err)
		s.after()
		t.untilDurable(t.open(), b)
	}
	t.want(rowsOf(all...))
}

// wantHonest wants what a result calls durable to be there, and everything to be durable where there is no error.
func (t *destinationTest) wantHonest(b connectors.Batch, r connectors.Result, err error) {
	t.Helper()
	if err != nil {
		t.wantRetry(err)
	}
	there := make(map[string]bool)
	for _, row := range t.rows() {
		there[row.ID] = true
	}
	for i, o := range r.Outcomes {
		switch {
		case o == connectors.Durable && !there[b.Records[i].ID]:
			t.Fatalf("record %d is called durable and is not there", i)
		case o != connectors.Durable && err == nil:
			t.Fatalf("record %d has the outcome %d without an error", i, o)
		}
	}
}

func (t *destinationTest) cancelled() {
	d := t.open()
	b := t.batch(0, records(0, 100)...)
	ctx, cancel := context.WithCancelCause(t.context())
	// The cause is the caller's: it is not what is wrong with the destination.
	cancel(errors.New("the caller has gone"))
	r, err := d.Write(ctx, b)
	WantError(t, err, connectors.Unavailable)
	for i, o := range r.Outcomes {
		if o != connectors.Again {
			t.Fatalf("record %d has the outcome %d although nothing was written", i, o)
		}
	}
	t.want(nil)
	t.interrupted(func() strike {
		ctx, cancel := context.WithCancel(t.context())
		return strike{ctx, d, cancel, func() {}}
	})
}

func (t *destinationTest) closed() {
	t.interrupted(func() strike {
		d := t.reopen(connectors.Evolve)
		var failure error
		return strike{t.context(), d, func() { failure = d.Close() }, func() {
			if failure != nil {
				t.Fatalf("close: %v", failure)
			}
			if _, err := d.Write(t.context(), t.batch(0, record(0))); err == nil {
				t.Fatal("a closed destination wrote")
			} else {
				t.wantRetry(err)
			}
		}}
	})
}

func (t *destinationTest) broken() {
	if t.place.Break == nil {
		return
	}
	d := t.open()
	t.interrupted(func() strike {
		return strike{t.context(), d, func() { t.place.Break(t.T) }, func() {
			if _, err := d.Write(t.context(), t.batch(1e6, record(1e6))); err == nil {
				t.Fatal("wrote through a broken connection")
			} else {
				t.wantRetry(err)
			}
			t.place.Heal(t.T)
		}}
	})
}

// testFailing wants an error of the kind, and no word of the secret in any (I7, I9).
func testFailing(t *testing.T, f FailingDestination, canary string) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	d := f.Open(t)
	defer d.Close()
	look := func(what string, err error) {
		t.Helper()
		var e *connectors.Error
		if !errors.As(err, &e) || e.Kind != f.Kind {
			t.Errorf("%s: got %v, want an error of kind %s", what, err, f.Kind)
		}
		if err != nil && canary != "" && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error tells the secret", what)
		}
	}
	test := destinationTest{T: t, mode: connectors.Append}
	b := test.batch(0, records(0, 3)...)
	r, err := d.Write(ctx, b)
	look("write", err)
	for i, o := range r.Outcomes {
		if o != connectors.Again {
			t.Errorf("record %d has the outcome %d", i, o)
		}
	}
	if c, ok := d.(connectors.Checker); ok {
		look("check", c.Check(ctx))
	}
}
