package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
	"tributary/workflows"
)

// world is what stays when a forwarder dies: the segment store, the catalog, and workflows that keep marks exactly as
// Arrival says.
type world struct {
	t     testing.TB
	store *segment.Store

	mu            sync.Mutex
	workflows     map[string]*fakeWorkflow // by epoch
	installations map[string]catalog.Installation
	marks         map[string]map[string]uint64
	quarantined   []catalog.Quarantined
	catalogDown   error
	// fate decides what becomes of a signal: nil error = taken and answered; applied with an error = the answer is lost.
	fate func(ctx context.Context, a workflows.Arrival) (applied bool, err error)
}

type fakeWorkflow struct {
	marks    map[string]uint64
	arrivals []workflows.Arrival // accepted
	signals  int
	inFlight int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	store, err := segment.Open(context.Background(), "file://"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &world{t: t, store: store, workflows: map[string]*fakeWorkflow{}, installations: map[string]catalog.Installation{}, marks: map[string]map[string]uint64{}}
}

// run adds a running workflow.
func (w *world) run(epoch string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.workflows[epoch] = &fakeWorkflow{marks: map[string]uint64{}}
	w.installations[epoch] = catalog.Installation{ID: "i/" + epoch, Epoch: epoch, State: catalog.Active}
}

// end ends a workflow as an uninstall does.
func (w *world) end(epoch string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.workflows, epoch)
	in := w.installations[epoch]
	in.State = catalog.Ended
	w.installations[epoch] = in
}

func (w *world) set(change func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *world) Signal(ctx context.Context, installation string, a workflows.Arrival) error {
	w.mu.Lock()
	fate, wf := w.fate, w.workflows[a.Epoch]
	if wf != nil {
		if wf.inFlight++; wf.inFlight > 1 {
			w.t.Errorf("two signals at once to %s", a.Epoch)
		}
	}
	w.mu.Unlock()
	applied, err := true, error(nil)
	if fate != nil {
		applied, err = fate(ctx, a)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if wf != nil {
		wf.inFlight--
	}
	if wf = w.workflows[a.Epoch]; wf == nil {
		if err == nil {
			err = ErrEnded
		}
		return err
	}
	if applied {
		w.take(wf, installation, a)
	}
	return err
}

// take does what the workflow does with an Arrival; w.mu is held.
func (w *world) take(wf *fakeWorkflow, installation string, a workflows.Arrival) {
	parts := a.Parts()
	if b, err := json.Marshal(a); err != nil || len(b) > max(workflows.MaxArrivalBytes, workflows.MaxPartsBytes) || len(parts) > workflows.MaxArrivalParts {
		w.t.Errorf("an Arrival of %d bytes with %d parts: %v", len(b), len(parts), err)
	}
	if installation != "i/"+a.Epoch {
		w.t.Errorf("epoch %s signalled to %s", a.Epoch, installation)
	}
	wf.signals++
	for _, p := range parts {
		one := workflows.Arrival{Epoch: a.Epoch, Journal: a.Journal, From: p.From, To: p.To, Segments: p.Segments, At: a.At}
		if b, err := json.Marshal(one); err != nil || len(b) > workflows.MaxArrivalBytes || len(p.Segments) > workflows.MaxArrivalSegments {
			w.t.Errorf("a part of %d bytes with %d segments: %v", len(b), len(p.Segments), err)
		}
		mark := wf.marks[a.Journal]
		switch {
		case p.To <= mark:
		case p.From <= mark:
			w.t.Errorf("%s: range %d-%d overlaps in part what came up to %d", a.Epoch, p.From, p.To, mark)
		default:
			wf.marks[a.Journal] = p.To
			wf.arrivals = append(wf.arrivals, one)
		}
	}
}

func (w *world) InstallationByEpoch(_ context.Context, epoch string) (catalog.Installation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.catalogDown != nil {
		return catalog.Installation{}, w.catalogDown
	}
	in, ok := w.installations[epoch]
	if !ok {
		return in, catalog.ErrNotFound
	}
	return in, nil
}

func (w *world) Marks(_ context.Context, epoch string) (map[string]uint64, time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.marks[epoch], 0, w.catalogDown
}

func (w *world) AddQuarantined(_ context.Context, records []catalog.Quarantined) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.catalogDown != nil {
		return w.catalogDown
	}
	for _, r := range records {
		same := func(q catalog.Quarantined) bool {
			return q.Epoch == r.Epoch && q.Lane == r.Lane && q.Segment == r.Segment && q.Index == r.Index
		}
		if !slices.ContainsFunc(w.quarantined, same) {
			w.quarantined = append(w.quarantined, r)
		}
	}
	return nil
}

