package redshift

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Redshift locks tables, not rows, and a transaction sees what was there when its first statement began that reads or writes
// (https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation.html). So a statement's rows are loaded into a staging table without a lock, which takes most of the time
// and does not keep others waiting; the transaction that takes them from there begins with LOCK on the ledger, which lets one after the other in and is what AWS advises
// against serialization errors (https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation-serializable-isolation-troubleshooting.html). It looks whether
// the ledger stands, and the columns are, as they did when the rows were gathered; if not, another attempt was first, and the batch comes again.

// store writes into one schema. It keeps I3 by the ledger, which moves in the transaction of the rows under a lock, and I5 by the join of the rows with those that are there;
// see table.Write.
type store struct {
	pool   *pool
	schema string
	mode   connectors.Mode
	layout string
	json   string
}

var (
	_ table.Store = (*store)(nil)
	_ table.Tx    = (*ledgerTx)(nil)
)

// session is a connection of the pool.
type session struct {
	*pgxpool.Conn
	open bool // a transaction is
	over bool
}

func (p *pool) session(ctx context.Context) (*session, error) {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return nil, p.failed("connect", err)
	}
	return &session{Conn: conn}, nil
}

// commit ends the transaction.
func (s *session) commit(ctx context.Context) error {
	tag, err := s.Exec(ctx, "COMMIT")
	if err != nil {
		return err
	}
	s.open = false
	if tag.String() != "COMMIT" {
		return connectors.Errorf(connectors.Unavailable, "commit", "the server rolled the transaction back")
	}
	return nil
}

// end gives the connection back. A transaction that is open is rolled back; without a word from the server in time the connection is closed, which ends it
// as well.
func (s *session) end(statements ...string) {
	if s.over {
		return
	}
	s.over = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if s.open {
		statements = append([]string{"ROLLBACK"}, statements...)
	}
	for _, statement := range statements {
		if s.Conn.Conn().IsClosed() {
			break
		}
		if _, err := s.Exec(ctx, statement); err != nil {
			_ = s.Conn.Conn().Close(ctx) // the pool forgets a closed one
		}
	}
	s.Release()
}

// lock begins a transaction and waits until nobody else of ours is in one.
func (s *store) lock(ctx context.Context, conn *session) error {
	conn.open = true
	if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "LOCK "+s.own(table.Ledger))
	return err
}

// ledgerTx is a statement on its way: rows that lie in staging tables of its session, and the ledger's position that they continue.
type ledgerTx struct {
	*session
	*store
	position int64
	known    bool // the ledger has a row
	stages   []*stage
	seen     map[string][]table.Column // by table
}

func (s *store) failed(op string, err error) *connectors.Error {
	return s.pool.explain(s.schema, op, err)
}

func (s *store) own(name string) string { return quote(s.schema) + "." + quote(spell(name)) }

// Begin reads the ledger's position and locks nothing: Commit compares.
func (s *store) Begin(ctx context.Context, b *connectors.Batch) (table.Tx, int64, error) {
	conn, err := s.pool.session(ctx)
	if err != nil {
		return nil, 0, err
	}
	t := &ledgerTx{session: conn, store: s}
	if t.position, t.known, err = s.next(ctx, conn, b); err != nil {
		t.Rollback()
		return nil, 0, s.failed("read ledger", err)
	}
	return t, t.position, nil
}

func (s *store) next(ctx context.Context, q querier, b *connectors.Batch) (next int64, known bool, err error) {
	err = q.QueryRow(ctx, "SELECT next FROM "+s.own(table.Ledger)+" WHERE lane_id = $1", laneID(b)).Scan(&next)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	return next, true, err
}

func (t *ledgerTx) Rejected(ctx context.Context, b *connectors.Batch) (map[int64]string, error) {
	rows, err := t.Query(ctx, "SELECT ordinal, reason FROM "+t.own(table.Rejections)+" WHERE lane_id = $1 AND ordinal >= $2 AND ordinal < $3",
		laneID(b), decimal(b.First), decimal(b.Next))
	if err != nil {
		return nil, t.failed("read rejections", err)
	}
	rejected := make(map[int64]string)
	var ordinal int64
	var reason string
	if _, err := pgx.ForEachRow(rows, []any{&ordinal, &reason}, func() error { rejected[ordinal] = reason; return nil }); err != nil {
		return nil, t.failed("read rejections", err)
	}
	return rejected, nil
}

