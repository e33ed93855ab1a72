package catalog_test

import (
	"maps"
	"math"
	"testing"
	"time"

	"tributary/internal/catalog"
)

// A mark never goes back (I12), whatever a workflow that was reset publishes; the retention is the latest.
func TestMarksOnlyGrow(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		install(t, c, "shop/ann", "epoch-1")
		install(t, c, "shop/bob", "epoch-2")
		check := func(want map[string]uint64, wantRetention time.Duration, wantEnded bool) {
			t.Helper()
			marks, retention, ended, err := c.SweepInfo(ctx, "epoch-1")
			must(t, err)
			if !maps.Equal(marks, want) || retention != wantRetention || ended != wantEnded {
				t.Errorf("got %v, %v, %v; want %v, %v, %v", marks, retention, ended, want, wantRetention, wantEnded)
			}
		}
		check(map[string]uint64{}, 0, false)
		must(t, c.PublishMarks(ctx, "epoch-1", map[string]uint64{"poll": 7, "journal": 100}, time.Hour))
		must(t, c.PublishMarks(ctx, "epoch-2", map[string]uint64{"poll": 1000}, time.Minute))
		must(t, c.PublishMarks(ctx, "epoch-1", map[string]uint64{"poll": 3, "journal": 101, "quarantine": 0}, 2*time.Hour))
		check(map[string]uint64{"poll": 7, "journal": 101, "quarantine": 0}, 2*time.Hour, false)
		must(t, c.SetState(ctx, "epoch-1", catalog.Ended, ""))
		check(map[string]uint64{"poll": 7, "journal": 101, "quarantine": 0}, 2*time.Hour, true)
		marks, retention, err := c.Marks(ctx, "epoch-2")
		must(t, err)
		if !maps.Equal(marks, map[string]uint64{"poll": 1000}) || retention != time.Minute {
			t.Errorf("got %v, %v", marks, retention)
		}

		wantErr(t, c.PublishMarks(ctx, "nowhere", map[string]uint64{"poll": 1}, 0), catalog.ErrNotFound, "nowhere")
		_, _, _, err = c.SweepInfo(ctx, "nowhere")
		wantErr(t, err, catalog.ErrNotFound, "nowhere")
		if err := c.PublishMarks(ctx, "epoch-1", map[string]uint64{"poll": math.MaxUint64}, 0); err == nil {
			t.Error("a mark out of range was stored")
		}
		check(map[string]uint64{"poll": 7, "journal": 101, "quarantine": 0}, 2*time.Hour, true)
	})
}
