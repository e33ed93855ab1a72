package activities

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/segment"
)

// thinRecords are n records as webhooks bring them.
func thinRecords(from, n int) []connectors.Record {
	out := make([]connectors.Record, n)
	for i := range out {
		key := fmt.Sprintf("k%d", from+i)
		out[i] = connectors.Record{ID: "event-" + key, Stream: "orders", Key: key, Op: connectors.Upsert, ReceivedAt: day, Data: []byte(`{ "changed":"` + key + `"}`)}
	}
	return out
}

// whole completes each record to one that its app would have given a poll.
func whole(rs []connectors.Record) []connectors.Record {
	out := make([]connectors.Record, len(rs))
	for i, r := range rs {
		out[i] = record("whole-"+r.Key, r.Key, 7)
		out[i].ReceivedAt, out[i].Stream = time.Time{}, ""
	}
	return out
}

// thinRig is a rig whose app completes, with arrivals of as many records as said.
func thinRig(t *testing.T, counts ...int) (*rig, CompleteInput) {
	r := newRig(t, "thin")
	r.app.complete = func(_ context.Context, rs []connectors.Record) ([]connectors.Record, error) { return whole(rs), nil }
	in := CompleteInput{Target: r.target, Stream: "orders", Sequence: 5, Records: 100_000, Bytes: 1 << 30, Time: time.Minute}
	at := 0
	for i, n := range counts {
		for _, stream := range []string{"orders", "people"} { // what is of another stream lies between
			ref := r.seal(t, segment.Name{Epoch: "e1", Stream: stream, Origin: "j1", Sequence: uint64(i + 1)}, thinRecords(at, n)...)
			in.Entries = append(in.Entries, Entry{Ref: ref, First: in.Next})
			in.Next += int64(n)
		}
		at += n
	}
	return r, in
}

func (r *rig) completeAll(t *testing.T, in CompleteInput) CompleteOutput {
	t.Helper()
	var out CompleteOutput
	must(t, r.call(t, CompleteName, in, &out))
	return out
}

// made are the records that came of it, and refused those that go to quarantine.
func (r *rig) made(t *testing.T, out CompleteOutput) (made, refused []connectors.Record) {
	t.Helper()
	for _, p := range out.Parts {
		if n, err := segment.ParseName(p.Name); err != nil || n.Origin != CompleteOrigin || n.Sequence != 5 || n.Stream != "orders" {
			t.Errorf("a part is named %s", p.Name)
		}
		if p.Why != nil {
			refused = append(refused, r.sealed(t, p.Ref)...)
		} else {
			made = append(made, r.sealed(t, p.Ref)...)
		}
	}
	return made, refused
}

// Records of the stream are completed in order, so many at once, under the account's budget; what comes of them is stamped and byte for byte
// what the app gave.
func TestCompleteReadsWhatWebhooksNamed(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 700, 900, 300)
	var sizes []int
	r.app.complete = func(ctx context.Context, rs []connectors.Record) ([]connectors.Record, error) {
		sizes = append(sizes, len(rs))
		for _, x := range rs {
			if x.Stream != "orders" || x.Ordinal != 0 || !strings.HasPrefix(x.ID, "event-") {
				t.Errorf("the app is asked to complete %+v", x)
			}
		}
		return whole(rs), nil
	}
	out := r.completeAll(t, in)
	want(t, out.Failure, "")
	made, refused := r.made(t, out)
	if len(made) != 1900 || len(refused) != 0 || out.Next != in.Next || out.Taken != 1900 || fmt.Sprint(sizes) != "[1000 900]" {
		t.Fatalf("%d made, %d refused, next %d of %d, taken %d in %v", len(made), len(refused), out.Next, in.Next, out.Taken, sizes)
	}
	var bytes int64
	for i, x := range made {
		bytes += int64(len(thinRecords(i, 1)[0].Data))
		if id := fmt.Sprintf("whole-k%d", i); x.ID != id || x.Stream != "orders" || !x.ReceivedAt.Equal(day) || string(x.Data) != string(record(id, "", 7).Data) {
			t.Fatalf("record %d is %+v", i, x)
		}
	}
	if out.Bytes != bytes {
		t.Errorf("took %d bytes of %d", out.Bytes, bytes)
	}
	if n := r.left(t, "thin/shop-1", connectors.Budget{Calls: 40, Per: time.Hour}); n != 38 {
		t.Errorf("%d calls are left, want 38", n)
	}
	if slot, err := r.Catalog.TakeSlot(t.Context(), "thin/shop-1", 1, "another", time.Minute, day); err != nil || slot == "" {
		t.Errorf("the slot is not given back: %v", err)
	}
	want(t, r.completeAll(t, in).Failure, connectors.RateLimited, "as many at once")
}

