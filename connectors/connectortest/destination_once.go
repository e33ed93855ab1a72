package connectortest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"tributary/connectors"
)

// What comes more than once takes effect once (I3).

func (t *destinationTest) again() {
	b := t.batch(0, records(0, 500)...)
	d := t.open()
	t.write(d, b)
	t.write(d, b)
	t.write(t.open(), b)
	t.want(rowsOf(b))
}

// atOnce is an attempt that was given up and commits after the next has begun.
func (t *destinationTest) atOnce() {
	b := t.batch(0, records(0, t.size(6_000))...)
	var group sync.WaitGroup
	errs := make(chan error, 4)
	for range cap(errs) {
		d := t.open()
		group.Go(func() {
			r, err := d.Write(t.context(), b)
			for i := range r.Outcomes {
				if err == nil && r.Outcomes[i] != connectors.Durable {
					err = fmt.Errorf("record %d has the outcome %d without an error", i, r.Outcomes[i])
				}
			}
			errs <- err
		})
	}
	group.Wait()
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.wantRetry(err)
		}
	}
	t.untilDurable(t.open(), b)
	t.want(rowsOf(b))
}

func (t *destinationTest) halves() {
	whole := t.batch(0, records(0, 400)...)
	d := t.open()
	t.write(d, whole)
	one, two := whole, whole
	one.Records, one.Next = whole.Records[:200], 200
	two.Records, two.First = whole.Records[200:], 200
	t.write(d, one)
	if t.h.Once.byOrdinal() {
		t.write(d, t.batch(200, records(1200, 1210)...)) // the ledger did not go back
	}
	t.write(d, two)
	t.want(rowsOf(whole))
}

func (t *destinationTest) overlap() {
	all := t.batch(0, records(0, 300)...)
	one, two := all, all
	one.Records, one.Next = all.Records[:200], 200
	two.Records, two.First = all.Records[100:], 100
	d := t.open()
	t.write(d, one)
	t.write(d, two)
	t.write(d, one)
	t.want(rowsOf(all))
}

// below is what only a ledger can tell: the records differ, the ordinals say that they were written.
func (t *destinationTest) below() {
	if !t.h.Once.byOrdinal() {
		return
	}
	d := t.open()
	b := t.batch(0, records(0, 100)...)
	t.write(d, b)
	t.write(d, t.batch(50, records(1050, 1100)...))
	t.want(rowsOf(b))
	later := t.batch(90, append(records(1090, 1100), records(100, 110)...)...)
	t.write(d, later)
	b.Records = append(b.Records, later.Records[10:]...)
	t.want(rowsOf(b))
}

func (t *destinationTest) gaps() {
	d := t.open()
	b := t.batch(10, records(0, 3)...)
	b.Records[1].Ordinal, b.Records[2].Ordinal, b.Next = 15, 25, 40
	t.write(d, b)
	if t.h.Once.byOrdinal() { // the ledger stands at Next, not behind the last record
		t.write(d, t.batch(30, records(100, 110)...))
	}
	t.want(rowsOf(b))
	after := t.batch(40, record(200))
	t.write(d, after)
	t.want(rowsOf(b, after))
}

// epoch is a reinstall or a reset: ordinals begin anew, records come again.
func (t *destinationTest) epoch() {
	d := t.open()
	b := t.batch(0, records(0, 200)...)
	t.write(d, b)
	again := t.batch(0, records(150, 250)...)
	again.Epoch, t.redelivered = "6e4ad9e8-0000-4000-8000-000000000002", true
	t.write(d, again)
	b.Records = append(b.Records, again.Records[50:]...)
	t.want(rowsOf(b))
}

func (t *destinationTest) installations() {
	d := t.open()
	ada := t.batch(0, records(0, 50)...)
	bob := ada
	bob.Installation, bob.User, bob.Epoch = "orders-to-warehouse/bob", "bob", "6e4ad9e8-0000-4000-8000-00000000000b"
	t.write(d, ada)
	t.write(d, bob)
	t.write(d, ada)
	t.want(rowsOf(ada, bob))
}

func (t *destinationTest) lanes() {
	d := t.open()
	one := t.batch(0, records(0, 50)...)
	two := t.batch(0, records(50, 100)...)
	two.Lane = "archive"
	t.write(d, one)
	t.write(d, two)
	t.want(rowsOf(one, two))
	// The same records by another lane of the installation are the same records.
	two.Records, two.First, two.Next, t.redelivered = t.batch(50, records(0, 50)...).Records, 50, 100, true
	t.write(d, two)
	two.Records = t.batch(0, records(50, 100)...).Records
	t.want(rowsOf(one, two))
}

func (t *destinationTest) lanesAtOnce() {
	d := t.open()
	const lanes, each, size = 8, 3, 200
	var group sync.WaitGroup
	batches := make([]connectors.Batch, 0, lanes*each)
	for lane := range lanes {
		var mine []connectors.Batch
		for i := range each {
			b := t.batch(int64(i*size), records((lane*each+i)*size, (lane*each+i+1)*size)...)
			b.Installation, b.Epoch = fmt.Sprintf("many/%d", lane%4), fmt.Sprintf("epoch-%d", lane)
			mine = append(mine, b)
		}
		batches = append(batches, mine...)
		group.Go(func() {
			for _, b := range mine {
				r, err := d.Write(t.context(), b)
				for err != nil && t.Context().Err() == nil {
					if e := (*connectors.Error)(nil); !errors.As(err, &e) || e.Kind.Stops() {
						t.Errorf("lane: %v", err)
						return
					}
					r, err = d.Write(t.context(), b)
				}
				if len(r.Outcomes) != size || r.Outcomes[size-1] != connectors.Durable {
					t.Errorf("lane: not all is durable")
				}
			}
		})
	}
	group.Wait()
	t.want(rowsOf(batches...))
}

// poison is refused by itself, also when it comes again because the answer was lost (I4).
func (t *destinationTest) poison() {
	b := t.batch(0, records(0, 100)...)
	var rejected []int
	b.Records[37].Data = []byte("{\"a\":\"\xff\xfe\"}")
	if !t.h.AnyBytes {
		rejected = append(rejected, 37)
	}
	if t.h.Poison != nil {
		rejected = append(rejected, 61)
		b.Records[61].Data = t.h.Poison
	}
	d := t.open()
	for _, again := range []string{"first", "again", "reinstalled"} {
		if again == "reinstalled" {
			b.Epoch, t.redelivered = "another", true
		}
		r, err := d.Write(t.context(), b)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		t.wantOutcomes(b, r, rejected)
		for i, reason := range r.Reasons {
			if data := string(b.Records[i].Data); strings.Contains(reason, data) || strings.Contains(reason, "\xff") {
				t.Fatalf("%s: the reason quotes the payload: %q", again, reason)
			}
		}
	}
	var kept []connectors.Record
	for i, r := range b.Records {
		if !slices.Contains(rejected, i) {
			kept = append(kept, r)
		}
	}
	b.Records = kept
	t.want(rowsOf(b))
}
