package postgres

import (
	"fmt"
	"strings"
	"time"

	"tributary/connectors/table"
)

// A few rows go as arrays in the statement itself, which spares the stage table, whose emptying costs more than they do, and half of the
// messages.
const (
	fewRows  = 250
	fewBytes = 256 << 10
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

// arrays are the rows as parameters, one array a column, and what makes rows of them. The installation is the parameter before.
func (g *stage) arrays(rows *table.Rows) (source string, arrays []any) {
	n := len(rows.List)
	var (
		streams, ids, keys, ops  = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		versions, seen, ordinals = make([]int64, n), make([]int64, n), make([]int64, n)
		occurred, received       = make([]*time.Time, n), make([]*time.Time, n)
		values                   = make([][]*string, len(g.columns))
	)
	for j := range values {
		values[j] = make([]*string, n)
	}
	row := make([]any, len(g.columns))
	for i, r := range rows.List {
		streams[i], ids[i], keys[i], ops[i] = r.Stream, r.ID, r.Key, string(r.Op)
		versions[i], seen[i], ordinals[i] = r.Version, r.Seen, r.Ordinal
		if t, ok := table.Time(r.OccurredAt); ok {
			occurred[i] = &t
		}
		if t, ok := table.Time(r.ReceivedAt); ok {
			received[i] = &t
		}
		rows.Values(i, row)
		for j, v := range row {
			values[j][i] = textOf(v)
		}
	}
	arrays = []any{streams, ids, keys, ops, versions, seen, occurred, received, ordinals}
	var from strings.Builder
	from.WriteString("unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::bigint[]")
	for j, c := range g.columns {
		arrays = append(arrays, values[j])
		fmt.Fprintf(&from, ", $%d::text[]::%s[]", len(arrays)+1, stagedType(c.Type))
	}
	return from.String() + ") AS few (" + strings.Join(g.names[1:], ", ") + ")", arrays
}

// textOf is a value of Rows.Values as PostgreSQL reads it.
func textOf(v any) *string {
	var text string
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		text = v
	case []byte:
		text = string(v)
	case time.Time:
		text = v.Format(time.RFC3339Nano)
	default:
		text = fmt.Sprint(v)
	}
	return &text
}
