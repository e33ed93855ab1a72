package activities

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/integration"
	"tributary/internal/segment"
)

func (r *rig) write(t *testing.T, in WriteInput) WriteOutput {
	t.Helper()
	if in.Epoch == "" {
		in.Target = r.target
	}
	if in.Lane == "" {
		in.Lane = "out"
	}
	var out WriteOutput
	must(t, r.call(t, WriteName, in, &out))
	return out
}

// batchOf seals n records and asks to write them all, from ordinal 100.
func (r *rig) batchOf(t *testing.T, rs ...connectors.Record) WriteInput {
	t.Helper()
	ref := r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: PollOrigin, Sequence: 1}, rs...)
	return WriteInput{First: 100, Next: 100 + int64(len(rs)), Entries: []Entry{{Ref: ref, First: 100}}}
}

func (r *rig) held(t *testing.T) []catalog.Quarantined {
	t.Helper()
	rows, err := r.Catalog.Quarantined(t.Context(), catalog.QuarantineFilter{})
	must(t, err)
	return rows
}

// payload reads what a quarantined record holds.
func (r *rig) payload(t *testing.T, q catalog.Quarantined) string {
	t.Helper()
	s, err := r.Segments.Load(t.Context(), q.Segment)
	must(t, err)
	for _, x := range s.Slice(q.Index, q.Index+1) {
		return string(x.Data)
	}
	return ""
}

func ordinals(rs []connectors.Record) (out []int64) {
	for _, x := range rs {
		out = append(out, x.Ordinal)
	}
	return out
}

// A batch arrives in order with its ordinals, its payloads byte for byte (I8), under the ledger's epoch.
func TestWriteDelivers(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.target.Ledger = "after-reset"
	rs := records(6)
	a := r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: PollOrigin, Sequence: 1}, rs[:4]...)
	b := r.seal(t, webhook("e1", 3), rs[4:]...)
	// The batch begins in the first segment and ends in the second.
	out := r.write(t, WriteInput{First: 11, Next: 15, Entries: []Entry{{Ref: a, First: 10}, {Ref: b, First: 14}}})
	want(t, out.Failure, "")
	got := r.sink.batches[0]
	if got.Installation != "flow/ada" || got.Integration != "flow" || got.User != user || got.Epoch != "after-reset" || got.Lane != "out" ||
		got.First != 11 || got.Next != 15 || got.Mode != connectors.ModeUpsert {
		t.Errorf("the batch is %+v", got)
	}
	if ids(got.Records) != "r1 r2 r3 r4" || !slices.Equal(ordinals(got.Records), []int64{11, 12, 13, 14}) {
		t.Errorf("records %s at %v", ids(got.Records), ordinals(got.Records))
	}
	var bytes int64
	for i, x := range got.Records {
		bytes += int64(len(x.Data))
		if string(x.Data) != string(rs[i+1].Data) {
			t.Errorf("payload %s", x.Data)
		}
	}
	if out.Next != 15 || out.Delivered != 4 || out.Bytes != bytes || out.Settled != nil {
		t.Errorf("%+v", out)
	}
}

// What an earlier attempt settled is not written or counted again.
func TestWriteLeavesOutWhatIsSettled(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	in := r.batchOf(t, records(8)...)
	in.Settled = []Span{{First: 90, Next: 101}, {First: 103, Next: 105}, {First: 107, Next: 200}}
	out := r.write(t, in)
	if got := ordinals(r.sink.batches[0].Records); !slices.Equal(got, []int64{101, 102, 105, 106}) || out.Next != 108 || out.Delivered != 4 {
		t.Errorf("wrote %v, %+v", got, out)
	}
}

// A filter settles what it leaves out; the lane's select and map change what is sent.
func TestWriteFiltersAndMaps(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app", integration.Destination{Name: "out", Connector: "sink", Filter: `.id != "r1"`, Map: `{id}`})
	out := r.write(t, r.batchOf(t, records(3)...))
	if got := r.sink.batches[0].Records; ids(got) != "r0 r2" || string(got[0].Data) != `{"id":"r0"}` {
		t.Errorf("wrote %s %s", ids(got), got[0].Data)
	}
	if out.Next != 103 || out.Filtered != 1 || out.Delivered != 2 || out.Failure != nil {
		t.Errorf("%+v", out)
	}
}

// A batch of which nothing is to be sent calls nobody and is settled.
func TestWriteNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app", integration.Destination{Name: "out", Connector: "sink", Filter: `false`})
	if out := r.write(t, r.batchOf(t, records(3)...)); out.Next != 103 || out.Filtered != 3 || len(r.sink.batches) != 0 {
		t.Errorf("%+v, %d batches", out, len(r.sink.batches))
	}
}

