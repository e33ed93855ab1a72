package catalog_test

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/internal/catalog"
)

func quarantined(index int) catalog.Quarantined {
	return catalog.Quarantined{
		Installation: "shop/ann", Epoch: "epoch-1", Lane: "warehouse", Stream: "orders", RecordID: fmt.Sprint("id-", index),
		Key: fmt.Sprint("key-", index), Reason: `column "total" <is> too small`, Kind: connectors.Invalid, Ordinal: int64(1<<53 + 1 + index),
		Segment: "epoch-1/orders/poll-1", Index: index, Bytes: 1024, At: time.UnixMicro(1_700_000_000_123_456).UTC(), State: catalog.Held,
	}
}

func TestQuarantine(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		list := func(f catalog.QuarantineFilter) []catalog.Quarantined {
			t.Helper()
			all, err := c.Quarantined(ctx, f)
			must(t, err)
			return all
		}
		other := quarantined(0)
		other.Lane, other.State = "stream", ""
		elsewhere := quarantined(0)
		elsewhere.Installation, elsewhere.Epoch = "shop/bob", "epoch-2"
		must(t, c.AddQuarantined(ctx, []catalog.Quarantined{quarantined(0), quarantined(1), quarantined(2), other, elsewhere}))
		must(t, c.AddQuarantined(ctx, nil))

		mine := catalog.QuarantineFilter{Epoch: "epoch-1", Lane: "warehouse"}
		all := list(mine)
		if len(all) != 3 {
			t.Fatalf("got %d records", len(all))
		}
		for i, got := range all {
			want := quarantined(i)
			want.ID = got.ID
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			if i > 0 && got.ID <= all[i-1].ID {
				t.Errorf("ID %d after %d", got.ID, all[i-1].ID)
			}
		}
		for _, test := range []struct {
			filter catalog.QuarantineFilter
			want   int
		}{
			{catalog.QuarantineFilter{}, 5},
			{catalog.QuarantineFilter{Installation: "shop/ann"}, 4},
			{catalog.QuarantineFilter{Epoch: "epoch-2"}, 1},
			{catalog.QuarantineFilter{Lane: "stream"}, 1},
			{catalog.QuarantineFilter{State: catalog.Discarded}, 0},
			{catalog.QuarantineFilter{Epoch: "epoch-1", Lane: "warehouse", After: all[0].ID}, 2},
			{catalog.QuarantineFilter{Epoch: "epoch-1", Lane: "warehouse", After: all[0].ID, Limit: 1}, 1},
			{catalog.QuarantineFilter{Lane: "warehouse", IDs: []int64{all[0].ID, all[2].ID, 1 << 40}}, 2},
		} {
			if got := list(test.filter); len(got) != test.want {
				t.Errorf("%+v: got %d, want %d", test.filter, len(got), test.want)
			}
		}

		must(t, c.SetQuarantineState(ctx, []int64{all[0].ID}, catalog.Redelivering))
		must(t, c.SetQuarantineState(ctx, []int64{all[1].ID, 1 << 40}, catalog.Discarded))
		must(t, c.SetQuarantineState(ctx, nil, catalog.Discarded))
		if err := c.SetQuarantineState(ctx, []int64{all[0].ID}, "lost"); err == nil {
			t.Error("an unknown state was stored")
		}
		counts, err := c.CountQuarantined(ctx, "epoch-1")
		must(t, err)
		if !maps.Equal(counts, map[string]int64{"warehouse": 1, "stream": 1}) {
			t.Errorf("counts are %v", counts)
		}
	})
}

