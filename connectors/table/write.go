package table

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sort"

	"tributary/connectors"
	"tributary/connectors/lifetime"
)

// Store is a database as Write sees it. Its errors are *connectors.Error.
type Store interface {
	// Prepare makes sure that the tables are there and fit the mode. It runs outside a transaction.
	Prepare(ctx context.Context, tables []string) error
	// Begin starts a transaction, locks the ledger row of the batch's epoch and lane in it, made at 0 if there is none, and returns
	// the row's next ordinal. What comes second for the row waits for the first to end.
	Begin(ctx context.Context, b *connectors.Batch) (Tx, int64, error)
	// Change makes the changes to a table that Dialect.Pending leaves, all or none, outside a transaction of Begin; in layout columns. What
	// keeps a column from being widened is a *KeptError.
	Change(ctx context.Context, table string, changes []Change) error
}

// Tx is a transaction that holds a ledger row.
type Tx interface {
	// Rejected returns the reasons of the records, by ordinal, that earlier attempts rejected in this transaction's lane.
	Rejected(ctx context.Context, b *connectors.Batch) (map[int64]string, error)
	// Columns returns the columns of a table besides those of the metadata, and keeps them as they are until the transaction ends; in
	// layout columns.
	Columns(ctx context.Context, table string) ([]Column, error)
	// Insert writes rows. Where the database refuses one of them for what it holds, the error of Insert or Commit is a *RowError.
	Insert(ctx context.Context, b *connectors.Batch, rows *Rows) error
	// Commit notes the rejected records, forgets those below the batch, moves the ledger to next and commits, durably.
	Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error
	// Rollback ends the transaction if Commit has not.
	Rollback()
}

// RowError says that the database refuses a row for what is in it. The reason holds nothing of the row.
type RowError struct {
	Reason string
	// Record is whose row it is, where that is known: then it is not looked for.
	Record *connectors.Record
}

func (e *RowError) Error() string { return e.Reason }

// Limits bound what goes into a statement. A record beyond Bytes goes alone.
type Limits struct {
	Records int
	Bytes   int
	// Data is the largest payload that a column holds; a larger one is rejected.
	Data int
	// Name is the longest name of a table, in bytes.
	Name int
}

// Options are what a block says of its tables, and what the database can do.
type Options struct {
	Name    Name
	Mode    connectors.Mode       // of the block, for checks: a batch has its own
	Layout  string                // "": raw
	Schema  connectors.SchemaRule // "": Evolve
	Limits  Limits
	Dialect Dialect // for layout columns
	// Refuses says why the database can't hold a record, where that shows by the record alone; nil or "": it can. The reason quotes nothing of it.
	Refuses func(r *connectors.Record) string
}

// ReadOptions reads the block's part of the options.
func ReadOptions(c connectors.Config, table string) (Options, error) {
	name, err := ParseName(table)
	if err != nil {
		return Options{}, err
	}
	o := Options{Name: name, Mode: cmp.Or(c.Mode, connectors.Append), Layout: cmp.Or(c.Layout, connectors.LayoutRaw), Schema: cmp.Or(c.Schema, connectors.Evolve)}
	if o.Layout != connectors.LayoutRaw && o.Layout != connectors.LayoutColumns {
		return o, connectors.Errorf(connectors.Invalid, "settings", "layout %q: want %s or %s", o.Layout, connectors.LayoutRaw, connectors.LayoutColumns)
	}
	if !slices.Contains(connectors.SchemaRules, o.Schema) {
		return o, connectors.Errorf(connectors.Invalid, "settings", "schema %q: want one of %v", o.Schema, connectors.SchemaRules)
	}
	return o, nil
}

// Write writes a batch, statement by statement, each in a transaction of its own that moves the ledger (I3): what an earlier attempt, also one
// that is still running, has committed is skipped. A statement that fails for what a row holds is halved until the row is
// found; it is rejected, the others are written (I4).
func Write(ctx context.Context, s Store, o Options, b connectors.Batch) (connectors.Result, error) {
	if err := Validate(b); err != nil {
		return connectors.NewResult(len(b.Records)), err
	}
	w := &writer{store: s, options: &o, batch: &b, tables: make([]string, len(b.Records)), result: connectors.NewResult(len(b.Records)), kept: make(map[string]map[string]bool)}
	if err := w.write(ctx, w.route()); err != nil {
		return w.result, connectors.AsError("write", lifetime.Ended(ctx, err))
	}
	return w.result, nil
}

// Validate refuses what would make the ledger go wrong.
func Validate(b connectors.Batch) error {
	if b.Mode != connectors.Append && b.Mode != connectors.ModeUpsert {
		return connectors.Errorf(connectors.Invalid, "write", "mode %q: want %s or %s", b.Mode, connectors.Append, connectors.ModeUpsert)
	}
	if b.Epoch == "" || b.Lane == "" || b.Installation == "" {
		return connectors.Errorf(connectors.Invalid, "write", "the batch has no epoch, lane or installation")
	}
	last := b.First - 1
	for i := range b.Records {
		if o := b.Records[i].Ordinal; o <= last || o >= b.Next {
			return connectors.Errorf(connectors.Invalid, "write", "record %d has ordinal %d: want them ascending from %d and below %d", i, o, b.First, b.Next)
		}
		last = b.Records[i].Ordinal
	}
	return nil
}

