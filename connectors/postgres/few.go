package postgres

import (
	"time"

	"tributary/connectors/table"
)

// A few rows go as arrays in the statement itself, which spares the stage table, whose emptying costs more than they do, and half of the
// messages.
const (
	fewRows  = 250
	fewBytes = 256 << 10

	fromArrays = `unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::bigint[],
		$11::text[]::json[]) AS few (_stream, _id, _key, _op, _version, _version_seen, _occurred_at, _received_at, _ordinal, data)`
)

func few(rows []table.Row) bool {
	if len(rows) > fewRows {
		return false
	}
	bytes := 0
	for _, r := range rows {
		bytes += len(r.Data)
	}
	return bytes <= fewBytes
}

// arrays are the parameters of fromArrays: one array a column.
func arrays(rows []table.Row) []any {
	n := len(rows)
	var (
		streams, ids, keys, ops  = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		versions, seen, ordinals = make([]int64, n), make([]int64, n), make([]int64, n)
		occurred, received       = make([]*time.Time, n), make([]*time.Time, n)
		data                     = make([]*string, n)
	)
	for i, r := range rows {
		streams[i], ids[i], keys[i], ops[i] = r.Stream, r.ID, r.Key, string(r.Op)
		versions[i], seen[i], ordinals[i] = r.Version, r.Seen, r.Ordinal
		if t, ok := table.Time(r.OccurredAt); ok {
			occurred[i] = &t
		}
		if t, ok := table.Time(r.ReceivedAt); ok {
			received[i] = &t
		}
		if len(r.Data) > 0 {
			text := string(r.Data)
			data[i] = &text
		}
	}
	return []any{streams, ids, keys, ops, versions, seen, occurred, received, ordinals, data}
}
