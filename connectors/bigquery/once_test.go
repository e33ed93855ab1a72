package bigquery_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"tributary/connectors"
	"tributary/connectors/bigquery/bigquerytest"
)

// two is a batch for two tables.
func two(mode connectors.Mode) connectors.Batch {
	b := batch(mode, "orders", 0, 6)
	for i := range b.Records {
		if i%2 == 1 {
			b.Records[i].Stream = "customers"
		}
	}
	return b
}

// wantOnce wants each record of the batches once.
func wantOnce(t *testing.T, s *bigquerytest.Server, what string, batches ...connectors.Batch) {
	t.Helper()
	there, want := make(map[string]int), make(map[string]int)
	for _, r := range rows(t, s) {
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

// untilDurable writes a batch as the engine does: who finds the lane taken over comes again, and takes it over in turn.
func untilDurable(t *testing.T, d connectors.Destination, b connectors.Batch) {
	t.Helper()
	for range 3 {
		r, err := d.Write(t.Context(), b)
		if err != nil {
			wantError(t, err, connectors.Unavailable)
			continue
		}
		for i, o := range r.Outcomes {
			if o != connectors.Durable {
				t.Fatalf("record %d: outcome %d, %s", i, o, r.Reasons[i])
			}
		}
		return
	}
	t.Fatal("the lane is not to be taken over")
}

// A worker is killed at each of its calls in turn, before the call arrives or after it took effect. Another one, who knows nothing, writes the batch,
// in halves; then the first would come again. Each record is there once (I3), also while tables are being made.
func TestKilledAtEachCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		for _, fault := range []bigquerytest.Fault{bigquerytest.Lost, bigquerytest.Unheard} {
			t.Run(fmt.Sprint(mode, " ", fault), func(t *testing.T) {
				t.Parallel()
				var calls []string
				for at := 0; ; at++ {
					s := bigquerytest.New(t, returned)
					var mu sync.Mutex
					n := 0
					calls = nil
					s.Befall(func(call string) bigquerytest.Fault {
						mu.Lock()
						defer mu.Unlock()
						calls = append(calls, call)
						if n++; n > at { // nothing that the killed one would do later arrives
							if n == at+1 {
								return fault
							}
							return bigquerytest.Lost
						}
						return bigquerytest.None
					})
					killed, b := opened(t, s, mode), two(mode)
					_, err := killed.Write(t.Context(), b)
					s.Befall(nil)
					if err == nil && n <= at {
						break // it has no more calls
					}
					what := fmt.Sprintf("killed at call %d, %s", at, calls[at])
					if err == nil {
						t.Fatalf("%s: written without an error", what)
					}
					one, other := b, b
					one.Records, one.Next = b.Records[:3], 3
					other.Records, other.First = b.Records[3:], 3
					next := opened(t, s, mode)
					untilDurable(t, next, one)
					untilDurable(t, next, other)
					wantOnce(t, s, what, b)
					untilDurable(t, killed, b)
					later := batch(mode, "orders", 6, 3)
					untilDurable(t, killed, later)
					wantOnce(t, s, what, b, later)
				}
				for _, call := range []string{"token", "datasets.get", "tables.insert", "jobs.query", "jobs.insert", "AppendRows default"} {
					if !slices.Contains(calls, call) {
						t.Errorf("no call is %s", call)
					}
				}
			})
		}
	}
}

// A worker hangs at each of its calls in turn until another one has written the batch; then it goes on. What it does then changes nothing (I3).
func TestLateAtEachCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			for at := 0; ; at++ {
				s := bigquerytest.New(t, returned)
				write(t, opened(t, s, mode), connectors.Batch{Installation: "i/bob", Epoch: "another", Lane: "warehouse", Mode: mode}) // makes the tables
				var mu sync.Mutex
				n, hangs, goOn := 0, make(chan string, 1), make(chan struct{})
				s.Befall(func(call string) bigquerytest.Fault {
					mu.Lock()
					n++
					mine := n == at+1
					mu.Unlock()
					if mine {
						hangs <- call
						<-goOn
					}
					return bigquerytest.None
				})
				late, b := opened(t, s, mode), two(mode)
				ended := make(chan error, 1)
				go func() {
					_, err := late.Write(t.Context(), b)
					ended <- err
				}()
				var what string
				select {
				case what = <-hangs:
				case err := <-ended:
					if err != nil {
						t.Fatal(err)
					}
					return // it has no more calls
				}
				other := opened(t, s, mode)
				if what != "token" { // those of one connection wait for one token
					untilDurable(t, other, b)
				}
				close(goOn)
				if err := <-ended; err != nil {
					wantError(t, err, connectors.Unavailable)
				}
				untilDurable(t, late, b)
				untilDurable(t, other, batch(mode, "orders", 6, 2))
				wantOnce(t, s, fmt.Sprintf("late at call %d, %s", at, what), b, batch(mode, "orders", 6, 2))
			}
		})
	}
}
