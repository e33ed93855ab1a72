package activities

import (
	"fmt"
	"testing"

	"tributary/connectors"
	"tributary/internal/segment"
)

func (r *rig) roll(t *testing.T, seq uint64, entries ...Entry) Entry {
	t.Helper()
	var out RollOutput
	must(t, r.call(t, RollName, RollInput{Target: r.target, Entries: entries, Sequence: seq}, &out))
	want(t, out.Failure, "")
	return out.Entry
}

// Old references roll into manifests, manifests into manifests; a batch that reaches into them finds its records, and the
// entry that stands for them says what lies in it.
func TestWriteThroughNestedManifests(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	rs := records(12)
	var entries []Entry
	for i := range 6 {
		ref := r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: []string{PollOrigin, "journal-1"}[i%2], Sequence: uint64(10 + i)}, rs[2*i:2*i+2]...)
		entries = append(entries, Entry{Ref: ref, First: int64(2 * i), At: int64(1000 + i)})
	}
	a, b := r.roll(t, 1, entries[:2]...), r.roll(t, 2, entries[2:4]...)
	whole := r.roll(t, 3, a, b)
	if whole.Level != 2 || whole.First != 0 || whole.Records != 8 || whole.At != 1000 || whole.Bytes != 4*entries[0].Bytes || whole.Lane != "" ||
		fmt.Sprint(whole.Lows) != "map[journal-1:11 manifest:1 poll:10]" {
		t.Errorf("the entry is %+v", whole)
	}
	out := r.write(t, WriteInput{First: 3, Next: 11, Entries: []Entry{whole, entries[4], entries[5]}})
	want(t, out.Failure, "")
	if got := ids(r.sink.batches[0].Records); got != "r3 r4 r5 r6 r7 r8 r9 r10" || out.Next != 11 {
		t.Errorf("wrote %s, %+v", got, out)
	}

	// A redelivery's entries keep their lane.
	for i := range entries {
		entries[i].Lane = "out"
	}
	if e := r.roll(t, 4, entries[:3]...); e.Lane != "out" {
		t.Errorf("the lane is %q", e.Lane)
	}
	entries[1].Lane = "other"
	if e := r.roll(t, 5, entries[:3]...); e.Lane != "" {
		t.Errorf("the lane of two is %q", e.Lane)
	}
}

// A manifest that is gone is as a segment that is: settled below the mark, missing above it. One that is damaged is said.
func TestWriteWithoutAManifest(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	rs := records(4)
	ref := r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: PollOrigin, Sequence: 1}, rs[:2]...)
	e := r.roll(t, 5, Entry{Ref: ref, First: 0})
	next := r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: PollOrigin, Sequence: 2}, rs[2:]...)
	in := WriteInput{First: 0, Next: 4, Entries: []Entry{e, {Ref: next, First: 2}}}
	must(t, r.Segments.Delete(t.Context(), e.Name))
	want(t, r.write(t, in).Failure, connectors.NotFound, e.Name)
	must(t, r.Catalog.PublishMarks(t.Context(), "e1", map[string]uint64{ManifestOrigin: 6}, 0))
	if out := r.write(t, in); out.Failure != nil || out.Expired != 2 || out.Delivered != 2 || out.Next != 4 {
		t.Errorf("%+v", out)
	}
	must(t, r.Segments.Put(t.Context(), e.Name, []byte("{")))
	want(t, r.write(t, in).Failure, connectors.Unknown, "damaged")
}

// A roll that can't be written leaves the entries as they are and says why.
func TestRollFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	ref := r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: PollOrigin, Sequence: 1}, records(1)...)
	r.breakStore(t)
	in := RollInput{Target: r.target, Entries: []Entry{{Ref: ref}}, Sequence: 1}
	var out RollOutput
	must(t, r.call(t, RollName, in, &out))
	want(t, out.Failure, connectors.Unavailable, "segment store")
	in.Entries[0].Name = "no name of a segment"
	must(t, r.call(t, RollName, in, &out))
	if out.Failure == nil || out.Entry.Name != "" {
		t.Errorf("%+v", out)
	}
}
