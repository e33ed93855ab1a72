package bigquery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"tributary/connectors"
	"tributary/connectors/table"
)

// merging stages rows and takes all of them into their tables by one job, which moves the ledger too.
type merging struct {
	transaction
	statements []string
	parameters parameters
	tables     []string
}

func (t *merging) Insert(ctx context.Context, b *connectors.Batch, rows *table.Rows) error {
	values := t.valueColumns(rows.Columns())
	l := stageLayout(values)
	if err := t.prepare(ctx, l); err != nil {
		t.failure = true
		return err
	}
	a, err := t.client.appends(ctx, t.dataset.defaultStream(l.id), l.columns)
	if err != nil {
		return t.failed("stage rows for "+rows.Table, err)
	}
	defer a.close()
	// Each row is sent once, and a token is used once: so no row is there twice under one.
	token, now := uuid.NewString(), time.Now()
	c, row := chunks{to: a}, make([]any, len(l.columns))
	for i, r := range rows.List {
		own := append(row[:0], token, now, r.Stream, r.ID, r.Key, string(r.Op), r.Version, r.Seen, timestamp(r.OccurredAt), timestamp(r.ReceivedAt), r.Ordinal)
		rows.Values(i, row[len(own):])
		if err := c.add(appendRow(nil, row), r.Ordinal); err != nil {
			return t.failed("stage rows for "+rows.Table, err)
		}
	}
	if err := c.flush(); err != nil {
		return t.failed("stage rows for "+rows.Table, err)
	}
	n := len(t.tables)
	t.parameters[fmt.Sprint("token", n)], t.parameters[fmt.Sprint("staged", n)] = token, now.UnixMicro()
	t.statements = append(t.statements, merge(t.dataset.own(tableID(rows.Table)), t.dataset.own(l.id), n, values))
	t.tables = append(t.tables, tableID(rows.Table))
	return nil
}

// merge keeps the record that package table says (I5).
func merge(into, stage string, n int, values []column) string {
	names := []string{"_stream", "_id", "_key", "_op", "_version", seenColumn, "_occurred_at", "_received_at", "_ordinal"}
	set := []string{
		"_id = r._id", "_op = r._op", "_version = r._version", "_version_seen = GREATEST(t._version_seen, r._version_seen)",
		"_occurred_at = r._occurred_at", "_received_at = r._received_at", "_ordinal = r._ordinal", "_epoch = @epoch", "_lane = @lane",
	}
	for _, c := range values {
		name := quoted(c.name)
		names = append(names, name)
		set = append(set, name+" = r."+name)
	}
	from := make([]string, len(names))
	for i, name := range names {
		from[i] = "r." + name
	}
	return fmt.Sprintf(`MERGE INTO %s AS t USING (SELECT * FROM %s WHERE _token = @token%d AND _staged_at = TIMESTAMP_MICROS(@staged%d)) AS r
ON t._installation = @installation AND t._stream = r._stream AND t._key = r._key AND (t._key <> '' OR t._id = r._id)
WHEN MATCHED AND (r._version = 0 OR r._version > t._version_seen OR (r._version = t._version_seen AND t._version = t._version_seen)) THEN UPDATE SET %s
WHEN NOT MATCHED THEN INSERT (_installation, _epoch, _lane, %s) VALUES (@installation, @epoch, @lane, %s)`,
		into, stage, n, n, strings.Join(set, ", "), strings.Join(names, ", "), strings.Join(from, ", "))
}

// Commit runs the step of the ledger from its position. Tables are taken in turn within the process: of two transactions that change one table
// BigQuery cancels one.
func (t *merging) Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error {
	if err := t.noteRejected(ctx, b, rejected); err != nil {
		return err
	}
	for name, value := range map[string]any{"installation": b.Installation, "epoch": b.Epoch, "lane": b.Lane, "position": t.position, "next": next} {
		t.parameters[name] = value
	}
	if len(t.tables) == 0 {
		delete(t.parameters, "installation")
	}
	ledger := t.dataset.own(table.Ledger)
	script := []string{
		"BEGIN TRANSACTION",
		"ASSERT (SELECT IFNULL(MAX(next), 0) FROM " + ledger + " WHERE epoch = @epoch AND lane = @lane) = @position AS '" + moved + "'",
	}
	script = append(script, t.statements...)
	script = append(script, "INSERT INTO "+ledger+" (epoch, lane, next, updated_at) VALUES (@epoch, @lane, @next, CURRENT_TIMESTAMP())", "COMMIT TRANSACTION")
	leave, err := t.client.turns(ctx, t.dataset, t.tables)
	if err != nil {
		return t.failed("merge", err)
	}
	defer leave()
	name := digest("merge", t.place.made, t.dataset.own(""), b.Epoch, b.Lane, fmt.Sprint(t.position))
	if err := t.client.once(ctx, t.place.location, name, strings.Join(script, ";\n")+";", t.parameters); err != nil {
		return t.failed("merge", err)
	}
	t.done(next)
	return nil
}

// turns waits for the turn to change each of the tables.
func (k *client) turns(ctx context.Context, d dataset, tables []string) (leave func(), err error) {
	tables = slices.Sorted(slices.Values(tables)) // all in one order: no two wait for each other
	var held []*lane
	leave = func() {
		for _, l := range held {
			l.leave()
		}
	}
	for _, id := range tables {
		l := k.lane(laneName{d.own(id), "", ""}) // no lane is without an epoch
		if err := l.take(ctx); err != nil {
			leave()
			return nil, err
		}
		held = append(held, l)
	}
	return leave, nil
}