// Commit takes the staged rows into their tables.
func (t *ledgerTx) Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error {
	if err := t.lock(ctx, t.session); err != nil {
		return t.failed("lock ledger", err)
	}
	position, known, err := t.next(ctx, t.session, b)
	if err != nil {
		return t.failed("read ledger", err)
	}
	if position != t.position || known != t.known {
		return connectors.Errorf(connectors.Unavailable, "advance ledger", "another attempt of the same lane was first")
	}
	for _, g := range t.stages {
		if err := t.take(ctx, g); err != nil {
			return err
		}
	}
	if err := t.note(ctx, b, rejected); err != nil {
		return t.failed("note rejections", err)
	}
	advance := "UPDATE " + t.own(table.Ledger) + " SET next = $2, updated_at = $3 WHERE lane_id = $1"
	args := []any{laneID(b), decimal(next), *timestamp(time.Now())}
	if !known {
		advance = "INSERT INTO " + t.own(table.Ledger) + " (lane_id, next, updated_at, epoch, lane) VALUES ($1, $2, $3, $4, $5)"
		args = append(args, connectors.Clip(b.Epoch, maxWho), connectors.Clip(b.Lane, maxWho))
	}
	if tag, err := t.Exec(ctx, advance, args...); err != nil {
		return t.failed("advance ledger", err)
	} else if tag.RowsAffected() != 1 {
		return connectors.Errorf(connectors.Unavailable, "advance ledger", "somebody changed the row in %s", t.own(table.Ledger))
	}
	if err := t.commit(ctx); err != nil {
		return t.failed("commit", err)
	}
	return nil
}

// take writes the rows of a staging table into their own.
func (t *ledgerTx) take(ctx context.Context, g *stage) error {
	if t.layout == connectors.LayoutColumns {
		now, err := t.columns(ctx, t.session, g.table)
		if err != nil {
			return t.failed("read columns", err)
		}
		if !slices.Equal(now, t.seen[g.table]) {
			return connectors.Errorf(connectors.Unavailable, "read columns", "the columns of %s changed meanwhile", t.own(g.table))
		}
	}
	into := t.own(g.table)
	statements := []string{g.insert(into, t.mode)}
	if t.mode == connectors.ModeUpsert {
		statements = []string{g.update(into), g.insert(into, t.mode)}
	}
	for _, statement := range statements {
		if _, err := t.Exec(ctx, statement); err != nil {
			return t.refused("write into "+into, err)
		}
	}
	return nil
}

// note keeps the reasons of rejected records. What lies below the batch has long been reported.
func (t *ledgerTx) note(ctx context.Context, b *connectors.Batch, rejected map[int64]string) error {
	if len(rejected) == 0 {
		return nil
	}
	if _, err := t.Exec(ctx, "DELETE FROM "+t.own(table.Rejections)+" WHERE lane_id = $1 AND ordinal < $2", laneID(b), decimal(b.First)); err != nil {
		return err
	}
	const width = 5
	var rows [][]*string
	id, epoch, lane := laneID(b), connectors.Clip(b.Epoch, maxWho), connectors.Clip(b.Lane, maxWho)
	for ordinal, reason := range rejected {
		at := decimal(ordinal)
		rows = append(rows, []*string{&id, &epoch, &lane, &at, &reason})
	}
	for part := range slices.Chunk(rows, maxParameters/width) {
		if err := insertRows(ctx, t.session, "INSERT INTO "+t.own(table.Rejections)+" (lane_id, epoch, lane, ordinal, reason)", part); err != nil {
			return err
		}
	}
	return nil
}

// maxParameters of a statement: https://docs.aws.amazon.com/redshift/latest/mgmt/jdbc20-configuration-options.html tells of 32,767.
const maxParameters = 32_000

// insertRows inserts rows of parameters by one statement.
func insertRows(ctx context.Context, q querier, head string, rows [][]*string) error {
	var sql strings.Builder
	sql.WriteString(head)
	var args []any
	for i, row := range rows {
		sql.WriteString([]string{" VALUES (", ", ("}[min(i, 1)])
		for j, v := range row {
			if j > 0 {
				sql.WriteString(", ")
			}
			if v == nil {
				sql.WriteString("NULL")
				continue
			}
			args = append(args, *v)
			sql.WriteString("$" + strconv.Itoa(len(args)))
		}
		sql.WriteByte(')')
	}
	_, err := q.Exec(ctx, sql.String(), args...)
	return err
}

// Rollback ends what Commit has not, and drops the staging tables.
func (t *ledgerTx) Rollback() {
	var drops []string
	for _, g := range t.stages {
		drops = append(drops, "DROP TABLE "+quote(g.name))
	}
	t.end(drops...)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// timestamp is a time as Redshift reads it, nil for what its calendar does not hold.
func timestamp(t time.Time) *string {
	t, ok := table.Time(t.UTC())
	if !ok {
		return nil
	}
	s := t.Truncate(time.Microsecond).Format("2006-01-02 15:04:05.000000+00")
	return &s
}
