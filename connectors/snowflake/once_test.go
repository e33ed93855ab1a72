package snowflake_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"tributary/connectors"
	"tributary/connectors/snowflake/snowflaketest"
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
func wantOnce(t *testing.T, s *snowflaketest.Server, what string, batches ...connectors.Batch) {
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

// untilDurable writes a batch as the engine does.
func untilDurable(t *testing.T, d connectors.Destination, b connectors.Batch) {
	t.Helper()
	for range 4 {
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
	t.Fatal("it is not to be written")
}

// statementCalls are what a write calls, each at least once; stageCalls what it calls besides for an internal stage and an external one.
var (
	statementCalls = []string{"login", "CREATE TABLE", "CREATE TEMPORARY", "BEGIN TRANSACTION", "SELECT", "COPY", "MERGE", "DELETE", "COMMIT"}
	stageCalls     = map[bool][]string{false: {"PUT", "upload", "REMOVE"}, true: {"DESCRIBE", "lake"}}
)

// A worker is killed at each of its calls in turn, before the call arrives or after it took effect. Another one, who knows nothing, writes the batch, in
// halves; then the first would come again. Each record is there once (I3), also while tables are being made.
func TestKilledAtEachCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		for name, fault := range map[string]snowflaketest.Fault{"lost": snowflaketest.Lost, "unheard": snowflaketest.Unheard, "lost, external stage": snowflaketest.Lost} {
			external := strings.Contains(name, "external")
			t.Run(fmt.Sprint(mode, " ", name), func(t *testing.T) {
				t.Parallel()
				var calls []string
				for at := 0; ; at++ {
					s := snowflaketest.New(t, &returned)
					c, settings := direct(s), warehouse
					var lake *snowflaketest.Lake
					if external {
						lake, c, settings = lakeOn(t, s, "s3")
					}
					openOne := func() connectors.Destination { return openedWith(t, c, settings, connectors.Config{Mode: mode}) }
					var mu sync.Mutex
					n := 0
					calls = nil
					s.Befall(func(call string) snowflaketest.Fault {
						mu.Lock()
						defer mu.Unlock()
						calls = append(calls, call)
						if n++; n > at { // nothing that the killed one would do later arrives
							if n == at+1 {
								return fault
							}
							return snowflaketest.Lost
						}
						return snowflaketest.None
					})
					killed, b := openOne(), two(mode)
					_, err := killed.Write(t.Context(), b)
					s.Befall(nil)
					mu.Lock()
					over, what := n <= at, ""
					if !over {
						what = fmt.Sprintf("killed at call %d, %s", at, calls[at])
					}
					mu.Unlock()
					if err == nil && over {
						break // it has no more calls
					}
					one, other := b, b
					one.Records, one.Next = b.Records[:3], 3
					other.Records, other.First = b.Records[3:], 3
					next := openOne()
					untilDurable(t, next, one)
					untilDurable(t, next, other)
					wantOnce(t, s, what, b)
					untilDurable(t, killed, b)
					later := batch(mode, "orders", 6, 3)
					untilDurable(t, killed, later)
					wantOnce(t, s, what, b, later)
					if external && len(lake.Names()) != 0 {
						t.Fatalf("%s: %q are left in the bucket", what, lake.Names())
					}
				}
				for _, call := range slices.Concat(statementCalls, stageCalls[external]) {
					if !slices.Contains(calls, call) {
						t.Errorf("no call is %s", call)
					}
				}
			})
		}
	}
}

// Snowflake ends the transaction before each of the calls in turn: the session goes on, each statement by itself, and COMMIT succeeds. Nothing is called durable that is not
// there, and a record that is overtaken is not put back (I4, I5).
func TestTransactionEndedAtEachCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			for at := 0; ; at++ {
				s := snowflaketest.New(t, &returned)
				d := opened(t, s, mode)
				write(t, d, batch(mode, "orders", 0, 1)) // makes the tables
				var mu sync.Mutex
				n, what := 0, ""
				s.Befall(func(call string) snowflaketest.Fault {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == at+1 {
						what = fmt.Sprintf("ended at call %d, %s", at, call)
						s.EndTransactions()
					}
					return snowflaketest.None
				})
				b := batch(mode, "orders", 1, 5)
				r, err := d.Write(t.Context(), b)
				s.Befall(nil)
				if what == "" {
					return // it has no more calls
				}
				if err == nil {
					for i, o := range r.Outcomes {
						if o != connectors.Durable {
							t.Fatalf("%s: record %d has the outcome %d without an error", what, i, o)
						}
					}
					wantOnce(t, s, what, batch(mode, "orders", 0, 6))
				} else {
					wantError(t, err, connectors.Unavailable)
				}
				untilDurable(t, d, b)
				wantOnce(t, s, what, batch(mode, "orders", 0, 6))
			}
		})
	}
}

// A worker hangs at each of its calls in turn until another one has written the batch and what follows it; then it goes on. What it does then changes nothing: also where records
// have no version, so that only their place tells that they are older (I3, I5).
func TestLateAtEachCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			for at := 0; ; at++ {
				s := snowflaketest.New(t, &returned)
				write(t, opened(t, s, mode), connectors.Batch{Installation: "i/bob", Epoch: "another", Lane: "warehouse", Mode: mode}) // makes the tables
				var mu sync.Mutex
				n, hangs, goOn := 0, make(chan string, 1), make(chan struct{})
				s.Befall(func(call string) snowflaketest.Fault {
					mu.Lock()
					n++
					mine := n == at+1
					mu.Unlock()
					if mine {
						hangs <- call
						<-goOn
					}
					return snowflaketest.None
				})
				b := batch(mode, "orders", 0, 3)
				for i := range b.Records {
					b.Records[i].Version = 0
				}
				newer := batch(mode, "orders", 3, 3)
				for i := range newer.Records {
					newer.Records[i].Key, newer.Records[i].Version = b.Records[i].Key, 0
				}
				late := opened(t, s, mode)
				ended := make(chan error, 1)
				go func() {
					_, err := late.Write(t.Context(), b)
					ended <- err
				}()
				var what string
				select {
				case what = <-hangs:
				case err := <-ended:
					s.Befall(nil)
					if err != nil {
						t.Fatal(err)
					}
					return // it has no more calls
				}
				other := opened(t, s, mode)
				untilDurable(t, other, b)
				untilDurable(t, other, newer)
				close(goOn)
				if err := <-ended; err != nil {
					wantError(t, err, connectors.Unavailable)
				}
				untilDurable(t, late, b)
				what = fmt.Sprintf("late at call %d, %s", at, what)
				if mode == connectors.Append {
					wantOnce(t, s, what, b, newer)
				} else {
					wantOnce(t, s, what, newer)
				}
			}
		})
	}
}