// Completing costs what the source says that it does, once: one call is taken before, the others are charged afterwards, also when the app
// fails, and the next attempt waits when they are more than the account has.
func TestCompleteChargesFurtherCalls(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 300)
	r.app.calls = func(rs []connectors.Record) int { return len(rs) / 100 }
	left := func() int { return r.left(t, "thin/shop-1", connectors.Budget{Calls: 40, Per: time.Hour}) }
	want(t, r.completeAll(t, in).Failure, "")
	if n := left(); n != 37 {
		t.Errorf("%d calls are left of 40 after three", n)
	}

	r, in = thinRig(t, 300)
	r.app.calls = func([]connectors.Record) int { return 60 }
	r.app.complete = func(context.Context, []connectors.Record) ([]connectors.Record, error) {
		return nil, &connectors.Error{Kind: connectors.Unavailable, Message: "HTTP 502"}
	}
	want(t, r.completeAll(t, in).Failure, connectors.Unavailable)
	want(t, r.completeAll(t, in).Failure, connectors.RateLimited, "used up")

	r, in = thinRig(t, 300)
	r.app.calls = func([]connectors.Record) int { return 0 } // nothing to read, as of deletions alone
	want(t, r.completeAll(t, in).Failure, "")
	if n := left(); n != 39 {
		t.Errorf("%d calls are left of 40 after one that was not needed", n)
	}
}

// An error keeps what was completed, with the kind and wait of the error; the next attempt goes on behind it and reads nothing again.
func TestCompleteReturnsProgressBesideAnError(t *testing.T) {
	t.Parallel()
	for _, kind := range connectors.Kinds {
		if kind == connectors.Invalid || kind == connectors.NotFound || kind == connectors.TooLarge {
			continue // of the records that are the matter
		}
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r, in := thinRig(t, 1500, 1500)
			calls, fails := 0, true
			var asked []string
			r.app.complete = func(_ context.Context, rs []connectors.Record) ([]connectors.Record, error) {
				if calls++; fails && calls > 1 {
					return nil, &connectors.Error{Kind: kind, Op: "read orders", Message: "no", Wait: 100 * time.Hour}
				}
				for _, x := range rs {
					asked = append(asked, x.Key)
				}
				return whole(rs), nil
			}
			out := r.completeAll(t, in)
			want(t, out.Failure, kind, "read orders: no")
			if made, _ := r.made(t, out); len(made) != 1000 || out.Next != 1000 || out.Taken != 1000 || out.Failure.Wait != connectors.MaxWait {
				t.Fatalf("%+v", out)
			}
			fails, in.First = false, out.Next
			rest := r.completeAll(t, in)
			if made, _ := r.made(t, rest); len(made) != 2000 || len(asked) != 3000 || asked[1000] != "k1000" {
				t.Errorf("%d made, %d asked for", len(made), len(asked))
			}
		})
	}
}

// A panic of the connector is an error, and its text is not shown (I7).
func TestCompletePanics(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 3)
	r.app.complete = func(context.Context, []connectors.Record) ([]connectors.Record, error) { panic("row of " + token) }
	out := r.completeAll(t, in)
	want(t, out.Failure, connectors.Unknown, "panicked")
	if strings.Contains(out.Failure.Message, token) || out.Next != 0 {
		t.Errorf("%+v", out)
	}
}

