package snowflake

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/google/uuid"

	"tributary/connectors"
	"tributary/connectors/table"
)

// store writes into one schema.
type store struct {
	pool   *pool
	place  place
	mode   connectors.Mode
	layout string
}

var (
	_ table.Store = (*store)(nil)
	_ table.Tx    = (*transaction)(nil)
)

// stage is the temporary table that files are copied into, each session's own. Making one takes no right.
const stage = table.Own + "stage"

// transaction is one of a session. What goes in is gathered into a file; nothing but the ledger is read before Commit.
type transaction struct {
	*store
	conn     *sql.Conn
	id       string // Snowflake's own
	position int64
	file     *file
	merges   []merge
	found    map[string][]table.Column
	over     bool
}

// Begin begins a transaction before it reads the ledger: what the transaction is called goes with everything that it changes.
func (s *store) Begin(ctx context.Context, b *connectors.Batch) (table.Tx, int64, error) {
	conn, err := s.pool.Conn(ctx)
	if err != nil {
		return nil, 0, s.failed("log in", err)
	}
	t := &transaction{store: s, conn: conn, file: newFile(), found: make(map[string][]table.Column)}
	if err := t.begin(ctx, b); err != nil {
		t.Rollback()
		return nil, 0, s.failed("begin", err)
	}
	return t, t.position, nil
}

func (t *transaction) begin(ctx context.Context, b *connectors.Batch) error {
	p := t.place
	staged := p.own(stage)
	err := t.pool.once(t.conn, staged, func() error {
		_, err := t.conn.ExecContext(ctx, "CREATE TEMPORARY TABLE IF NOT EXISTS "+staged+" ("+p.column("line")+" VARIANT)")
		return err
	})
	if err != nil {
		return err
	}
	if _, err := t.conn.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	var next sql.NullInt64
	var id sql.NullString
	err = t.conn.QueryRowContext(ctx, "SELECT MAX("+p.column("next")+"), TO_VARCHAR(CURRENT_TRANSACTION()) FROM "+p.own(table.Ledger)+
		" WHERE "+p.column("epoch")+" = ? AND "+p.column("lane")+" = ?", b.Epoch, b.Lane).Scan(&next, &id)
	if err != nil {
		return err
	}
	if id.String == "" {
		return connectors.Errorf(connectors.Unavailable, "begin", "Snowflake began no transaction")
	}
	t.position, t.id = next.Int64, id.String
	return nil
}

func (t *transaction) Rejected(ctx context.Context, b *connectors.Batch) (map[int64]string, error) {
	p := t.place
	rows, err := t.conn.QueryContext(ctx, "SELECT "+p.columns([]string{"ordinal", "reason"})+" FROM "+p.own(table.Rejections)+
		" WHERE "+p.column("epoch")+" = ? AND "+p.column("lane")+" = ? AND "+p.column("ordinal")+" >= ? AND "+p.column("ordinal")+" < ?", b.Epoch, b.Lane, b.First, b.Next)
	if err != nil {
		return nil, t.failed("read rejections", err)
	}
	defer rows.Close()
	rejected := make(map[int64]string)
	for rows.Next() {
		var ordinal int64
		var reason string
		if err := rows.Scan(&ordinal, &reason); err != nil {
			return nil, t.failed("read rejections", err)
		}
		rejected[ordinal] = reason
	}
	if err := rows.Err(); err != nil {
		return nil, t.failed("read rejections", err)
	}
	return rejected, nil
}

// Insert gathers rows. They go in with Commit.
func (t *transaction) Insert(_ context.Context, b *connectors.Batch, rows *table.Rows) error {
	m := t.newMerge(b, rows)
	t.merges = append(t.merges, m)
	return t.file.rows(m, b, rows)
}

