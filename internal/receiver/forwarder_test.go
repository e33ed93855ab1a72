package receiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/internal/segment"
	"tributary/workflows"
)

// What is in the journal reaches its workflow in order, once, and the tail moves up to the head.
func TestForward(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("a")
	w.run("b")
	write(t, l, "a", "1", "2", "3")
	x := live(t, w, l)
	x.idle(t, l)
	write(t, l, "b", "4")
	write(t, l, "a", "5")
	x.idle(t, l)
	if got := w.arrived("a"); !slices.Equal(got, []string{"1", "3", "2", "5"}) {
		t.Errorf("a got %v", got)
	}
	if got := w.arrived("b"); !slices.Equal(got, []string{"4"}) {
		t.Errorf("b got %v", got)
	}
}

// What comes while a signal is in flight goes with the next one, in one segment a stream.
func TestLoadMakesBatches(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("a")
	entered, release := make(chan struct{}, 10), make(chan struct{})
	w.fate = func(context.Context, workflows.Arrival) (bool, error) {
		entered <- struct{}{}
		<-release
		return true, nil
	}
	x := live(t, w, l)
	write(t, l, "a", "0")
	<-entered
	for i := range 100 {
		write(t, l, "a", fmt.Sprint(i+1))
	}
	eventually(t, "all is read", func() bool {
		_, next := l.Bounds()
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.next == next
	})
	close(release)
	x.idle(t, l)
	if n := w.workflows["a"].signals; n != 2 {
		t.Errorf("%d signals, want 2", n)
	}
	if got := len(w.arrived("a")); got != 101 {
		t.Errorf("%d records", got)
	}
}

// After many records the next signal waits, so that it brings more; that holds back nothing for good, and not a flush's end. Where
// little comes, nothing waits.
func TestManyRecordsSpaceSignals(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 300 * time.Millisecond / spacing {
		many = append(many, fmt.Sprint(int(i)))
	}
	for name, test := range map[string]struct {
		first []string
		gap   time.Duration
	}{
		"many": {many, 300 * time.Millisecond},
		"one":  {many[:1], time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l := newWorld(t), newMemoryLog()
			w.run("a")
			var signals []time.Time
			w.fate = func(context.Context, workflows.Arrival) (bool, error) {
				signals = append(signals, time.Now()) // one signal at a time
				return true, nil
			}
			write(t, l, "a", test.first...)
			x := live(t, w, l, func(c *ForwarderConfig) { c.Gap = test.gap })
			eventually(t, "the first are taken", func() bool { return len(w.arrived("a")) == len(test.first) })
			write(t, l, "a", "y", "z")
			x.flush(t)
			if got := len(w.arrived("a")); got != len(test.first)+2 {
				t.Fatalf("%d records after a flush", got)
			}
			if len(signals) != 2 {
				t.Fatalf("%d signals", len(signals))
			}
			if gap := signals[1].Sub(signals[0]); name == "many" && gap < test.gap {
				t.Errorf("the next signal came after %s", gap)
			}
			x.idle(t, l)
		})
	}
}

// A number of installations are forwarded to at once and no more, and each gets its turn.
func TestInFlightIsBounded(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	var mu sync.Mutex
	now, most := 0, 0
	release := make(chan struct{})
	w.fate = func(context.Context, workflows.Arrival) (bool, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		<-release
		mu.Lock()
		now--
		mu.Unlock()
		return true, nil
	}
	for i := range 10 {
		w.run(fmt.Sprint(i))
		write(t, l, fmt.Sprint(i), "x")
	}
	x := live(t, w, l, func(c *ForwarderConfig) { c.InFlight = 3 })
	eventually(t, "three are in flight", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return now == 3
	})
	close(release)
	x.idle(t, l)
	if most != 3 {
		t.Errorf("%d at once, want 3", most)
	}
	for i := range 10 {
		if got := w.arrived(fmt.Sprint(i)); len(got) != 1 {
			t.Errorf("%d got %v", i, got)
		}
	}
}

// A signal whose answer is lost, or that never ends, is sent again as it was; the workflow takes it once.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("a")
	tries := 0
	w.fate = func(ctx context.Context, a workflows.Arrival) (bool, error) {
		tries++ // one signal at a time
		switch {
		case tries == 1:
			return true, ErrAgain
		case tries == 2:
			return false, ErrAgain
		case tries == 3:
			<-ctx.Done()
			return true, ctx.Err()
		case tries < 10:
			return false, errors.New("something nobody knows")
		}
		return true, nil
	}
	x := live(t, w, l, func(c *ForwarderConfig) { c.SignalTime = 20 * time.Millisecond })
	write(t, l, "a", "1")
	x.idle(t, l)
	if got := w.arrived("a"); !slices.Equal(got, []string{"1"}) || tries < 10 {
		t.Errorf("got %v in %d signals", got, tries)
	}
}

