package catalog_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Those who come and those who leave at once each get a count of their own: the app's webhooks are registered by the
// first and removed by the last.
func TestSubscribersAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		const n = 12
		atOnce := func(change func(epoch string) (int, error)) []int {
			t.Helper()
			var (
				g      errgroup.Group
				mu     sync.Mutex
				counts []int
			)
			for i := range n {
				g.Go(func() error {
					count, err := change(fmt.Sprint("epoch-", i))
					mu.Lock()
					defer mu.Unlock()
					counts = append(counts, count)
					return err
				})
			}
			must(t, g.Wait())
			slices.Sort(counts)
			return counts
		}
		want := make([]int, n)
		for i := range want {
			want[i] = i + 1
		}
		if got := atOnce(func(epoch string) (int, error) { return c.AddSubscriber(ctx, "hubspot", epoch) }); !slices.Equal(got, want) {
			t.Errorf("adding gave %v", got)
		}
		if count, err := c.AddSubscriber(ctx, "hubspot", "epoch-0"); count != n || err != nil {
			t.Errorf("adding twice gave %d, %v", count, err)
		}
		if count, err := c.AddSubscriber(ctx, "github", "epoch-0"); count != 1 || err != nil {
			t.Errorf("another app has %d, %v", count, err)
		}
		for i := range want {
			want[i] = i
		}
		if got := atOnce(func(epoch string) (int, error) { return c.RemoveSubscriber(ctx, "hubspot", epoch) }); !slices.Equal(got, want) {
			t.Errorf("removing gave %v", got)
		}
		if left, err := c.RemoveSubscriber(ctx, "hubspot", "epoch-0"); left != 0 || err != nil {
			t.Errorf("removing twice gave %d, %v", left, err)
		}
	})
}
