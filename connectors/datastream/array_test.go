package datastream

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"tributary/connectors"
)

// An array holds payloads byte for byte, of one stream and Op, within its bounds, in order.
func TestArraysHoldPayloadsUnchanged(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	b := batchOf("a", "b", "a", "c", "d", "e", "f")
	b.Records[0].Data = []byte(` {"price": 1.10, "price": 2E5 }` + "\n")
	b.Records[1].Op, b.Records[1].Data = connectors.Delete, nil
	b.Records[2].Op = connectors.Delete
	b.Records[3].Stream = "customers"
	b.Records[4].Stream = "customers"
	b.Records[5].Stream, b.Records[5].Data = "customers", []byte(`"`+strings.Repeat("x", 100)+`"`)
	b.Records[6].Stream = "customers"
	d := opened(t, e.URL, map[string]any{"array": true, "array_max": map[string]int{"bytes": 40}})
	result, err := d.Write(t.Context(), b)
	if err != nil || !slices.Equal(result.Outcomes, connectors.AllDurable(7).Outcomes) {
		t.Fatalf("%v, %v", result, err)
	}
	var bodies, types []string
	for _, p := range e.received() {
		bodies = append(bodies, string(p.body))
		types = append(types, p.header.Get("Ce-Type"))
		if p.header.Get("Ce-Id") != p.header.Get("Webhook-Id") || p.header.Get("Ce-Subject")+p.header.Get("Ce-Time") != "" {
			t.Errorf("headers of an array: %v", p.header)
		}
		if !json.Valid(p.body) {
			t.Errorf("not JSON: %s", p.body)
		}
	}
	want := []string{"[ {\"price\": 1.10, \"price\": 2E5 }\n]", `[null,{"n": 2}]`, `[{"n": 3},{"n": 4}]`, `["` + strings.Repeat("x", 100) + `"]`, `[{"n": 6}]`}
	if !slices.Equal(bodies, want) {
		t.Errorf("bodies %q, want %q", bodies, want)
	}
	if want := []string{"tributary.orders.upsert", "tributary.orders.delete", "tributary.customers.upsert", "tributary.customers.upsert", "tributary.customers.upsert"}; !slices.Equal(types, want) {
		t.Errorf("types %v, want %v", types, want)
	}
}

// One record of a hundred that the endpoint refuses is rejected; the others are delivered once, in order (I4).
func TestARefusedArrayIsHalvedDownToTheRecord(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 413, 422} {
		var taken []string
		e := listen(t, func(w http.ResponseWriter, p post) {
			if strings.Contains(string(p.body), `{"n": 37}`) {
				w.WriteHeader(status)
				return
			}
			taken = append(taken, string(p.body[1:len(p.body)-1]))
		})
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprint(i%7))
		}
		result, err := opened(t, e.URL, map[string]any{"array": true}).Write(t.Context(), batchOf(names...))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i, o := range result.Outcomes {
			if (o == rejected) != (i == 37) {
				t.Errorf("%d: record %d has outcome %v", status, i, o)
			}
			if i != 37 {
				want = append(want, fmt.Sprintf(`{"n": %d}`, i))
			}
		}
		if got := strings.Join(taken, ","); got != strings.Join(want, ",") {
			t.Errorf("%d: taken %s", status, got)
		}
		if n := len(e.received()); n > 15 {
			t.Errorf("%d: %d POSTs to find one record of a hundred", status, n)
		}
	}
}

// What is left after a failure is cut into the arrays that it was cut into before, so their webhook-ids are known.
func TestArraysThatComeAgainHaveTheSameIDs(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	lost := map[string]bool{}
	e := listen(t, func(w http.ResponseWriter, p post) {
		mu.Lock()
		defer mu.Unlock()
		if len(lost) < 3 && !lost[p.header.Get("Webhook-Id")] {
			lost[p.header.Get("Webhook-Id")] = true
			reset(w)
		}
	})
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprint("key-", i%13))
	}
	d := opened(t, e.URL, map[string]any{"array": true, "concurrency": 3, "array_max": map[string]int{"records": 7}})
	b := batchOf(names...)
	for len(b.Records) > 0 {
		result, _ := d.Write(t.Context(), b)
		b = left(b, result)
	}
	times := map[string]int{}
	for _, p := range e.received() {
		times[p.header.Get("Webhook-Id")]++
	}
	for id, n := range times {
		if want := map[bool]int{true: 2, false: 1}[lost[id]]; n != want {
			t.Errorf("%s came %d times, want %d", id, n, want)
		}
	}
	if len(lost) != 3 {
		t.Errorf("%d answers were lost", len(lost))
	}
}
