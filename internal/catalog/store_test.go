package catalog_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"tributary/internal/catalog"
)

// Of many stores that are offered at once the catalog takes one and keeps it.
func TestBindStoreAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		var (
			g     errgroup.Group
			bound atomic.Int32
		)
		for n := range 8 {
			g.Go(func() error {
				id := fmt.Sprint("store-", n)
				err := c.BindStore(t.Context(), "segments", id)
				if errors.Is(err, catalog.ErrOtherStore) {
					return nil
				}
				bound.Add(1)
				if err != nil {
					return err
				}
				return c.BindStore(t.Context(), "segments", id)
			})
		}
		must(t, g.Wait())
		if bound.Load() != 1 {
			t.Errorf("%d stores were bound", bound.Load())
		}
		must(t, c.BindStore(t.Context(), "key file", "of another kind"))
	})
}