// A record on which the map fails, or that the destination rejects, goes to quarantine as the app sent it, with the reason and
// without any of the payload in it; the others are delivered (I4, I7).
func TestWriteQuarantines(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app", integration.Destination{Name: "out", Connector: "sink", Map: `if .id == "r1" then .id * {} else {id} end`})
	r.sink.write = func(b connectors.Batch) (connectors.Result, error) {
		res := connectors.AllDurable(len(b.Records))
		for i, x := range b.Records {
			switch x.ID {
			case "r2":
				res.Reject(i, "the column is too narrow")
			case "r3":
				res.Outcomes[i] = connectors.Rejected // and gives no reason
			}
		}
		return res, nil
	}
	in := r.batchOf(t, records(5)...)
	out := r.write(t, in)
	want(t, out.Failure, "")
	if out.Next != 105 || out.Delivered != 2 || out.Quarantined != 3 {
		t.Errorf("%+v", out)
	}
	rows := r.held(t)
	if len(rows) != 3 {
		t.Fatalf("%d are in quarantine", len(rows))
	}
	for i, reason := range []string{"map", "the column is too narrow", "sink gave no reason"} {
		q, id := rows[i], []string{"r1", "r2", "r3"}[i]
		if q.RecordID != id || !strings.Contains(q.Reason, reason) || strings.Contains(q.Reason, id) || q.Kind != connectors.Invalid || q.Ordinal != int64(101+i) ||
			q.Epoch != "e1" || q.Lane != "out" || q.Installation != "flow/ada" || q.Stream != "orders" || !q.At.Equal(day) {
			t.Errorf("in quarantine: %+v", q)
		}
		if got := r.payload(t, q); got != string(record(id, "", 0).Data) {
			t.Errorf("%s holds %s", id, got)
		}
	}
	// The answer was lost, and the activity runs again: nothing is listed twice.
	if out := r.write(t, in); out.Quarantined != 3 || len(r.held(t)) != 3 {
		t.Errorf("a repeated attempt: %+v, %d in quarantine", out, len(r.held(t)))
	}
}

// What can't be listed in quarantine is not settled: it comes again (I4).
func TestWriteKeepsWhatQuarantineDoesNotTake(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	in := r.batchOf(t, records(3)...)
	r.sink.write = func(b connectors.Batch) (connectors.Result, error) {
		res := connectors.AllDurable(len(b.Records))
		res.Reject(1, "no")
		must(t, r.Catalog.Close())
		return res, nil
	}
	out := r.write(t, in)
	want(t, out.Failure, connectors.Unavailable, "quarantine")
	if out.Next != 101 || out.Delivered != 2 || !slices.Equal(out.Settled, []Span{{102, 103}}) || out.Quarantined != 0 {
		t.Errorf("%+v", out)
	}
}

// The outcomes beside an error count: what is durable or refused is settled, the rest comes again, under the error's kind (I9).
func TestWriteKeepsPartialOutcomes(t *testing.T) {
	t.Parallel()
	for _, kind := range connectors.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "app")
			r.sink.write = func(b connectors.Batch) (connectors.Result, error) {
				res := connectors.NewResult(len(b.Records))
				res.Durable(0, 2)
				res.Durable(3, 4)
				res.Reject(5, "no")
				return res, &connectors.Error{Kind: kind, Op: "copy", Message: "half way", Wait: -1}
			}
			out := r.write(t, r.batchOf(t, records(8)...))
			want(t, out.Failure, kind, "copy: half way")
			if out.Failure.Wait != 0 || out.Next != 102 || out.Delivered != 3 || out.Quarantined != 1 || !slices.Equal(out.Settled, []Span{{103, 104}, {105, 106}}) {
				t.Errorf("%+v", out)
			}
		})
	}
}

