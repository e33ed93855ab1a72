package datastream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/outbound"
)

const (
	again    = connectors.Again
	durable  = connectors.Durable
	rejected = connectors.Rejected
)

// What each status does to its record, to the next one of its key, to another key, and to the lane.
func TestStatusDecides(t *testing.T) {
	t.Parallel()
	ok := []connectors.Outcome{durable, durable, durable, durable}
	refused := []connectors.Outcome{durable, rejected, durable, durable}
	blocked := []connectors.Outcome{durable, again, again, durable}
	stopped := []connectors.Outcome{durable, again, again, again}
	for _, c := range []struct {
		status     int
		retryAfter string
		kind       connectors.Kind
		wait       time.Duration
		outcomes   []connectors.Outcome
	}{
		{200, "", "", 0, ok}, {201, "", "", 0, ok}, {202, "", "", 0, ok}, {204, "", "", 0, ok}, {299, "7", "", 0, ok},
		{300, "", connectors.Invalid, 0, stopped}, {301, "", connectors.Invalid, 0, stopped}, {302, "", connectors.Invalid, 0, stopped},
		{303, "", connectors.Invalid, 0, stopped}, {304, "", connectors.Invalid, 0, stopped}, {307, "", connectors.Invalid, 0, stopped},
		{308, "", connectors.Invalid, 0, stopped},
		{400, "", "", 0, refused}, {409, "", "", 0, refused}, {413, "", "", 0, refused}, {422, "", "", 0, refused}, {431, "", "", 0, refused},
		{401, "", connectors.Forbidden, 0, stopped}, {402, "", connectors.Forbidden, 0, stopped}, {403, "", connectors.Forbidden, 0, stopped},
		{407, "", connectors.Forbidden, 0, stopped}, {451, "", connectors.Forbidden, 0, stopped},
		{404, "", connectors.NotFound, 0, stopped},
		{405, "", connectors.Invalid, 0, stopped}, {406, "", connectors.Invalid, 0, stopped}, {411, "", connectors.Invalid, 0, stopped},
		{414, "", connectors.Invalid, 0, stopped}, {415, "", connectors.Invalid, 0, stopped}, {418, "", connectors.Invalid, 0, stopped},
		{410, "", connectors.Gone, 0, stopped},
		{429, "", connectors.RateLimited, 0, stopped}, {429, "30", connectors.RateLimited, 30 * time.Second, stopped},
		{429, "soon", connectors.RateLimited, 0, stopped}, {429, "999999999", connectors.RateLimited, connectors.MaxWait, stopped},
		{429, "-3", connectors.RateLimited, 0, stopped},
		{408, "", connectors.Unavailable, 0, blocked}, {425, "", connectors.Unavailable, 0, blocked},
		{500, "", connectors.Unavailable, 0, blocked}, {501, "", connectors.Unavailable, 0, blocked}, {502, "", connectors.Unavailable, 0, blocked},
		{503, "", connectors.Unavailable, 0, blocked}, {503, "120", connectors.Unavailable, 2 * time.Minute, stopped}, {504, "", connectors.Unavailable, 0, blocked},
		{599, "", connectors.Unavailable, 0, blocked},
		{600, "", connectors.Unknown, 0, blocked}, {999, "", connectors.Unknown, 0, blocked},
	} {
		t.Run(fmt.Sprint(c.status, c.retryAfter), func(t *testing.T) {
			t.Parallel()
			var elsewhere atomic.Int64
			e := listen(t, func(w http.ResponseWriter, p post) {
				if p.path != "/hook" {
					elsewhere.Add(1)
				}
				if p.header.Get("Ce-Id") == "evt-1" {
					w.Header().Set("Retry-After", c.retryAfter)
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(c.status)
				}
			})
			d := opened(t, e.URL+"/hook", map[string]any{"concurrency": 1})
			b := batchOf("a", "b", "b", "c")
			result, err := d.Write(t.Context(), b)
			if got := kindOf(t, err); got != c.kind {
				t.Fatalf("kind %q, want %q: %v", got, c.kind, err)
			}
			if err != nil && (err.(*connectors.Error).Wait != c.wait || !strings.Contains(err.Error(), strconv.Itoa(c.status))) {
				t.Errorf("error %q with wait %v, want wait %v and the status", err, err.(*connectors.Error).Wait, c.wait)
			}
			if slices.Equal(c.outcomes, refused) {
				if reason := result.Reasons[1]; !strings.Contains(reason, strconv.Itoa(c.status)) || len(result.Reasons) != 1 {
					t.Errorf("reasons %v", result.Reasons)
				}
			} else if result.Reasons != nil {
				t.Errorf("reasons %v", result.Reasons)
			}
			if !slices.Equal(result.Outcomes, c.outcomes) {
				t.Errorf("outcomes %v, want %v", result.Outcomes, c.outcomes)
			}
			sent := len(b.Records)
			switch {
			case slices.Equal(c.outcomes, stopped):
				sent = 2
			case slices.Equal(c.outcomes, blocked):
				sent = 3
			}
			if got := len(e.received()); got != sent {
				t.Errorf("%d POSTs, want %d", got, sent)
			}
			if elsewhere.Load() != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

// Records of one key arrive one after the other and in order, whatever fails on the way, and each arrives; a repeated POST
// has the same webhook-id (I3, I4).
func TestOrderPerKeyUnderRandomFailures(t *testing.T) {
	t.Parallel()
	for _, array := range []bool{false, true} {
		t.Run(fmt.Sprint("array ", array), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			seen := map[string]bool{}     // webhook-id
			arrived := map[string][]int{} // key -> numbers
			underWay := map[string]int{}  // key -> POSTs
			keyOf := func(n int) string { return fmt.Sprint("key-", n%23) }
			e := listen(t, func(w http.ResponseWriter, p post) {
				var numbers []int
				for _, n := range strings.FieldsFunc(string(p.body), func(r rune) bool { return r < '0' || r > '9' }) {
					number, _ := strconv.Atoi(n)
					numbers = append(numbers, number)
				}
				mu.Lock()
				for _, n := range numbers {
					if underWay[keyOf(n)]++; underWay[keyOf(n)] > 1 && !array {
						t.Errorf("two POSTs of %s at once", keyOf(n))
					}
				}
				dice := random.IntN(10)
				if id := p.header.Get("Webhook-Id"); dice != 0 && !seen[id] {
					seen[id] = true
					for _, n := range numbers {
						arrived[keyOf(n)] = append(arrived[keyOf(n)], n)
					}
				}
				for _, n := range numbers {
					underWay[keyOf(n)]--
				}
				mu.Unlock()
				switch dice {
				case 0:
					w.WriteHeader(500)
				case 1: // processed, but the answer is lost
					reset(w)
				case 2: // processed, but the answer says otherwise
					w.WriteHeader(502)
				}
			})
			settings := map[string]any{"concurrency": 8}
			if array {
				settings = map[string]any{"concurrency": 4, "array": true, "array_max": map[string]int{"records": 5}}
			}
			d := opened(t, e.URL, settings)
			var names []string
			for i := range 300 {
				names = append(names, keyOf(i))
			}
			b := batchOf(names...)
			for attempts := 0; len(b.Records) > 0; attempts++ {
				if attempts > 1000 {
					t.Fatalf("%d records do not arrive", len(b.Records))
				}
				result, err := d.Write(t.Context(), b)
				rest := left(b, result)
				if (err == nil) != (len(rest.Records) == 0) {
					t.Fatalf("%d records left beside error %v", len(rest.Records), err)
				}
				b = rest
			}
			total := 0
			for key, numbers := range arrived {
				total += len(numbers)
				if !slices.IsSorted(numbers) || len(slices.Compact(numbers)) != len(numbers) {
					t.Errorf("%s: arrived as %v", key, numbers)
				}
			}
			if total != 300 {
				t.Errorf("%d records arrived, want 300", total)
			}
		})
	}
}

// Sixteen keys are under way at once by default, and never more.
func TestKeysAreSentSideBySide(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	full := make(chan struct{})
	e := listen(t, func(w http.ResponseWriter, p post) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == 16 {
			close(full)
		}
		select {
		case <-full:
		case <-time.After(5 * time.Second):
			w.WriteHeader(500)
		}
	})
	d := opened(t, e.URL, nil)
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprint(i))
	}
	names = append(names, make([]string, 8)...) // records without a key wait for nobody
	if _, err := d.Write(t.Context(), batchOf(names...)); err != nil {
		t.Error(err)
	}
	if most.Load() != 16 {
		t.Errorf("%d POSTs at once, want 16", most.Load())
	}
}

