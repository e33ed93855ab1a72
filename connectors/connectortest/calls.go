package connectortest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest/fault"
)

// Calls is a place behind a server of the test's own, whose calls the test befalls.
type Calls struct {
	// Open opens one more destination, as a process of its own, with a Close at the end of the test.
	Open func() connectors.Destination
	// Rows reads everything back, past the destination, in any order.
	Rows func() []Row
	// Befall has f decide what befalls each call from now on; nil: nothing.
	Befall func(f func(call string) fault.Fault)
	// End, where it is set, looks at what is left at the end.
	End func(what string)
}

// TwoTables is a batch of six records for two tables.
func TwoTables(mode connectors.Mode) connectors.Batch {
	b := Batch(mode, "orders", 0, 6)
	for i := range b.Records {
		if i%2 == 1 {
			b.Records[i].Stream = "customers"
		}
	}
	return b
}

// WantOnce wants each record of the batches once among the rows.
func WantOnce(t testing.TB, rows []Row, what string, batches ...connectors.Batch) {
	t.Helper()
	there, want := make(map[string]int), make(map[string]int)
	for _, r := range rows {
		there[r.Stream+" "+r.ID]++
	}
	for _, b := range batches {
		for _, r := range b.Records {
			want[r.Stream+" "+r.ID]++
		}
	}
	if !maps.Equal(there, want) {
		t.Fatalf("%s: there is %v, want %v", what, there, want)
	}
}

// UntilDurable writes a batch as the engine does: who finds the lane taken over comes again, and takes it over in turn.
func UntilDurable(t testing.TB, d connectors.Destination, b connectors.Batch) {
	t.Helper()
	for range 4 {
		r, err := d.Write(context.Background(), b)
		if err == nil {
			wantDurable(t, r)
			return
		}
		WantError(t, err, connectors.Unavailable)
	}
	t.Fatal("the batch is not to be written")
}

// TestKilledAtEachCall kills a worker at each of its calls in turn, before the call arrives or after it took effect. Another one, who
// knows nothing, writes the batch, in halves; then the first would come again. Each record is there once (I3), also while tables are being made. The calls
// that are named must be among them.
func TestKilledAtEachCall(t *testing.T, mode connectors.Mode, befalls fault.Fault, start func() Calls, named ...string) {
	var calls []string
	for at := 0; ; at++ {
		c := start()
		var mu sync.Mutex
		calls = nil
		c.Befall(func(call string) fault.Fault {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, call)
			switch n := len(calls); {
			case n <= at:
				return fault.None
			case n == at+1:
				return befalls
			}
			return fault.Lost // nothing that the killed one would do later arrives
		})
		killed, b := c.Open(), TwoTables(mode)
		_, err := killed.Write(t.Context(), b)
		c.Befall(nil)
		mu.Lock()
		met := slices.Clone(calls)
		mu.Unlock()
		if err == nil && len(met) <= at {
			break // it has no more calls
		}
		what := fmt.Sprintf("killed at call %d, %q", at, met[min(at, len(met)):])
		if err == nil { // all that it still had to do was cleaning up
			WantOnce(t, c.Rows(), what, b)
		}
		one, other := b, b
		one.Records, one.Next = b.Records[:3], 3
		other.Records, other.First = b.Records[3:], 3
		next := c.Open()
		UntilDurable(t, next, one)
		UntilDurable(t, next, other)
		WantOnce(t, c.Rows(), what, b)
		UntilDurable(t, killed, b)
		later := Batch(mode, "orders", 6, 3)
		UntilDurable(t, killed, later)
		WantOnce(t, c.Rows(), what, b, later)
		if c.End != nil {
			c.End(what)
		}
	}
	for _, call := range named {
		if !slices.Contains(calls, call) {
			t.Errorf("no call is %s", call)
		}
	}
}
