package workflows

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// Receivers are replaced for years: what is remembered of their journals stays bounded, and what the latest of them bring
// again is recognised, also by the runs that follow.
func TestJournalsComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := realtimePlan()
	w.subscribe.Manual = true
	p.Timing.Events = 200
	const journals = 5 * maxJournals
	from := func(i int) Arrival {
		a := arrivalOf(1, 7, 1)
		a.Journal = fmt.Sprintf("journal-%04d", i)
		a.Segments[0].Name = name(testEpoch, "orders", a.Journal, 1)
		return a
	}
	var events []event
	for i := range journals {
		at := time.Minute + time.Duration(i)*10*time.Second
		events = append(events, event{at, signal(from(i))})
		for _, back := range []int{0, 1, maxJournals - 1} {
			if i >= back {
				events = append(events, event{at + time.Second, signal(from(i - back))})
			}
		}
	}
	s := w.drive(input(p), 3*time.Hour, events...)
	if s.Delivered != journals || w.runs < 5 {
		t.Errorf("delivered %d of %d in %d runs: what came again was taken again, or not at all", s.Delivered, journals, w.runs)
	}
	last := w.inputs[len(w.inputs)-1].State
	if n := len(last.Journals); n != maxJournals {
		t.Errorf("%d journals are remembered, want the latest %d", n, maxJournals)
	}
	if j := last.Journals[0].ID; j < fmt.Sprintf("journal-%04d", journals-2*maxJournals) {
		t.Errorf("the first that is remembered is %s", j)
	}
}

// Floors tell where journals stood when polls began, compared with plain copies: what they tell is never later than that,
// so no webhook is missed, and it is exactly that where no more than maxFloors are needed. They stay few.
func TestFloorsTellWhereJournalsStood(t *testing.T) {
	t.Parallel()
	for _, streams := range []int{1, 2, 40} {
		t.Run(fmt.Sprint(streams, " streams"), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, uint64(streams)))
			s := &State{}
			type copies struct{ from, then map[string]uint64 }
			want := make([]copies, streams)
			for i := range streams {
				s.Streams = append(s.Streams, &Stream{Name: fmt.Sprint(i)})
			}
			stood := map[string]uint64{}
			exact := 0
			for step := range 3000 {
				now := began.Add(time.Duration(step) * time.Minute)
				if rng.IntN(3) > 0 {
					id := fmt.Sprint("j", rng.IntN(20+step/100))
					stood[id] += uint64(1 + rng.IntN(3))
					if !s.pass(id, stood[id]) {
						t.Fatal("a later arrival was taken for an earlier one")
					}
					continue
				}
				i := rng.IntN(streams)
				w, st := &want[i], s.Streams[i]
				w.from, w.then = w.then, maps.Clone(stood)
				st.From, st.Then = st.Then, s.addFloor(uint64(step+1), now, 0)
				s.dropFloors()
				if len(s.Floors) > maxFloors {
					t.Fatalf("%d floors", len(s.Floors))
				}
				if w.from == nil {
					continue
				}
				same := true
				for id, got := range s.since(st.From) {
					at := w.from[id] + 1
					if w.from[id] == 0 {
						at = 0
					}
					if got > at {
						t.Fatalf("step %d, stream %d: %s from %d on, it stood at %d", step, i, id, got, w.from[id])
					}
					same = same && got == at
				}
				if same {
					exact++
				}
			}
			if streams < 3 && exact < 900 || exact < 10 {
				t.Errorf("exact %d times", exact)
			}
		})
	}
}

// Parts of an Arrival are taken each once, also when they come again in another company.
func TestPartsEnterOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	with := func(a Arrival, more ...Arrival) Arrival {
		for _, m := range more {
			a.More = append(a.More, Part{From: m.From, To: m.To, Segments: m.Segments})
		}
		return a
	}
	one, two, three := arrivalOf(1, 2, 10), arrivalOf(3, 3, 20), arrivalOf(5, 9, 30)
	s := w.drive(input(realtimePlan()), time.Hour,
		event{time.Second, signal(one)},
		event{2 * time.Second, signal(with(one, two))},
		event{3 * time.Second, signal(with(two, three))},
		event{4 * time.Second, signal(with(one, two, three))},
		event{5 * time.Second, signal(with(arrivalOf(10, 10, 1), Arrival{From: 12, To: 11}))})
	if s.Received != 60 || w.ledger["warehouse"] != 60 || s.Undecodable != 1 {
		t.Errorf("received %d, delivered %d, not understood %d", s.Received, w.ledger["warehouse"], s.Undecodable)
	}
}