// One installation that can't be reached delays itself only (I11): the others go on, what is its own is parked in segments
// and the journal's tail moves on. A restart changes nothing, and when it can be reached all arrives in order.
func TestStuckInstallationIsParked(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("stuck")
	w.run("fine")
	stuck := true
	w.fate = func(_ context.Context, a workflows.Arrival) (bool, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if stuck && a.Epoch == "stuck" {
			return false, ErrAgain
		}
		return true, nil
	}
	small := func(c *ForwarderConfig) { c.ParkBytes = 20 << 10 }
	x := live(t, w, l, small)
	var want []string
	fine, last := 0, uint64(0)
	for round := range 8 {
		first, _ := l.Bounds()
		start := first
		id := fmt.Sprint("s", round)
		want = append(want, id)
		write(t, l, "stuck", id)
		eventually(t, "the tail moves past what the stuck one holds", func() bool {
			fine++
			write(t, l, "fine", fmt.Sprint("f", fine))
			first, _ := l.Bounds()
			return first > max(start, last)+50
		})
		_, last = l.Bounds()
		if round == 4 {
			x.kill(t)
			x = live(t, w, l, small)
		}
		if l.Size() > 200<<10 {
			t.Fatalf("the journal has grown to %d bytes", l.Size())
		}
	}
	if got := w.arrived("stuck"); len(got) != 0 {
		t.Fatalf("stuck, yet got %v", got)
	}
	w.set(func(*world) { stuck = false })
	x.idle(t, l)
	if got := w.arrived("stuck"); !slices.Equal(got, want) {
		t.Errorf("the stuck one got %v, want %v", got, want)
	}
	if got := w.arrived("fine"); len(got) != fine {
		t.Errorf("the fine one got %d, want %d", len(got), fine)
	}
}

// While nobody can be reached, the memory stays bounded: what waits is sealed, and when the intents are too many too, the
// forwarder reads no more. All arrives afterwards.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	down := true
	w.fate = func(context.Context, workflows.Arrival) (bool, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if down {
			return false, ErrAgain
		}
		return true, nil
	}
	const limit = 8 << 10
	x := live(t, w, l, func(c *ForwarderConfig) { c.WaitingBytes = limit; c.ParkBytes = 40 << 10 })
	want := map[string]int{}
	written := 0
	stalled := func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.waiting > limit+1<<10 {
			t.Fatalf("%d bytes are waiting", x.waiting)
		}
		return x.pledged >= 10<<10
	}
	for !stalled() {
		for range 10 {
			epoch := fmt.Sprint("e", written%20)
			if want[epoch] == 0 {
				w.run(epoch)
			}
			write(t, l, epoch, fmt.Sprint(written))
			want[epoch]++
			written++
		}
		_, next := l.Bounds()
		eventually(t, "all is read, or the forwarder reads no more", func() bool {
			x.mu.Lock()
			read := x.next >= next
			x.mu.Unlock()
			return read || stalled()
		})
	}
	x.mu.Lock()
	intents := x.intents
	x.mu.Unlock()
	w.set(func(*world) { down = false })
	x.idle(t, l)
	signals := 0
	for epoch := range want {
		signals += w.workflows[epoch].signals
	}
	if signals >= intents { // and what was not sealed yet needs some, too
		t.Errorf("%d signals for %d intents: those that wait go together", signals, intents)
	}
	for epoch, n := range want {
		if got := w.arrived(epoch); len(got) != n {
			t.Errorf("%s got %d of %d", epoch, len(got), n)
		}
	}
	if x.waiting != 0 || x.pledged != 0 || x.intents != 0 {
		t.Errorf("left over: %d bytes waiting, %d of intents, %d intents", x.waiting, x.pledged, x.intents)
	}
}

