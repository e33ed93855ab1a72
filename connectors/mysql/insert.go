package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"tributary/connectors"
	"tributary/connectors/table"
)

// insertion is how the rows of a statement go into their table.
type insertion struct {
	*ledgerTx
	batch   *connectors.Batch
	rows    *table.Rows
	into    string
	names   []string // quoted: those of the metadata, then those of the values
	columns []table.Column
	// conflict is what the statement says of rows that are there.
	conflict string
}

// Statements are large enough to be worth their way and small enough for what a server keeps of them in memory.
const maxStatement = 2 << 20

// fewRows go in a statement of their own: LOAD DATA takes more messages.
const fewRows = 100

func (t *ledgerTx) Insert(ctx context.Context, b *connectors.Batch, rows *table.Rows) error {
	i := &insertion{ledgerTx: t, batch: b, rows: rows, into: t.own(rows.Table), columns: rows.Columns()}
	for _, c := range metadataColumns {
		i.names = append(i.names, c.name)
	}
	if b.Mode == connectors.ModeUpsert {
		i.names = append(i.names, seenColumn.name)
	}
	for _, c := range i.columns {
		i.names = append(i.names, quote(c.Name))
	}
	i.conflict = i.onConflict()
	if len(rows.List) > fewRows && t.takesLoads() {
		if done, err := i.load(ctx); done || err != nil {
			return err
		}
	}
	return i.insert(ctx)
}

// onConflict keeps the record that package table says (I5). Assignments take effect one after the other, so the versions that the others look at
// come last: https://dev.mysql.com/doc/refman/8.0/en/insert-on-duplicate.html, https://mariadb.com/kb/en/insert-on-duplicate-key-update/
// The statement does not say which unique index found the row that is there. It must be ours: otherwise _scope becomes null, which is
// refused.
func (i *insertion) onConflict() string {
	fresh := i.pool.dialect.fresh
	old := func(column string) string { return i.into + "." + column }
	key := appendKey
	if i.batch.Mode == connectors.ModeUpsert {
		key = upsertKey
	}
	var set strings.Builder
	fmt.Fprintf(&set, " ON DUPLICATE KEY UPDATE _scope = IF(%s = %s AND %s = %s, %s, NULL)",
		old(key[0]), fresh(key[0]), old(key[1]), fresh(key[1]), old(scopeColumn.name))
	if i.batch.Mode == connectors.Append {
		return set.String()
	}
	wins := fmt.Sprintf("%[1]s = 0 OR %[1]s > %[2]s OR (%[1]s = %[2]s AND %[3]s = %[2]s)", fresh("_version"), old("_version_seen"), old("_version"))
	changing := append([]string{"_id", "_op", "_occurred_at", "_received_at", "_ordinal"}, i.names[len(metadataColumns)+1:]...)
	for _, c := range append(changing, "_version") {
		fmt.Fprintf(&set, ", %s = IF(%s, %s, %s)", c, wins, fresh(c), old(c))
	}
	fmt.Fprintf(&set, ", _version_seen = GREATEST(%s, %s)", old("_version_seen"), fresh("_version_seen"))
	return set.String()
}

// insert sends rows in the statements themselves, each of them within max_allowed_packet.
func (i *insertion) insert(ctx context.Context) error {
	head := "INSERT INTO " + i.into + " (" + strings.Join(i.names, ", ") + ") VALUES "
	tail := i.pool.dialect.alias + i.conflict
	most := i.packet - len(tail) - 1024
	s := newSpeller(i.batch, i.rows, len(i.columns))
	statement := make([]byte, 0, min(most, maxStatement)+64<<10)
	for next := 0; next < len(i.rows.List); {
		statement = append(statement[:0], head...)
		first := next
		for ; next < len(i.rows.List); next++ {
			before := len(statement)
			if next > first {
				statement = append(statement, ',')
			}
			statement = s.tuple(statement, next)
			if len(statement) > most && next == first {
				return &table.RowError{Reason: fmt.Sprintf("the record is larger than a statement may be: max_allowed_packet of the server is %d bytes", i.packet)}
			}
			if len(statement) > min(most, maxStatement) && next > first {
				statement = statement[:before]
				break
			}
		}
		statement = append(statement, tail...)
		if _, err := i.conn.ExecContext(ctx, string(statement)); err != nil {
			return i.refused(err)
		}
	}
	return nil
}

// refused is pool.failed for statements that carry rows: an error that lies in a row is a *table.RowError.
func (i *insertion) refused(err error) error {
	op := "insert into " + i.into
	var e *mysql.MySQLError
	if !errors.As(err, &e) || !inRow(e) {
		return i.pool.failed(op, err)
	}
	if e.Number == badNull {
		for _, c := range i.columns {
			if strings.Contains(e.Message, "'"+c.Name+"'") {
				return &table.RowError{Reason: fmt.Sprintf("column %q wants a value and the payload has none (error %d)", c.Name, e.Number)}
			}
		}
		if strings.Contains(e.Message, "'"+scopeColumn.name+"'") {
			return &table.RowError{Reason: "it breaks a unique index that was added to the table"}
		}
	}
	return &table.RowError{Reason: reason(e)}
}
