package catalog_test

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/internal/catalog"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestTakeCalls(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		budget := connectors.Budget{Calls: 10, Per: time.Second}
		for i, step := range []struct {
			at      time.Duration
			calls   int // of the budget
			want    int
			granted int
			wait    time.Duration
		}{
			{0, 10, 4, 4, time.Second},
			{300 * time.Millisecond, 10, 4, 4, 700 * time.Millisecond},
			{400 * time.Millisecond, 10, 4, 2, 600 * time.Millisecond}, // what is left
			{500 * time.Millisecond, 10, 4, 0, 500 * time.Millisecond},
			{999 * time.Millisecond, 10, 1, 0, time.Millisecond},
			{time.Second, 10, 25, 10, time.Second}, // a new window; never more than the budget
			{1500 * time.Millisecond, 5, 1, 0, 500 * time.Millisecond},
			{1600 * time.Millisecond, 12, 5, 2, 400 * time.Millisecond}, // the budget was raised
			{10 * time.Second, 10, 1, 1, time.Second},
			{10*time.Second - 30*time.Second, 10, 1, 1, 31 * time.Second}, // a clock that is behind shares the window
			{10*time.Second - 2*time.Hour, 10, 1, 1, time.Second},         // a window of a clock far ahead doesn't stop the others
		} {
			budget.Calls = step.calls
			granted, wait, err := c.TakeCalls(t.Context(), "shopify/ann.example", budget, step.want, noon.Add(step.at))
			must(t, err)
			if granted != step.granted || wait != step.wait {
				t.Errorf("step %d: got %d and %v, want %d and %v", i, granted, wait, step.granted, step.wait)
			}
		}
		if granted, wait, err := c.TakeCalls(t.Context(), "other", connectors.Budget{}, 7, noon); granted != 7 || wait != 0 || err != nil {
			t.Errorf("without a budget: got %d, %v, %v", granted, wait, err)
		}
		if _, _, err := c.TakeCalls(t.Context(), "other", budget, 0, noon); err == nil {
			t.Error("a want of 0 was taken")
		}
	})
}

// Many workers together get exactly what the account has, and accounts don't share.
func TestTakeCallsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		workers := []*catalog.Catalog{open(t, dsn), open(t, dsn)}
		budget := connectors.Budget{Calls: 100, Per: time.Minute}
		var (
			g     errgroup.Group
			taken [2]atomic.Int64
		)
		for n := range 16 {
			g.Go(func() error {
				for range 10 {
					granted, _, err := workers[n%2].TakeCalls(t.Context(), []string{"one", "two"}[n/8], budget, 3, noon)
					if err != nil {
						return err
					}
					taken[n/8].Add(int64(granted))
				}
				return nil
			})
		}
		must(t, g.Wait())
		for i := range taken {
			if got := taken[i].Load(); got != 100 {
				t.Errorf("account %d: %d calls were granted", i, got)
			}
		}
	})
}

func TestLeases(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		acquire := func(holder string, at time.Duration, want bool) {
			t.Helper()
			got, err := c.AcquireLease(ctx, "janitor", holder, time.Minute, noon.Add(at))
			must(t, err)
			if got != want {
				t.Errorf("%s at %v: got %v", holder, at, got)
			}
		}
		acquire("one", 0, true)
		acquire("two", 59*time.Second, false)
		acquire("one", 59*time.Second, true) // extends
		acquire("two", 90*time.Second, false)
		acquire("two", 119*time.Second, true) // has run out
		must(t, c.ReleaseLease(ctx, "janitor", "one"))
		acquire("one", 120*time.Second, false)
		must(t, c.ReleaseLease(ctx, "janitor", "two"))
		acquire("one", 120*time.Second, true)
	})
}

// A lease has one holder, also when many ask at once.
func TestLeaseAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		var (
			g       errgroup.Group
			holders atomic.Int32
		)
		for n := range 16 {
			g.Go(func() error {
				ok, err := c.AcquireLease(t.Context(), "janitor", string(rune('a'+n)), time.Minute, noon)
				if ok {
					holders.Add(1)
				}
				return err
			})
		}
		must(t, g.Wait())
		if holders.Load() != 1 {
			t.Errorf("%d hold it", holders.Load())
		}
	})
}

// However many workers ask, an account has so many callers at once; one that is done, or whose worker died, makes room.
func TestSlots(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		workers := []*catalog.Catalog{open(t, dsn), open(t, dsn)}
		var (
			g     errgroup.Group
			taken [20]string
		)
		for n := range taken {
			g.Go(func() (err error) {
				taken[n], err = workers[n%2].TakeSlot(t.Context(), "shopify/ann.example", 4, string(rune('a'+n)), time.Minute, noon)
				return err
			})
		}
		must(t, g.Wait())
		holder := make(map[string]string)
		for n, slot := range taken {
			if before, twice := holder[slot]; slot != "" && twice {
				t.Errorf("%s and %c both hold %s", before, 'a'+n, slot)
			}
			if slot != "" {
				holder[slot] = string(rune('a' + n))
			}
		}
		if len(holder) != 4 {
			t.Fatalf("%d slots were given, want 4", len(holder))
		}
		take := func(at time.Duration, account string) string {
			slot, err := workers[0].TakeSlot(t.Context(), account, 4, "late", time.Minute, noon.Add(at))
			must(t, err)
			return slot
		}
		if slot := take(time.Second, "shopify/ann.example"); slot != "" {
			t.Errorf("a fifth has %s", slot)
		}
		if slot := take(time.Second, "shopify/ben.example"); slot == "" {
			t.Error("accounts share slots")
		}
		for slot, h := range holder {
			again, err := workers[0].TakeSlot(t.Context(), "shopify/ann.example", 4, h, time.Minute, noon.Add(time.Second))
			must(t, err)
			if again != slot {
				t.Errorf("%s held %s and got %q when it asked again", h, slot, again)
			}
		}
		for slot, h := range holder {
			must(t, workers[1].ReleaseLease(t.Context(), slot, h))
			if got := take(2*time.Second, "shopify/ann.example"); got != slot {
				t.Errorf("got %q, %s was released", got, slot)
			}
			break
		}
		if slot, err := workers[1].TakeSlot(t.Context(), "shopify/ann.example", 4, "later", time.Minute, noon.Add(62*time.Second)); err != nil || slot == "" {
			t.Errorf("no slot after the others ran out: %v", err)
		}
	})
}
