package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/vault"
)

func (r *rig) subscribe(t *testing.T, target Target, streams ...string) SubscribeOutput {
	t.Helper()
	var out SubscribeOutput
	must(t, r.call(t, SubscribeName, SubscribeInput{Target: target, Streams: streams}, &out))
	return out
}

func (r *rig) unsubscribe(t *testing.T, target Target) *Failure {
	t.Helper()
	var out CheckOutput
	must(t, r.call(t, UnsubscribeName, SubscribeInput{Target: target, Streams: []string{"orders"}}, &out))
	return out.Failure
}

// hooks lists the streams whose webhooks the app has for a URL.
func (r *rig) hooks(url string) string {
	r.app.mu.Lock()
	defer r.app.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(r.app.hooks[url])), " ")
}

// An installation's webhooks go to a URL with its own token; what was missing is counted, and all is removed in the end.
func TestSubscribeOwnURL(t *testing.T) {
	t.Parallel()
	r := newRig(t, "app")
	const url = "https://in.example/hooks/token-of-e1"
	if out := r.subscribe(t, r.target, "orders", "people"); out.Failure != nil || out.Active != 2 || out.Repaired != 2 || out.Manual || r.hooks(url) != "orders people" {
		t.Fatalf("%+v, hooks %v", out, r.app.hooks)
	}
	if out := r.subscribe(t, r.target, "orders", "people"); out.Active != 2 || out.Repaired != 0 {
		t.Errorf("again: %+v", out)
	}
	delete(r.app.hooks[url], "people")
	if out := r.subscribe(t, r.target, "orders", "people"); out.Repaired != 1 {
		t.Errorf("after one was lost: %+v", out)
	}
	if r.subscribe(t, r.target, "orders"); r.hooks(url) != "orders" {
		t.Errorf("a stream that is not wanted any more stays: %s", r.hooks(url))
	}
	want(t, r.unsubscribe(t, r.target), "")
	if len(r.app.hooks) != 0 {
		t.Errorf("left: %v", r.app.hooks)
	}
	want(t, r.unsubscribe(t, r.target), "")
}

// A source whose webhooks are set up by hand says so.
func TestSubscribeByHand(t *testing.T) {
	t.Parallel()
	r := newRig(t, "pushed")
	if out := r.subscribe(t, r.target, "orders"); !out.Manual || out.Failure != nil {
		t.Errorf("%+v", out)
	}
	want(t, r.unsubscribe(t, r.target), "")
}

// What the app says is returned with its kind; an epoch that the catalog doesn't have, or a catalog that is down, passes.
func TestSubscribeFails(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"subscriptions", "subscribe", "unsubscribe"} {
		r := newRig(t, "app")
		r.app.before = func(c string) error {
			if c == call {
				return connectors.Errorf(connectors.Forbidden, c, "grant write_hooks")
			}
			return nil
		}
		got := r.subscribe(t, r.target, "orders").Failure
		if call == "unsubscribe" {
			got = r.unsubscribe(t, r.target)
		}
		if got == nil {
			t.Fatalf("%s passed", call)
		}
		want(t, got, connectors.Forbidden, call+": grant write_hooks")
	}
	r := newRig(t, "app")
	unknown := r.target
	unknown.Epoch = "e0"
	want(t, r.subscribe(t, unknown, "orders").Failure, connectors.Unavailable, "e0")
	must(t, r.Catalog.Close())
	want(t, r.subscribe(t, r.target, "orders").Failure, connectors.Unavailable)
}

// second installs the same integration for bob.
func (r *rig) second(t *testing.T) Target {
	t.Helper()
	for _, connector := range []string{"shared", "sink"} {
		_, err := r.Vault.Put(t.Context(), vault.User("bob"), connector, "default", json.RawMessage(`{"token":"bobs"}`), "")
		must(t, err)
	}
	bob := r.target
	bob.Installation, bob.User, bob.Epoch, bob.Ledger = "flow/bob", "bob", "e2", "e2"
	r.install(t, bob)
	return bob
}

const sharedURL = "https://in.example/apps/shared/default"

// The webhooks of an app-wide URL stay until its last installation goes, and one never takes away another's streams.
func TestSubscribeSharedURL(t *testing.T) {
	t.Parallel()
	r := newRig(t, "shared")
	bob := r.second(t)
	r.subscribe(t, r.target, "orders")
	out := r.subscribe(t, bob, "people")
	if out.Failure != nil || out.Repaired != 1 || r.hooks(sharedURL) != "orders people" {
		t.Errorf("%+v, hooks %s", out, r.hooks(sharedURL))
	}
	want(t, r.unsubscribe(t, r.target), "")
	want(t, r.unsubscribe(t, r.target), "") // its answer was lost
	if r.hooks(sharedURL) == "" {
		t.Fatal("removed while another installation uses them")
	}
	// The app fails on the last: then it is tried again and removed.
	r.app.before = func(string) error { return connectors.Errorf(connectors.Unavailable, "", "down") }
	want(t, r.unsubscribe(t, bob), connectors.Unavailable)
	r.app.before = nil
	want(t, r.unsubscribe(t, bob), "")
	if len(r.app.hooks) != 0 {
		t.Errorf("left: %v", r.app.hooks)
	}
}

