package mysql

import (
	"context"
	"errors"
	"slices"

	"github.com/go-sql-driver/mysql"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Check connects, looks at the server and the rights of the user, and says what to grant. It changes nothing.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	server, err := d.pool.server(ctx)
	if err != nil {
		return err
	}
	var readOnly bool
	if err := d.pool.QueryRowContext(ctx, "SELECT @@read_only").Scan(&readOnly); err != nil {
		return d.pool.failed("check", err)
	}
	if readOnly {
		return connectors.Errorf(connectors.Invalid, "check", "the server is read-only: give the host of the primary")
	}
	s := &store{pool: d.pool, mode: d.Options.Mode, layout: d.Options.Layout, server: server}
	layouts := s.ledgerLayouts()
	name, fixed := d.Options.Name.Fixed()
	if fixed {
		layouts = append(layouts, s.recordLayout(name))
	}
	missing, alter := !fixed, d.Options.Layout == connectors.LayoutColumns && d.Options.Schema == connectors.Evolve
	for _, l := range layouts {
		f, err := l.inspect(ctx, d.pool, d.pool.dialect)
		if err == nil && f.table {
			err = d.pool.may(ctx, l, !f.key || alter && l.mode != "")
		}
		if err != nil {
			return d.pool.failed("check", err)
		}
		missing = missing || !f.table
	}
	if missing {
		return d.pool.mayCreate(ctx, alter)
	}
	return nil
}

// probe runs a statement that can't change anything, and so fails or tells nothing. Rights are looked at first: what comes after them, an error of one
// of the numbers, says that they are there.
func (p *pool) probe(ctx context.Context, statement string, beyond ...uint16) error {
	err := drain(p.QueryContext(ctx, statement))
	var e *mysql.MySQLError
	if errors.As(err, &e) && slices.Contains(beyond, e.Number) {
		return nil
	}
	return err
}

// may finds out whether the user may write into a table that is there. EXPLAIN asks for the rights of what it explains.
func (p *pool) may(ctx context.Context, l layout, alter bool) error {
	name := quote(l.table)
	column := l.columns[1].name
	statements := []string{
		"EXPLAIN SELECT * FROM " + name,
		"EXPLAIN INSERT INTO " + name + " (" + column + ") VALUES ('')",
		"EXPLAIN UPDATE " + name + " SET " + column + " = '' WHERE " + column + " = ''",
	}
	if l.table == table.Rejections || l.table == table.Memory {
		statements = append(statements, "EXPLAIN DELETE FROM "+name+" WHERE "+column+" = ''")
	}
	for _, s := range statements {
		if err := p.probe(ctx, s); err != nil {
			return err
		}
	}
	if !alter {
		return nil
	}
	const unknownColumn = 1054
	return p.probe(ctx, "ALTER TABLE "+name+" MODIFY COLUMN "+table.Own+"nothing INT", unknownColumn)
}

// mayCreate finds out whether the user may make tables. A table can't be made like one that does not exist.
func (p *pool) mayCreate(ctx context.Context, alter bool) error {
	const nothing = table.Own + "nothing"
	statements := []string{
		"CREATE TABLE " + table.Own + "probe LIKE " + nothing,
		"EXPLAIN INSERT INTO " + nothing + " VALUES (1)",
		"EXPLAIN UPDATE " + nothing + " SET a = 1",
		"EXPLAIN DELETE FROM " + nothing,
	}
	if alter {
		statements = append(statements, "ALTER TABLE "+nothing+" ADD COLUMN a INT")
	}
	for _, s := range statements {
		if err := p.probe(ctx, s, noSuchTable); err != nil {
			return p.failed("check", err)
		}
	}
	return nil
}
