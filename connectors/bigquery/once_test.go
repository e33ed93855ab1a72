package bigquery_test

import (
	"fmt"
	"sync"
	"testing"

	"tributary/connectors"
	"tributary/connectors/bigquery/bigquerytest"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/fault"
)

// wantOnce wants each record of the batches once.
func wantOnce(t *testing.T, s *bigquerytest.Server, what string, batches ...connectors.Batch) {
	t.Helper()
	connectortest.WantOnce(t, rows(t, s), what, batches...)
}

func TestKilledAtEachCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		for name, f := range map[string]fault.Fault{"lost": fault.Lost, "unheard": fault.Unheard} {
			t.Run(fmt.Sprint(mode, " ", name), func(t *testing.T) {
				t.Parallel()
				connectortest.TestKilledAtEachCall(t, mode, f, func() connectortest.Calls {
					s := bigquerytest.New(t, returned)
					return connectortest.Calls{
						Open: func() connectors.Destination { return opened(t, s, mode) }, Rows: func() []connectortest.Row { return rows(t, s) }, Befall: s.Befall,
					}
				}, "token", "datasets.get", "tables.insert", "jobs.query", "jobs.insert", "AppendRows default")
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
				late, b := opened(t, s, mode), connectortest.TwoTables(mode)
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
					connectortest.UntilDurable(t, other, b)
				}
				close(goOn)
				if err := <-ended; err != nil {
					connectortest.WantError(t, err, connectors.Unavailable)
				}
				connectortest.UntilDurable(t, late, b)
				connectortest.UntilDurable(t, other, connectortest.Batch(mode, "orders", 6, 2))
				wantOnce(t, s, fmt.Sprintf("late at call %d, %s", at, what), b, connectortest.Batch(mode, "orders", 6, 2))
			}
		})
	}
}