type writer struct {
	store   Store
	options *Options
	batch   *connectors.Batch
	tables  []string // by record
	done    int      // records before this one are durable or rejected
	result  connectors.Result
	kept    map[string]map[string]bool // columns of tables that were found not to be widened
}

// route finds each record's table, rejects what no table can hold and returns the tables. It judges by the record alone,
// so that each attempt rejects the same.
func (w *writer) route() []string {
	byStream := make(map[string]string)
	for i := range w.batch.Records {
		r := &w.batch.Records[i]
		if reason := Unfit(r, w.options); reason != "" {
			w.result.Reject(i, reason)
			continue
		}
		table, known := byStream[r.Stream]
		if !known {
			table = w.options.Name.For(*w.batch, r.Stream, w.options.Limits.Name)
			byStream[r.Stream] = table
		}
		switch {
		case table == "":
			w.result.Reject(i, "the name of the record's table comes out empty")
		case reserved(table):
			w.result.Reject(i, "the record's table would have a name that begins with "+Own+", which is taken")
		}
		w.tables[i] = table
	}
	var tables []string
	for i, t := range w.tables {
		if w.result.Outcomes[i] != connectors.Rejected && !slices.Contains(tables, t) {
			tables = append(tables, t)
		}
	}
	return tables
}

func (w *writer) write(ctx context.Context, tables []string) error {
	if err := w.store.Prepare(ctx, tables); err != nil {
		return err
	}
	if len(w.batch.Records) == 0 {
		_, err := w.transact(ctx, 0, nil)
		return err
	}
	return w.reach(ctx, len(w.batch.Records))
}

// reach writes until the records before end are done.
func (w *writer) reach(ctx context.Context, end int) error {
	for w.done < end {
		if err := w.step(ctx, end); err != nil {
			return err
		}
	}
	return nil
}

// maxNamed bounds how often a statement begins anew for a row that the database names. Where more are wrong, halves find them.
const maxNamed = 20

// step makes a statement, without the rows that the database names as wrong; where it names none, in halves.
func (w *writer) step(ctx context.Context, end int) error {
	rejected := make(map[int]string)
	for {
		tried, err := w.transact(ctx, end, rejected)
		var row *RowError
		if !errors.As(err, &row) {
			return err
		}
		i, known := w.indexOf(row.Record)
		if _, again := rejected[i]; !known || again || len(rejected) == maxNamed {
			return w.halve(ctx, tried, row)
		}
		rejected[i], end = row.Reason, tried
	}
}

// indexOf finds a record among those that are not done.
func (w *writer) indexOf(r *connectors.Record) (int, bool) {
	if r == nil {
		return 0, false
	}
	i := sort.Search(len(w.batch.Records), func(i int) bool { return w.batch.Records[i].Ordinal >= r.Ordinal })
	return i, i >= w.done && i < len(w.batch.Records) && w.batch.Records[i].Ordinal == r.Ordinal
}

// halve writes the records before end, of which one is refused.
func (w *writer) halve(ctx context.Context, end int, row *RowError) error {
	var live []int
	for i := w.done; i < end; i++ {
		if w.result.Outcomes[i] != connectors.Rejected {
			live = append(live, i)
		}
	}
	if len(live) > 1 {
		if err := w.reach(ctx, live[len(live)/2]); err != nil {
			return err
		}
		return w.reach(ctx, end)
	}
	if len(live) == 0 {
		return connectors.Errorf(connectors.Invalid, "write", "refused without a row: %s", row.Reason)
	}
	_, err := w.transact(ctx, end, map[int]string{live[0]: row.Reason})
	if errors.As(err, &row) {
		return connectors.Errorf(connectors.Invalid, "write", "refused without a row: %s", row.Reason)
	}
	return err
}

// changesAtOnce bounds how often the columns of a statement's tables may have to change before it goes in: other writers may change them too.
const changesAtOnce = 20

// transact makes one transaction with records up to end at most, without the rejected ones. It returns the end of what it tried.
func (w *writer) transact(ctx context.Context, end int, rejected map[int]string) (int, error) {
	for range changesAtOnce {
		tried, plans, err := w.attempt(ctx, end, rejected)
		if plans == nil {
			return tried, err
		}
		for _, p := range plans {
			if err := w.change(ctx, p); err != nil {
				return tried, err
			}
		}
	}
	return w.done, connectors.Errorf(connectors.Unavailable, "change columns", "others keep changing the columns of the same tables")
}

func (w *writer) change(ctx context.Context, p *plan) error {
	err := w.store.Change(ctx, p.table, p.changes())
	var kept *KeptError
	if !errors.As(err, &kept) {
		return err
	}
	if w.kept[p.table] == nil {
		w.kept[p.table] = make(map[string]bool)
	}
	if w.kept[p.table][kept.Column] {
		return connectors.Errorf(connectors.Unknown, "change columns", "column %q is to be widened although it can't be", kept.Column)
	}
	w.kept[p.table][kept.Column] = true
	return nil
}

