package receiver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
)

// Quarantine is what lists the records that are put aside.
type Quarantine interface {
	AddQuarantined(ctx context.Context, records []catalog.Quarantined) error
}

// held is a record that goes to quarantine.
type held struct {
	connectors.Record
	reason string
}

// quarantine seals records where the janitor keeps them and lists them. They are of no lane: no destination was to have them.
func quarantine(ctx context.Context, store Store, list Quarantine, installation string, kind connectors.Kind, name segment.Name, records []held) error {
	name.Origin = segment.OriginQuarantine
	b := segment.NewBuilder()
	for _, r := range records {
		b.Add(r.Record)
	}
	kept, err := store.Seal(ctx, name, b)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	rows := make([]catalog.Quarantined, len(records))
	for i, r := range records {
		rows[i] = catalog.Quarantined{
			Installation: installation, Epoch: name.Epoch, Stream: r.Stream, RecordID: r.ID, Key: r.Key,
			Reason: r.reason, Kind: kind, Segment: kept.Name, Index: i, Bytes: int64(len(r.Data)), At: now,
		}
	}
	return list.AddQuarantined(ctx, rows)
}

// maxUnusable is how many parts of one request go to quarantine. Where there are more, it is not the parts that can't be understood, but the request.
const maxUnusable = 1000

var errUnusable = errors.New("too many parts of it can't be understood")

// unusable is what can't be understood of a request, of one installation.
type unusable struct {
	installation, epoch string
	parts               []connectors.Unusable
}

// putAside puts what can't be understood into quarantine, and returns when it is durable (I2, I4). The segment's name follows from what is in it, so that
// a request which comes again lists nothing twice.
func (s *Server) putAside(ctx context.Context, all []unusable) *refusal {
	for _, u := range all {
		records := make([]held, len(u.parts))
		h := sha256.New()
		for i, p := range u.parts {
			r := connectors.Record{ID: connectors.RecordID("", "", 0, p.Data), Op: connectors.Upsert, Data: p.Data}
			records[i] = held{r, p.Reason}
			h.Write([]byte(r.ID))
		}
		name := segment.Name{Epoch: u.epoch, Suffix: hex.EncodeToString(h.Sum(nil)[:12])}
		if err := quarantine(ctx, s.cfg.Store, s.cfg.Catalog, u.installation, connectors.Invalid, name, records); err != nil {
			return refuseQuarantine.because(err)
		}
		s.cfg.Metrics.unusable.Add(float64(len(records)))
		if s.quiet.Allow() {
			s.log.Warn("put what can't be understood of a webhook into quarantine",
				"installation", u.installation, "records", len(records), "reason", u.parts[0].Reason)
		}
	}
	return nil
}
