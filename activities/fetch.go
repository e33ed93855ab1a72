package activities

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/segment"
)

const (
	// A segment of a poll is sealed at this size, so that none is large to load and a killed worker repeats little.
	segmentBytes   = 16 << 20
	segmentRecords = 25_000
	// pageTimeout bounds one page: an app that hangs does not eat the whole chunk.
	pageTimeout = 60 * time.Second
)

// builders keeps the memory that segments are built in from one chunk to the next.
var builders = sync.Pool{New: func() any { return segment.NewBuilder() }}

// fetching is a chunk under way.
type fetching struct {
	meter
	in FetchInput

	cursor []byte
	// overlap are the records that may come again (I6); came are those that webhooks brought, extra those that no
	// webhook had brought when a poll found them.
	overlap, came, extra memory
	extraGrew            bool

	builder *segment.Builder
	// limit is the page size asked for; 0 = the source's own.
	limit int
	// unsealed is what was read since the last seal: it is progress only when it is sealed.
	unsealed tally
	// prepares says that the error with which the chunk ends is none: the app prepares the next page.
	prepares bool
	records  int
	bytes    int64

	mu  sync.Mutex // guards out, which the heartbeat reads
	out FetchOutput
}

// tally counts pages and what was left out of them; more is the last one's.
type tally struct {
	pages                int
	repeated, recognised int64
	more                 bool
}

// Fetch reads pages of a stream up to a budget and seals their records into segments. What is sealed is never lost: an
// error after progress returns the progress, and a killed attempt's heartbeat hands it to the next.
func (a *Activities) Fetch(ctx context.Context, in FetchInput) (FetchOutput, error) {
	f := &fetching{meter: meter{a: a, holder: in.Ledger + "/" + in.Stream}, in: in, builder: builders.Get().(*segment.Builder)}
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &f.out); err != nil {
			f.out = FetchOutput{}
		}
	}
	stop := pulse(ctx, func() any { return f.progress() })
	defer stop()
	err := f.run(ctx)
	if err == nil { // else a store that gave up may still read it
		f.builder.Reset()
		builders.Put(f.builder)
	}
	out := f.progress()
	out.Prepares = f.prepares && err != nil
	out.Failure = NewFailure("fetch "+in.Stream, err)
	return out, nil
}

// progress is what is sealed so far.
func (f *fetching) progress() FetchOutput {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.out
	out.Segments = append([]segment.Ref(nil), out.Segments...)
	return out
}

