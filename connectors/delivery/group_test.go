package delivery

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"tributary/connectors"
)

// sent remembers the groups that a plan sends, as the IDs of their records.
type sent struct {
	mu     sync.Mutex
	groups [][]string
}

func (s *sent) add(b *connectors.Batch, group []int) {
	var ids []string
	for _, i := range group {
		ids = append(ids, b.Records[i].ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = append(s.groups, ids)
}

func batch(keys ...string) *connectors.Batch {
	var b connectors.Batch
	for i, key := range keys {
		b.Records = append(b.Records, connectors.Record{ID: fmt.Sprint(i), Stream: "s", Key: key, Data: []byte("12345")})
	}
	return &b
}

func TestGroupsOfOneKeyHoldNoOther(t *testing.T) {
	t.Parallel()
	var s sent
	b := batch("a", "b", "a", "", "b", "a", "")
	p := Plan{Concurrency: 1, Records: 10, Bytes: 1000, ByKey: true, Send: func(_ context.Context, group []int) Verdict {
		s.add(b, group)
		return Verdict{}
	}}
	if _, err := Write(t.Context(), b, p); err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"0", "2", "5"}, {"1", "4"}, {"3", "6"}}
	if !reflect.DeepEqual(s.groups, want) {
		t.Fatalf("sent %v, want %v", s.groups, want)
	}
}

func TestSizeBoundsGroups(t *testing.T) {
	t.Parallel()
	var s sent
	b := batch("a", "b", "c", "d", "e")
	p := Plan{
		Concurrency: 1, Records: 10, Bytes: 100,
		Size: func(r *connectors.Record) int { return 40 + len(r.Data) }, // 45: two fit
		Send: func(_ context.Context, group []int) Verdict {
			s.add(b, group)
			return Verdict{}
		},
	}
	if _, err := Write(t.Context(), b, p); err != nil {
		t.Fatal(err)
	}
	if want := [][]string{{"0", "1"}, {"2", "3"}, {"4"}}; !reflect.DeepEqual(s.groups, want) {
		t.Fatalf("sent %v, want %v", s.groups, want)
	}
}

// Of a group that fares differently, what is durable is not sent again, what is refused is rejected by itself, and what failed comes again.
func TestEachRecordIsSettledByItsOwnVerdict(t *testing.T) {
	t.Parallel()
	var s sent
	b := batch("a", "b", "c", "d", "e")
	unavailable := connectors.Errorf(connectors.Unavailable, "send", "try later")
	refused := connectors.Errorf(connectors.Invalid, "send", "it is wrong")
	p := Plan{Concurrency: 1, Records: 4, Bytes: 1000, Send: func(_ context.Context, group []int) Verdict {
		s.add(b, group)
		return Verdict{Each: []Verdict{{}, {Err: unavailable}, {Err: refused, Refused: true}, {}}}
	}}
	r, err := Write(t.Context(), b, p)
	if err != unavailable {
		t.Fatalf("got %v, want %v", err, unavailable)
	}
	want := []connectors.Outcome{connectors.Durable, connectors.Again, connectors.Rejected, connectors.Durable, connectors.Again}
	if !slices.Equal(r.Outcomes, want) || r.Reasons[2] != refused.Message {
		t.Fatalf("got %v %v, want %v", r.Outcomes, r.Reasons, want)
	}
	if len(s.groups) != 1 {
		t.Fatalf("sent %v, want one group: its queue waits for the record that failed", s.groups)
	}
}
