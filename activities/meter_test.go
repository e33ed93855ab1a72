package activities

import (
	"context"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// told serves pages that say what they cost and what the app allows.
func told(n int, tell func(page int, p *connectors.Page)) func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
	next, at := pages(n, 1), 0
	return func(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
		p, err := next(ctx, req)
		at++
		tell(at, &p)
		return p, err
	}
}

// left is what a budget of the account has left.
func (r *rig) left(t *testing.T, account string, b connectors.Budget) int {
	t.Helper()
	grant, err := r.Catalog.TakeCalls(t.Context(), account, b, 1<<20, day)
	must(t, err)
	return grant.Calls
}

// A source with several budgets is held to the one that it names for the request, by the numbers that it gives.
func TestFetchTakesTheNamedBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t, "paced")
	r.app.fetch = pages(9, 1)
	search := connectors.Budget{Name: "search", Calls: 3, Per: time.Minute}
	r.app.budget = func(req connectors.FetchRequest) connectors.Budget {
		if req.Stream == "orders" && string(req.Cursor) >= "2" {
			return search
		}
		return connectors.Budget{Calls: 100, Per: time.Hour}
	}
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.RateLimited, "budget")
	if out.Pages != 5 || out.Failure.Wait != time.Minute {
		t.Errorf("%d pages, wait %s", out.Pages, out.Failure.Wait)
	}
	if n := r.left(t, "paced/shop-1", connectors.Budget{Calls: 100, Per: time.Hour}); n != 98 {
		t.Errorf("%d calls are left of the account's own budget", n)
	}
	r.app.budget = func(connectors.FetchRequest) connectors.Budget { panic("a bug with " + token) }
	out = r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.Unknown, "panicked")
	if strings.Contains(out.Failure.Message, token) {
		t.Errorf("the failure quotes what it panicked with: %s", out.Failure.Message)
	}
}

// What a page cost besides its own call is taken afterwards: the page is kept, and the budget is the poorer by it.
func TestFetchChargesFurtherCalls(t *testing.T) {
	t.Parallel()
	r := newRig(t, "paced")
	r.app.budget = func(connectors.FetchRequest) connectors.Budget { return connectors.Budget{Calls: 100, Per: time.Hour} }
	r.app.fetch = told(2, func(_ int, p *connectors.Page) { p.Calls = 30 })
	want(t, r.fetch(t, r.fetchInput()).Failure, "")
	if n := r.left(t, "paced/shop-1", connectors.Budget{Calls: 100, Per: time.Hour}); n != 38 {
		t.Errorf("%d calls are left, want 38", n)
	}

	// They are of the account's own budget also where the page's one call is of another.
	r = newRig(t, "paced")
	own, search := connectors.Budget{Calls: 100, Per: time.Hour}, connectors.Budget{Name: "search", Calls: 50, Per: time.Hour}
	r.app.budget = func(connectors.FetchRequest) connectors.Budget { return search }
	r.app.fetch = told(2, func(_ int, p *connectors.Page) { p.Calls = 30 })
	want(t, r.fetch(t, r.fetchInput()).Failure, "")
	if general, searches := r.left(t, "paced/shop-1", own), r.left(t, "paced/shop-1/search", search); general != 40 || searches != 48 {
		t.Errorf("%d calls and %d searches are left, want 40 and 48", general, searches)
	}

	// A page that failed has cost what it says as well.
	r = newRig(t, "paced")
	r.app.budget = func(connectors.FetchRequest) connectors.Budget { return search }
	r.app.fetch = func(context.Context, connectors.FetchRequest) (connectors.Page, error) {
		return connectors.Page{Calls: 2}, connectors.Errorf(connectors.Forbidden, "", "not this")
	}
	want(t, r.fetch(t, r.fetchInput()).Failure, connectors.Forbidden, "not this")
	if general := r.left(t, "paced/shop-1", own); general != 98 {
		t.Errorf("%d calls are left, want 98", general)
	}

	r = newRig(t, "metered") // two calls an hour
	r.app.fetch = told(5, func(_ int, p *connectors.Page) { p.Calls = 7 })
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.RateLimited, "budget")
	if out.Pages != 1 || len(r.sealed(t, out.Segments...)) != 1 {
		t.Errorf("%d pages, segments %+v", out.Pages, out.Segments)
	}
}

