package activities

import (
	"context"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/segment"
)

func webhook(epoch string, seq uint64) segment.Name {
	return segment.Name{Epoch: epoch, Stream: "orders", Origin: "journal-1", Sequence: seq}
}

// A reconciling poll leaves out what webhooks brought since the floor, and only that; what it finds beside them it remembers.
func TestReconcileRecognisesWebhooks(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.seal(t, webhook("e1", 3), record("w-old", "old", 1))
	r.seal(t, webhook("e1", 5), record("w-came", "came", 1), record("w-unknown", "unknown", 0), record("w-none", "", 7))
	r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: "journal-2", Sequence: 9}, record("w-elsewhere", "elsewhere", 1))
	r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: PollOrigin, Sequence: 9}, record("p-before", "polled", 1))
	r.seal(t, webhook("e2", 5), record("w-other", "other", 1))
	ancient := record("ancient", "ancient", 1)
	ancient.OccurredAt = day.Add(-extraAge - time.Second)
	found := []connectors.Record{
		record("p-old", "old", 1), record("p-came", "came", 1), record("p-newer", "came", 2), record("p-unknown", "unknown", 0),
		record("p-none", "", 7), record("p-elsewhere", "elsewhere", 1), record("p-polled", "polled", 1), record("p-other", "other", 1), ancient,
	}
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		return connectors.Page{Records: found, Cursor: []byte("a")}, nil
	}
	in := r.fetchInput()
	in.Reconcile, in.Seen, in.ExtraSequence = true, map[string]uint64{"journal-1": 5}, 7
	out := r.fetch(t, in)
	want(t, out.Failure, "")
	if got := ids(r.sealed(t, out.Segments...)); got != "p-old p-newer p-unknown p-none p-elsewhere p-polled p-other ancient" || out.Recognised != 1 {
		t.Errorf("sealed %q, %d recognised", got, out.Recognised)
	}
	extra, err := r.extras(t.Context(), out.Extra)
	must(t, err)
	// What has no version or key can't be recognised; what is too old is not waited for.
	for key, version := range map[string]int64{"old": 1, "came": 2, "elsewhere": 1, "polled": 1, "other": 1} {
		if _, ok := extra[changeOf("orders", key, version)]; !ok {
			t.Errorf("%s is not remembered", key)
		}
	}
	if len(extra) != 5 {
		t.Errorf("%d are remembered", len(extra))
	}

	// The next poll adds to them; one that finds nothing leaves the object as it is.
	found = []connectors.Record{record("p-next", "next", 1)}
	in.Extra, in.ExtraSequence, in.Chunk = out.Extra, 8, 8
	second := r.fetch(t, in)
	extra, err = r.extras(t.Context(), second.Extra)
	must(t, err)
	if len(extra) != 6 || second.Extra == out.Extra {
		t.Errorf("%d are remembered in %s", len(extra), second.Extra)
	}
	found = nil
	in.Extra, in.ExtraSequence, in.Chunk = second.Extra, 9, 9
	if third := r.fetch(t, in); third.Extra != "" {
		t.Errorf("a poll that found nothing wrote %s", third.Extra)
	}
}

// Without reconciliation nothing is left out.
func TestPollingLeavesNothingOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.seal(t, webhook("e1", 5), record("w", "k", 1))
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		return connectors.Page{Records: []connectors.Record{record("p", "k", 1)}, Cursor: []byte("a")}, nil
	}
	if out := r.fetch(t, r.fetchInput()); ids(r.sealed(t, out.Segments...)) != "p" || out.Extra != "" {
		t.Errorf("%+v", out)
	}
}

// What a poll found first is recognised when its webhook comes late, for a day; other records are not.
func TestLateWebhookIsRecognised(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		return connectors.Page{Records: []connectors.Record{record("p", "k", 5)}, Cursor: []byte("a")}, nil
	}
	in := r.fetchInput()
	in.Reconcile, in.ExtraSequence = true, 7
	found := r.fetch(t, in)
	late := r.seal(t, webhook("e1", 20), record("w", "k", 5), record("w-newer", "k", 6), record("w-no-key", "", 5))
	out := r.write(t, WriteInput{
		First: 0, Next: 4, Entries: []Entry{{Ref: found.Segments[0], First: 0}, {Ref: late, First: 1}}, Extra: map[string]string{"orders": found.Extra},
	})
	want(t, out.Failure, "")
	if got := ids(r.sink.batches[0].Records); got != "p w-newer w-no-key" || out.Recognised != 1 || out.Delivered != 3 || out.Next != 4 {
		t.Errorf("delivered %q, %+v", got, out)
	}
	// A reset went back to extras that are gone: all is delivered, keys keep the effect once.
	out = r.write(t, WriteInput{First: 1, Next: 4, Entries: []Entry{{Ref: late, First: 1}}, Extra: map[string]string{"orders": "e1/orders/extra-00000000000000000001"}})
	if out.Delivered != 3 || out.Failure != nil {
		t.Errorf("%+v", out)
	}
}

// Extras are forgotten after a day, and there is a bound on how many there are.
func TestExtrasAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	m := memory{}
	for i := range maxExtras + 10 {
		m[fingerprint{byte(i), byte(i >> 8), byte(i >> 16)}] = day.UnixMicro()
	}
	old := fingerprintOf("old")
	m[old] = day.Add(-extraAge - time.Second).UnixMicro()
	name, err := r.saveExtras(t.Context(), r.fetchInput(), m)
	must(t, err)
	kept, err := r.extras(t.Context(), name)
	must(t, err)
	if _, ok := kept[old]; ok || len(kept) != maxExtras {
		t.Errorf("%d are kept, the old one %v", len(kept), ok)
	}
}
