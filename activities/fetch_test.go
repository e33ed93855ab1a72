package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
)

func (r *rig) fetchInput() FetchInput {
	return FetchInput{Target: r.target, Stream: "orders", Chunk: 7, Records: 1000, Bytes: 1 << 20, Time: time.Minute, Inline: 1024}
}

func (r *rig) fetch(t *testing.T, in FetchInput) FetchOutput {
	t.Helper()
	var out FetchOutput
	must(t, r.call(t, FetchName, in, &out))
	return out
}

// cursorOf is the cursor that a bookmark holds.
func (r *rig) cursorOf(t *testing.T, b Bookmark) string {
	t.Helper()
	cursor, _, err := r.load(t.Context(), b)
	must(t, err)
	return string(cursor)
}

// pages serves n pages of a few records each; a page's cursor is its number, and r<number of the page>-<i> its records' IDs.
func pages(n, each int) func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
	return func(_ context.Context, req connectors.FetchRequest) (connectors.Page, error) {
		at, _ := strconv.Atoi(string(req.Cursor))
		p := connectors.Page{Cursor: []byte(strconv.Itoa(at + 1)), More: at+1 < n}
		for i := range each {
			id := fmt.Sprintf("r%d-%d", at, i)
			p.Records = append(p.Records, record(id, id, 1))
		}
		return p, nil
	}
}

// A chunk ends after the page with which a bound is reached; the next goes on there, and the last says that there is no more.
func TestFetchReadsUpToItsBudget(t *testing.T) {
	t.Parallel()
	size := int64(len(record("r0-0", "", 1).Data))
	for name, c := range map[string]struct {
		bound func(*FetchInput)
		pages int
		more  bool
	}{
		"records": {func(in *FetchInput) { in.Records = 7 }, 3, true},
		"bytes":   {func(in *FetchInput) { in.Bytes = 3*size + 1 }, 2, true},
		"nothing": {func(*FetchInput) {}, 5, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "app")
			r.app.fetch = pages(5, 3)
			in := r.fetchInput()
			c.bound(&in)
			out := r.fetch(t, in)
			want(t, out.Failure, "")
			if asked := len(r.app.requests); asked != c.pages {
				t.Errorf("asked for %d pages: what is read past the chunk is thrown away", asked)
			}
			if out.Pages != c.pages || out.More != c.more || r.cursorOf(t, out.Bookmark) != strconv.Itoa(c.pages) {
				t.Errorf("read %d pages, more %v, cursor %s", out.Pages, out.More, r.cursorOf(t, out.Bookmark))
			}
			got := r.sealed(t, out.Segments...)
			if len(got) != 3*c.pages {
				t.Fatalf("%d records are sealed", len(got))
			}
			for _, x := range got {
				if x.Stream != "orders" || !x.ReceivedAt.Equal(day) || string(x.Data) != string(record(x.ID, "", 1).Data) {
					t.Errorf("sealed %+v", x)
				}
			}
			in.Bookmark, in.Chunk = out.Bookmark, in.Chunk+1
			if rest := r.fetch(t, in); c.more && ids(r.sealed(t, rest.Segments...))[:5] != fmt.Sprintf("r%d-0 ", c.pages) {
				t.Errorf("the next chunk begins with %s", ids(r.sealed(t, rest.Segments...)))
			}
		})
	}
}

// The next page is read while the one before it is sealed: a page that is asked for only when all is sealed is never asked for here.
func TestFetchReadsAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = pages(3, segmentRecords)
	r.breakStore(t)
	in := r.fetchInput()
	in.Records, in.Bytes = 10*segmentRecords, 1<<40
	want(t, r.fetch(t, in).Failure, connectors.Unavailable, "segment store")
	if asked := len(r.app.requests); asked != 2 {
		t.Errorf("asked for %d pages", asked)
	}
}

// A chunk whose time is up ends, however much there is.
func TestFetchEndsWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	in := r.fetchInput()
	in.Time = 20 * time.Millisecond
	next := pages(1000, 1)
	r.app.fetch = func(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
		<-time.After(in.Time)
		return next(ctx, req)
	}
	out := r.fetch(t, in)
	want(t, out.Failure, "")
	if out.Pages != 1 || !out.More {
		t.Errorf("read %d pages, more %v", out.Pages, out.More)
	}
}

