package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tributary/connectors"
	"tributary/connectors/builtin"
)

// fault is what an unruly destination does with a batch.
type fault string

const (
	fullBefore fault = "full-before" // too_large before anything is written
	fullAmid   fault = "full-amid"   // too_large after half is written
	fullAfter  fault = "full-after"  // too_large after all is written
	lost       fault = "lost"        // all is written and nobody hears of it
	overlap    fault = "overlap"     // the attempt is given up, and goes on when the second has begun
	belated    fault = "belated"     // the attempt is given up, and goes on when what follows the second has ended
)

var faults = []fault{fullBefore, fullAmid, fullAfter, lost, overlap, belated}

// unruly are the destinations of the build, all of them, each behind something that fails in every way in which a write can. They have the
// names of their connectors with a word before.
func unruly(seed uint64) (all []connectors.Definition) {
	registry, _, err := builtin.New()
	if err != nil {
		panic(err)
	}
	for i, name := range registry.Names() {
		d, _ := registry.Lookup(name)
		if d.OpenDestination == nil {
			continue
		}
		moods := &moods{connector: name, rng: rand.New(rand.NewPCG(seed, uint64(1000+i)))}
		open := d.OpenDestination
		d = connectors.Definition{Name: unrulyName(name), Settings: d.Settings, Connection: d.Connection, Modes: d.Modes, Layouts: d.Layouts}
		d.OpenDestination = func(c connectors.Config) (connectors.Destination, error) {
			inner, err := open(c)
			if err != nil {
				return nil, err
			}
			return &rebel{Destination: inner, moods: moods, dir: c.Env.Dir, late: make(map[string]*attempt), gone: make(chan struct{})}, nil
		}
		all = append(all, d)
	}
	return all
}

func unrulyName(connector string) string { return "unruly-" + connector }

// rebel is an unruly destination.
type rebel struct {
	connectors.Destination
	moods *moods
	dir   string
	gone  chan struct{} // closed by Close

	mu   sync.Mutex
	late map[string]*attempt // by lane
}

// attempt is the first at a batch, given up before it has written anything.
type attempt struct {
	next           int64
	meets, over    bool          // the second, and what follows it, has begun
	second, behind chan struct{} // closed when the second has begun, and when what follows it has ended
}

var _ connectors.Checker = (*rebel)(nil)

func (d *rebel) Check(ctx context.Context) error {
	return d.Destination.(connectors.Checker).Check(ctx)
}

func (d *rebel) Close() error {
	close(d.gone)
	return d.Destination.Close()
}

func (d *rebel) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	n := len(b.Records)
	haunted, over := d.meet(b)
	defer over()
	f := d.moods.next(d.dir, slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
		switch f {
		case overlap, belated:
			return haunted
		case fullBefore, fullAfter:
			return n < 2
		case fullAmid:
			return n < 3 // one that is left alone would be the one that is too large
		}
		return false
	}))
	if n == 0 || f == "" {
		return d.Destination.Write(ctx, b)
	}
	result := connectors.NewResult(n)
	var err error
	switch f {
	case overlap, belated:
		d.giveUp(b, f)
		return result, connectors.Errorf(connectors.Unavailable, "write", "nobody knows what became of it")
	case fullAmid:
		half := b
		half.Records, half.Next = b.Records[:n/2], b.Records[n/2].Ordinal
		var written connectors.Result
		written, err = d.Destination.Write(ctx, half)
		copy(result.Outcomes, written.Outcomes)
		result.Reasons = written.Reasons
	case fullAfter, lost:
		_, err = d.Destination.Write(ctx, b)
	}
	if err == nil {
		err = note(d.dir, d.moods.connector, f)
	}
	switch {
	case err != nil:
		return result, connectors.AsError("write", err)
	case f == lost:
		return result, connectors.Errorf(connectors.Unavailable, "write", "nobody knows what became of it")
	}
	return result, connectors.Errorf(connectors.TooLarge, "write", "%d records are more than fit", n)
}

// giveUp lets an attempt at a batch go on by itself when its second attempt is under way, or over.
func (d *rebel) giveUp(b connectors.Batch, f fault) {
	b.Records = slices.Clone(b.Records)
	for i := range b.Records {
		b.Records[i].Data = bytes.Clone(b.Records[i].Data)
	}
	first := &attempt{next: b.Next, second: make(chan struct{}), behind: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.late[b.Epoch+b.Lane] = first
	after := first.second
	if f == belated {
		after = first.behind
	}
	go func() {
		select {
		case <-after:
		case <-d.gone:
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, _ = d.Destination.Write(ctx, b)
		select {
		case <-d.gone:
		default:
			_ = note(d.dir, d.moods.connector, f)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.late, b.Epoch+b.Lane)
	}()
}

// meet tells whether an attempt at the batch was given up and is not over. over is to be called when this one is.
func (d *rebel) meet(b connectors.Batch) (haunted bool, over func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.late[b.Epoch+b.Lane]
	if first == nil {
		return false, func() {}
	}
	switch {
	case !first.meets && b.First < first.next:
		first.meets = true
		close(first.second)
	case first.meets && !first.over && b.First >= first.next:
		first.over = true
		return true, func() { close(first.behind) }
	}
	return true, func() {}
}

// moods are those of the destinations of a connector.
type moods struct {
	connector string
	mu        sync.Mutex
	rng       *rand.Rand
}

// next is a fault of those that can be, one that was there least often, or none.
func (m *moods) next(dir string, can []fault) fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rng.Shuffle(len(can), func(i, j int) { can[i], can[j] = can[j], can[i] })
	f := slices.MinFunc(can, func(a, b fault) int { return times(dir, m.connector, a) - times(dir, m.connector, b) })
	calm := 4 // to 1 that nothing happens
	if times(dir, m.connector, f) == 0 {
		calm = 1
	}
	if m.rng.IntN(1+calm) != 0 {
		return ""
	}
	return f
}

func noteFile(dir, connector string, f fault) string {
	return filepath.Join(dir, "faults", fmt.Sprintf("%s.%s", connector, f))
}

// note writes down, in the engine's directory, that there was a fault.
func note(dir, connector string, f fault) error {
	name := noteFile(dir, connector, f)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(".")
	return err
}

// times is how often there was a fault.
func times(dir, connector string, f fault) int {
	info, err := os.Stat(noteFile(dir, connector, f))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	return int(info.Size())
}

// unseen are the faults that a connector has not had.
func unseen(dir, connector string) []fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return times(dir, connector, f) > 0 })
}