// An answer that is lost after the endpoint has processed the record: what comes again can be recognised.
func TestALostAnswerComesAgainUnderTheSameIDs(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	e := listen(t, func(w http.ResponseWriter, p post) {
		if calls.Add(1) == 1 {
			reset(w)
		}
	})
	b := batchOf("a")
	result, err := opened(t, e.URL, nil).Write(t.Context(), b)
	if kindOf(t, err) != connectors.Unavailable || result.Outcomes[0] != again {
		t.Fatalf("lost answer: %v, %v", result, err)
	}
	// Another worker takes it up, in a batch of another shape.
	b.First, b.Records = 7, append([]connectors.Record{{ID: "evt-before", Stream: "orders", Key: "z", Op: connectors.Upsert, Ordinal: 7, Data: []byte("{}")}}, b.Records...)
	if _, err := opened(t, e.URL, map[string]any{"concurrency": 1}).Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	posts := e.received()
	first, second := posts[0], posts[2]
	for _, name := range []string{"Webhook-Id", "X-Alloy-ExecutionUuid", "Ce-Id", "Ce-Source", "X-Alloy-Signature"} {
		if a, b := first.header.Get(name), second.header.Get(name); a != b || a == "" {
			t.Errorf("%s: %q, then %q", name, a, b)
		}
	}
	if posts[1].header.Get("Webhook-Id") == first.header.Get("Webhook-Id") {
		t.Error("two records have one webhook-id")
	}
}

