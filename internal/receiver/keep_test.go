package receiver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// An Arrival stays small however many streams there are and whatever they are called, and takes a bounded number of records.
func TestArrivalsAreCapped(t *testing.T) {
	t.Parallel()
	w, l := newWorld(t), newMemoryLog()
	w.run("a")
	want := 0
	entry := func(n int, stream func(int) string) {
		var records []connectors.Record
		for i := range n {
			id := fmt.Sprint(want + i)
			records = append(records, connectors.Record{ID: id, Stream: stream(i), Op: connectors.Upsert, Data: []byte(payload(id))})
		}
		want += n
		for some := range pieces(records) {
			if _, err := l.Append(context.Background(), appendRecords(nil, "a", "i/a", time.Now(), some)); err != nil {
				t.Fatal(err)
			}
		}
	}
	entry(100, func(i int) string { return fmt.Sprint("stream", i) })
	entry(50, func(i int) string { return fmt.Sprint(i, strings.Repeat("<ü%>", 12)) })
	entry(25_000, func(int) string { return "orders" })
	for i := range 40 {
		entry(1, func(int) string { return fmt.Sprint("single", i) })
	}
	x := live(t, w, l)
	x.idle(t, l)
	if got := w.arrived("a"); len(got) != want { // take checks the sizes
		t.Errorf("%d records, want %d", len(got), want)
	}
	for _, a := range w.workflows["a"].arrivals {
		n := 0
		for _, s := range a.Segments {
			n += s.Records
		}
		if n > maxIntentRecords {
			t.Errorf("an Arrival of %d records", n)
		}
	}
}

// Pieces hold what one intent may: by records, by bytes, by streams.
func TestPieces(t *testing.T) {
	t.Parallel()
	big := make([]byte, 5<<20)
	for _, c := range []struct {
		what string
		of   func(i int) connectors.Record
		n    int
		want []int
	}{
		{"few", func(int) connectors.Record { return connectors.Record{Stream: "s"} }, 3, []int{3}},
		{"none", nil, 0, nil},
		{"records", func(int) connectors.Record { return connectors.Record{Stream: "s"} }, 10_001, []int{10_000, 1}},
		{"bytes", func(int) connectors.Record { return connectors.Record{Stream: "s", Data: big} }, 7, []int{3, 3, 1}},
		{"streams", func(i int) connectors.Record { return connectors.Record{Stream: fmt.Sprint(i)} }, 70, []int{32, 32, 6}},
		{"one too large", func(int) connectors.Record { return connectors.Record{Stream: "s", Data: make([]byte, 20<<20)} }, 2, []int{1, 1}},
	} {
		var records []connectors.Record
		for i := range c.n {
			records = append(records, c.of(i))
		}
		var got []int
		for some := range pieces(records) {
			got = append(got, len(some))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: pieces of %v, want %v", c.what, got, c.want)
		}
	}
}