// A repeated attempt changes nothing, also not what was decided meanwhile; a record that came back through its lane
// and was rejected again is held again.
func TestQuarantineAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		q := quarantined(0)
		state := func() catalog.Quarantined {
			t.Helper()
			all, err := c.Quarantined(ctx, catalog.QuarantineFilter{})
			must(t, err)
			if len(all) != 1 {
				t.Fatalf("there are %d records", len(all))
			}
			return all[0]
		}
		must(t, c.AddQuarantined(ctx, []catalog.Quarantined{q}))
		first := state()
		must(t, c.SetQuarantineState(ctx, []int64{first.ID}, catalog.Redelivering))
		must(t, c.AddQuarantined(ctx, []catalog.Quarantined{q}))
		if got := state().State; got != catalog.Redelivering {
			t.Errorf("after a repeated attempt it is %s", got)
		}
		again := q
		again.Ordinal++
		again.Reason = "still too small"
		must(t, c.AddQuarantined(ctx, []catalog.Quarantined{again, q})) // the order doesn't matter
		if got := state(); got.State != catalog.Held || got.Reason != again.Reason || got.Ordinal != again.Ordinal || got.ID != first.ID {
			t.Errorf("after another rejection it is %+v", got)
		}
	})
}

// Text that no database stores as it is doesn't keep a record out.
// An attempt that died after it listed what it refused is followed by one that refuses others beside it, and lists all of them in another segment.
func TestQuarantineOfARepeatedAttempt(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		must(t, c.AddQuarantined(ctx, []catalog.Quarantined{quarantined(1), quarantined(2)}))
		again := []catalog.Quarantined{quarantined(0), quarantined(1), quarantined(2)}
		for i := range again {
			again[i].Segment = "epoch-1/orders/poll-1-again"
		}
		must(t, c.AddQuarantined(ctx, again))
		must(t, c.AddQuarantined(ctx, again))
		all, err := c.Quarantined(ctx, catalog.QuarantineFilter{Epoch: "epoch-1"})
		must(t, err)
		if len(all) != 3 || all[0].RecordID != "id-1" || all[2].RecordID != "id-0" {
			t.Errorf("listed %+v", all)
		}
		// What somebody has dealt with and is refused again is held again.
		must(t, c.SetQuarantineState(ctx, []int64{all[0].ID}, catalog.Redelivered))
		must(t, c.AddQuarantined(ctx, again))
		if all, err = c.Quarantined(ctx, catalog.QuarantineFilter{Epoch: "epoch-1", State: catalog.Held}); err != nil || len(all) != 3 {
			t.Errorf("%d are held, %v", len(all), err)
		}
	})
}

func TestQuarantineOddText(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		q := quarantined(0)
		q.Key, q.Reason, q.RecordID = "a\x00b", "bad \xff byte", "\x00"
		must(t, c.AddQuarantined(t.Context(), []catalog.Quarantined{q}))
		all, err := c.Quarantined(t.Context(), catalog.QuarantineFilter{})
		must(t, err)
		if len(all) != 1 || all[0].Key != "a\uFFFDb" || all[0].Reason != "bad \uFFFD byte" || all[0].RecordID != "\uFFFD" {
			t.Errorf("got %+v", all)
		}
	})
}

// A batch of several statements goes in while another attempt adds a part of it, and is listed and changed at once.
func TestQuarantineBatch(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, ctx := open(t, dsn), t.Context()
		const n = 5_000
		records := make([]catalog.Quarantined, n)
		for i := range records {
			records[i] = quarantined(i)
		}
		var g errgroup.Group
		g.Go(func() error { return c.AddQuarantined(ctx, records) })
		g.Go(func() error { return c.AddQuarantined(ctx, records[:3000]) })
		must(t, g.Wait())
		all, err := c.Quarantined(ctx, catalog.QuarantineFilter{Limit: n + 1})
		must(t, err)
		if len(all) != n {
			t.Fatalf("%d are held", len(all))
		}
		ids := make([]int64, 0, n)
		for _, q := range all[1:] {
			ids = append(ids, q.ID)
		}
		must(t, c.SetQuarantineState(ctx, ids, catalog.Redelivering))
		counts, err := c.CountQuarantined(ctx, "epoch-1")
		must(t, err)
		if counts["warehouse"] != 1 {
			t.Errorf("%d are still held, want 1", counts["warehouse"])
		}
	})
}