// What the app can't complete is found by halving and goes to quarantine with the reason, as it came; its neighbours are completed.
func TestCompleteRefusesWhatTheAppCant(t *testing.T) {
	t.Parallel()
	for _, kind := range []connectors.Kind{connectors.Invalid, connectors.NotFound, connectors.TooLarge} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r, in := thinRig(t, 60, 40)
			bad := map[string]bool{"k17": true, "k18": true, "k99": true}
			r.app.complete = func(_ context.Context, rs []connectors.Record) ([]connectors.Record, error) {
				for _, x := range rs {
					if bad[x.Key] {
						return nil, connectors.Errorf(kind, "read orders", "there is no such order")
					}
				}
				return whole(rs), nil
			}
			out := r.completeAll(t, in)
			want(t, out.Failure, "")
			made, refused := r.made(t, out)
			if len(made) != 97 || ids(refused) != "event-k17 event-k18 event-k99" || out.Taken != 100 || len(out.Parts) != 4 {
				t.Fatalf("%d made, refused %s, taken %d, %d parts", len(made), ids(refused), out.Taken, len(out.Parts))
			}
			if string(refused[0].Data) != `{ "changed":"k17"}` {
				t.Errorf("refused %s", refused[0].Data)
			}
			if why := out.Parts[1].Why; why == nil || why.Kind != kind || !strings.Contains(why.Message, "could not complete the webhook: read orders: there is no such order") {
				t.Errorf("because %+v", why)
			}
		})
	}
}

// However many are refused for reasons of their own, what stands in the history is bounded; the rest is for the next attempt.
func TestCompleteBoundsItsParts(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 400)
	r.app.complete = func(_ context.Context, rs []connectors.Record) ([]connectors.Record, error) {
		return nil, connectors.Errorf(connectors.NotFound, "", "there is no order %s", rs[0].Key)
	}
	must(t, r.Catalog.AllowCalls(t.Context(), "thin/shop-1", connectors.Budget{Calls: 100_000, Per: time.Hour}))
	seen := 0
	for in.First < 400 {
		out := r.completeAll(t, in)
		want(t, out.Failure, "")
		_, refused := r.made(t, out)
		if seen += len(refused); len(out.Parts) > maxParts+1 || out.Next == in.First {
			t.Fatalf("%d parts, next %d", len(out.Parts), out.Next)
		}
		in.First = out.Next
	}
	if seen != 400 {
		t.Errorf("%d of 400", seen)
	}
}

// One object that many webhooks named, far apart, is delivered once by an attempt.
func TestCompleteDeliversAnObjectOnce(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 1200)
	r.app.complete = func(_ context.Context, rs []connectors.Record) ([]connectors.Record, error) {
		return []connectors.Record{record("one", "one", 3)}, nil
	}
	out := r.completeAll(t, in)
	if made, _ := r.made(t, out); len(made) != 1 || out.Taken != 1200 || out.Next != in.Next {
		t.Errorf("%d made, %+v", len(made), out)
	}
}

// A chunk ends when enough was done, and says where.
func TestCompleteEndsWhenItDidEnough(t *testing.T) {
	t.Parallel()
	for name, bound := range map[string]func(*CompleteInput){
		"records": func(in *CompleteInput) { in.Records = 1 },
		"bytes":   func(in *CompleteInput) { in.Bytes = 1 },
		"time":    func(in *CompleteInput) { in.Time = -1 },
	} {
		r, in := thinRig(t, 2500)
		bound(&in)
		out := r.completeAll(t, in)
		if want(t, out.Failure, ""); out.Next != 1000 || out.Taken != 1000 {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

// Records go on as they came where the definition does not want whole objects any more, and to quarantine where completing is given up; the app
// is not asked, and for the latter the source need not even open.
func TestCompleteWithoutTheApp(t *testing.T) {
	t.Parallel()
	for _, refuse := range []bool{false, true} {
		r, in := thinRig(t, 5)
		r.app.off = !refuse
		r.app.complete = func(context.Context, []connectors.Record) ([]connectors.Record, error) {
			t.Error("the app is asked")
			return nil, nil
		}
		if refuse {
			in.Refuse = &Failure{Kind: connectors.Gone, Message: "uninstalled"}
			r.open = func() error { return connectors.Errorf(connectors.Unauthorized, "", "no connection") }
		}
		out := r.completeAll(t, in)
		want(t, out.Failure, "")
		made, refused := r.made(t, out)
		got := append(made, refused...)
		if ids(got) != ids(thinRecords(0, 5)) || (len(refused) == 5) != refuse || string(got[0].Data) != string(thinRecords(0, 1)[0].Data) {
			t.Errorf("refuse %t: made %s, refused %s", refuse, ids(made), ids(refused))
		}
	}
}

// What a killed attempt sealed is handed to the next by its heartbeat.
func TestCompleteGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 2000)
	var first string
	r.app.complete = func(_ context.Context, rs []connectors.Record) ([]connectors.Record, error) {
		first = rs[0].Key
		return whole(rs), nil
	}
	part := in
	part.Records = 1
	before := r.completeAll(t, part)
	var out CompleteOutput
	must(t, r.attempt(attemptOf{details: before}, CompleteName, in, &out))
	if made, _ := r.made(t, out); len(made) != 2000 || first != "k1000" || out.Taken != 2000 || out.Next != in.Next {
		t.Errorf("%d made, began again at %s: %+v", len(made), first, out)
	}
}

// Segments that every lane had settled before a workflow reset went back to them are passed over; one that is missing otherwise says so.
func TestCompleteWithoutASegment(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 5, 7)
	must(t, r.Segments.Delete(t.Context(), in.Entries[0].Name))
	out := r.completeAll(t, in)
	want(t, out.Failure, connectors.NotFound, "is missing from the segment store")
	must(t, r.Catalog.PublishMarks(t.Context(), "e1", map[string]uint64{"j1": 2}, 0))
	out = r.completeAll(t, in)
	want(t, out.Failure, "")
	if made, _ := r.made(t, out); len(made) != 7 || out.Taken != 12 || out.Next != in.Next {
		t.Errorf("%d made, %+v", len(made), out)
	}
	r.breakStore(t)
	in.Entries = in.Entries[2:]
	want(t, r.completeAll(t, in).Failure, connectors.Unavailable, "segment store")
}