// An endpoint that only fails is not asked for every key, and keys that always fail do not keep the others from their turn.
func TestARunOfFailuresEndsTheWriteAndStarvesNobody(t *testing.T) {
	t.Parallel()
	const poison, good = 20, 30
	var all atomic.Bool
	all.Store(true)
	e := listen(t, func(w http.ResponseWriter, p post) {
		if all.Load() || strings.HasPrefix(p.header.Get("Ce-Subject"), "poison") {
			w.WriteHeader(500)
		}
	})
	d := opened(t, e.URL, map[string]any{"concurrency": 1})
	var names []string
	for i := range poison + good {
		names = append(names, fmt.Sprint([]string{"poison-", "good-"}[min(i/poison, 1)], i))
	}
	b := batchOf(names...)
	if _, err := d.Write(t.Context(), b); kindOf(t, err) != connectors.Unavailable || len(e.received()) != delivery.FailuresInARow {
		t.Errorf("%d POSTs to an endpoint that only fails, want %d: %v", len(e.received()), delivery.FailuresInARow, err)
	}
	all.Store(false)
	for range 1000 {
		result, _ := d.Write(t.Context(), b)
		if b = left(b, result); len(b.Records) == poison {
			return
		}
	}
	t.Errorf("%d records left, want the %d that always fail", len(b.Records), poison)
}

// Of errors that come together the weightiest is returned, beside what was delivered (I9).
func TestTheWeightiestErrorIsReturned(t *testing.T) {
	t.Parallel()
	statuses := []int{500, 429, 301, 404, 403, 410, 200}
	var here sync.WaitGroup
	here.Add(len(statuses))
	e := listen(t, func(w http.ResponseWriter, p post) {
		here.Done()
		here.Wait()
		n, _ := strconv.Atoi(p.header.Get("Ce-Subject"))
		w.WriteHeader(statuses[n])
	})
	b := batchOf("0", "1", "2", "3", "4", "5", "6")
	result, err := opened(t, e.URL, nil).Write(t.Context(), b)
	if kindOf(t, err) != connectors.Gone {
		t.Errorf("got %v, want the kind gone", err)
	}
	if want := []connectors.Outcome{again, again, again, again, again, again, durable}; !slices.Equal(result.Outcomes, want) {
		t.Errorf("outcomes %v, want %v", result.Outcomes, want)
	}
}

