// Package delivery brings the records of a batch to where they go one by one or in groups, by requests that each succeed or
// fail on their own: those of one key one after the other, in their order, and keys side by side.
package delivery

import (
	"cmp"
	"context"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"

	"tributary/connectors"
)

// FailuresInARow without one success end a Write: an endpoint that only fails is not asked for each of 50,000 keys.
const FailuresInARow = 8

// Plan says how a batch is cut into requests.
type Plan struct {
	// Concurrency is how many requests run at once.
	Concurrency int
	// Records and Bytes bound a group; a larger single record goes alone. Records below 2: each record goes alone.
	Records, Bytes int
	// Size is what a record takes of Bytes; nil: what its payload has.
	Size func(r *connectors.Record) int
	// ByKey says that a group holds records of one key only, or such as have none.
	ByKey bool
	// Together says whether two records may share a request; nil: any may.
	Together func(a, b *connectors.Record) bool
	// Send makes one request with the records of the batch that group names by their index, in order.
	Send func(ctx context.Context, group []int) Verdict
}

// Verdict is what a request came to: no Err means that the other side has all of it for good.
type Verdict struct {
	Err *connectors.Error
	// Refused says that the other side refuses this content, for ever, and that other content may pass. Err has the reason.
	Refused bool
	// Each says it of each record of the group, in order, where the other side answers so. Then only the failed ones come again.
	Each []Verdict
}

// Write sends the batch's records.
//
// A key whose record is not delivered gets no later one in this Write; other keys go on. A record that the endpoint refuses is
// rejected and its key goes on; of a refused group the halves are sent until the record is found. A kind that stops the lane, a rate limit, a
// Retry-After or a run of failures ends the Write: what is under way ends, and nothing more is sent. Of several errors the
// weightiest is returned.
func Write(ctx context.Context, b *connectors.Batch, p Plan) (connectors.Result, error) {
	w := &writing{Plan: p, batch: b, result: connectors.NewResult(len(b.Records)), queues: p.queues(b.Records)}
	var senders sync.WaitGroup
	for range min(p.Concurrency, len(w.queues)) {
		senders.Go(func() { w.drain(ctx) })
	}
	senders.Wait()

	if w.err != nil { // and not w.err itself, which would be an error that holds nil
		return w.result, w.err
	}
	return w.result, nil
}

func (p *Plan) groups() bool { return p.Records > 1 }

// queues puts the records, by their index, into queues that may be sent side by side: one a key, and one for each record
// without a key. For groups of several keys there are as many queues as requests at once, and a key always goes to the same one,
// whatever else the batch holds: a Write that comes again makes the same groups of what is left.
func (p *Plan) queues(records []connectors.Record) [][]int {
	type name struct {
		stream, key string
		number      int
	}
	var queues [][]int
	index := make(map[name]int)
	for i := range records {
		r := &records[i]
		n := name{stream: r.Stream, key: r.Key}
		switch {
		case p.groups() && !(p.ByKey && r.Key != ""):
			h := fnv.New32a()
			io.WriteString(h, r.Stream+"\x00"+cmp.Or(r.Key, r.ID))
			n = name{number: int(h.Sum32() % uint32(p.Concurrency))}
		case r.Key == "":
			n = name{number: 1 + i}
		}
		at, known := index[n]
		if !known {
			at = len(queues)
			index[n] = at
			queues = append(queues, nil)
		}
		queues[at] = append(queues[at], i)
	}
	return queues
}

// cut takes from the head of a queue what goes with one request.
func (p *Plan) cut(records []connectors.Record, queue []int) (group, rest []int) {
	n, bytes := 1, p.size(&records[queue[0]])
	for n < min(len(queue), p.Records) {
		first, next := &records[queue[0]], &records[queue[n]]
		bytes += p.size(next)
		if bytes > p.Bytes || p.Together != nil && !p.Together(first, next) {
			break
		}
		n++
	}
	return queue[:n], queue[n:]
}

func (p *Plan) size(r *connectors.Record) int {
	if p.Size == nil {
		return len(r.Data)
	}
	return p.Size(r)
}

// writing is a Write under way.
type writing struct {
	Plan
	batch *connectors.Batch

	mu       sync.Mutex
	queues   [][]int // not begun
	result   connectors.Result
	err      *connectors.Error
	failures int // since the last success
	ended    bool
}

// drain sends queue after queue; each sender runs one.
func (w *writing) drain(ctx context.Context) {
	for {
		queue := w.next()
		if queue == nil {
			return
		}
		for sent := true; sent && len(queue) > 0; {
			var group []int
			group, queue = w.cut(w.batch.Records, queue)
			sent = w.send(ctx, group)
		}
	}
}

// next takes a queue: the oldest, but a random one after a failure, so that a run of failures speaks of the endpoint and not
// of a few neighbouring keys, and such keys never keep the others from their turn.
func (w *writing) next() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || len(w.queues) == 0 {
		return nil
	}
	if w.failures > 0 {
		i := rand.IntN(len(w.queues))
		w.queues[0], w.queues[i] = w.queues[i], w.queues[0]
	}
	queue := w.queues[0]
	w.queues = w.queues[1:]
	return queue
}

// send sends a group and says whether its queue goes on.
func (w *writing) send(ctx context.Context, group []int) bool {
	if w.over() {
		return false
	}
	v := w.Send(ctx, group)
	switch {
	case v.Each != nil:
		return w.settleEach(group, v.Each)
	case v.Refused && len(group) > 1:
		half := len(group) / 2
		return w.send(ctx, group[:half]) && w.send(ctx, group[half:])
	case v.Err == nil, v.Refused:
		w.settle(group, v.Err)
		return true
	}
	w.fail(v.Err)
	return false
}

func (w *writing) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

// settle notes that the endpoint has the group, or that it refuses it.
func (w *writing) settle(group []int, refusal *connectors.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = 0
	for _, i := range group {
		if refusal != nil {
			w.result.Reject(i, refusal.Message)
		} else {
			w.result.Durable(i, i+1)
		}
	}
}

// settleEach settles each record of a group by itself and says whether all are settled.
func (w *writing) settleEach(group []int, each []Verdict) bool {
	var failed *connectors.Error
	for n, v := range each {
		if v.Err == nil || v.Refused {
			w.settle(group[n:n+1], v.Err)
		} else {
			failed = connectors.Weightier(failed, v.Err)
		}
	}
	if failed != nil {
		w.fail(failed)
	}
	return failed == nil
}

func (w *writing) fail(err *connectors.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures++
	w.ended = w.ended || err.Kind.Stops() || err.Kind == connectors.RateLimited || err.Wait > 0 || w.failures >= FailuresInARow
	w.err = connectors.Weightier(w.err, err)
}
