package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// natives are the types of the columns that are made for fields.
var natives = map[table.Type]string{
	table.Boolean: "boolean", table.Integer: "bigint", table.Decimal: "numeric", table.Text: "text", table.Timestamp: pgwire.Timestamp, table.JSON: "json",
}

// Columns locks the table against changes of its columns; it waits for those under way.
func (t *ledgerTx) Columns(ctx context.Context, name string) ([]table.Column, error) {
	if _, err := t.Exec(ctx, "LOCK TABLE "+t.own(name)+" IN ROW EXCLUSIVE MODE"); err != nil {
		return nil, t.failed("lock columns", err)
	}
	columns, err := t.columns(ctx, t, name)
	if err != nil {
		return nil, t.failed("read columns", err)
	}
	return columns, nil
}

func (s *store) columns(ctx context.Context, q querier, name string) ([]table.Column, error) {
	rows, err := q.Query(ctx, `SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attgenerated <> '' OR a.attidentity = 'a',
			coalesce(m.part, ''), coalesce(m.field, ''), coalesce(m.type, '')
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN `+s.own(table.Memory)+` m ON m.table_name = c.relname::text AND m.column_name = a.attname::text
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, s.schema, name)
	if err != nil {
		return nil, err
	}
	var columns []table.Column
	var c table.Column
	var closed bool
	var made string
	_, err = pgx.ForEachRow(rows, []any{&c.Name, &c.Native, &closed, &c.Part, &c.Field, &made}, func() error {
		if slices.ContainsFunc(metadataColumns, func(m column) bool { return m.name == c.Name }) || c.Name == seenColumn.name {
			return nil
		}
		c.Type, c.Made = pgwire.TypeOf(c.Native, "json", "jsonb"), made == c.Native
		if closed {
			c.Type = table.Closed
		}
		columns = append(columns, c)
		return nil
	})
	return columns, err
}

// Change waits for those who write to the table, and lets nobody else in meanwhile.
func (s *store) Change(ctx context.Context, name string, changes []table.Change) error {
	tx, err := s.pool.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := s.change(ctx, tx, name, changes); err != nil {
		var kept *table.KeptError
		if errors.As(err, &kept) {
			return err
		}
		return s.failed("change columns of "+s.own(name), err)
	}
	if err := tx.commit(ctx); err != nil {
		return s.failed("change columns of "+s.own(name), err)
	}
	return nil
}

func (s *store) change(ctx context.Context, tx *tx, name string, changes []table.Change) error {
	lock := "SHARE ROW EXCLUSIVE" // lets readers go on
	if slices.ContainsFunc(changes, func(c table.Change) bool { return c.Op != table.AdoptColumn }) {
		lock = "ACCESS EXCLUSIVE"
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE "+s.own(name)+" IN "+lock+" MODE"); err != nil {
		return err
	}
	now, err := s.columns(ctx, tx, name)
	if err != nil {
		return err
	}
	changes = dialect.Pending(changes, now)
	if err := s.alter(ctx, tx, name, changes); err != nil {
		return err
	}
	var names, parts, fields, types []string
	for _, c := range changes {
		made := natives[c.Column.Type]
		if c.Op == table.AdoptColumn {
			made = ""
		}
		names, parts, fields, types = append(names, c.Column.Name), append(parts, string(c.Column.Part)), append(fields, c.Column.Field), append(types, made)
	}
	_, err = tx.Exec(ctx, "INSERT INTO "+s.own(table.Memory)+` (table_name, column_name, part, field, type)
		SELECT $1::text, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
		ON CONFLICT (table_name, column_name) DO UPDATE SET part = excluded.part, field = excluded.field, type = excluded.type`, name, names, parts, fields, types)
	return err
}

func (s *store) alter(ctx context.Context, tx *tx, name string, changes []table.Change) error {
	var add []string
	for _, c := range changes {
		if c.Op == table.AddColumn {
			add = append(add, "ADD COLUMN "+pgx.Identifier{c.Column.Name}.Sanitize()+" "+natives[c.Column.Type])
		}
	}
	if add != nil {
		if _, err := tx.Exec(ctx, "ALTER TABLE "+s.own(name)+" "+strings.Join(add, ", ")); err != nil {
			return err
		}
	}
	for _, c := range changes {
		if c.Op != table.WidenColumn {
			continue
		}
		column := pgx.Identifier{c.Column.Name}.Sanitize()
		using := column + "::numeric"
		if c.Column.Type == table.JSON {
			using = "to_json(" + column + ")"
		}
		// The table is written anew, and nobody can use it meanwhile.
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL statement_timeout = '1min'; ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s", s.own(name), column, natives[c.Column.Type], using), pgx.QueryExecModeSimpleProtocol); err != nil {
			return keptBy(c.Column.Name, err)
		}
	}
	return nil
}

// keptBy finds out whether an error says that a column can't be widened: a view, a rule, a trigger, a policy or a computed column uses it (0A000, 2BP01), it
// is part of a partition key (42P16), its default has no such type (42804), or the table is too large for the time (57014).
func keptBy(column string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && slices.Contains([]string{"0A000", "2BP01", "42P16", "42804", "57014"}, pg.Code) {
		return &table.KeptError{Column: column, Err: err}
	}
	return err
}