// What the app says that it allows counts from the next page on, for every worker, until the app says otherwise; of nonsense nothing is kept.
func TestFetchHeedsWhatTheAppAllows(t *testing.T) {
	t.Parallel()
	r := newRig(t, "metered") // two calls an hour by its definition
	said := &connectors.Budget{Calls: 4, Per: time.Minute}
	r.app.fetch = told(99, func(_ int, p *connectors.Page) { p.Allowed = said })
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.RateLimited, "budget")
	if out.Pages != 5 { // the first was of the hour, four are of the minute
		t.Errorf("%d pages, want 5", out.Pages)
	}
	worker := &rig{Activities: &Activities{Blocks: r.Blocks, Catalog: r.Catalog, Vault: r.Vault, Segments: r.Segments, Env: r.Env}, target: r.target}
	want(t, worker.fetch(t, r.fetchInput()).Failure, connectors.RateLimited)
	// Another worker was told otherwise meanwhile: what this one remembers does not stand in the way.
	must(t, r.Catalog.AllowCalls(t.Context(), "metered/shop-1", connectors.Budget{Calls: 50, Per: time.Minute}))
	out = r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.RateLimited)
	if got, err := r.Catalog.AllowedCalls(t.Context(), "metered/shop-1"); err != nil || got != *said {
		t.Errorf("allowed is %+v, %v", got, err)
	}
	must(t, r.Catalog.AllowCalls(t.Context(), "metered/shop-1", connectors.Budget{Calls: 1000, Per: time.Minute}))
	said = &connectors.Budget{Calls: -1, Per: -1, Concurrent: -1}
	want(t, r.fetch(t, r.fetchInput()).Failure, "")
	if got, err := r.Catalog.AllowedCalls(t.Context(), "metered/shop-1"); err != nil || got.Calls != 1000 {
		t.Errorf("allowed is %+v, %v", got, err)
	}
}

// An account whose definition has no numbers is held to the app's, once that has said some; also to how many may read at once.
func TestFetchHeedsWhatOnlyTheAppKnows(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	r.app.fetch = told(9, func(_ int, p *connectors.Page) {
		p.Allowed = &connectors.Budget{Calls: 3, Per: time.Hour, Concurrent: 1}
	})
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, connectors.RateLimited, "budget")
	if out.Pages != 4 { // the first was unbounded
		t.Errorf("%d pages", out.Pages)
	}
	slot, err := r.Catalog.TakeSlot(t.Context(), "app/shop-1", 1, "another", time.Minute, day)
	if must(t, err); slot == "" {
		t.Fatal("the chunk kept its slot")
	}
	want(t, r.fetch(t, r.fetchInput()).Failure, connectors.RateLimited, "as many at once")
}

// What the app repeats is not stored again, and what can't be stored does not cost the page.
func TestFetchStoresOnlyWhatChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	said := connectors.Budget{Calls: 500, Per: time.Hour}
	closing := false
	r.app.fetch = told(1, func(_ int, p *connectors.Page) {
		p.Allowed = &said
		if closing {
			must(t, r.Catalog.Close()) // what follows is all that the page does with it
			closing = false
		}
	})
	want(t, r.fetch(t, r.fetchInput()).Failure, "")
	closing = true
	want(t, r.fetch(t, r.fetchInput()).Failure, "")
	if strings.Contains(r.log.String(), "store what the app allows") {
		t.Error("stored what had not changed")
	}

	r = newRig(t, "app")
	r.app.fetch = told(1, func(_ int, p *connectors.Page) {
		p.Allowed, p.Calls = &said, 3
		must(t, r.Catalog.Close())
	})
	out := r.fetch(t, r.fetchInput())
	want(t, out.Failure, "")
	if len(r.sealed(t, out.Segments...)) != 1 || !strings.Contains(r.log.String(), "store what the app allows") || !strings.Contains(r.log.String(), "charge budget") {
		t.Errorf("segments %+v, log %s", out.Segments, r.log.String())
	}
}