// The request carries the stream, the cursor and since; the first has no cursor.
func TestFetchAsksTheSource(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = pages(2, 1)
	in := r.fetchInput()
	in.Since = day.Add(-time.Hour)
	r.fetch(t, in)
	if q := r.app.requests; len(q) != 2 || q[0].Cursor != nil || q[0].Stream != "orders" || !q[0].Since.Equal(in.Since) || string(q[1].Cursor) != "1" {
		t.Errorf("asked %+v", q)
	}
}

// An error after progress returns the progress, sealed, with the kind and the wait of the error (I9).
func TestFetchReturnsProgressBesideAnError(t *testing.T) {
	t.Parallel()
	for _, kind := range connectors.Kinds {
		if kind == connectors.TooLarge {
			continue // asks for smaller pages first
		}
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "app")
			next := pages(9, 2)
			r.app.fetch = func(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
				if string(req.Cursor) == "2" {
					return connectors.Page{}, &connectors.Error{Kind: kind, Op: "list orders", Message: "no", Wait: 100 * time.Hour}
				}
				return next(ctx, req)
			}
			out := r.fetch(t, r.fetchInput())
			want(t, out.Failure, kind, "list orders: no")
			if out.Failure.Wait != connectors.MaxWait {
				t.Errorf("waits %s", out.Failure.Wait)
			}
			if out.Pages != 2 || r.cursorOf(t, out.Bookmark) != "2" || ids(r.sealed(t, out.Segments...)) != "r0-0 r0-1 r1-0 r1-1" {
				t.Errorf("progress: %+v", out)
			}
		})
	}
}

// What a page holds is sealed before the bookmark moves: with the segment store down nothing is progress, so the same page is
// read again, and the workflow doesn't take the stream for one that works.
func TestFetchMovesTheBookmarkAfterSealing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = pages(3, 2)
	r.breakStore(t)
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.Unavailable, "segment store")
	if !out.Bookmark.IsZero() || len(out.Segments) != 0 || out.Pages != 0 || out.More {
		t.Errorf("progress: %+v", out)
	}
}

// A killed attempt's heartbeat hands what it sealed to the next one, and only that: pages that it had read and not sealed are
// read again, and none is lost or doubled.
func TestFetchGoesOnWhereAKilledAttemptGot(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	next := pages(4, 2)
	big := func(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
		if req.Cursor == nil { // enough to be sealed at once
			p := connectors.Page{Cursor: []byte("1"), More: true}
			for i := range segmentRecords {
				p.Records = append(p.Records, record("first-"+strconv.Itoa(i), "", 1))
			}
			return p, nil
		}
		return next(ctx, req)
	}
	heard := make(chan FetchOutput, 1)
	stuck, let := make(chan struct{}), make(chan struct{}) // stuck: the first attempt has read what it has not sealed
	r.app.fetch = func(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
		if string(req.Cursor) == "2" {
			close(stuck)
			<-let
			return connectors.Page{}, connectors.Errorf(connectors.Unavailable, "", "too late")
		}
		return big(ctx, req)
	}
	in := r.fetchInput()
	in.Records, in.Bytes = 10*segmentRecords, 1<<40
	var g sync.WaitGroup
	g.Go(func() {
		err := r.attempt(attemptOf{beat: 30 * time.Millisecond, heard: func(details []any) {
			select {
			case <-stuck:
				select {
				case heard <- details[0].(FetchOutput):
				default:
				}
			default:
			}
		}}, FetchName, in, nil)
		if err != nil {
			t.Error(err)
		}
	})
	defer func() {
		close(let) // the attempt that was taken for dead goes on, and seals beside the other
		g.Wait()
	}()
	var beat FetchOutput
	select {
	case beat = <-heard:
	case <-time.After(20 * time.Second):
		t.Fatal("no heartbeat")
	}
	if beat.Pages != 1 || len(beat.Segments) != 1 || r.cursorOf(t, beat.Bookmark) != "1" || !beat.More {
		t.Fatalf("heartbeat after one sealed and one unsealed page: %d pages, %d segments, cursor %s", beat.Pages, len(beat.Segments), r.cursorOf(t, beat.Bookmark))
	}
	r.app.mu.Lock()
	r.app.requests = nil
	r.app.fetch = big
	r.app.mu.Unlock()
	var out FetchOutput
	must(t, r.attempt(attemptOf{details: beat}, FetchName, in, &out))
	want(t, out.Failure, "")
	if q := r.app.requests; string(q[0].Cursor) != "1" {
		t.Errorf("the second attempt began at %q", q[0].Cursor)
	}
	got := r.sealed(t, out.Segments...)
	seen := make(map[string]int)
	for _, x := range got {
		seen[x.ID]++
	}
	if len(got) != segmentRecords+6 || len(seen) != len(got) || out.Pages != 4 || out.More {
		t.Errorf("%d records, %d different, %d pages, more %v", len(got), len(seen), out.Pages, out.More)
	}
}

