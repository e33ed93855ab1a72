package receiver

import (
	"testing"
	"time"
)

// Signals that take as long as they must are followed at once; the longer they take beyond that, the longer the pause, within a bound.
func TestPaceYieldsToABusyTemporal(t *testing.T) {
	t.Parallel()
	var p pace
	last := time.Duration(0)
	for _, test := range []struct {
		took time.Duration
		most time.Duration // 0 = there must be none
	}{
		{20 * time.Millisecond, 0}, {40 * time.Millisecond, 0}, {60 * time.Millisecond, 20 * restFactor * time.Millisecond},
		{65 * time.Millisecond, 25 * restFactor * time.Millisecond}, {time.Minute, maxPause},
	} {
		got := p.pause(test.took)
		if got > test.most || test.most > 0 && got <= last {
			t.Errorf("after %s: %s, at most %s and more than %s are right", test.took, got, test.most, last)
		}
		last = got
	}
}

// What is fast is learned anew when it is no longer reached, and at once when it is beaten; nothing below instant counts.
func TestPaceLearns(t *testing.T) {
	t.Parallel()
	var p pace
	p.pause(10 * time.Millisecond)
	n := 0
	for p.pause(50*time.Millisecond) > 0 {
		if n++; n > 100_000 {
			t.Fatal("it never gets used to slower signals")
		}
	}
	if n < 1000 {
		t.Errorf("it gets used to slower signals after %d", n)
	}
	p.pause(time.Microsecond)
	if got := p.pause(2 * instant); got != 0 {
		t.Errorf("a pause of %s after a quick signal", got)
	}
	if p.pause(50*time.Millisecond) == 0 {
		t.Error("no pause after a slow signal")
	}
}

// A pause goes on while what comes makes the next signals larger, and ends when hardly anything comes beside what waits.
func TestPauseIsWorthwhile(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, test := range []struct {
		came, waiting int64
		want          bool
	}{
		{mib, 40 * mib, true},
		{mib / 10, 40 * mib, true},
		{mib / 100, 40 * mib, false},
		{mib / 100, mib, true},
		{0, 40 * mib, false},
		{0, 0, false},
	} {
		if got := worthwhile(test.came, look, test.waiting); got != test.want {
			t.Errorf("%d came, %d wait: %t", test.came, test.waiting, got)
		}
	}
}

// bounded is a journal that ends somewhere.
type bounded struct {
	Log
	next uint64
}

func (b bounded) Bounds() (first, next uint64) { return 1, b.next }

// Nothing is read for want of room while a load goes on: that is no end of it.
func TestWhatIsUnreadIsLoad(t *testing.T) {
	t.Parallel()
	for next, want := range map[uint64]bool{10: false, 11: true} {
		f := &Forwarder{ForwarderConfig: ForwarderConfig{Journal: bounded{next: next}}, next: 10, waiting: 64 << 20}
		if got := f.loaded(0, look); got != want {
			t.Errorf("read to 10 of %d: %t", next, got)
		}
	}
}
