package activities

import (
	"context"
	"testing"
	"time"

	"tributary/connectors"
)

// An app that prepares the next page ends the chunk: what was read is sealed, and the wait, within its bound, is for the workflow's timer.
func TestFetchEndsWhenTheAppPreparesThePage(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	next := pages(9, 2)
	r.app.fetch = func(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
		p, err := next(ctx, req)
		if string(p.Cursor) == "3" {
			p.Wait = 100 * time.Hour
		}
		return p, err
	}
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.Unavailable, "the app prepares the next page")
	if !out.Prepares || !out.More || out.Failure.Wait != connectors.MaxWait || out.Pages != 3 || r.cursorOf(t, out.Bookmark) != "3" {
		t.Errorf("%+v, cursor %s", out, r.cursorOf(t, out.Bookmark))
	}
	if got := r.sealed(t, out.Segments...); len(got) != 6 || len(r.app.requests) != 3 {
		t.Errorf("%d records are sealed after %d calls", len(got), len(r.app.requests))
	}
	in := r.fetchInput()
	in.Bookmark, in.Chunk = out.Bookmark, in.Chunk+1
	out = r.fetch(t, in)
	if want(t, out.Failure, ""); out.Prepares || out.Pages != 6 {
		t.Errorf("then %+v", out)
	}
}

// While the app prepares a page, the cursor may stay what it was; where records come with it, they would come again for ever.
func TestFetchAsksForAPreparedPageAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	page := connectors.Page{Cursor: []byte("bulk-7"), More: true, Wait: 3 * time.Second}
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) { return page, nil }
	in := r.fetchInput()
	for range 3 {
		out := r.fetch(t, in)
		want(t, out.Failure, connectors.Unavailable, "prepares")
		if !out.Prepares || out.Failure.Wait != 3*time.Second || r.cursorOf(t, out.Bookmark) != "bulk-7" {
			t.Fatalf("%+v", out)
		}
		in.Bookmark = out.Bookmark
	}
	for _, wait := range []time.Duration{0, -time.Second} {
		page.Wait = wait
		out := r.fetch(t, in)
		if want(t, out.Failure, connectors.Invalid, "repeats"); out.Prepares {
			t.Errorf("wait %s: %+v", wait, out)
		}
	}
	page.Wait, page.Records = time.Second, records(1)
	want(t, r.fetch(t, in).Failure, connectors.Invalid, "repeats")

	// A page that is the last has nothing to wait for.
	page = connectors.Page{Cursor: []byte("end"), Wait: time.Hour}
	if out := r.fetch(t, in); out.Prepares || out.Failure != nil {
		t.Errorf("%+v", out)
	}
}

// Where what was read can't be sealed, that is what is said.
func TestFetchCantSealBeforeItWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		r.breakStore(t)
		return connectors.Page{Cursor: []byte("1"), More: true, Wait: time.Hour, Records: records(1)}, nil
	}
	out := r.fetch(t, r.fetchInput())
	if want(t, out.Failure, connectors.Unavailable, "segment store"); out.Prepares || out.Failure.Wait != 0 {
		t.Errorf("%+v", out)
	}
}