// A heartbeat that can't be read, as of a newer worker, does not stop the stream: it is read from the bookmark.
func TestFetchWithoutReadableHeartbeat(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = pages(2, 1)
	var out FetchOutput
	must(t, r.attempt(attemptOf{details: []int{1}}, FetchName, r.fetchInput(), &out))
	want(t, out.Failure, "")
	if ids(r.sealed(t, out.Segments...)) != "r0-0 r1-0" {
		t.Errorf("sealed %s", ids(r.sealed(t, out.Segments...)))
	}
}

// A record of an overlap that comes again is dropped (I6), one that changed is not; what is older than the overlap is forgotten.
// A large overlap lies in the segment store, a small one in the bookmark itself.
func TestFetchDropsRepeatedRecords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		n      int
		object bool
	}{"small": {10, false}, "large": {100, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "app")
			first := records(c.n)
			from := day.Add(-time.Hour)
			first[0].OccurredAt = from.Add(-time.Second) // before the overlap: will not come again, is not remembered
			page := connectors.Page{Records: first, Cursor: []byte("a"), OverlapFrom: from}
			r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) { return page, nil }
			in := r.fetchInput()
			out := r.fetch(t, in)
			if (out.Bookmark.Object != "") != c.object || len(out.Bookmark.Inline) > maxInline {
				t.Fatalf("bookmark: %d bytes inline, object %q", len(out.Bookmark.Inline), out.Bookmark.Object)
			}
			_, remembered, err := r.load(t.Context(), out.Bookmark)
			must(t, err)
			if len(remembered) != c.n-1 {
				t.Errorf("%d records are remembered", len(remembered))
			}
			changed := record("r1-changed", "k1", 99)
			page.Records = append(slices.Clone(first[1:]), changed, changed)
			in.Bookmark, in.Chunk = out.Bookmark, 8
			out = r.fetch(t, in)
			if got := ids(r.sealed(t, out.Segments...)); got != "r1-changed" || out.Repeated != int64(c.n) {
				t.Errorf("sealed %q, %d repeated", got, out.Repeated)
			}
			// A poll that finds nothing new seals nothing and keeps what it remembers.
			page.Records = first[1:]
			in.Bookmark, in.Chunk = out.Bookmark, 9
			if out = r.fetch(t, in); len(out.Segments) != 0 || out.Repeated != int64(c.n-1) || out.Bookmark.IsZero() {
				t.Errorf("a poll without news: %+v", out)
			}
			// The overlap has moved on: all is forgotten.
			page.Records, page.OverlapFrom = nil, day
			in.Bookmark, in.Chunk = out.Bookmark, 10
			_, remembered, err = r.load(t.Context(), r.fetch(t, in).Bookmark)
			must(t, err)
			if len(remembered) != 0 {
				t.Errorf("%d are remembered for ever", len(remembered))
			}
		})
	}
}

