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
			got, err := c.TakeCalls(t.Context(), "shopify/ann.example", budget, step.want, noon.Add(step.at))
			must(t, err)
			if got.Calls != step.granted || got.Wait != step.wait {
				t.Errorf("step %d: got %d and %v, want %d and %v", i, got.Calls, got.Wait, step.granted, step.wait)
			}
		}
		if got, err := c.TakeCalls(t.Context(), "other", connectors.Budget{}, 7, noon); got.Calls != 7 || got.Wait != 0 || err != nil {
			t.Errorf("without a budget: got %+v, %v", got, err)
		}
		if _, err := c.TakeCalls(t.Context(), "other", budget, 0, noon); err == nil {
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
					got, err := workers[n%2].TakeCalls(t.Context(), []string{"one", "two"}[n/8], budget, 3, noon)
					if err != nil {
						return err
					}
					taken[n/8].Add(int64(got.Calls))
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

// What was called beyond what was taken counts in the window, also beyond the budget, and is never refused.
func TestChargeCalls(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		budget := connectors.Budget{Calls: 10, Per: time.Second}
		take := func(at time.Duration, granted int, wait time.Duration) {
			t.Helper()
			got, err := c.TakeCalls(ctx, "hubspot/7", budget, 1, noon.Add(at))
			must(t, err)
			if got.Calls != granted || got.Wait != wait {
				t.Errorf("at %v: got %d and %v, want %d and %v", at, got.Calls, got.Wait, granted, wait)
			}
		}
		take(0, 1, time.Second)
		must(t, c.ChargeCalls(ctx, "hubspot/7", budget, 8, noon))
		take(100*time.Millisecond, 1, 900*time.Millisecond) // the tenth
		take(100*time.Millisecond, 0, 900*time.Millisecond)
		must(t, c.ChargeCalls(ctx, "hubspot/7", budget, 500, noon.Add(200*time.Millisecond)))
		must(t, c.ChargeCalls(ctx, "hubspot/7", budget, -3, noon.Add(200*time.Millisecond)))
		take(999*time.Millisecond, 0, time.Millisecond)
		take(time.Second, 1, time.Second) // a new window owes nothing
		must(t, c.ChargeCalls(ctx, "hubspot/7", budget, 1<<62, noon.Add(3*time.Second)))
		must(t, c.ChargeCalls(ctx, "hubspot/7", budget, 1<<62, noon.Add(3*time.Second)))
		take(3500*time.Millisecond, 0, 500*time.Millisecond)                   // charging began the window
		must(t, c.ChargeCalls(ctx, "hubspot/8", connectors.Budget{}, 5, noon)) // counts for the day that a number is known
		must(t, c.AllowCalls(ctx, "hubspot/8", connectors.Budget{Calls: 5, Per: time.Minute}))
		if got, err := c.TakeCalls(ctx, "hubspot/8", connectors.Budget{}, 1, noon.Add(time.Second)); err != nil || got.Calls != 0 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// What the app says that it allows stands in place of the connector's numbers, for every worker, until it says otherwise.
func TestAllowCalls(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, other, ctx := open(t, dsn), open(t, dsn), t.Context()
		budget := connectors.Budget{Calls: 10, Per: time.Second}
		take := func(at time.Duration, want, granted int, wait time.Duration, allowed connectors.Budget) {
			t.Helper()
			got, err := other.TakeCalls(ctx, "hubspot/7", budget, want, noon.Add(at))
			must(t, err)
			if got.Calls != granted || got.Wait != wait || got.Allowed != allowed {
				t.Errorf("at %v: got %+v, want %d, %v and %+v", at, got, granted, wait, allowed)
			}
		}
		allow := func(b connectors.Budget) {
			t.Helper()
			must(t, c.AllowCalls(ctx, "hubspot/7", b))
			if got, err := other.AllowedCalls(ctx, "hubspot/7"); err != nil || got != b {
				t.Errorf("allowed is %+v, %v", got, err)
			}
		}
		if got, err := c.AllowedCalls(ctx, "hubspot/7"); err != nil || got != (connectors.Budget{}) {
			t.Errorf("allowed is %+v, %v", got, err)
		}
		three := connectors.Budget{Calls: 3, Per: time.Minute, Concurrent: 2}
		allow(three)
		take(0, 5, 3, time.Minute, three)
		take(59*time.Second, 1, 0, time.Second, three)
		allow(connectors.Budget{Calls: 5, Per: time.Minute})
		take(59*time.Second, 9, 2, time.Second, connectors.Budget{Calls: 5, Per: time.Minute})
		allow(connectors.Budget{Concurrent: 4}) // of calls it says nothing: the connector's hold
		take(time.Hour, 25, 10, time.Second, connectors.Budget{Concurrent: 4})
		allow(connectors.Budget{Calls: 2, Per: time.Hour})
		take(time.Hour+500*time.Millisecond, 1, 0, 500*time.Millisecond, connectors.Budget{Calls: 2, Per: time.Hour}) // the window that runs goes on
		take(time.Hour+time.Second, 1, 1, time.Hour, connectors.Budget{Calls: 2, Per: time.Hour})
		allow(connectors.Budget{Calls: 2, Per: time.Second})
		take(time.Hour+2*time.Second, 1, 1, time.Second, connectors.Budget{Calls: 2, Per: time.Second}) // an hour is no window of it
	})
}

func TestClamp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		said connectors.Budget
		per  time.Duration
		want connectors.Budget
	}{
		{connectors.Budget{}, time.Second, connectors.Budget{}},
		{connectors.Budget{Name: "search", Calls: 5, Per: time.Second, Concurrent: 3}, 0, connectors.Budget{Calls: 5, Per: time.Second, Concurrent: 3}},
		{connectors.Budget{Calls: -5, Per: -1, Concurrent: -3}, time.Second, connectors.Budget{}},
		{connectors.Budget{Calls: 5}, time.Second, connectors.Budget{Calls: 5, Per: time.Second}},
		{connectors.Budget{Calls: 5}, 0, connectors.Budget{}},
		{connectors.Budget{Calls: 5, Per: 1}, 0, connectors.Budget{Calls: 5, Per: time.Millisecond}},
		{connectors.Budget{Calls: 1 << 62, Per: 1 << 62, Concurrent: 1 << 62}, 0, connectors.Budget{Calls: 1e9, Per: 31 * 24 * time.Hour, Concurrent: 1000}},
	} {
		if got := catalog.Clamp(c.said, c.per); got != c.want {
			t.Errorf("%+v: got %+v, want %+v", c.said, got, c.want)
		}
	}
}