// What stops the lane also stops the keys that are under way.
func TestAStopReachesTheKeysUnderWay(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	var once sync.Once
	e := listen(t, func(w http.ResponseWriter, p post) {
		if p.header.Get("Ce-Subject") == "long" {
			once.Do(func() { close(begun) })
			return
		}
		<-begun
		w.WriteHeader(403)
	})
	names := append(slices.Repeat([]string{"long"}, 500), "refused")
	result, err := opened(t, e.URL, map[string]any{"concurrency": 2}).Write(t.Context(), batchOf(names...))
	if kindOf(t, err) != connectors.Forbidden || result.Outcomes[499] != again {
		t.Errorf("%v after %d POSTs", err, len(e.received()))
	}
}

// blocked is an endpoint that answers nothing while the test runs, and a channel that gets a value for each POST.
func blocked(t *testing.T) (*endpoint, chan struct{}) {
	begun, release := make(chan struct{}, 100), make(chan struct{})
	e := listen(t, func(http.ResponseWriter, post) { begun <- struct{}{}; <-release })
	t.Cleanup(func() { close(release) }) // before the server's Close, which waits for its handlers
	return e, begun
}

func TestCloseEndsARunningWrite(t *testing.T) {
	t.Parallel()
	e, begun := blocked(t)
	d := opened(t, e.URL, nil)
	errs := make(chan error, 1)
	go func() {
		_, err := d.Write(context.Background(), batchOf("a", "a", "b"))
		errs <- err
	}()
	<-begun
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-errs:
		if kindOf(t, err) != connectors.Unavailable {
			t.Errorf("got %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the Write goes on")
	}
	before := len(e.received())
	result, err := d.Write(t.Context(), batchOf("a"))
	if kindOf(t, err) != connectors.Unavailable || result.Outcomes[0] != again || len(e.received()) != before {
		t.Errorf("a Write after Close: %v, %v", result, err)
	}
}

// When Close returns, nothing of a Write runs any more.
func TestCloseWaitsForARunningWrite(t *testing.T) {
	t.Parallel()
	d := opened(t, listen(t, nil).URL, nil)
	inside, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.now = func() time.Time {
		once.Do(func() { close(inside); <-release })
		return time.Now()
	}
	var all sync.WaitGroup
	all.Go(func() { d.Write(context.Background(), batchOf("a")) })
	<-inside
	ended := make(chan struct{})
	all.Go(func() { d.Close(); close(ended) })
	select {
	case <-ended:
		t.Error("Close returned while a Write was running")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	all.Wait()
}

// An endpoint is not left with connections of a destination that was closed.
func TestCloseLeavesNoConnection(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(gone)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	d := opened(t, s.URL, nil)
	if _, err := d.Write(t.Context(), batchOf("a")); err != nil {
		t.Fatal(err)
	}
	d.Close()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the connection stays")
	}
}

func TestAnEndedContextEndsTheWrite(t *testing.T) {
	t.Parallel()
	e, begun := blocked(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	result, err := opened(t, e.URL, map[string]any{"concurrency": 1}).Write(ctx, batchOf("a", "b", "c"))
	if kindOf(t, err) != connectors.Unavailable || slices.Contains(result.Outcomes, durable) || len(e.received()) != 1 {
		t.Errorf("%v, %v after %d POSTs", result, err, len(e.received()))
	}
}

func TestAnEmptyBatchIsWritten(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	if result, err := opened(t, e.URL, nil).Write(t.Context(), batchOf()); err != nil || len(result.Outcomes) != 0 || len(e.received()) != 0 {
		t.Errorf("%v, %v", result, err)
	}
}

// I14: what was opened while its network was allowed, or whose name has come to lead inside since, is refused when dialled.
func TestAnAddressInsideStopsTheLaneWhenDialled(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	d := opened(t, e.URL, nil)
	d.client = outbound.Client(outbound.Options{})
	result, err := d.Write(t.Context(), batchOf("a", "b"))
	if kindOf(t, err) != connectors.Invalid || slices.Contains(result.Outcomes, durable) || len(e.received()) != 0 {
		t.Errorf("%v, %v", result, err)
	}
}
