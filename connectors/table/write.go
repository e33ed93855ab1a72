package table

import (
	"context"
	"errors"
	"slices"
	"sort"

	"tributary/connectors"
)

// Store is a database as Write sees it. Its errors are *connectors.Error.
type Store interface {
	// Prepare makes sure that the tables are there and fit the mode. It runs outside a transaction.
	Prepare(ctx context.Context, tables []string) error
	// Begin starts a transaction, locks the ledger row of the batch's epoch and lane in it, made at 0 if there is none, and returns
	// the row's next ordinal. What comes second for the row waits for the first to end.
	Begin(ctx context.Context, b *connectors.Batch) (Tx, int64, error)
}

// Tx is a transaction that holds a ledger row.
type Tx interface {
	// Rejected returns the reasons of the records, by ordinal, that earlier attempts rejected in this transaction's lane.
	Rejected(ctx context.Context, b *connectors.Batch) (map[int64]string, error)
	// Insert writes rows, of which no two share a key. Where the database refuses one of them for what it holds, the error of Insert or
	// Commit is a *RowError.
	Insert(ctx context.Context, table string, b *connectors.Batch, rows []Row) error
	// Commit notes the rejected records, forgets those below the batch, moves the ledger to next and commits, durably.
	Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error
	// Rollback ends the transaction if Commit has not.
	Rollback()
}

// RowError says that the database refuses a row for what is in it. The reason holds nothing of the row.
type RowError struct{ Reason string }

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

// Write writes a batch, statement by statement, each in a transaction of its own that moves the ledger (I3): what an earlier attempt, also one
// that is still running, has committed is skipped. A statement that fails for what a row holds is halved until the row is
// found; it is rejected, the others are written (I4).
func Write(ctx context.Context, s Store, name Name, limits Limits, b connectors.Batch) (connectors.Result, error) {
	if err := validate(b); err != nil {
		return connectors.NewResult(len(b.Records)), err
	}
	w := &writer{store: s, limits: limits, batch: &b, tables: make([]string, len(b.Records)), result: connectors.NewResult(len(b.Records))}
	if err := w.write(ctx, w.route(name)); err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
			err = cause
		}
		return w.result, connectors.AsError("write", err)
	}
	return w.result, nil
}

// validate refuses what would make the ledger go wrong.
func validate(b connectors.Batch) error {
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
	store  Store
	limits Limits
	batch  *connectors.Batch
	tables []string // by record
	done   int      // records before this one are durable or rejected
	result connectors.Result
}

// route finds each record's table, rejects what no table can hold and returns the tables. It judges by the record alone,
// so that each attempt rejects the same.
func (w *writer) route(name Name) []string {
	byStream := make(map[string]string)
	for i := range w.batch.Records {
		r := &w.batch.Records[i]
		if reason := unfit(r, w.limits.Data); reason != "" {
			w.result.Reject(i, reason)
			continue
		}
		table, known := byStream[r.Stream]
		if !known {
			table = name.For(*w.batch, r.Stream, w.limits.Name)
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
		tried, err := w.transact(ctx, end, nil)
		var row *RowError
		if errors.As(err, &row) {
			err = w.halve(ctx, tried, row)
		}
		if err != nil {
			return err
		}
	}
	return nil
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

// transact makes one transaction with records up to end at most, without the rejected ones. It returns the end of what it tried.
func (w *writer) transact(ctx context.Context, end int, rejected map[int]string) (int, error) {
	tx, position, err := w.store.Begin(ctx, w.batch)
	if err != nil {
		return w.done, err
	}
	defer tx.Rollback()
	if err := w.skip(ctx, tx, position); err != nil {
		return w.done, err
	}
	groups, end := w.statement(w.done, end, rejected)
	next := w.batch.Next
	if end < len(w.batch.Records) {
		next = w.batch.Records[end].Ordinal
	}
	if next <= position {
		return end, nil
	}
	for _, g := range groups {
		if err := tx.Insert(ctx, g.table, w.batch, g.rows.list); err != nil {
			return end, err
		}
	}
	reasons := make(map[int64]string, len(rejected))
	for i, reason := range rejected {
		if i >= w.done {
			reasons[w.batch.Records[i].Ordinal] = reason
		}
	}
	if err := tx.Commit(ctx, w.batch, next, reasons); err != nil {
		return end, err
	}
	for i, reason := range rejected {
		if i >= w.done {
			w.result.Reject(i, reason)
		}
	}
	w.result.Durable(w.done, end)
	w.done = end
	return end, nil
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

type group struct {
	table string
	rows  *rows
}

// statement gathers rows by table from the records from start up to end at most, and returns where it stopped.
func (w *writer) statement(start, end int, rejected map[int]string) ([]group, int) {
	var groups []group
	bytes := 0
	for i := start; i < end; i++ {
		if w.result.Outcomes[i] == connectors.Rejected {
			continue
		}
		if _, ok := rejected[i]; ok {
			continue
		}
		r := &w.batch.Records[i]
		bytes += len(r.Data)
		if i > start && (i-start >= w.limits.Records || bytes > w.limits.Bytes) {
			return groups, i
		}
		g := slices.IndexFunc(groups, func(g group) bool { return g.table == w.tables[i] })
		if g < 0 {
			g = len(groups)
			groups = append(groups, group{w.tables[i], newRows(w.batch.Mode, min(end-i, w.limits.Records))})
		}
		if !groups[g].rows.add(r) {
			return groups, i
		}
	}
	return groups, max(start, end)
}
