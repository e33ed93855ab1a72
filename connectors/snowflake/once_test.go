package snowflake_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/fault"
	"tributary/connectors/snowflake/snowflaketest"
)

// wantOnce wants each record of the batches once.
func wantOnce(t *testing.T, s *snowflaketest.Server, what string, batches ...connectors.Batch) {
	t.Helper()
	connectortest.WantOnce(t, rows(t, s), what, batches...)
}

// statementCalls are what a write calls, each at least once; stageCalls what it calls besides for an internal stage and an external one.
var (
	statementCalls = []string{"login", "CREATE TABLE", "CREATE TEMPORARY", "BEGIN TRANSACTION", "SELECT", "COPY", "MERGE", "DELETE", "COMMIT"}
	stageCalls     = map[bool][]string{false: {"PUT", "upload", "REMOVE"}, true: {"DESCRIBE", "lake"}}
)

func TestKilledAtEachCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		for name, f := range map[string]fault.Fault{"lost": fault.Lost, "unheard": fault.Unheard, "lost, external stage": fault.Lost} {
			external := strings.Contains(name, "external")
			t.Run(fmt.Sprint(mode, " ", name), func(t *testing.T) {
				t.Parallel()
				connectortest.TestKilledAtEachCall(t, mode, f, func() connectortest.Calls {
					s := snowflaketest.New(t, &returned)
					c, settings := direct(s), warehouse
					var end func(what string)
					if external {
						var lake *snowflaketest.Lake
						lake, c, settings = lakeOn(t, s, "s3")
						end = func(what string) {
							if names := lake.Names(); len(names) != 0 {
								t.Fatalf("%s: %q are left in the bucket", what, names)
							}
						}
					}
					return connectortest.Calls{
						Open: func() connectors.Destination { return openedWith(t, c, settings, connectors.Config{Mode: mode}) },
						Rows: func() []connectortest.Row { return rows(t, s) }, Befall: s.Befall, End: end,
					}
				}, slices.Concat(statementCalls, stageCalls[external])...)
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
				connectortest.Write(t, d, connectortest.Batch(mode, "orders", 0, 1)) // makes the tables
				var mu sync.Mutex
				n, what := 0, ""
				s.Befall(func(call string) fault.Fault {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == at+1 {
						what = fmt.Sprintf("ended at call %d, %s", at, call)
						s.EndTransactions()
					}
					return fault.None
				})
				b := connectortest.Batch(mode, "orders", 1, 5)
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
					wantOnce(t, s, what, connectortest.Batch(mode, "orders", 0, 6))
				} else {
					connectortest.WantError(t, err, connectors.Unavailable)
				}
				connectortest.UntilDurable(t, d, b)
				wantOnce(t, s, what, connectortest.Batch(mode, "orders", 0, 6))
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
				connectortest.Write(t, opened(t, s, mode), connectors.Batch{Installation: "i/bob", Epoch: "another", Lane: "warehouse", Mode: mode}) // makes the tables
				var mu sync.Mutex
				n, hangs, goOn := 0, make(chan string, 1), make(chan struct{})
				s.Befall(func(call string) fault.Fault {
					mu.Lock()
					n++
					mine := n == at+1
					mu.Unlock()
					if mine {
						hangs <- call
						<-goOn
					}
					return fault.None
				})
				b := connectortest.Batch(mode, "orders", 0, 3)
				for i := range b.Records {
					b.Records[i].Version = 0
				}
				newer := connectortest.Batch(mode, "orders", 3, 3)
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
				connectortest.UntilDurable(t, other, b)
				connectortest.UntilDurable(t, other, newer)
				close(goOn)
				if err := <-ended; err != nil {
					connectortest.WantError(t, err, connectors.Unavailable)
				}
				connectortest.UntilDurable(t, late, b)
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
