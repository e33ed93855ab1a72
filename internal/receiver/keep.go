package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/url"
	"time"
	"unicode"
	"unicode/utf8"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/journal"
	"tributary/workflows"
)

// part is what a request brought for one installation.
type part struct {
	in      catalog.Installation
	records []connectors.Record
}

// keep writes all parts to the journal, all or none, and returns when they are durable (I2).
func (s *Server) keep(ctx context.Context, received time.Time, parts []part) *refusal {
	var entries [][]byte
	var records int
	for _, p := range parts {
		for some := range pieces(p.records) {
			b := make([]byte, 0, sizeOf(p.in.Epoch, p.in.ID, some)) // not reused: the journal keeps it
			entries = append(entries, appendRecords(b, p.in.Epoch, p.in.ID, received, some))
			records += len(some)
		}
	}
	if len(entries) == 0 {
		return nil
	}
	if s.cfg.Journal.Size() >= s.limits.JournalBytes {
		return refuseFull
	}
	_, err := s.cfg.Journal.AppendAll(ctx, entries)
	switch {
	case errors.Is(err, journal.ErrFull):
		return refuseFull.because(err)
	case errors.Is(err, journal.ErrTooLarge):
		return refuseTooLarge.because(err)
	case err != nil:
		return refuseJournal.because(err)
	}
	s.cfg.Metrics.records.Add(float64(records))
	return nil
}

// What one intent may hold, and so one entry, since an entry is never divided.
const (
	maxIntentRecords = 10_000
	maxIntentBytes   = 16 << 20
	// maxRefBytes is for the references alone, as JSON.
	maxRefBytes = workflows.MaxArrivalBytes - 512
)

// load adds up what an intent would hold.
type load struct {
	records int
	bytes   int64
	streams map[string]struct{}
	refs    int
}

// add counts r in and reports true, or reports false when the load would be too much. The first always fits.
func (l *load) add(r *connectors.Record) bool {
	refs := 0
	if _, has := l.streams[r.Stream]; !has {
		refs = refSize(r.Stream)
	}
	size := int64(len(r.Data) + len(r.ID) + len(r.Key))
	if l.records > 0 && (l.records >= maxIntentRecords || l.bytes+size > maxIntentBytes ||
		refs > 0 && (len(l.streams) >= workflows.MaxArrivalSegments || l.refs+refs > maxRefBytes)) {
		return false
	}
	if refs > 0 {
		if l.streams == nil {
			l.streams = map[string]struct{}{}
		}
		l.streams[r.Stream] = struct{}{}
	}
	l.records, l.bytes, l.refs = l.records+1, l.bytes+size, l.refs+refs
	return true
}

// addAll adds records that must stay together; false = they would be too much, and the load counts part of them.
func (l *load) addAll(records []connectors.Record) bool {
	for i := range records {
		if !l.add(&records[i]) {
			return false
		}
	}
	return true
}

// refSize is at least what a segment.Ref of the stream takes as JSON: epoch, journal and number are in its name.
func refSize(stream string) int {
	quoted, _ := json.Marshal(stream) // a string always encodes
	return 160 + len(url.PathEscape(stream)) + len(quoted)
}

// pieces divides records so that each piece fits one intent; nearly always there is one.
func pieces(records []connectors.Record) iter.Seq[[]connectors.Record] {
	return func(yield func([]connectors.Record) bool) {
		var l load
		from := 0
		for i := range records {
			if !l.add(&records[i]) {
				if !yield(records[from:i]) {
					return
				}
				l, from = load{}, i
				l.add(&records[i])
			}
		}
		if from < len(records) {
			yield(records[from:])
		}
	}
}

// isName reports whether s can stand in an index: short valid UTF-8 without control characters.
func isName(s string) bool {
	if len(s) > connectors.MaxIDBytes || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
