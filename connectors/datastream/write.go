package datastream

import (
	"cmp"
	"context"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"tributary/connectors"
)

// failuresInARow without one success end a Write: an endpoint that only fails is not asked for each of 50,000 keys.
const failuresInARow = 8

// Write posts the batch's records: those of one key one after the other, in their order, and keys side by side.
//
// A key whose record is not delivered gets no later one in this Write; other keys go on. A record that the endpoint refuses is
// rejected and its key goes on. A kind that stops the lane, a rate limit, a Retry-After or a run of failures ends the Write:
// what is under way ends, and nothing more is sent. Of several errors the weightiest is returned.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	d.gate.RLock()
	defer d.gate.RUnlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.closed, cancel)()

	w := &writing{
		destination: d,
		batch:       &b,
		result:      connectors.NewResult(len(b.Records)),
		queues:      d.queues(b.Records),
	}
	var senders sync.WaitGroup
	for range min(d.settings.Concurrency, len(w.queues)) {
		senders.Go(func() { w.drain(ctx) })
	}
	senders.Wait()

	if w.err != nil { // and not w.err itself, which would be an error that holds nil
		return w.result, w.err
	}
	return w.result, nil
}

// queues puts the records, by their index, into queues that may be sent side by side: one a key, and one for each record
// without a key. For arrays there are as many queues as POSTs at once, and a key always goes to the same one, whatever else
// the batch holds: a Write that comes again makes the same arrays of what is left.
func (d *destination) queues(records []connectors.Record) [][]int {
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
		case d.settings.Array:
			h := fnv.New32a()
			io.WriteString(h, r.Stream+"\x00"+cmp.Or(r.Key, r.ID))
			n = name{number: int(h.Sum32() % uint32(d.settings.Concurrency))}
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

// cut takes from the head of a queue what goes with one POST: a record, or an array of records that have stream and Op, which
// headers tell, in common.
func (d *destination) cut(records []connectors.Record, queue []int) (group, rest []int) {
	n, bytes := 1, len(records[queue[0]].Data)
	for d.settings.Array && n < min(len(queue), d.settings.ArrayMax.Records) {
		first, next := &records[queue[0]], &records[queue[n]]
		bytes += len(next.Data)
		if next.Stream != first.Stream || next.Op != first.Op || bytes > d.settings.ArrayMax.Bytes {
			break
		}
		n++
	}
	return queue[:n], queue[n:]
}

// writing is a Write under way.
type writing struct {
	destination *destination
	batch       *connectors.Batch

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
			group, queue = w.destination.cut(w.batch.Records, queue)
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

// send posts a group and says whether its queue goes on. An array that is refused is sent again in halves, until what remains
// is the record that is not accepted.
func (w *writing) send(ctx context.Context, group []int) bool {
	if w.over() {
		return false
	}
	v := w.destination.post(ctx, w.batch, group)
	switch {
	case v.refused && len(group) > 1:
		half := len(group) / 2
		return w.send(ctx, group[:half]) && w.send(ctx, group[half:])
	case v.err == nil, v.refused:
		w.settle(group, v.err)
		return true
	}
	w.fail(v.err)
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

func (w *writing) fail(err *connectors.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures++
	w.ended = w.ended || err.Kind.Stops() || err.Kind == connectors.RateLimited || err.Wait > 0 || w.failures >= failuresInARow
	if w.err == nil || compare(err, w.err) > 0 {
		w.err = err
	}
}

// weights orders the kinds of what may go wrong with a POST: what somebody must see to comes before what passes by itself.
var weights = []connectors.Kind{connectors.Unknown, connectors.Unavailable, connectors.RateLimited,
	connectors.Invalid, connectors.NotFound, connectors.Forbidden, connectors.Gone}

func compare(a, b *connectors.Error) int {
	return cmp.Or(cmp.Compare(slices.Index(weights, a.Kind), slices.Index(weights, b.Kind)), cmp.Compare(a.Wait, b.Wait))
}