// Commit stages the file, copies it, merges it into the tables, all writers in one order, and moves the ledger.
func (t *transaction) Commit(ctx context.Context, b *connectors.Batch, next int64, rejected map[int64]string) error {
	slices.SortFunc(t.merges, func(a, b merge) int { return cmp.Compare(a.into, b.into) })
	if len(rejected) > 0 {
		m := t.rejections(b)
		t.file.reasons(m, rejected)
		t.merges = append(t.merges, m)
	}
	if t.file.lines > 0 {
		if err := t.load(ctx, b); err != nil {
			return t.failed("copy rows", err)
		}
	}
	if len(rejected) > 0 { // what lies below the batch has long been reported
		p := t.place
		_, err := t.conn.ExecContext(ctx, "DELETE FROM "+p.own(table.Rejections)+" WHERE "+p.column("epoch")+" = ? AND "+p.column("lane")+" = ? AND "+p.column("ordinal")+" < ?", b.Epoch, b.Lane, b.First)
		if err != nil {
			return t.failed("forget rejections", err)
		}
	}
	for _, m := range t.merges {
		if _, err := t.conn.ExecContext(ctx, m.statement, m.values...); err != nil {
			return t.refused("merge into "+m.into, err)
		}
	}
	if t.file.lines > 0 {
		if _, err := t.conn.ExecContext(ctx, "DELETE FROM "+t.place.own(stage)); err != nil {
			return t.failed("empty the stage", err)
		}
	}
	if err := t.advance(ctx, b, next); err != nil {
		return t.failed("advance ledger", err)
	}
	if err := t.unchanged(ctx); err != nil {
		return t.failed("look at columns", err)
	}
	if _, err := t.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return t.refused("commit", err)
	}
	if err := t.committed(ctx, b, next); err != nil {
		return t.failed("commit", err)
	}
	t.clean(b)
	t.over = true
	_ = t.conn.Close() // gives it back to the pool
	return nil
}

// advance moves the ledger's row from the position that was read, or fails.
func (t *transaction) advance(ctx context.Context, b *connectors.Batch, next int64) error {
	p := t.place
	epoch, lane, at, updated := p.column("epoch"), p.column("lane"), p.column("next"), p.column("updated_at")
	done, err := t.conn.ExecContext(ctx, "MERGE INTO "+p.own(table.Ledger)+" AS t USING (SELECT ? AS "+epoch+", ? AS "+lane+", ?::NUMBER(38,0) AS "+p.column("position")+", ?::NUMBER(38,0) AS "+at+
		" WHERE TO_VARCHAR(CURRENT_TRANSACTION()) = ?) AS r ON t."+epoch+" = r."+epoch+" AND t."+lane+" = r."+lane+
		" WHEN MATCHED AND t."+at+" = r."+p.column("position")+" THEN UPDATE SET "+at+" = r."+at+", "+updated+" = CURRENT_TIMESTAMP()"+
		" WHEN NOT MATCHED AND r."+p.column("position")+" = 0 THEN INSERT ("+epoch+", "+lane+", "+at+", "+updated+") VALUES (r."+epoch+", r."+lane+", r."+at+", CURRENT_TIMESTAMP())",
		b.Epoch, b.Lane, t.position, next, t.id)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n < 1 {
		return connectors.Errorf(connectors.Unavailable, "advance ledger", "another attempt has moved the ledger, or Snowflake has ended the transaction")
	}
	return nil
}

// committed looks up whether the ledger has moved, because COMMIT succeeds also where Snowflake has ended the transaction.
func (t *transaction) committed(ctx context.Context, b *connectors.Batch, next int64) error {
	p := t.place
	var now sql.NullInt64
	err := t.conn.QueryRowContext(ctx, "SELECT MAX("+p.column("next")+") FROM "+p.own(table.Ledger)+" WHERE "+p.column("epoch")+" = ? AND "+p.column("lane")+" = ?", b.Epoch, b.Lane).Scan(&now)
	if err != nil {
		return err
	}
	if now.Int64 < next {
		return connectors.Errorf(connectors.Unavailable, "commit", "Snowflake has rolled the transaction back")
	}
	return nil
}

// Rollback gives the session back. Without a word from Snowflake in time the session is closed, which ends the transaction as well.
func (t *transaction) Rollback() {
	if t.over {
		return
	}
	t.over = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := t.conn.ExecContext(ctx, "ROLLBACK"); err != nil || t.file.lost {
		discard(t.conn)
	}
	_ = t.conn.Close() // gives it back to the pool
	if t.file.path != "" {
		_ = t.pool.bucket.Delete(ctx, t.pool.bucket.prefix+t.file.path) // else the lane's next file does it
	}
}

// token is a name that no other attempt has.
func token() string { return uuid.NewString() }