// A source that reads everything each time brings records without a time, whose IDs name contents. One that has not changed is dropped in every poll,
// not in every other one; one that is again what it was before the last poll is not, and has another ID than then (I1). The clock of the worker does not matter.
func TestFetchDropsWhatHasNoTimeAndHasNotChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	timeless := func(id, key string) connectors.Record {
		out := record(id, key, 0)
		out.OccurredAt = time.Time{}
		return out
	}
	now := day
	r.Env.Now = func() time.Time { return now }
	in := r.fetchInput()
	same, five, four := timeless("same", "a"), timeless("five", "b"), timeless("four", "b")
	began, seen := day, map[string]bool{}
	for poll, c := range []struct {
		quantity connectors.Record
		want     []connectors.Record
		clock    time.Duration
	}{
		{five, []connectors.Record{same, five}, 0},
		{four, []connectors.Record{four}, -5 * time.Hour},
		{five, []connectors.Record{five}, 5 * time.Hour},
		{five, nil, 0}, {five, nil, -time.Hour},
		{four, []connectors.Record{four}, 0},
	} {
		began = began.Add(time.Hour)
		now = began.Add(c.clock)
		r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
			return connectors.Page{Records: []connectors.Record{same, c.quantity}, Cursor: fmt.Append(nil, poll), OverlapFrom: began, Seen: began}, nil
		}
		in.Chunk++
		out := r.fetch(t, in)
		got := r.sealed(t, out.Segments...)
		if len(got) != len(c.want) {
			t.Fatalf("poll %d sealed %q, want %d", poll+1, ids(got), len(c.want))
		}
		for i, g := range got {
			if g.Key != c.want[i].Key || string(g.Data) != string(c.want[i].Data) || seen[g.ID] {
				t.Errorf("poll %d sealed %s of %s with the ID %s; that ID was there before: %v", poll+1, g.Data, g.Key, g.ID, seen[g.ID])
			}
			seen[g.ID] = true
		}
		in.Bookmark = out.Bookmark
	}
}

// A record without an ID, or with one that is too long, gets one of its content (I1).
func TestFetchGivesIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	long := string(make([]byte, connectors.MaxIDBytes+1))
	none, tooLong := record("", "k", 3), record(long, "k", 4)
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		return connectors.Page{Records: []connectors.Record{none, tooLong}, Cursor: []byte("a")}, nil
	}
	got := r.sealed(t, r.fetch(t, r.fetchInput()).Segments...)
	if got[0].ID != connectors.RecordID("orders", "k", 3, none.Data) || got[1].ID != connectors.RecordID("orders", "k", 4, tooLong.Data) {
		t.Errorf("IDs are %q", ids(got))
	}
}

// A page that is too large is asked for smaller, down to one record; then it is the workflow's.
func TestFetchHalvesThePage(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	bear := 16
	r.app.fetch = func(_ context.Context, req connectors.FetchRequest) (connectors.Page, error) {
		if req.Limit == 0 || req.Limit > bear {
			return connectors.Page{}, connectors.Errorf(connectors.TooLarge, "", "too large")
		}
		return connectors.Page{Cursor: []byte("a")}, nil
	}
	limits := func() (out []int) {
		for _, q := range r.app.requests {
			out = append(out, q.Limit)
		}
		r.app.requests = nil
		return out
	}
	want(t, r.fetch(t, r.fetchInput()).Failure, "")
	if got := limits(); !slices.Equal(got, []int{0, 64, 32, 16}) {
		t.Errorf("asked for pages of %v", got)
	}
	bear = 0
	want(t, r.fetch(t, r.fetchInput()).Failure, connectors.TooLarge)
	if got := limits(); !slices.Equal(got, []int{0, 64, 32, 16, 8, 4, 2, 1}) {
		t.Errorf("asked for pages of %v", got)
	}
}

// What would read for ever, or can't be gone on from, stops the stream and says so.
func TestFetchRefusesBadPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		return connectors.Page{More: true, Cursor: []byte("same"), Records: records(1)}, nil
	}
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.Invalid, "cursor repeats")
	if out.Pages != 1 {
		t.Errorf("%d pages", out.Pages)
	}
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		return connectors.Page{Records: records(1)}, nil
	}
	out = r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.Invalid, "without a cursor")
	if len(out.Segments) != 0 {
		t.Error("sealed what can't be gone on from: it would come again")
	}
	r = newRig(t, "pushed")
	want(t, r.fetch(t, r.fetchInput()).Failure, connectors.Invalid, "can't be polled")
}