// Old references lie in manifests.
func TestCompleteFollowsManifests(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 5, 7)
	var rolled RollOutput
	must(t, r.call(t, RollName, RollInput{Target: r.target, Entries: in.Entries, Sequence: 1}, &rolled))
	in.Entries = []Entry{rolled.Entry}
	if made, _ := r.made(t, r.completeAll(t, in)); len(made) != 12 {
		t.Errorf("%d made", len(made))
	}
}

// What a lane is given with a reason goes to quarantine with that, also out of a manifest.
func TestWriteQuarantinesWhatWasRefused(t *testing.T) {
	t.Parallel()
	r, in := thinRig(t, 3)
	in.Refuse = &Failure{Kind: connectors.NotFound, Message: "the app could not complete the webhook"}
	part := r.completeAll(t, in).Parts[0]
	good := r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: "poll", Sequence: 1}, records(2)...)
	entries := []Entry{{Ref: part.Ref, Why: part.Why}, {Ref: good, First: 3}}
	var rolled RollOutput
	must(t, r.call(t, RollName, RollInput{Target: r.target, Entries: entries, Sequence: 1}, &rolled))
	var out WriteOutput
	must(t, r.call(t, WriteName, WriteInput{Target: r.target, Lane: "out", Next: 5, Entries: []Entry{rolled.Entry}}, &out))
	want(t, out.Failure, "")
	if out.Quarantined != 3 || out.Delivered != 2 || out.Next != 5 {
		t.Errorf("%+v", out)
	}
	rows := r.held(t)
	if len(rows) != 3 || rows[0].Kind != connectors.NotFound || rows[0].Reason != "the app could not complete the webhook" || rows[0].RecordID != "event-k0" {
		t.Errorf("in quarantine: %+v", rows)
	}
}

// The activity that looks after webhooks tells whether they are completed, also where they are set up by hand.
func TestSubscribeTellsWhetherWebhooksAreCompleted(t *testing.T) {
	t.Parallel()
	r := newRig(t, "thin")
	for _, off := range []bool{true, false} {
		r.app.off = off
		var out SubscribeOutput
		must(t, r.call(t, SubscribeName, SubscribeInput{Target: r.target, Streams: []string{"orders"}}, &out))
		if want(t, out.Failure, ""); out.Completes == off {
			t.Errorf("off %t: %+v", off, out)
		}
	}
	for _, source := range []string{"app", "pushed"} {
		r := newRig(t, source)
		var out SubscribeOutput
		must(t, r.call(t, SubscribeName, SubscribeInput{Target: r.target}, &out))
		if out.Completes {
			t.Errorf("%s completes", source)
		}
	}
}
