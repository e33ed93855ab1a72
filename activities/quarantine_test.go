package activities

import (
	"fmt"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
)

// reject quarantines records of a batch that starts at an ordinal.
func (r *rig) reject(t *testing.T, first int64, rs ...connectors.Record) {
	t.Helper()
	r.sink.write = func(b connectors.Batch) (connectors.Result, error) {
		res := connectors.NewResult(len(b.Records))
		for i := range b.Records {
			res.Reject(i, "no")
		}
		return res, nil
	}
	ref := r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: PollOrigin, Sequence: uint64(first)}, rs...)
	out := r.write(t, WriteInput{First: first, Next: first + int64(len(rs)), Entries: []Entry{{Ref: ref, First: first}}})
	if out.Quarantined != int64(len(rs)) {
		t.Fatalf("%+v", out)
	}
	r.sink.write = nil
}

func (r *rig) requeueOnce(t *testing.T, in RequeueInput) RequeueOutput {
	t.Helper()
	in.Target, in.Lane = r.target, "out"
	var out RequeueOutput
	must(t, r.call(t, RequeueName, in, &out))
	return out
}

func (r *rig) states(t *testing.T) map[catalog.QuarantineState]int {
	t.Helper()
	out := make(map[catalog.QuarantineState]int)
	for _, q := range r.held(t) {
		out[q.State]++
	}
	return out
}

// What is redelivered lies in a segment for its lane as the app sent it, and has left quarantine. The same redelivery again,
// because its answer was lost, gives the same segment, and another one nothing.
func TestRequeueOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	rs := records(5)
	r.reject(t, 0, rs[:3]...)
	r.reject(t, 3, rs[3:]...)
	out := r.requeueOnce(t, RequeueInput{Sequence: 1})
	want(t, out.Failure, "")
	if len(out.Segments) != 1 || out.More {
		t.Fatalf("%+v", out)
	}
	got := r.sealed(t, out.Segments...)
	if ids(got) != "r0 r1 r2 r3 r4" || string(got[4].Data) != string(rs[4].Data) || got[4].Version != 5 || got[4].Stream != "orders" {
		t.Errorf("sealed %s", ids(got))
	}
	if s := r.states(t); s[catalog.Redelivered] != 5 {
		t.Errorf("states %v", s)
	}
	// It is rejected again meanwhile: the repeated answer must not take what came since.
	r.reject(t, 50, record("new", "new", 1))
	if again := r.requeueOnce(t, RequeueInput{Sequence: 1}); fmt.Sprint(again) != fmt.Sprint(out) {
		t.Errorf("repeated: %+v; want %+v", again, out)
	}
	if s := r.states(t); s[catalog.Held] != 1 {
		t.Errorf("states %v", s)
	}
	if next := r.requeueOnce(t, RequeueInput{Sequence: 2}); ids(r.sealed(t, next.Segments...)) != "new" {
		t.Errorf("the next redelivery: %+v", next)
	}
	if none := r.requeueOnce(t, RequeueInput{Sequence: 3}); none.Segments != nil || none.More || none.Failure != nil {
		t.Errorf("nothing is left: %+v", none)
	}
	// The lane takes it, under new ordinals.
	w := r.write(t, WriteInput{First: 60, Next: 65, Entries: []Entry{{Ref: out.Segments[0], First: 60, Lane: "out"}}})
	if w.Delivered != 5 {
		t.Errorf("%+v", w)
	}
}

