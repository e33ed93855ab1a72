package receiver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tributary/workflows"
)

// Whatever the forwarder had just done when the process died, the next one neither loses nor doubles anything.
func TestCrashAfterEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"seal", "append 2", "signal", "truncate", "append 3", "reappend"} {
		for after := range 3 {
			t.Run(fmt.Sprint(step, after), func(t *testing.T) {
				t.Parallel()
				w, l := newWorld(t), newMemoryLog()
				w.run("a")
				w.run("b")
				w.run("held") // holds the tail back, so that there is something to write again
				held := true
				w.fate = func(_ context.Context, a workflows.Arrival) (bool, error) {
					w.mu.Lock()
					defer w.mu.Unlock()
					if held && a.Epoch == "held" {
						return false, ErrAgain
					}
					return true, nil
				}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				d := &faulty{Log: l, store: w.store, signal: w, at: step, after: after, die: cancel}
				x := live(t, w, l, func(c *ForwarderConfig) { c.Journal, c.Store, c.Signaler, c.ParkBytes = d, d, d, 4<<10 })
				var a, b []string
				write(t, l, "held", "h")
				for i := 0; ctx.Err() == nil; i++ {
					if i > 50_000 {
						t.Fatalf("%s did not happen", step)
					}
					a, b = append(a, fmt.Sprint("a", i)), append(b, fmt.Sprint("b", i))
					write(t, l, "a", a[i])
					write(t, l, "b", b[i])
					time.Sleep(100 * time.Microsecond)
				}
				x.kill(t)
				w.set(func(*world) { held = false })
				live(t, w, l).idle(t, l)
				for epoch, want := range map[string][]string{"a": a, "b": b, "held": {"h"}} {
					if got := w.arrived(epoch); !slices.Equal(got, want) {
						t.Errorf("%s got %d records, want %d, in order", epoch, len(got), len(want))
					}
				}
			})
		}
	}
}

// Many installations, failing signals, lost answers, hung signals, stuck and ended installations, and a process that dies again and again at any
// step: at the end every record that the journal took is in its workflow once, or in quarantine where the workflow has
// ended, and the journal is empty.
func TestRandomSchedules(t *testing.T) {
	t.Parallel()
	for n := range 6 {
		seed := uint64(time.Now().UnixNano()) + uint64(n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			schedule(t, seed, newMemoryLog())
		})
	}
}

func schedule(t *testing.T, seed uint64, l Log) {
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	n := func(limit int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(limit)
	}
	w := newWorld(t)
	epochs := 3 + n(30)
	for e := range epochs {
		w.run(fmt.Sprint("e", e))
	}
	const ending = "e0"
	stuck := map[string]bool{"e1": true}
	healed := false
	w.fate = func(ctx context.Context, a workflows.Arrival) (bool, error) {
		w.mu.Lock()
		is, well := stuck[a.Epoch], healed
		w.mu.Unlock()
		if well {
			return true, nil
		}
		if is {
			return false, ErrAgain
		}
		switch n(12) {
		case 0:
			return false, ErrAgain
		case 1, 2:
			return true, ErrAgain
		case 3:
			if n(4) == 0 {
				<-ctx.Done()
				return n(2) == 0, ctx.Err()
			}
		}
		return true, nil
	}
	want := map[string]map[string]bool{}
	next := 0
	steps := []string{"seal", "append 2", "append 3", "signal", "truncate", "reappend"}
	for range 12 {
		ctx, cancel := context.WithCancel(context.Background())
		d := &faulty{Log: l, store: w.store, signal: w, at: steps[n(len(steps))], after: n(40), die: cancel}
		x := live(t, w, l, func(c *ForwarderConfig) {
			c.Journal, c.Store, c.Signaler = d, d, d
			c.InFlight, c.WaitingBytes, c.ParkBytes = 1+n(8), int64(500+n(20_000)), int64(20_000+n(100_000))
			c.SignalTime = 20 * time.Millisecond
		})
		for range 100 + n(300) {
			epoch := fmt.Sprint("e", n(epochs))
			var ids []string
			for range 1 + n(4) {
				next++
				ids = append(ids, fmt.Sprint(next))
			}
			write(t, l, epoch, ids...)
			for _, id := range ids {
				if want[epoch] == nil {
					want[epoch] = map[string]bool{}
				}
				want[epoch][id] = true
			}
			if n(20) == 0 {
				time.Sleep(time.Millisecond)
			}
			if ctx.Err() != nil {
				break
			}
		}
		x.kill(t)
		cancel()
	}
	before := w.arrived(ending)
	w.end(ending)
	w.set(func(*world) { healed = true })
	live(t, w, l).idle(t, l)

	for epoch, ids := range want {
		got := w.arrived(epoch)
		if epoch == ending {
			got = before
		}
		seen := map[string]bool{}
		for _, id := range got {
			if seen[id] || !ids[id] {
				t.Errorf("%s: record %s came twice or is nobody's", epoch, id)
			}
			seen[id] = true
		}
		if epoch == ending { // what was delivered may be quarantined too, when its signal's answer was lost
			for _, id := range sealedAgain(t, w) {
				seen[id] = true
			}
		}
		if len(seen) != len(ids) {
			t.Errorf("%s: %d records of %d", epoch, len(seen), len(ids))
		}
	}
	if seen := len(sealedAgain(t, w)); seen > len(want[ending]) {
		t.Errorf("%d records in quarantine, %d is all there was", seen, len(want[ending]))
	}
}
