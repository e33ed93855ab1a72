package bigquery

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"tributary/connectors"
	"tributary/connectors/table"
)

// store writes into one dataset.
type store struct {
	client  *client
	dataset dataset
	mode    connectors.Mode
	layout  string
	place   place
}

var (
	_ table.Store = (*store)(nil)
	_ table.Tx    = (*appending)(nil)
	_ table.Tx    = (*merging)(nil)
)

// failed also sees to it that the next attempt looks again at tables that vanished.
func (s *store) failed(op string, err error) error {
	if vanished(err) {
		s.client.forget()
	}
	return s.client.failed(op, err)
}

// refused is failed for rows: an error that lies in one of them is a *table.RowError.
func (s *store) refused(op string, err error) error {
	var row *table.RowError
	if errors.As(err, &row) {
		return row
	}
	return s.failed(op, err)
}

func (s *store) Prepare(ctx context.Context, tables []string) error {
	p, err := s.client.locate(ctx, s.dataset)
	if err != nil {
		return err
	}
	s.place = p
	layouts := make([]layout, len(tables))
	for i, name := range tables {
		layouts[i] = s.dataset.recordLayout(tableID(name), s.mode, s.layout)
	}
	return s.prepare(ctx, layouts...)
}

// Begin waits for the lane's turn in this process. Another process is not kept out: what it does is found out at the first thing that can be
// done only once.
func (s *store) Begin(ctx context.Context, b *connectors.Batch) (table.Tx, int64, error) {
	l := s.client.lane(laneName{s.dataset.project + "." + s.dataset.name, b.Epoch, b.Lane})
	if err := l.take(ctx); err != nil {
		return nil, 0, err
	}
	if !l.known {
		next, err := s.position(ctx, b.Epoch, b.Lane)
		if err != nil {
			l.leave()
			return nil, 0, s.failed("read ledger", err)
		}
		l.forget()
		l.known, l.next = true, next
	}
	t := transaction{store: s, lane: l, position: l.next}
	if s.mode == connectors.ModeUpsert {
		return &merging{transaction: t, parameters: parameters{}}, l.next, nil
	}
	return &appending{t}, l.next, nil
}

// transaction holds a lane's turn.
type transaction struct {
	*store
	lane     *lane
	position int64
	failure  bool // it is not known what became of something
	over     bool
}

// failed remembers that nothing is known for certain any more.
func (t *transaction) failed(op string, err error) error {
	err = t.refused(op, err)
	var row *table.RowError
	t.failure = t.failure || !errors.As(err, &row)
	return err
}

func (t *transaction) Rollback() {
	if t.over {
		return
	}
	t.over = true
	if t.failure {
		t.lane.forget()
	}
	t.lane.leave()
}

func (t *transaction) done(next int64) {
	t.lane.next, t.over = next, true
	for _, w := range t.lane.writers {
		for ordinal := range w.there {
			if ordinal < next {
				delete(w.there, ordinal)
			}
		}
	}
	t.lane.leave()
}

func (t *transaction) Rejected(ctx context.Context, b *connectors.Batch) (map[int64]string, error) {
	rejected := make(map[int64]string)
	sql := "SELECT ordinal, reason FROM " + t.dataset.own(table.Rejections) + " WHERE epoch = @epoch AND lane = @lane AND ordinal >= @first AND ordinal < @next"
	err := t.client.query(ctx, t.place.location, sql, parameters{"epoch": b.Epoch, "lane": b.Lane, "first": b.First, "next": b.Next}, func(row []string) error {
		ordinal, err := strconv.ParseInt(row[0], 10, 64)
		rejected[ordinal] = row[1]
		return err
	})
	if err != nil {
		return nil, t.failed("read rejections", err)
	}
	return rejected, nil
}

// note appends rows to one of the engine's own tables. A row that is there twice, because nobody learned that it was written, says the same.
func (t *transaction) note(ctx context.Context, id string, columns []column, rows ...[]any) error {
	a, err := t.client.appends(ctx, t.dataset.defaultStream(id), columns)
	if err != nil {
		return err
	}
	defer a.close()
	c := chunks{to: a}
	for _, row := range rows {
		if err := c.add(appendRow(nil, row), 0); err != nil {
			return err
		}
	}
	return c.flush()
}

// noteRejected comes before the ledger moves: what lies below it and is not noted counts as written.
func (t *transaction) noteRejected(ctx context.Context, b *connectors.Batch, rejected map[int64]string) error {
	if len(rejected) == 0 {
		return nil
	}
	now := time.Now()
	var rows [][]any
	for ordinal, reason := range rejected {
		rows = append(rows, []any{b.Epoch, b.Lane, ordinal, reason, now})
	}
	if err := t.note(ctx, table.Rejections, rejectionColumns, rows...); err != nil {
		return t.failed("note rejections", err)
	}
	return nil
}

// appending writes straight into the tables, by streams of the lane. What it has written stays, whether it commits or not: the next attempt finds it.
type appending struct{ transaction }

func (t *appending) Insert(ctx context.Context, b *connectors.Batch, rows *table.Rows) error {
	id := tableID(rows.Table)
	values := t.valueColumns(rows.Columns())
	columns := append(recordColumns[:len(recordColumns):len(recordColumns)], values...)
	w := t.lane.writers[id]
	if w == nil || !w.knows(columns) {
		var err error
		delete(t.lane.writers, id)
		if w, err = t.takeOver(ctx, b, t.position, id, columns); err != nil {
			return t.failed("take over the stream of "+rows.Table, err)
		}
		t.lane.writers[id] = w
	}
	a, err := t.client.appends(ctx, w.stream, columns)
	if err != nil {
		return t.failed("append rows to "+rows.Table, err)
	}
	defer a.close()
	c, row := chunks{to: a, writer: w}, make([]any, len(columns))
	for i, r := range rows.List {
		if _, there := w.there[r.Ordinal]; there {
			continue
		}
		own := append(row[:0], b.Installation, r.Stream, r.ID, r.Key, string(r.Op), r.Version, timestamp(r.OccurredAt), timestamp(r.ReceivedAt), r.Ordinal, b.Epoch, b.Lane)
		rows.Values(i, row[len(own):])
		if err := c.add(appendRow(nil, row), r.Ordinal); err != nil {
			return t.refusedFor(ctx, rows, err)
		}
	}
	if err := c.flush(); err != nil {
		return t.refusedFor(ctx, rows, err)
	}
	return nil
}

// refusedFor is failed for rows that went into columns. Nothing keeps these as they were until the rows are there: where somebody has widened one
// meanwhile, it is that which does not fit, and no row is rejected for it.
func (t *appending) refusedFor(ctx context.Context, rows *table.Rows, err error) error {
	op := "append rows to " + rows.Table
	var row *table.RowError
	if !errors.As(err, &row) || t.layout != connectors.LayoutColumns {
		return t.failed(op, err)
	}
	now, err := t.Columns(ctx, rows.Table)
	if err != nil {
		return err
	}
	for _, c := range rows.Columns() {
		if !slices.ContainsFunc(now, func(n table.Column) bool { return n.Name == c.Name && n.Native == c.Native }) {
			t.failure = true
			return connectors.Errorf(connectors.Unavailable, op, "the type of column %q was changed meanwhile", c.Name)
		}
	}
	return row
}

func (t *appending) Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error {
	if err := t.noteRejected(ctx, b, rejected); err != nil {
		return err
	}
	if err := t.note(ctx, table.Ledger, ledgerColumns, []any{b.Epoch, b.Lane, next, time.Now()}); err != nil {
		return t.failed("advance ledger", err)
	}
	t.done(next)
	return nil
}