// arrived returns the IDs of an epoch's records in the order in which its workflow got them, stream by stream within an Arrival.
func (w *world) arrived(epoch string) []string {
	w.t.Helper()
	w.mu.Lock()
	wf := w.workflows[epoch]
	var arrivals []workflows.Arrival
	if wf != nil {
		arrivals = slices.Clone(wf.arrivals)
	}
	w.mu.Unlock()
	var ids []string
	for _, a := range arrivals {
		for _, ref := range a.Segments {
			s, err := w.store.Load(context.Background(), ref.Name)
			if err != nil {
				w.t.Fatal(err)
			}
			if s.Len() != ref.Records {
				w.t.Errorf("%s holds %d records, its reference says %d", ref.Name, s.Len(), ref.Records)
			}
			for _, r := range s.Records() {
				if r.Stream != ref.Stream || string(r.Data) != payload(r.ID) {
					w.t.Errorf("record %s of stream %s came in %s as %q", r.ID, r.Stream, ref.Name, r.Data)
				}
				ids = append(ids, r.ID)
			}
		}
	}
	return ids
}

func payload(id string) string { return fmt.Sprintf(`{"id": %q}`, id) }

// write appends one entry of an epoch as the server does.
func write(t testing.TB, l Log, epoch string, ids ...string) {
	t.Helper()
	if _, err := l.Append(context.Background(), entryOf(epoch, ids...)); err != nil {
		t.Fatal(err)
	}
}

func entryOf(epoch string, ids ...string) []byte {
	var records []connectors.Record
	for i, id := range ids {
		records = append(records, connectors.Record{ID: id, Stream: streams[i%2], Op: connectors.Upsert, Data: []byte(payload(id))})
	}
	return appendRecords(nil, epoch, "i/"+epoch, time.Now(), records)
}

// life is one run of a forwarder.
type life struct {
	*Forwarder
	cancel context.CancelFunc
	done   chan error
}

// live starts a forwarder with short pauses.
func live(t testing.TB, w *world, l Log, configure ...func(*ForwarderConfig)) *life {
	t.Helper()
	cfg := ForwarderConfig{Journal: l, Store: w.store, Catalog: w, Signaler: w, Metrics: NewMetrics(),
		SignalTime: 5 * time.Second, MinRest: time.Millisecond, MaxRest: 4 * time.Millisecond, Sweep: 2 * time.Millisecond}
	for _, c := range configure {
		c(&cfg)
	}
	f, err := NewForwarder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &life{Forwarder: f, cancel: cancel, done: make(chan error, 1)}
	go func() { x.done <- f.Run(ctx) }()
	t.Cleanup(func() { cancel(); x.wait(t) })
	return x
}

// kill abandons the forwarder where it is.
func (x *life) kill(t testing.TB) {
	t.Helper()
	x.cancel()
	if err := x.wait(t); err != nil {
		t.Fatal(err)
	}
}

func (x *life) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-x.done:
		x.done <- err
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the forwarder did not stop")
		return nil
	}
}

// flush waits until all is handed over.
func (x *life) flush(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := x.Flush(ctx); err != nil {
		t.Fatal("flush: ", err)
	}
}

// idle waits until nothing is left to forward, and the journal is empty but for the forwarder's own notes.
func (x *life) idle(t testing.TB, l Log) {
	t.Helper()
	eventually(t, "everything is handed over", func() bool {
		first, next := l.Bounds()
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.queues) == 0 && x.next == next && first == next
	})
}

var errCrashed = errors.New("crashed")

// faulty stands between a forwarder and the world and dies at one operation: everything after it fails, as does that
// one although it was done.
type faulty struct {
	Log
	store  *segment.Store
	signal Signaler

	mu    sync.Mutex
	at    string // what to die after
	after int    // how many of them come before; below 0 = never
	dead  bool
	die   func()
}

func (d *faulty) alive() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errCrashed
	}
	return nil
}

// did reports the death after an operation.
func (d *faulty) did(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errCrashed
	}
	if d.at != what || d.after < 0 {
		return nil
	}
	if d.after--; d.after >= 0 {
		return nil
	}
	d.dead = true
	go d.die()
	return errCrashed
}

func (d *faulty) Append(ctx context.Context, b []byte) (uint64, error) {
	if err := d.alive(); err != nil {
		return 0, err
	}
	index, err := d.Log.Append(ctx, b)
	return index, errors.Join(err, d.did(fmt.Sprintf("append %d", b[0])))
}

func (d *faulty) AppendAll(ctx context.Context, b [][]byte) (uint64, error) {
	if err := d.alive(); err != nil {
		return 0, err
	}
	index, err := d.Log.AppendAll(ctx, b)
	return index, errors.Join(err, d.did("reappend"))
}

func (d *faulty) TruncateBefore(index uint64) error {
	if err := d.alive(); err != nil {
		return err
	}
	return errors.Join(d.Log.TruncateBefore(index), d.did("truncate"))
}

func (d *faulty) Seal(ctx context.Context, n segment.Name, b *segment.Builder) (segment.Ref, error) {
	if err := d.alive(); err != nil {
		return segment.Ref{}, err
	}
	ref, err := d.store.Seal(ctx, n, b)
	return ref, errors.Join(err, d.did("seal"))
}

func (d *faulty) Load(ctx context.Context, name string) (*segment.Segment, error) {
	return d.store.Load(ctx, name)
}

func (d *faulty) Signal(ctx context.Context, installation string, a workflows.Arrival) error {
	if err := d.alive(); err != nil {
		return err
	}
	err := d.signal.Signal(ctx, installation, a)
	return errors.Join(d.did("signal"), err)
}
