package receiver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/connectors"
	"tributary/internal/segment"
	"tributary/workflows"
)

// maxSealing bounds how many of an intent's segments are written at once.
const maxSealing = 4

// seal turns what waits for an epoch, as much as one intent may hold, into segments and a durable intent. The caller has set
// q.sealing, which seal takes back; f.mu is not held.
func (f *Forwarder) seal(ctx context.Context, q *queue) error {
	start := time.Now()
	f.mu.Lock()
	waiting := q.waiting[:len(q.waiting):len(q.waiting)]
	it, covers := q.unsettled, q.unsettledEntries
	f.mu.Unlock()

	var err error
	if it == nil && len(waiting) > 0 {
		if it, covers, err = f.bind(ctx, q, waiting); err == nil {
			f.mu.Lock()
			q.unsettled, q.unsettledEntries = it, covers
			f.mu.Unlock()
		}
	}
	if err == nil && it != nil {
		err = f.settle(ctx, it)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	q.sealing = false
	if err != nil || it == nil {
		return err
	}
	for i := range waiting[:covers] {
		n := int64(len(waiting[i].body))
		q.waitingBytes -= n
		f.waiting -= n
	}
	q.waiting = append([]entry(nil), q.waiting[covers:]...) // lets go of the sealed entries' memory
	q.unsettled, q.unsettledEntries = nil, 0
	it.offset = f.offset
	f.push(q, it)
	f.broadcast()
	f.Metrics.sealTook.Observe(time.Since(start).Seconds())
	f.Metrics.sealed.Add(float64(len(it.Segments)))
	return nil
}

// push adds an intent after those that the queue has. f.mu is held.
func (f *Forwarder) push(q *queue, it *intent) {
	q.intents = append(q.intents, it)
	f.intents++
	f.pledged += it.size
}

// bind seals the longest run of entries that one intent may hold and returns the intent, which is not in the journal yet, and how many entries it
// covers.
func (f *Forwarder) bind(ctx context.Context, q *queue, waiting []entry) (*intent, int, error) {
	builders, streams, covers, err := pack(waiting)
	if err != nil {
		// The journal verified the bytes: a newer release wrote them, or this one is wrong. Going on would lose them.
		err = fmt.Errorf("journal entry %d: %w", waiting[covers].index, err)
		f.fail(err)
		return nil, 0, err
	}
	it := &intent{Installation: q.installation, Arrival: workflows.Arrival{
		Epoch: q.epoch, Journal: f.id, From: waiting[0].index, To: waiting[covers-1].index,
		Segments: make([]segment.Ref, len(streams)), At: time.Now().UTC(),
	}}
	// Random: what an earlier attempt or process sealed from here may hold other records, and a segment never changes (I12).
	var attempt [4]byte
	rand.Read(attempt[:])
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxSealing)
	for i, stream := range streams {
		g.Go(func() (err error) {
			name := segment.Name{Epoch: q.epoch, Stream: stream, Origin: f.id, Sequence: it.From, Suffix: hex.EncodeToString(attempt[:])}
			it.Segments[i], err = f.Store.Seal(ctx, name, builders[stream])
			return err
		})
	}
	return it, covers, g.Wait()
}

// pack distributes the records of the first entries, as many as one intent may hold, over one builder a stream; streams are in the order
// of their first record. After an error, covers is the entry that has it.
func pack(waiting []entry) (builders map[string]*segment.Builder, streams []string, covers int, err error) {
	builders = map[string]*segment.Builder{}
	var sum load
	var records []connectors.Record
	for covers = range waiting {
		if records, err = waiting[covers].decode(records[:0]); err != nil {
			return nil, nil, covers, err
		}
		if !sum.addAll(records) && covers > 0 {
			return builders, streams, covers, nil
		}
		for i := range records {
			b := builders[records[i].Stream]
			if b == nil {
				b = segment.NewBuilder()
				if len(streams) == 0 {
					b.Grow(sizeOfAll(waiting)) // mostly there is one stream
				}
				builders[records[i].Stream] = b
				streams = append(streams, records[i].Stream)
			}
			b.Add(records[i])
		}
	}
	return builders, streams, len(waiting), nil
}

// sizeOfAll is about what the payloads of one intent take, of those that wait.
func sizeOfAll(waiting []entry) int {
	n := 0
	for i := 0; i < len(waiting) && n < maxIntentBytes; i++ {
		n += len(waiting[i].body)
	}
	return min(n, maxIntentBytes)
}

// settle makes the intent durable.
func (f *Forwarder) settle(ctx context.Context, it *intent) error {
	b, err := encodeIntent(it)
	if err != nil {
		return err
	}
	it.size = int64(len(b))
	if it.index, err = f.Journal.Append(ctx, b); err != nil {
		return fmt.Errorf("write intent: %w", err)
	}
	return nil
}
