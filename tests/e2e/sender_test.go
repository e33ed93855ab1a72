package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// sender delivers webhooks until they are acknowledged, as an app does, and now and then delivers one again. Its objects change
// many times within a while, and then stay as they are: key says which, n grows.
type sender struct {
	// flow is held while a webhook is under way; who locks it stops the senders where nothing is.
	flow sync.RWMutex

	mu    sync.Mutex
	url   string
	acked tally
	last  map[string]thing // by key
	// refused counts answers other than 200, by status; 0 = no answer.
	refused map[int]int

	stop func()
	busy sync.WaitGroup
}

// startSending starts n senders, each with choices of its own by the seed. They end with finish or with the test.
func startSending(t *testing.T, url string, seed uint64, n int, pause time.Duration, size int) *sender {
	s := &sender{url: url, acked: tally{}, last: map[string]thing{}, refused: map[int]int{}}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	t.Cleanup(func() { stop(); s.busy.Wait() })
	for i := range n {
		rng := rand.New(rand.NewPCG(seed, uint64(10+i)))
		s.busy.Go(func() { s.run(ctx, rng, fmt.Sprintf("w%d", i), pause, size) })
	}
	return s
}

// finish has what is under way acknowledged, and ends.
func (s *sender) finish(t *testing.T, within time.Duration) {
	t.Helper()
	goOn := s.still(t, within)
	s.stop()
	goOn()
	s.busy.Wait()
}

// more waits for n more webhooks to be acknowledged.
func (s *sender) more(t *testing.T, what string, n int) {
	t.Helper()
	before, _ := s.acknowledged()
	eventually(t, time.Minute, what, func() bool {
		acked, _ := s.acknowledged()
		return len(acked) >= len(before)+n
	})
}

func (s *sender) setURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = url
}

func (s *sender) refusals(status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[status]
}

// run sends one webhook after the other; pause bounds the time between two, size the padding in bytes.
func (s *sender) run(ctx context.Context, rng *rand.Rand, name string, pause time.Duration, size int) {
	for i := 0; ctx.Err() == nil; i++ {
		id, key := fmt.Sprintf("%s-%d", name, i), fmt.Sprintf("%s-key-%d-%d", name, i/100, rng.IntN(30))
		body := fmt.Appendf(nil, `{"id":%q,"key":%q,"n":%d,"pad":"%0*d"}`, id, key, i, 50+rng.IntN(size), i)
		s.flow.RLock()
		times := 1
		if rng.IntN(20) == 0 {
			times = 2
		}
		for range times {
			s.deliver(ctx, rng, id, key, body)
		}
		s.flow.RUnlock()
		rest(ctx, time.Duration(rng.Int64N(int64(pause))))
	}
}

// deliver comes again until the webhook is acknowledged.
func (s *sender) deliver(ctx context.Context, rng *rand.Rand, id, key string, body []byte) {
	for ctx.Err() == nil {
		s.mu.Lock()
		url := s.url
		s.mu.Unlock()
		status, err := post(ctx, url, id, "orders", body)
		s.mu.Lock()
		if err == nil && status == http.StatusOK {
			s.acked[thingOf(id, body)] = 1
			s.last[key] = thingOf(id, body)
			s.mu.Unlock()
			return
		}
		s.refused[status]++
		s.mu.Unlock()
		rest(ctx, time.Duration(5+rng.IntN(30))*time.Millisecond)
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// still stops the senders and returns when nothing of theirs is under way: what was sent and what was acknowledged is the same then.
func (s *sender) still(t *testing.T, within time.Duration) (goOn func()) {
	t.Helper()
	stopped := make(chan struct{})
	go func() {
		s.flow.Lock()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(within):
		s.mu.Lock()
		defer s.mu.Unlock()
		t.Fatalf("some webhooks are not acknowledged within %s; answers so far: %v", within, s.refused)
	}
	return s.flow.Unlock
}

// acknowledged returns what was acknowledged, and the last of each key.
func (s *sender) acknowledged() (tally, map[string]thing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.acked), maps.Clone(s.last)
}