// The account's budget is shared by all its installations: what is used up for longer is waited for on the workflow's timer.
func TestFetchWaitsForTheBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t, "metered")
	r.app.fetch = pages(5, 1)
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.RateLimited, "budget")
	if out.Pages != 2 || out.Failure.Wait != time.Hour || len(r.app.requests) != 2 {
		t.Errorf("%d pages, %d calls, wait %s", out.Pages, len(r.app.requests), out.Failure.Wait)
	}
	other := r.fetchInput()
	other.Epoch, other.Chunk = "e2", 8
	want(t, r.fetch(t, other).Failure, connectors.RateLimited)
	must(t, r.Catalog.Close())
	want(t, r.fetch(t, other).Failure, connectors.Unavailable)
}

// A window that soon ends is waited for where the page is to be read: the chunk goes on, at the pace that the app allows.
func TestFetchWaitsOutAShortWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t, "paced")
	r.Activities.Env.Now = time.Now
	per := 100 * time.Millisecond
	r.app.budget = func(connectors.FetchRequest) connectors.Budget { return connectors.Budget{Calls: 2, Per: per} }
	r.app.fetch = pages(5, 1)
	began := time.Now()
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, "")
	if took := time.Since(began); out.Pages != 5 || took < 2*per {
		t.Errorf("%d pages in %s, want 5 in two windows at least", out.Pages, took)
	}
}

// A killed attempt holds the account's only slot for minutes: the next attempt of its stream has it at once, another stream waits.
func TestFetchHasTheSlotOfAKilledAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alone")
	stuck, let := make(chan struct{}), make(chan struct{})
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		close(stuck)
		<-let
		return connectors.Page{}, connectors.Errorf(connectors.Unavailable, "", "too late")
	}
	var g sync.WaitGroup
	g.Go(func() {
		if err := r.attempt(attemptOf{}, FetchName, r.fetchInput(), nil); err != nil {
			t.Error(err)
		}
	})
	defer func() {
		close(let)
		g.Wait()
	}()
	<-stuck
	r.app.mu.Lock()
	r.app.fetch = pages(2, 1)
	r.app.mu.Unlock()
	other := r.fetchInput()
	other.Stream = "people"
	want(t, r.fetch(t, other).Failure, connectors.RateLimited, "at once")
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, "")
	if out.Pages != 2 {
		t.Errorf("%d pages", out.Pages)
	}
}

// A bookmark that a workflow reset went back to, and that is gone, has the stream read again; one that can't be read says so.
func TestFetchWithoutItsBookmark(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = pages(1, 1)
	in := r.fetchInput()
	in.Bookmark = Bookmark{Object: "e1/orders/overlap-00000000000000000001"}
	want(t, r.fetch(t, in).Failure, connectors.CursorExpired)
	for _, raw := range [][]byte{{9}, {1, 200}, {1, 0, 1, 2, 3}} {
		in.Bookmark = Bookmark{Inline: raw}
		want(t, r.fetch(t, in).Failure, connectors.Unknown, "read bookmark")
	}
	if len(r.app.requests) != 0 {
		t.Error("the app was asked")
	}
	r.breakStore(t)
	in.Bookmark = Bookmark{Object: "e1/orders/overlap-00000000000000000001"}
	if f := r.fetch(t, in).Failure; f == nil || f.Kind != connectors.Unavailable {
		t.Errorf("a store that is down must pass: %+v", f)
	}
}

// A page that fails because time is up is Unavailable: it backs off.
func TestFetchTimesOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		return connectors.Page{}, fmt.Errorf("call: %w", errors.Join(context.DeadlineExceeded))
	}
	want(t, r.fetch(t, r.fetchInput()).Failure, connectors.Unavailable, "timed out")
}