// While the last installation removes the shared webhooks another one comes: counting and calling the app don't interleave, so
// the one that comes has its webhooks in the end.
func TestSubscribeWhileTheLastLeaves(t *testing.T) {
	t.Parallel()
	r := newRig(t, "shared")
	bob := r.second(t)
	r.subscribe(t, r.target, "orders")

	leaving, came := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	asked, waiting := 0, false
	r.Env.Now = func() time.Time { // asked each time a lease is tried
		mu.Lock()
		defer mu.Unlock()
		if asked++; waiting && asked == 2 {
			close(came) // bob was refused the lease once
		}
		return day
	}
	r.app.before = func(call string) error {
		switch call {
		case "unsubscribe":
			mu.Lock()
			asked, waiting = 0, true
			mu.Unlock()
			close(leaving)
			select {
			case <-came:
			case <-time.After(20 * time.Second):
				return connectors.Errorf(connectors.Unknown, "", "the other one never came")
			}
		case "subscribe":
			mu.Lock()
			defer mu.Unlock()
			if waiting && asked < 2 { // not kept waiting: it interleaves
				asked = 2
				close(came)
			}
		}
		return nil
	}
	var g sync.WaitGroup
	var left CheckOutput
	g.Go(func() {
		if err := r.attempt(attemptOf{}, UnsubscribeName, SubscribeInput{Target: r.target}, &left); err != nil {
			t.Error(err)
		}
	})
	<-leaving
	out := r.subscribe(t, bob, "orders")
	g.Wait()
	want(t, left.Failure, "")
	if out.Failure != nil || r.hooks(sharedURL) != "orders" {
		t.Errorf("who came has the webhooks %q: %+v", r.hooks(sharedURL), out)
	}
}

// Installations that come and go at once: whoever is left has its webhooks, and with nobody left there are none.
func TestSubscribeAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "shared")
	bob := r.second(t)
	for round := range 5 {
		var g sync.WaitGroup
		for _, target := range []Target{r.target, bob} {
			g.Go(func() {
				var in SubscribeOutput
				if err := r.attempt(attemptOf{}, SubscribeName, SubscribeInput{Target: target, Streams: []string{"orders"}}, &in); err != nil || in.Failure != nil {
					t.Error(err, in.Failure)
				}
				if r.hooks(sharedURL) != "orders" {
					t.Errorf("round %d: %s subscribed and has nothing", round, target.User)
				}
				var out CheckOutput
				if err := r.attempt(attemptOf{}, UnsubscribeName, SubscribeInput{Target: target}, &out); err != nil || out.Failure != nil {
					t.Error(err, out.Failure)
				}
			})
		}
		g.Wait()
		if len(r.app.hooks) != 0 {
			t.Fatalf("round %d: nobody is left, and there is %v", round, r.app.hooks)
		}
	}
}

// A lease that another holds for long is waited for by the workflow; a worker that died holds it for a while only, and what is
// done under it ends before that.
func TestLeaseIsHeldByAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, "shared")
	name := "webhooks " + AppPath("shared", "default")
	ok, err := r.Catalog.AcquireLease(t.Context(), name, "dead worker", leaseTime, day)
	must(t, err)
	if !ok {
		t.Fatal("no lease")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.lease(ctx, name); err == nil {
		t.Error("an activity that was cancelled got the lease")
	}
	out := r.subscribe(t, r.target, "orders")
	want(t, out.Failure, connectors.Unavailable, "another installation")
	if out.Failure == nil || out.Failure.Wait <= 0 || r.hooks(sharedURL) != "" {
		t.Errorf("%+v", out)
	}
	r.Env.Now = func() time.Time { return day.Add(leaseTime) }
	if out := r.subscribe(t, r.target, "orders"); out.Failure != nil {
		t.Errorf("after its end: %+v", out)
	}
	ok, err = r.Catalog.AcquireLease(t.Context(), name, "next", leaseTime, r.Env.Time())
	must(t, err)
	if !ok {
		t.Error("the lease was not given back")
	}
	if leaseWork+time.Minute > leaseTime {
		t.Error("work under a lease may outlive it where clocks differ by a minute: " + fmt.Sprint(leaseWork, leaseTime))
	}
}
