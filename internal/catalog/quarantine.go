package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tributary/connectors"
)

// QuarantineState is what became of a quarantined record. Values stand in the database: they are never renamed.
type QuarantineState string

const (
	Held         QuarantineState = "held"
	Redelivering QuarantineState = "redelivering"
	Redelivered  QuarantineState = "redelivered"
	Discarded    QuarantineState = "discarded"
)

// Quarantined says where a record is that a destination does not accept, and why. The payload stays in the segment.
type Quarantined struct {
	ID                        int64 // set by the catalog; grows
	Installation, Epoch, Lane string
	Stream, RecordID, Key     string
	Reason                    string
	Kind                      connectors.Kind
	Ordinal                   int64
	Segment                   string
	Index                     int   // in the segment
	Bytes                     int64 // of payload
	At                        time.Time
	State                     QuarantineState // "" = Held
}

// addRows is how many rows one transaction inserts, so that a batch doesn't keep other writers waiting for seconds.
const addRows = 2000

const quarantineColumns = `installation, epoch, lane, stream, record_id, record_key, reason, kind, segment, state, ordinal, position, bytes, added_at`

// AddQuarantined adds records (I4); after an error some may have been added, and all are to be added again. Epoch,
// lane, segment and index identify one: adding it again changes nothing, unless its ordinal is greater. Then it went
// through its lane again and was rejected again, and it is held anew, for the new reason. What is held already with the same
// ordinal and record ID stays as it is: an attempt that died after listing it was followed by one that refuses others beside it.
func (c *Catalog) AddQuarantined(ctx context.Context, records []Quarantined) error {
	records = latest(records)
	for chunk := range slices.Chunk(records, addRows) {
		if err := c.addChunk(ctx, chunk); err != nil {
			return fmt.Errorf("add %d records to quarantine: %w", len(records), err)
		}
	}
	return nil
}

// latest leaves one row per identity, the one with the greatest ordinal: a statement must not meet a row twice. The
// order keeps two callers from waiting for each other.
func latest(records []Quarantined) []Quarantined {
	identity := func(a, b Quarantined) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Index, b.Index))
	}
	sorted := slices.SortedStableFunc(slices.Values(records), func(a, b Quarantined) int {
		return cmp.Or(identity(a, b), cmp.Compare(b.Ordinal, a.Ordinal))
	})
	return slices.CompactFunc(sorted, func(a, b Quarantined) bool { return identity(a, b) == 0 })
}

func (c *Catalog) addChunk(ctx context.Context, chunk []Quarantined) error {
	rows := make([][]any, len(chunk))
	for i, q := range chunk {
		rows[i] = []any{q.Installation, q.Epoch, q.Lane, storable(q.Stream), storable(q.RecordID), storable(q.Key), storable(q.Reason),
			q.Kind, q.Segment, cmp.Or(q.State, Held), q.Ordinal, q.Index, q.Bytes, micros(q.At)}
	}
	text, err := marshal(rows)
	if err != nil {
		return err
	}
	_, err = c.change(ctx, `INSERT INTO quarantine (`+quarantineColumns+`) SELECT value->>0, value->>1, value->>2, value->>3, value->>4,
		value->>5, value->>6, value->>7, value->>8, value->>9, CAST(value->>10 AS BIGINT), CAST(value->>11 AS BIGINT),
		CAST(value->>12 AS BIGINT), CAST(value->>13 AS BIGINT) FROM `+c.dialect.each+`($1) WHERE NOT EXISTS (
			SELECT 1 FROM quarantine q WHERE q.epoch = value->>1 AND q.lane = value->>2 AND q.ordinal = CAST(value->>10 AS BIGINT)
			AND q.record_id = value->>4 AND q.state = 'held' AND (q.segment <> value->>8 OR q.position <> CAST(value->>11 AS BIGINT)))
		ON CONFLICT (epoch, lane, segment, position) DO UPDATE SET ordinal = excluded.ordinal, reason = excluded.reason,
		kind = excluded.kind, added_at = excluded.added_at, state = excluded.state WHERE excluded.ordinal > quarantine.ordinal`, text)
	return err
}

// storable takes out the one character that a database can't hold: it must not keep a record out of quarantine.
// What is no UTF-8 is replaced by the JSON encoder.
func storable(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }

// QuarantineFilter narrows Quarantined; what is zero leaves in all.
type QuarantineFilter struct {
	Installation, Epoch, Lane string
	State                     QuarantineState
	IDs                       []int64
	After                     int64 // IDs above it, for the next page
	Limit                     int   // 0 = 1,000
}

// Quarantined returns records in the order of their IDs.
func (c *Catalog) Quarantined(ctx context.Context, f QuarantineFilter) ([]Quarantined, error) {
	where, args := []string{"id > $1"}, []any{f.After}
	for _, equal := range []struct{ column, value string }{
		{"installation", f.Installation}, {"epoch", f.Epoch}, {"lane", f.Lane}, {"state", string(f.State)},
	} {
		if equal.value != "" {
			args = append(args, equal.value)
			where = append(where, fmt.Sprintf("%s = $%d", equal.column, len(args)))
		}
	}
	if len(f.IDs) > 0 {
		ids, err := marshal(f.IDs)
		if err != nil {
			return nil, fmt.Errorf("quarantine: %w", err)
		}
		args = append(args, ids)
		where = append(where, fmt.Sprintf("id IN (SELECT CAST(value AS BIGINT) FROM %s($%d))", c.dialect.each, len(args)))
	}
	args = append(args, cmp.Or(f.Limit, 1000))
	rows, err := c.read.QueryContext(ctx, fmt.Sprintf(`SELECT id, %s FROM quarantine WHERE %s ORDER BY id LIMIT $%d`,
		quarantineColumns, strings.Join(where, " AND "), len(args)), args...)
	all, err := collect(rows, err, scanQuarantined)
	if err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	return all, nil
}

// CountQuarantined counts what an epoch's lanes hold; a lane that holds nothing is not in the map.
func (c *Catalog) CountQuarantined(ctx context.Context, epoch string) (map[string]int64, error) {
	counts := make(map[string]int64)
	rows, err := c.read.QueryContext(ctx, `SELECT lane, count(*) FROM quarantine WHERE epoch = $1 AND state = 'held' GROUP BY lane`, epoch)
	_, err = collect(rows, err, func(r row) (struct{}, error) {
		var (
			lane  string
			count int64
		)
		err := r.Scan(&lane, &count)
		counts[lane] = count
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("count quarantine of epoch %s: %w", epoch, err)
	}
	return counts, nil
}

// SetQuarantineState moves records; unknown IDs are passed over.
func (c *Catalog) SetQuarantineState(ctx context.Context, ids []int64, s QuarantineState) error {
	list, err := marshal(ids)
	if err == nil && len(ids) > 0 {
		_, err = c.change(ctx, `UPDATE quarantine SET state = $1 WHERE id IN (SELECT CAST(value AS BIGINT) FROM `+c.dialect.each+`($2))`, string(s), list)
	}
	if err != nil {
		return fmt.Errorf("set quarantine state of %d records to %s: %w", len(ids), s, err)
	}
	return nil
}

func scanQuarantined(r row) (Quarantined, error) {
	var (
		q  Quarantined
		at int64
	)
	err := r.Scan(&q.ID, &q.Installation, &q.Epoch, &q.Lane, &q.Stream, &q.RecordID, &q.Key, &q.Reason, &q.Kind,
		&q.Segment, &q.State, &q.Ordinal, &q.Index, &q.Bytes, &at)
	q.At = fromMicros(at)
	return q, err
}