func (f *fetching) run(ctx context.Context) (err error) {
	if f.src, err = f.a.Blocks.Source(ctx, f.in.Integration, f.in.Revision, f.in.User); err != nil {
		return err
	}
	source, ok := f.src.Value.(connectors.Source)
	if !ok {
		return connectors.Errorf(connectors.Invalid, "", "%s can't be polled", f.src.Definition.Name)
	}
	if err := f.resume(ctx); err != nil {
		return err
	}
	defer func() {
		// What was read before an error is sealed too: coming again then starts after it.
		if serr := f.seal(ctx); serr != nil && err == nil {
			err = serr
		}
	}()
	until := time.Now().Add(f.in.Time)
	defer f.leaveSlot(ctx) // when the last page has come
	ctx, cancel := context.WithCancel(ctx)
	var next *asked // is being read while the page before it is taken and sealed
	defer func() {
		cancel()
		if next != nil {
			<-next.done
		}
	}()
	for next != nil || f.room(0, 0) && time.Now().Before(until) {
		if next == nil {
			next = f.ask(ctx, source)
		}
		<-next.done
		page, err := next.page, next.err
		next = nil
		if f.smaller(err) {
			continue
		}
		if err != nil {
			return err
		}
		f.cursor = page.Cursor
		var size int64
		for i := range page.Records {
			size += int64(len(page.Records[i].Data))
		}
		if page.More && page.Wait <= 0 && f.room(len(page.Records), size) && time.Now().Before(until) {
			next = f.ask(ctx, source)
		}
		f.take(page)
		// While the chunk's last page is read is the time to seal what came before it, rather than after it, when the app would wait.
		last := next != nil && !f.room(len(page.Records), size)
		if last || f.builder.Bytes() >= segmentBytes || f.builder.Len() >= segmentRecords {
			if err := f.seal(ctx); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
		if page.Wait > 0 {
			return f.prepared(ctx, page.Wait)
		}
	}
	return nil
}

// prepared ends the chunk because the app prepares the next page, when what was read is sealed. Asking again is for the workflow's timer:
// no activity stays open meanwhile. To a workflow of before it is a failure that passes, with a wait.
func (f *fetching) prepared(ctx context.Context, wait time.Duration) error {
	if err := f.seal(ctx); err != nil {
		return err
	}
	f.prepares = true
	return &connectors.Error{Kind: connectors.Unavailable, Message: "the app prepares the next page", Wait: wait}
}

// room reports whether the chunk may hold more after so many records and bytes besides those that it has.
func (f *fetching) room(records int, bytes int64) bool {
	return f.records+records < f.in.Records && f.bytes+bytes < f.in.Bytes
}

// asked is a page that is being read.
type asked struct {
	done chan struct{} // closed when the rest is there
	page connectors.Page
	err  error
}

// ask starts to read the page at the cursor. Until it is done, neither cursor nor limit may change.
func (f *fetching) ask(ctx context.Context, source connectors.Source) *asked {
	a := &asked{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		req := connectors.FetchRequest{Stream: f.in.Stream, Cursor: f.cursor, Since: f.in.Since, Limit: f.limit}
		pacer, _ := source.(connectors.Pacer)
		budget, err := f.budget(pacer, req)
		if err == nil {
			err = f.meter.take(ctx, budget)
		}
		if a.err = err; err == nil {
			a.page, a.err = f.page(ctx, source, req)
			f.settle(ctx, budget, a.page)
		}
	}()
	return a
}

// resume loads where to go on: where a killed attempt got to, or where the workflow says.
func (f *fetching) resume(ctx context.Context) (err error) {
	mark := f.in.Bookmark
	if f.out.Bookmark.Object != "" || f.out.Bookmark.Inline != nil {
		mark = f.out.Bookmark
		for _, ref := range f.out.Segments {
			f.records += ref.Records
			f.bytes += ref.Bytes
		}
	}
	if f.cursor, f.overlap, err = f.a.load(ctx, mark); err != nil {
		return err
	}
	if !f.in.Reconcile {
		return nil
	}
	name := f.in.Extra
	if f.out.Extra != "" {
		name = f.out.Extra
	}
	if f.extra, err = f.a.extras(ctx, name); err != nil {
		return err
	}
	f.came, err = f.a.cameByWebhook(ctx, f.in)
	return err
}

func (f *fetching) page(ctx context.Context, source connectors.Source, req connectors.FetchRequest) (page connectors.Page, err error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	defer block.Guard(f.src.Definition.Name, &err)
	page, err = source.Fetch(ctx, req)
	if err != nil {
		return page, err
	}
	if page.Cursor == nil {
		return page, connectors.Errorf(connectors.Invalid, "", "%s gave a page without a cursor", f.src.Definition.Name)
	}
	// While the app prepares a page, it is asked for the same one again and again; only records would then come again for ever.
	preparing := page.Wait > 0 && len(page.Records) == 0
	if page.More && !preparing && bytes.Equal(page.Cursor, f.cursor) {
		return page, connectors.Errorf(connectors.Invalid, "", "the app's cursor repeats: reading on would never end")
	}
	return page, nil
}

// smaller halves the page when the app calls it too large, down to one record. The next chunk begins with the source's own
// size again.
func (f *fetching) smaller(err error) bool {
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != connectors.TooLarge || f.limit == 1 {
		return false
	}
	if f.limit == 0 {
		f.limit = 2 * smallPage
	}
	f.limit = max(f.limit/2, 1)
	return true
}

// smallPage is tried first when the source's own page size is too large.
const smallPage = 64

// take adds a page's new records to the segment being built.
func (f *fetching) take(page connectors.Page) {
	now := f.a.Env.Time()
	recent := now.Add(-extraAge)
	// What has no time is remembered from when it came last: a source that reads everything each time brings it once more. The source's own time
	// of that is the better one: other workers' clocks go otherwise.
	last := now
	if !page.Seen.IsZero() {
		last = page.Seen
	}
	for i := range page.Records {
		r := &page.Records[i]
		r.Stream, r.ReceivedAt = f.in.Stream, now
		if r.ID == "" || len(r.ID) > connectors.MaxIDBytes {
			r.ID = connectors.RecordID(r.Stream, r.Key, r.Version, r.Data)
		}
		id := fingerprintOf(r.ID)
		if _, again := f.overlap[id]; again {
			if r.OccurredAt.IsZero() {
				f.overlap[id] = last.UnixMicro()
			}
			f.unsealed.repeated++
			continue
		}
		if !page.OverlapFrom.IsZero() && (r.OccurredAt.IsZero() || !r.OccurredAt.Before(page.OverlapFrom)) {
			at := r.OccurredAt
			if at.IsZero() {
				at = last
			}
			f.overlap[id] = at.UnixMicro()
		}
		if !page.Seen.IsZero() {
			// It may have been as it is now before: the change is that it is so again.
			r.ID = connectors.RecordID(r.Stream, r.Key, page.Seen.UnixMicro(), []byte(r.ID))
		}
		if f.in.Reconcile && r.Version != 0 && r.Key != "" {
			change := changeOf(r.Stream, r.Key, r.Version)
			if _, came := f.came[change]; came {
				f.unsealed.recognised++
				continue
			}
			if r.OccurredAt.IsZero() || r.OccurredAt.After(recent) {
				f.extra[change] = now.UnixMicro()
				f.extraGrew = true
			}
		}
		f.builder.Add(*r)
		f.records++
		f.bytes += int64(len(r.Data))
	}
	if !page.OverlapFrom.IsZero() {
		f.overlap.forget(page.OverlapFrom)
	}
	f.unsealed.pages++
	f.unsealed.more = page.More
}

// seal makes what was read durable, in the order: segment, bookmark. A bookmark never stands for records that are not sealed.
func (f *fetching) seal(ctx context.Context) error {
	if f.unsealed.pages == 0 {
		return nil
	}
	// An attempt that was told to stop still seals: what it has read is paid for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var refs []segment.Ref
	if f.builder.Len() > 0 {
		ref, err := f.a.Segments.Seal(ctx, segment.Name{
			Epoch: f.in.Epoch, Stream: f.in.Stream, Origin: Origin(PollOrigin, f.in.Suffix), Sequence: f.in.Chunk, Suffix: attempt(),
		}, f.builder)
		if err != nil {
			return storeError("seal", err)
		}
		refs = append(refs, ref)
	}
	mark, err := f.a.save(ctx, f.in, f.cursor, f.overlap)
	if err != nil {
		return err
	}
	extra := ""
	if f.extraGrew {
		if extra, err = f.a.saveExtras(ctx, f.in, f.extra); err != nil {
			return err
		}
		f.extraGrew = false
	}
	f.builder.Reset()
	read := f.unsealed
	f.unsealed = tally{}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Segments = append(f.out.Segments, refs...)
	f.out.Bookmark, f.out.More = mark, read.more
	f.out.Pages += read.pages
	f.out.Repeated += read.repeated
	f.out.Recognised += read.recognised
	if extra != "" {
		f.out.Extra = extra
	}
	return nil
}

func fingerprintOf(id string) fingerprint {
	h := sha256.Sum256([]byte(id))
	return fingerprint(h[:16])
}
