package redshift

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// natives are the types of the columns that are made for fields, but for JSON, which is as the block says.
var natives = map[table.Type]string{
	table.Boolean: "boolean", table.Integer: "bigint", table.Decimal: "numeric(38,18)", table.Text: textType,
}

func (s *store) native(t table.Type) string {
	if t == table.JSON {
		return s.json
	}
	return natives[t]
}

// asJSON marks, in table.Memory, a column of text that holds JSON: its type alone does not tell.
const asJSON = "json as "

// columns are those of a table besides the metadata's, with what table.Memory knows of them.
func (s *store) columns(ctx context.Context, q querier, name string) ([]table.Column, error) {
	found, err := nativesOf(ctx, q, s.schema, name)
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, "SELECT column_name, part, field, type FROM "+s.own(table.Memory)+" WHERE table_name = $1", name)
	if err != nil {
		return nil, err
	}
	type memory struct{ part, field, made string }
	memories := make(map[string]memory)
	var of string
	var m memory
	if _, err := pgx.ForEachRow(rows, []any{&of, &m.part, &m.field, &m.made}, func() error { memories[of] = m; return nil }); err != nil {
		return nil, err
	}
	var columns []table.Column
	for _, f := range found {
		if f.name == seenColumn.name || slices.ContainsFunc(metadataColumns, func(c column) bool { return c.name == f.name }) {
			continue
		}
		m := memories[f.name]
		c := table.Column{Name: f.name, Type: pgwire.TypeOf(f.kind, superType), Native: f.kind, Part: table.Part(m.part), Field: m.field, Made: m.made == f.kind}
		if m.made == asJSON+f.kind {
			c.Type, c.Made = table.JSON, true
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// Columns reads the columns. That they are still the same when the rows go in is seen to by Commit.
func (t *ledgerTx) Columns(ctx context.Context, name string) ([]table.Column, error) {
	name = spell(name)
	columns, err := t.columns(ctx, t.session, name)
	if err != nil {
		return nil, t.failed("read columns", err)
	}
	if t.seen == nil {
		t.seen = make(map[string][]table.Column)
	}
	t.seen[name] = columns
	return columns, nil
}

// Change adds columns, one a statement: Redshift adds no more at once. It holds the ledger, so that no row of ours goes in meanwhile.
func (s *store) Change(ctx context.Context, name string, changes []table.Change) error {
	name = spell(name)
	conn, err := s.pool.session(ctx)
	if err != nil {
		return err
	}
	defer conn.end()
	op := "change columns of " + s.own(name)
	if err := s.lock(ctx, conn); err != nil {
		return s.failed(op, err)
	}
	now, err := s.columns(ctx, conn, name)
	if err != nil {
		return s.failed(op, err)
	}
	for _, c := range dialect.Pending(changes, now) {
		made := s.native(c.Column.Type)
		if c.Op == table.AddColumn {
			if _, err := conn.Exec(ctx, "ALTER TABLE "+s.own(name)+" ADD COLUMN "+quote(c.Column.Name)+" "+made); err != nil {
				return s.failed(op, err)
			}
		}
		switch {
		case c.Op == table.AdoptColumn:
			made = ""
		case c.Column.Type == table.JSON && made != superType:
			made = asJSON + made
		}
		// An older row may be of a column that was dropped.
		if _, err := conn.Exec(ctx, "DELETE FROM "+s.own(table.Memory)+" WHERE table_name = $1 AND column_name = $2", name, c.Column.Name); err != nil {
			return s.failed(op, err)
		}
		if _, err := conn.Exec(ctx, "INSERT INTO "+s.own(table.Memory)+" (table_name, column_name, part, field, type) VALUES ($1, $2, $3, $4, $5)",
			name, c.Column.Name, string(c.Column.Part), c.Column.Field, made); err != nil {
			return s.failed(op, err)
		}
	}
	if err := conn.commit(ctx); err != nil {
		return s.failed(op, err)
	}
	return nil
}
