package receiver

import "context"

// queue is what waits for one epoch. All of it is guarded by Forwarder.mu, except that the sealer alone takes off the
// front of waiting, so that it may read what it saw there without the lock.
type queue struct {
	epoch, installation string

	waiting      []entry // read and not sealed
	waitingBytes int64
	// unsettled is an intent that could not be written to the journal, and is written again before anything is sealed: a
	// journal that is full for an hour must not fill the segment store. It covers the first unsettledEntries of waiting.
	unsettled        *intent
	unsettledEntries int
	intents          []*intent // in the order of From; the first is sent

	queued  bool // in Forwarder.ready
	sending bool // its turn is being worked on
	sealing bool // something is being sealed or written as an intent
	resting bool // waits before its next turn, because one failed
	// gathering: it waits before its next turn, so that the next signal brings more.
	gathering bool
	// failures counts turns that failed one after the other.
	failures int
}

// entry is a records entry with its place in the journal.
type entry struct {
	recordsHeader
	index  uint64
	offset int64
}

// wants reports whether the queue has something that a turn can do.
func (q *queue) wants() bool {
	return !q.sending && !q.resting && !q.gathering && (len(q.intents) > 0 || len(q.waiting) > 0 && !q.sealing)
}

// queue finds or makes the queue of an epoch. f.mu is held.
func (f *Forwarder) queue(epoch, installation string) *queue {
	q := f.queues[epoch]
	if q == nil {
		q = &queue{epoch: epoch, installation: installation}
		f.queues[epoch] = q
	}
	return q
}

// enqueue gives q a turn after all that are ready already. f.mu is held.
func (f *Forwarder) enqueue(q *queue) {
	if !q.queued && q.wants() {
		q.queued = true
		f.ready = append(f.ready, q)
	}
}

// forget drops a queue that has nothing more. f.mu is held.
func (f *Forwarder) forget(q *queue) {
	if len(q.waiting) == 0 && len(q.intents) == 0 && !q.sending && !q.sealing && !q.queued && !q.resting && !q.gathering {
		delete(f.queues, q.epoch)
	}
}

// parkLargest starts to park the queue that takes the most memory; false = nothing could be started. f.mu is held.
func (f *Forwarder) parkLargest(ctx context.Context) bool {
	var largest *queue
	for _, q := range f.queues {
		if len(q.waiting) > 0 && !q.sealing && (largest == nil || q.waitingBytes > largest.waitingBytes) {
			largest = q
		}
	}
	return largest != nil && f.park(ctx, largest)
}

// park seals what waits for an epoch outside its turns, so that it takes neither memory nor holds the journal's tail. It
// reports whether that was started. f.mu is held.
func (f *Forwarder) park(ctx context.Context, q *queue) bool {
	if q.sealing || f.parking >= maxParking || ctx.Err() != nil {
		return false
	}
	q.sealing = true
	f.parking++
	f.work.Go(func() {
		err := f.seal(ctx, q)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.parking--
		if err != nil && ctx.Err() == nil && !q.resting && !q.sending {
			f.rest(ctx, q, err)
		}
		f.enqueue(q)
		f.forget(q)
		f.dispatch(ctx)
		if err == nil {
			f.broadcast() // else the next sweep does: a store that is down must not be asked in a loop
		}
	})
	return true
}