// A store or a journal that fails for a while loses nothing.
func TestStoreAndJournalFail(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("a")
	s := &unreliable{Store: w.store, fails: 5}
	write(t, l, "a", "1")
	x := live(t, w, l, func(c *ForwarderConfig) { c.Store = s })
	x.idle(t, l)
	write(t, l, "a", "2")
	l.set(func(l *memoryLog) { l.fail = errors.New("no space left on device") })
	time.AfterFunc(30*time.Millisecond, func() { l.set(func(l *memoryLog) { l.fail = nil }) })
	x.idle(t, l)
	if got := w.arrived("a"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %v", got)
	}
	segments := 0
	for _, err := range w.store.List(context.Background(), "a/") {
		if err != nil {
			t.Fatal(err)
		}
		segments++
	}
	if segments != 2 {
		t.Errorf("%d segments for 2 records: a journal that fails makes orphans", segments)
	}
}

// unreliable fails to seal a number of times.
type unreliable struct {
	Store
	mu    sync.Mutex
	fails int
}

func (u *unreliable) Seal(ctx context.Context, n segment.Name, b *segment.Builder) (segment.Ref, error) {
	u.mu.Lock()
	u.fails--
	fails := u.fails >= 0
	u.mu.Unlock()
	if fails {
		return segment.Ref{}, errors.New("segment store unreachable")
	}
	return u.Store.Seal(ctx, n, b)
}

// Flush returns when all that can be handed over is, although one installation can't be reached.
func TestFlush(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("fine")
	w.run("stuck")
	w.fate = func(_ context.Context, a workflows.Arrival) (bool, error) {
		return a.Epoch == "fine", map[bool]error{false: ErrAgain}[a.Epoch == "fine"]
	}
	x := live(t, w, l, func(c *ForwarderConfig) { c.MinRest, c.MaxRest = time.Minute, time.Minute; c.Sweep = time.Hour })
	for i := range 20 {
		write(t, l, "fine", fmt.Sprint(i))
	}
	write(t, l, "stuck", "s")
	x.flush(t)
	if got := w.arrived("fine"); len(got) != 20 {
		t.Errorf("%d records after Flush, want 20", len(got))
	}
	if first, next := l.Bounds(); first == 1 || first == next {
		t.Errorf("bounds %d, %d: the tail should stand at the stuck one's entry", first, next)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	write(t, l, "late", "x")
	if err := x.Flush(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Entries that this release can't read stop the forwarder with a clear error; nothing is passed over.
func TestUnreadableEntryStops(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]byte{{99, 1}, {}, {entryRecords, 200}, entryOf("a", "1")[:20]} {
		w, l := newWorld(t), newMemoryLog()
		w.run("a")
		if _, err := l.Append(context.Background(), bad); err != nil {
			t.Fatal(err)
		}
		x := live(t, w, l)
		if err := x.wait(t); err == nil || !strings.Contains(err.Error(), "journal entry 1") {
			t.Errorf("%v: error %v", bad, err)
		}
		if first, _ := l.Bounds(); first != 1 {
			t.Error("the tail moved past it")
		}
	}
}

// An entry that the disk destroyed is reported, and holds back nobody else's; also not after a restart.
func TestDamagedEntryIsPassedOver(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("a")
	for i := range 3 {
		write(t, l, "a", fmt.Sprint(i))
	}
	l.damaged = 2
	logged := &logs{}
	x := live(t, w, l, func(c *ForwarderConfig) { c.Log = slog.New(slog.NewTextHandler(logged, nil)) })
	x.idle(t, l)
	if got := w.arrived("a"); !slices.Equal(got, []string{"0", "2"}) {
		t.Errorf("got %v", got)
	}
	if !strings.Contains(logged.String(), "entry=2") {
		t.Errorf("logged %q", logged)
	}
}

// What was taken is not sent again after a restart, although the tail could not pass it.
func TestTakenIsNoted(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("stuck")
	w.run("fine")
	w.fate = func(_ context.Context, a workflows.Arrival) (bool, error) {
		if a.Epoch == "stuck" {
			return false, ErrAgain
		}
		return true, nil
	}
	x := live(t, w, l, func(c *ForwarderConfig) { c.Sweep = time.Hour })
	write(t, l, "stuck", "s")
	for i := range 5 {
		write(t, l, "fine", fmt.Sprint(i))
		eventually(t, "it is taken", func() bool { return len(w.arrived("fine")) == i+1 })
	}
	eventually(t, "the last one is acknowledged", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.queues["fine"] == nil
	})
	if err := x.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	x.kill(t)
	signals := w.workflows["fine"].signals
	live(t, w, l)
	write(t, l, "fine", "5")
	eventually(t, "the new one is taken", func() bool { return len(w.arrived("fine")) == 6 })
	if n := w.workflows["fine"].signals; n != signals+1 {
		t.Errorf("%d signals after the restart, want 1", n-signals)
	}
}
