package delivery_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/delivery"
)

func batchOf(keys ...string) connectors.Batch {
	b := connectors.Batch{Installation: "shop/ada"}
	for i, key := range keys {
		b.Records = append(b.Records, connectors.Record{ID: fmt.Sprint(i), Stream: "orders", Key: key, Data: []byte("12345")})
	}
	return b
}

// sent runs a plan and returns the groups that were sent, in the order of their first record.
func sent(t *testing.T, b connectors.Batch, p delivery.Plan, answer func(group []int) delivery.Verdict) ([][]int, connectors.Result, error) {
	t.Helper()
	var mu sync.Mutex
	var groups [][]int
	p.Send = func(_ context.Context, group []int) delivery.Verdict {
		mu.Lock()
		defer mu.Unlock()
		groups = append(groups, slices.Clone(group))
		return answer(group)
	}
	r, err := delivery.Write(t.Context(), &b, p)
	slices.SortStableFunc(groups, func(a, b []int) int { return a[0] - b[0] })
	return groups, r, err
}

func taken([]int) delivery.Verdict { return delivery.Verdict{} }

// Groups are cut where a bound or the plan says so; a record beyond the bound goes alone.
func TestGroups(t *testing.T) {
	t.Parallel()
	b := batchOf("a", "b", "c", "d", "e", "f", "g")
	b.Records[4].Data = make([]byte, 100)
	b.Records[6].Op = connectors.Delete
	for name, c := range map[string]struct {
		plan delivery.Plan
		want [][]int
	}{
		"one by one":       {delivery.Plan{Concurrency: 1}, [][]int{{0}, {1}, {2}, {3}, {4}, {5}, {6}}},
		"bound of records": {delivery.Plan{Concurrency: 1, Records: 3, Bytes: 1000}, [][]int{{0, 1, 2}, {3, 4, 5}, {6}}},
		"bound of bytes":   {delivery.Plan{Concurrency: 1, Records: 9, Bytes: 11}, [][]int{{0, 1}, {2, 3}, {4}, {5, 6}}},
		"told apart": {delivery.Plan{Concurrency: 1, Records: 9, Bytes: 1000, Together: func(a, b *connectors.Record) bool { return a.Op == b.Op }},
			[][]int{{0, 1, 2, 3, 4, 5}, {6}}},
	} {
		groups, r, err := sent(t, b, c.plan, taken)
		if fmt.Sprint(groups) != fmt.Sprint(c.want) || err != nil || !slices.Equal(r.Outcomes, connectors.AllDurable(7).Outcomes) {
			t.Errorf("%s: groups %v, want %v; %v, %v", name, groups, c.want, r, err)
		}
	}
}

// With several queues a key always goes to the same one, and a batch of what is left is cut as before.
func TestGroupsOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprint("key-", i%9))
	}
	b := batchOf(keys...)
	p := delivery.Plan{Concurrency: 3, Records: 100, Bytes: 1000}
	whole, _, _ := sent(t, b, p, taken)
	queue := make(map[string]int)
	for n, group := range whole {
		for _, i := range group {
			if q, known := queue[keys[i]]; known && q != n {
				t.Errorf("%s is in two queues", keys[i])
			}
			queue[keys[i]] = n
		}
	}
	left := b
	left.Records = nil
	for _, i := range whole[1] {
		left.Records = append(left.Records, b.Records[i])
	}
	again, _, _ := sent(t, left, p, taken)
	if len(whole) != 3 || len(again) != 1 || delivery.ID(&left, again[0]) != delivery.ID(&b, whole[1]) {
		t.Errorf("%d groups, then %d of what is left", len(whole), len(again))
	}
}