// A destination that forgets records, or answers for others, or whose kind isn't one, loses nothing.
func TestWriteToASloppyDestination(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		write   func(connectors.Batch) (connectors.Result, error)
		next    int64
		message string
	}{
		"nothing said": {func(connectors.Batch) (connectors.Result, error) { return connectors.Result{}, nil }, 100, "left 4 records unmentioned"},
		"one left out": {func(b connectors.Batch) (connectors.Result, error) {
			res := connectors.NewResult(len(b.Records))
			res.Durable(0, 3)
			return res, nil
		}, 103, "left 1 records unmentioned"},
		"too many": {func(b connectors.Batch) (connectors.Result, error) {
			return connectors.AllDurable(len(b.Records) + 1), nil
		}, 100, "spoke of 5 records of 4"},
		"strange outcome": {func(b connectors.Batch) (connectors.Result, error) {
			res := connectors.AllDurable(len(b.Records))
			res.Outcomes[0] = 77
			return res, nil
		}, 100, "unmentioned"},
		"strange kind": {func(connectors.Batch) (connectors.Result, error) {
			return connectors.Result{}, &connectors.Error{Message: "what"}
		}, 100, "what"},
		"nil error": {func(connectors.Batch) (connectors.Result, error) {
			return connectors.Result{}, (*connectors.Error)(nil)
		}, 100, "nil"},
		"panic": {func(connectors.Batch) (connectors.Result, error) { panic("x") }, 100, "panicked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "app")
			r.sink.write = c.write
			out := r.write(t, r.batchOf(t, records(4)...))
			if out.Failure == nil {
				t.Fatal("it passed")
			}
			want(t, out.Failure, connectors.Unknown, c.message)
			if out.Next != c.next {
				t.Errorf("settled below %d; want %d", out.Next, c.next)
			}
		})
	}
}

// What is remembered of a half-done batch is bounded (I10), and what is not remembered is not counted.
func TestWriteRemembersBoundedly(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.sink.write = func(b connectors.Batch) (connectors.Result, error) {
		res := connectors.NewResult(len(b.Records))
		for i := 1; i < len(b.Records); i += 2 {
			res.Durable(i, i+1)
		}
		return res, connectors.Errorf(connectors.Unavailable, "", "down")
	}
	in := r.batchOf(t, records(400)...)
	out := r.write(t, in)
	if len(out.Settled) != maxSpans || out.Delivered != maxSpans || out.Next != 100 {
		t.Errorf("%d spans, %d delivered", len(out.Settled), out.Delivered)
	}
	r.sink.write = nil
	in.Settled = out.Settled
	if out := r.write(t, in); out.Delivered != 400-maxSpans || out.Next != 500 {
		t.Errorf("the second attempt: %+v", out)
	}
}

// A lane takes its own streams and redeliveries; what others take is settled for it.
func TestWriteTakesItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app", integration.Destination{Name: "out", Connector: "sink", Streams: []string{"orders"}}, integration.Destination{Name: "other", Connector: "sink"})
	seal := func(stream string, seq uint64, id string) segment.Ref {
		x := record(id, id, 1)
		x.Stream = stream
		return r.seal(t, segment.Name{Epoch: "e1", Stream: stream, Origin: PollOrigin, Sequence: seq}, x)
	}
	in := WriteInput{First: 0, Next: 5, Entries: []Entry{
		{Ref: seal("orders", 1, "mine"), First: 0}, {Ref: seal("people", 2, "theirs"), First: 1},
		{Ref: seal("out", 3, "again"), First: 2, Lane: "out"}, {Ref: seal("other", 4, "elsewhere"), First: 3, Lane: "other"},
		{Ref: seal("orders", 5, "mine too"), First: 4},
	}}
	if out := r.write(t, in); ids(r.sink.batches[0].Records) != "mine again mine too" || out.Next != 5 || out.Delivered != 3 {
		t.Errorf("wrote %s, %+v", ids(r.sink.batches[0].Records), out)
	}
}

// A segment that is gone had been settled by every lane when it lies below the mark of the epoch that it was sealed for; one
// above that, or of an epoch that nobody knows, is missing, and the lane stops and says so.
func TestWriteWithoutASegment(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	earlier := r.target
	must(t, r.Catalog.SetState(t.Context(), "e1", catalog.Ended, ""))
	r.target.Epoch = "e2"
	r.install(t, r.target)
	// The later install has read further in the same journal than the earlier one ever had.
	must(t, r.Catalog.PublishMarks(t.Context(), earlier.Epoch, map[string]uint64{"journal-1": 10}, 0))
	must(t, r.Catalog.PublishMarks(t.Context(), "e2", map[string]uint64{"journal-1": 100}, 0))
	there := r.seal(t, segment.Name{Epoch: "e2", Stream: "orders", Origin: PollOrigin, Sequence: 1}, records(1)...)
	for name, c := range map[string]struct {
		gone    segment.Name
		missing bool
	}{
		"below the mark":                   {webhook("e2", 99), false},
		"at the mark":                      {webhook("e2", 100), true},
		"of an earlier epoch, below":       {webhook("e1", 9), false},
		"of an earlier epoch, above":       {webhook("e1", 50), true},
		"of an epoch that nobody knows":    {webhook("e0", 1), true},
		"of an origin that was not marked": {segment.Name{Epoch: "e2", Stream: "orders", Origin: "journal-2", Sequence: 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := WriteInput{First: 0, Next: 4, Entries: []Entry{
				{Ref: segment.Ref{Name: c.gone.String(), Stream: "orders", Records: 3}, First: 0}, {Ref: there, First: 3},
			}}
			out := r.write(t, in)
			if c.missing {
				want(t, out.Failure, connectors.NotFound, c.gone.String(), "bring it back")
				if out.Next != 0 || out.Settled != nil {
					t.Errorf("settled %+v", out)
				}
			} else if out.Failure != nil || out.Next != 4 || out.Expired != 3 || out.Delivered != 1 {
				t.Errorf("%+v", out)
			}
		})
	}
	must(t, r.Catalog.Close())
	in := WriteInput{First: 0, Next: 1, Entries: []Entry{{Ref: segment.Ref{Name: webhook("e2", 1).String(), Stream: "orders", Records: 1}}}}
	want(t, r.write(t, in).Failure, connectors.Unavailable)
}