// attempt is one try of transact. Where columns have to change first, it returns the plans that say how and has written nothing.
func (w *writer) attempt(ctx context.Context, end int, rejected map[int]string) (int, []*plan, error) {
	tx, position, err := w.store.Begin(ctx, w.batch)
	if err != nil {
		return w.done, nil, err
	}
	defer tx.Rollback()
	if err := w.skip(ctx, tx, position); err != nil {
		return w.done, nil, err
	}
	s, err := w.gather(ctx, tx, end, rejected)
	end = s.end
	if err != nil {
		return end, nil, err
	}
	next := w.batch.Next
	if end < len(w.batch.Records) {
		next = w.batch.Records[end].Ordinal
	}
	if next <= position {
		return end, nil, nil
	}
	if plans := s.changed(); plans != nil {
		return end, plans, nil
	}
	for _, rows := range s.rows {
		if len(rows.List) == 0 {
			continue
		}
		if err := tx.Insert(ctx, w.batch, rows); err != nil {
			return end, nil, err
		}
	}
	reasons := make(map[int64]string, len(s.rejected))
	for i, reason := range s.rejected {
		reasons[w.batch.Records[i].Ordinal] = connectors.Clip(reason, 500)
	}
	if err := tx.Commit(ctx, w.batch, next, reasons); err != nil {
		return end, nil, err
	}
	for i, reason := range s.rejected {
		w.result.Reject(i, reason)
	}
	w.result.Durable(w.done, end)
	w.result.Discarded += s.discarded
	w.done = end
	return end, nil, nil
}

// skip passes over the records below the ledger's position. One that the database refused then is rejected again: nobody may
// have learned of it.
func (w *writer) skip(ctx context.Context, tx Tx, position int64) error {
	records := w.batch.Records
	end := sort.Search(len(records), func(i int) bool { return records[i].Ordinal >= position })
	if end <= w.done {
		return nil
	}
	rejected, err := tx.Rejected(ctx, w.batch)
	if err != nil {
		return err
	}
	for i := w.done; i < end; i++ {
		if reason, ok := rejected[records[i].Ordinal]; ok {
			w.result.Reject(i, reason)
		}
	}
	w.result.Durable(w.done, end)
	w.done = end
	return nil
}

// statement is what goes into a transaction: the records from done up to end.
type statement struct {
	end       int
	rows      []*Rows // by table
	rejected  map[int]string
	discarded int
}

// changed are the plans that need other columns than there are.
func (s *statement) changed() []*plan {
	var plans []*plan
	for _, r := range s.rows {
		if len(r.plan.changes()) > 0 {
			plans = append(plans, r.plan)
		}
	}
	return plans
}

// gather takes in records up to end at most, but those in rejected.
func (w *writer) gather(ctx context.Context, tx Tx, end int, rejected map[int]string) (*statement, error) {
	s := &statement{end: w.done, rejected: make(map[int]string)}
	limits, bytes := w.options.Limits, 0
	for i := w.done; i < end; i++ {
		if w.result.Outcomes[i] == connectors.Rejected {
			continue
		}
		if reason, ok := rejected[i]; ok {
			s.rejected[i] = reason
			continue
		}
		r := &w.batch.Records[i]
		bytes += len(r.Data)
		if i > w.done && (i-w.done >= limits.Records || bytes > limits.Bytes) {
			s.end = i
			return s, nil
		}
		rows, err := w.rowsOf(ctx, tx, s, w.tables[i], min(end-i, limits.Records))
		if err != nil {
			return s, err
		}
		discarded, problem := rows.plan.look(r.Data)
		switch {
		case problem == "":
		case w.options.Schema == connectors.Freeze && i > w.done: // what came before it is written first
			s.end = i
			return s, nil
		case w.options.Schema == connectors.Freeze:
			return s, connectors.Errorf(connectors.Invalid, "write", "the schema is frozen: %s. Change the table, the block's schema rule or its map", problem)
		default:
			s.rejected[i] = problem
			continue
		}
		if !rows.add(r) {
			s.end = i
			return s, nil
		}
		s.discarded += discarded
	}
	s.end = max(w.done, end)
	return s, nil
}

// rowsOf are the statement's rows of a table.
func (w *writer) rowsOf(ctx context.Context, tx Tx, s *statement, table string, n int) (*Rows, error) {
	for _, r := range s.rows {
		if r.Table == table {
			return r, nil
		}
	}
	p := rawPlan(table)
	if w.options.Layout == connectors.LayoutColumns {
		columns, err := tx.Columns(ctx, table)
		if err != nil {
			return nil, err
		}
		p = newPlan(table, w.options, w.kept[table], columns)
	}
	rows := newRows(p, w.batch.Mode, n)
	s.rows = append(s.rows, rows)
	return rows, nil
}