// Only what is named is redelivered, and with a time only what was refused until then; other lanes' is left.
func TestRequeueChooses(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.reject(t, 0, records(4)...)
	rows := r.held(t)
	out := r.requeueOnce(t, RequeueInput{Sequence: 1, IDs: []int64{rows[1].ID, rows[3].ID, 9999}})
	if ids(r.sealed(t, out.Segments...)) != "r1 r3" {
		t.Errorf("sealed %s", ids(r.sealed(t, out.Segments...)))
	}
	if out := r.requeueOnce(t, RequeueInput{Sequence: 2, Before: day.Add(-time.Second)}); out.Segments != nil {
		t.Errorf("took what was refused since: %+v", out)
	}
	var other RequeueOutput
	must(t, r.call(t, RequeueName, RequeueInput{Target: r.target, Lane: "other", Sequence: 3}, &other))
	if other.Segments != nil {
		t.Errorf("another lane's: %+v", other)
	}
	// After a workflow reset the numbers begin again, under a suffix.
	if out := r.requeueOnce(t, RequeueInput{Sequence: 1, Suffix: "r2"}); ids(r.sealed(t, out.Segments...)) != "r0 r2" {
		t.Errorf("after a reset: %+v", out)
	}
}

// A redelivery takes so many records at once and says that there are more.
func TestRequeueInParts(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	const n = requeueRecords + 3
	ref := r.seal(t, segment.Name{Epoch: "e1", Stream: "out", Origin: QuarantineOrigin, Sequence: 1}, records(n)...)
	rows := make([]catalog.Quarantined, n)
	for i := range rows {
		rows[i] = catalog.Quarantined{Installation: r.target.Installation, Epoch: "e1", Lane: "out", Ordinal: int64(i), Segment: ref.Name, Index: i, At: day}
	}
	must(t, r.Catalog.AddQuarantined(t.Context(), rows))
	first := r.requeueOnce(t, RequeueInput{Sequence: 1})
	second := r.requeueOnce(t, RequeueInput{Sequence: 2})
	if !first.More || second.More || first.Segments[0].Records != requeueRecords || second.Segments[0].Records != 3 {
		t.Errorf("%+v then %+v", first, second)
	}
}

// A redelivery that was cut off between choosing and sealing goes on without what somebody discarded meanwhile.
func TestRequeueAfterDiscard(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.reject(t, 0, record("gone", "gone", 1))
	r.reject(t, 1, record("kept", "kept", 1))
	rows := r.held(t)
	// The store is down for the segment of what will be discarded: the first attempt gets as far as choosing.
	saved, err := r.Segments.Get(t.Context(), rows[0].Segment)
	must(t, err)
	must(t, r.Segments.Delete(t.Context(), rows[0].Segment))
	want(t, r.requeueOnce(t, RequeueInput{Sequence: 1}).Failure, connectors.NotFound, rows[0].Segment, "bring it back", fmt.Sprint("discard record ", rows[0].ID))
	must(t, r.Catalog.SetQuarantineState(t.Context(), []int64{rows[0].ID}, catalog.Discarded))
	out := r.requeueOnce(t, RequeueInput{Sequence: 1})
	want(t, out.Failure, "")
	if ids(r.sealed(t, out.Segments...)) != "kept" {
		t.Errorf("sealed %s", ids(r.sealed(t, out.Segments...)))
	}
	if s := r.states(t); s[catalog.Discarded] != 1 || s[catalog.Redelivered] != 1 {
		t.Errorf("states %v", s)
	}
	// What was sealed stays what it is, also when more is discarded before the answer is asked for again.
	must(t, r.Segments.Put(t.Context(), rows[0].Segment, saved))
	must(t, r.Catalog.SetQuarantineState(t.Context(), []int64{rows[1].ID}, catalog.Discarded))
	if again := r.requeueOnce(t, RequeueInput{Sequence: 1}); again.Failure != nil || fmt.Sprint(again.Segments) != fmt.Sprint(out.Segments) {
		t.Errorf("%+v", again)
	}
}

// With the catalog or the store down nothing is taken, and it passes.
func TestRequeueFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.reject(t, 0, records(1)...)
	r.breakStore(t)
	want(t, r.requeueOnce(t, RequeueInput{Sequence: 1}).Failure, connectors.Unavailable, "segment store")
	if s := r.states(t); s[catalog.Held] != 1 {
		t.Errorf("states %v", s)
	}
	must(t, r.Catalog.Close())
	want(t, r.requeueOnce(t, RequeueInput{Sequence: 1}).Failure, connectors.Unavailable)
}
