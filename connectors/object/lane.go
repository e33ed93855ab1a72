package object

import (
	"context"
	"errors"
	"io"
	"maps"
	"strconv"
	"strings"
	"sync"

	"gocloud.dev/blob"

	"tributary/connectors"
)

// How a record takes effect once (I3), without a transaction over several objects.
//
// An object that begins at ordinal o and ends at e, which its metadata say, holds all records that its lane has for its folder from o up to,
// not including, e. It is named by o and made only if there is no object of that name. So:
//
//   - Attempts at the same records begin at the same record, meet at the same name, and one wins, whichever range each was given. The
//     others skip what the winner holds and go on behind it.
//   - An attempt whose records begin inside an object, because a batch was halved after it had been written and its answer was lost, finds that
//     object as the last one that begins at or before its own first record.
//   - A late attempt at a whole batch whose halves were written meets the first half's name in each folder, and behind its end the
//     second half's. That is why an object is named by its folder's first record and not by the batch's first ordinal: a half that has nothing
//     for a folder would leave the name free there.
//
// It needs the batch to hold the same records for an ordinal whenever it comes, and the lane to move on only when its records are durable;
// both are the engine's promise.

// metadata of an object.
const (
	metaFirst   = "tributary-first"
	metaNext    = "tributary-next"
	metaRecords = "tributary-records"
)

// settle makes a portion's records durable and returns up to which ordinal its folder is known to be settled.
func (d *destination) settle(ctx context.Context, p *portion, known map[string]int64) (int64, error) {
	covered, ok := known[p.folder]
	if !ok {
		var err error
		if covered, err = d.covered(ctx, p); err != nil {
			return 0, err
		}
	}
	rest := *p
	for {
		for len(rest.records) > 0 && rest.ordinal(0) < covered {
			rest.records = rest.records[1:]
		}
		if len(rest.records) == 0 {
			return covered, nil
		}
		key := series(p.folder, p.batch) + numbered(rest.ordinal(0)) + d.format.ending
		object, end := rest.object(d.dialect)
		exists, err := d.put(ctx, key, object, end)
		if err != nil {
			return 0, err
		}
		if exists {
			if end, err = d.end(ctx, key); err != nil {
				return 0, err
			}
			if end <= rest.ordinal(0) {
				return 0, foreign(key)
			}
		}
		covered = end
	}
}

// covered returns the end of the last object that begins at or before the portion's first record, 0 if there is none. It looks near the
// record first, because a listing can't go backwards and a folder may hold a year's objects: each further look begins 16 times as far back,
// and finds at most what lies between its beginning and the one before it.
func (d *destination) covered(ctx context.Context, p *portion) (int64, error) {
	first := p.ordinal(0)
	prefix := series(p.folder, p.batch)
	for back := int64(1_000); ; back *= 16 {
		from := first - back
		last, err := d.last(ctx, prefix, max(from, 0), first)
		if err != nil {
			return 0, err
		}
		if last != "" {
			return d.end(ctx, last)
		}
		if from <= 0 {
			return 0, nil
		}
	}
}

// last returns the name of the last object that begins from one ordinal to another, "" if there is none.
func (d *destination) last(ctx context.Context, prefix string, from, to int64) (string, error) {
	found := ""
	objects := d.bucket.List(&blob.ListOptions{Prefix: prefix, BeforeList: d.account.listAfter(prefix + numbered(from))})
	for {
		o, err := objects.Next(ctx)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return "", d.account.failed(listing, d.name, err)
		}
		digits, _, _ := strings.Cut(strings.TrimPrefix(o.Key, prefix), ".")
		ordinal, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || len(digits) != ordinalDigits {
			continue // somebody else's
		}
		if ordinal > to {
			return found, nil
		}
		found = o.Key
	}
}

// end reads up to which ordinal an object holds its folder's records.
func (d *destination) end(ctx context.Context, key string) (int64, error) {
	a, err := d.bucket.Attributes(ctx, key)
	if err != nil {
		e := d.account.failed(looking, d.name, err)
		if e.Kind == connectors.NotFound {
			e.Kind, e.Message = connectors.Unavailable, "an object vanished while it was looked at"
		}
		return 0, e
	}
	end, err := strconv.ParseInt(a.Metadata[metaNext], 10, 64)
	if err != nil {
		return 0, foreign(key)
	}
	return end, nil
}

func foreign(key string) error {
	return connectors.Errorf(connectors.Invalid, looking.op,
		"object %q has none of the metadata it was written with (%s), so nobody knows which records it holds: restore it, or move it out of the folder to have it written again", key, metaNext)
}

// lanes remembers where the lanes of this process are, so that it need not list what it wrote itself. The zero lanes knows nothing.
type lanes struct {
	mu sync.Mutex
	at map[lane]position
}

type lane struct{ epoch, name string }

// position is how far a lane has come, and the end of the last object in each folder that was looked at or written on the way here.
type position struct {
	next int64
	ends map[string]int64
}

const (
	maxLanes   = 4096
	maxFolders = 256
)

// known returns the ends in the folders where nothing can lie ahead that this process doesn't know of: only when the batch follows
// the one that was settled last. A folder that isn't in it may hold anything.
func (l *lanes) known(b *connectors.Batch) map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.at[lane{b.Epoch, b.Lane}]
	if !ok || p.next != b.First {
		return nil
	}
	return p.ends
}

// moved notes that a batch is settled, which began with what was known.
func (l *lanes) moved(b *connectors.Batch, known, ends map[string]int64) {
	merged := maps.Clone(ends)
	if len(known) < maxFolders {
		for folder, end := range known {
			merged[folder] = max(end, merged[folder])
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil || len(l.at) >= maxLanes {
		l.at = make(map[lane]position)
	}
	l.at[lane{b.Epoch, b.Lane}] = position{b.Next, merged}
}