// A key stops at its failure, others go on; a refusal is found and stops nobody; a stop ends everything.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const again, durable, rejected = connectors.Again, connectors.Durable, connectors.Rejected
	for name, c := range map[string]struct {
		verdict delivery.Verdict // of record 1
		want    []connectors.Outcome
	}{
		"failed":       {delivery.Verdict{Err: connectors.Errorf(connectors.Unavailable, "send", "down")}, []connectors.Outcome{durable, again, again, durable}},
		"refused":      {delivery.Verdict{Err: connectors.Errorf(connectors.Invalid, "send", "no"), Refused: true}, []connectors.Outcome{durable, rejected, durable, durable}},
		"stopped":      {delivery.Verdict{Err: connectors.Errorf(connectors.Forbidden, "send", "no")}, []connectors.Outcome{durable, again, again, again}},
		"told to wait": {delivery.Verdict{Err: &connectors.Error{Kind: connectors.Unavailable, Wait: time.Second}}, []connectors.Outcome{durable, again, again, again}},
	} {
		_, r, err := sent(t, batchOf("a", "b", "b", "c"), delivery.Plan{Concurrency: 1}, func(group []int) delivery.Verdict {
			if slices.Contains(group, 1) {
				return c.verdict
			}
			return delivery.Verdict{}
		})
		if !slices.Equal(r.Outcomes, c.want) || (err == nil) != (c.verdict.Refused) {
			t.Errorf("%s: %v and %v, want %v", name, r.Outcomes, err, c.want)
		}
	}
	// Of a refused group the halves are sent until the record is found.
	groups, r, err := sent(t, batchOf("a", "b", "c", "d"), delivery.Plan{Concurrency: 1, Records: 9, Bytes: 99}, func(group []int) delivery.Verdict {
		if slices.Contains(group, 2) {
			return delivery.Verdict{Err: connectors.Errorf(connectors.Invalid, "send", "no"), Refused: true}
		}
		return delivery.Verdict{}
	})
	if fmt.Sprint(groups) != "[[0 1 2 3] [0 1] [2 3] [2] [3]]" || fmt.Sprint(r.Reasons) != "map[2:no]" || err != nil {
		t.Errorf("%v, %v, %v", groups, r, err)
	}
}

// Each status of an answer has its kind, and only what says to come again has a wait.
func TestJudge(t *testing.T) {
	t.Parallel()
	advice := map[connectors.Kind]string{connectors.Forbidden: "ask for the right"}
	header := http.Header{"Retry-After": {"9"}}
	for status, want := range map[int]connectors.Kind{
		200: "", 204: "", 299: "", 301: connectors.Invalid, 400: connectors.Invalid, 401: connectors.Unauthorized, 402: connectors.Forbidden, 403: connectors.Forbidden,
		404: connectors.NotFound, 405: connectors.Invalid, 407: connectors.Unauthorized, 408: connectors.Unavailable, 409: connectors.Invalid, 410: connectors.Gone,
		413: connectors.Invalid, 421: connectors.Unavailable, 422: connectors.Invalid, 425: connectors.Unavailable, 429: connectors.RateLimited,
		431: connectors.Invalid, 451: connectors.Forbidden, 500: connectors.Unavailable, 599: connectors.Unavailable, 600: connectors.Unknown, 199: connectors.Unknown,
	} {
		v := delivery.Judge("send", status, header, time.Now(), advice)
		refused := slices.Contains([]int{400, 409, 413, 422, 431}, status)
		if v.Err == nil {
			if want != "" {
				t.Errorf("%d is fine, want %s", status, want)
			}
			continue
		}
		wait := time.Duration(0)
		if want == connectors.Unavailable || want == connectors.RateLimited {
			wait = 9 * time.Second
		}
		if v.Err.Kind != want || v.Refused != refused || v.Err.Wait != wait {
			t.Errorf("%d: %+v, want %s, refused %t, wait %v", status, v.Err, want, refused, wait)
		}
	}
	if v := delivery.Judge("send", 403, nil, time.Now(), advice); v.Err.Error() != "send: the endpoint answered 403 Forbidden: ask for the right" {
		t.Errorf("got %q", v.Err)
	}
}