// A segment with another number of records than its reference says would shift every ordinal: it is not written.
func TestWriteRefusesAnotherSegment(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	in := r.batchOf(t, records(3)...)
	in.Entries[0].Records, in.Next = 4, 104
	want(t, r.write(t, in).Failure, connectors.Unknown, "has 3 records, not 4")
	in = r.batchOf(t, records(3)...)
	r.breakStore(t)
	out := r.write(t, in)
	if out.Failure == nil || out.Next != 100 || len(r.sink.batches) != 0 {
		t.Errorf("%+v", out)
	}
}

// A spilled batch goes to quarantine whole with the reason, and asks nothing of the destination, which may not even be set up.
func TestWriteSpills(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app", integration.Destination{Name: "out", Connector: "sink", Streams: []string{"orders"}, Filter: `false`})
	must(t, r.Catalog.DeleteConnection(t.Context(), "user:"+user, "sink", "default"))
	in := r.batchOf(t, records(3)...)
	people := r.seal(t, segment.Name{Epoch: "e1", Stream: "people", Origin: PollOrigin, Sequence: 2}, record("p", "p", 1))
	in.Entries, in.Next = append(in.Entries, Entry{Ref: people, First: 103}), 104
	in.Spill, in.SpillKind = "the backlog of this optional destination is full", connectors.Unavailable
	in.Settled = []Span{{100, 101}}
	out := r.write(t, in)
	want(t, out.Failure, "")
	rows := r.held(t)
	if out.Next != 104 || out.Quarantined != 2 || len(rows) != 2 || len(r.sink.batches) != 0 {
		t.Fatalf("%+v, %d in quarantine", out, len(rows))
	}
	if q := rows[0]; q.RecordID != "r1" || q.Reason != in.Spill || q.Kind != connectors.Unavailable || r.payload(t, q) != string(record("r1", "", 0).Data) {
		t.Errorf("%+v", q)
	}
	in.Spill = ""
	want(t, r.write(t, in).Failure, connectors.Unauthorized, "starter connection set")
}

// A write heartbeats while the destination works, so that a dead worker is noticed.
func TestWriteHeartbeats(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	in := r.batchOf(t, records(1)...)
	in.Target, in.Lane = r.target, "out"
	beat := make(chan struct{}, 100)
	r.sink.write = func(b connectors.Batch) (connectors.Result, error) {
		<-beat
		return connectors.AllDurable(len(b.Records)), nil
	}
	var out WriteOutput
	must(t, r.attempt(attemptOf{beat: 3e7, heard: func(details []any) {
		if len(details) > 0 && details[0] != nil {
			t.Errorf("heartbeats %v", details)
		}
		select {
		case beat <- struct{}{}:
		default:
		}
	}}, WriteName, in, &out))
	if out.Delivered != 1 {
		t.Errorf("%+v", out)
	}
}

var errForeign = errors.New("canary")

// Kinds decide, waits are clamped, and a foreign error is Unknown without its text (I7, I9).
func TestNewFailure(t *testing.T) {
	t.Parallel()
	if NewFailure("op", nil) != nil {
		t.Error("no error became a failure")
	}
	if f := NewFailure("op", errForeign); f.Kind != connectors.Unknown || strings.Contains(f.Message, "canary") || !strings.Contains(f.Message, "*errors.errorString") {
		t.Errorf("%+v", f)
	}
	if f := NewFailure("op", &connectors.Error{Kind: "odd", Message: strings.Repeat("é", 2000)}); f.Kind != connectors.Unknown || len(f.Message) > 1000 {
		t.Errorf("%s of %d bytes", f.Kind, len(f.Message))
	}
}
