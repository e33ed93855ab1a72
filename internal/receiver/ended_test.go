package receiver

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
	"tributary/workflows"
)

// Records of an ended installation end in quarantine, in segments that the janitor keeps, once, also when quarantining
// is repeated after a crash (I4).
func TestEndedGoesToQuarantine(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("gone")
	w.end("gone")
	w.set(func(w *world) { w.catalogDown = errors.New("catalog down") })
	write(t, l, "gone", "1", "2")
	write(t, l, "unknown", "3")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := &faulty{Log: l, store: w.store, signal: w, at: "append 4", die: cancel}
	x := live(t, w, l, func(c *ForwarderConfig) { c.Journal, c.Store = d, d })
	eventually(t, "it waits for the catalog", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		q := x.queues["gone"]
		return q != nil && q.failures > 2
	})
	w.set(func(w *world) { w.catalogDown = nil })
	x.idle(t, l)
	intents := sealedAgain(t, w)
	if len(intents) != 3 {
		t.Fatalf("quarantine holds %v", intents)
	}

	// The same intent again, as after a crash before it was noted.
	again := intentOf(t, w, "gone", l)
	if err := x.ended(ctx, again); err != nil {
		t.Fatal(err)
	}
	if n := len(w.quarantined); n != 3 {
		t.Errorf("%d rows after a repetition, want 3", n)
	}
	// What the workflow had before it ended is no loss.
	w.set(func(w *world) { w.marks["gone"] = map[string]uint64{l.ID(): again.From + 1}; w.quarantined = nil })
	if err := x.ended(ctx, again); err != nil || len(w.quarantined) != 0 {
		t.Errorf("delivered records were quarantined: %v, %v", w.quarantined, err)
	}
}

// sealedAgain loads every quarantined record from where its row says that it is.
func sealedAgain(t *testing.T, w *world) []string {
	t.Helper()
	w.mu.Lock()
	rows := slices.Clone(w.quarantined)
	w.mu.Unlock()
	var ids []string
	for _, q := range rows {
		n, err := segment.ParseName(q.Segment)
		if err != nil || n.Origin != segment.OriginQuarantine {
			t.Errorf("segment %s: %v", q.Segment, err)
		}
		s, err := w.store.Load(context.Background(), q.Segment)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range s.Records() {
			if i == q.Index && r.ID == q.RecordID && r.Stream == q.Stream && q.Kind == connectors.Gone && q.Reason != "" &&
				q.Bytes == int64(len(r.Data)) && q.Installation == "i/"+q.Epoch && string(r.Data) == payload(r.ID) {
				ids = append(ids, r.ID)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// intentOf rebuilds the intent of an epoch's first segments from the store.
func intentOf(t *testing.T, w *world, epoch string, l Log) *intent {
	t.Helper()
	it := &intent{Installation: "i/" + epoch, Arrival: workflows.Arrival{Epoch: epoch, Journal: l.ID(), At: time.Now()}}
	for o, err := range w.store.List(context.Background(), epoch+"/") {
		if err != nil {
			t.Fatal(err)
		}
		n, err := segment.ParseName(o.Name)
		if err != nil {
			t.Fatal(err)
		}
		if n.Origin == l.ID() {
			it.From, it.To = n.Sequence, n.Sequence
			it.Segments = append(it.Segments, segment.Ref{Name: o.Name, Stream: n.Stream})
		}
	}
	return it
}

// An installation whose workflow is not there yet is waited for; one whose workflow vanished is not.
func TestNotFoundIsNotAlwaysTheEnd(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	for epoch, state := range map[string]catalog.State{"new": catalog.Installing, "vanished": catalog.Active} {
		w.run(epoch)
		delete(w.workflows, epoch)
		w.installations[epoch] = catalog.Installation{ID: "i/" + epoch, Epoch: epoch, State: state}
		write(t, l, epoch, epoch)
	}
	x := live(t, w, l)
	eventually(t, "the vanished one's record is in quarantine", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.quarantined) == 1 && w.quarantined[0].RecordID == "vanished"
	})
	w.run("new")
	x.idle(t, l)
	if got := w.arrived("new"); !slices.Equal(got, []string{"new"}) {
		t.Errorf("the new one got %v", got)
	}
}
