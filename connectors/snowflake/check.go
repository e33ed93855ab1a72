package snowflake

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Check logs in, has the warehouse count to one, and looks at the stage, the database, the schema, the tables whose names are known and the role's rights to them; it says what to
// grant. It leaves nothing behind: of an external stage it writes a file, and removes it.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s := &store{pool: d.pool, place: d.place, mode: d.Options.Mode, layout: d.Options.Layout}
	var one int
	if err := d.pool.QueryRowContext(ctx, "SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 1))").Scan(&one); err != nil { // a constant needs no warehouse
		return s.failed("check", err)
	}
	if d.pool.bucket != nil {
		if err := s.tryStage(ctx); err != nil {
			return err
		}
	} else if _, err := s.list(ctx, "tributary"); err != nil {
		return s.failed("check stage", err)
	}
	exists, err := s.schemaExists(ctx)
	if err != nil {
		return err
	}
	if !exists {
		return s.need(ctx, "DATABASE", d.place.database, "CREATE SCHEMA")
	}
	return d.checkTables(ctx, s)
}

// checkTables looks at the tables whose names are known beforehand.
func (d *destination) checkTables(ctx context.Context, s *store) error {
	layouts := ownLayouts(d.Options.Layout)
	name, fixed := d.Options.Name.Fixed()
	if fixed {
		layouts = append(layouts, s.recordLayout(name))
	}
	missing := !fixed
	for _, l := range layouts {
		there, err := s.inspect(ctx, d.pool, l)
		if err != nil {
			return s.failed("check table "+d.place.own(l.table), err)
		}
		if !there {
			missing = true
			continue
		}
		needs := []string{"SELECT", "INSERT", "UPDATE"}
		switch {
		case l.table == table.Rejections || l.table == table.Memory:
			needs = []string{"SELECT", "INSERT", "DELETE"}
		case l.mode == connectors.Append:
			needs = needs[:2]
		}
		if l.mode != "" && d.Options.Layout == connectors.LayoutColumns && d.Options.Schema == connectors.Evolve {
			needs = []string{"OWNERSHIP"}
		}
		if err := s.need(ctx, "TABLE", d.place.tableName(l.table), needs...); err != nil {
			return err
		}
	}
	if missing {
		return s.need(ctx, "SCHEMA", d.place.schema, "CREATE TABLE")
	}
	return nil
}

// need asks for the rights to an object of the database that the session's roles have: https://docs.snowflake.com/en/sql-reference/info-schema/object_privileges
func (s *store) need(ctx context.Context, kind, name string, privileges ...string) error {
	query := "SELECT PRIVILEGE_TYPE FROM " + quote(s.place.database) + ".INFORMATION_SCHEMA.OBJECT_PRIVILEGES WHERE OBJECT_TYPE = ? AND OBJECT_NAME = ? AND IS_ROLE_IN_SESSION(GRANTEE)"
	values := []any{kind, name}
	if kind == "TABLE" {
		query += " AND OBJECT_SCHEMA = ?"
		values = append(values, s.place.schema)
	}
	rows, err := s.pool.QueryContext(ctx, query, values...)
	if err != nil {
		return s.failed("check rights", err)
	}
	var has []string
	if err := each(rows, func(row map[string]sql.NullString) { has = append(has, row["privilege_type"].String) }); err != nil {
		return s.failed("check rights", err)
	}
	if slices.Contains(has, "OWNERSHIP") {
		return nil
	}
	var lacks []string
	for _, p := range privileges {
		if !slices.Contains(has, p) {
			lacks = append(lacks, p)
		}
	}
	if lacks == nil {
		return nil
	}
	role := s.pool.config.Role
	if role == "" {
		role = "<role>"
	}
	object := kind + " " + quote(s.place.database)
	switch kind {
	case "SCHEMA":
		object = kind + " " + s.place.schemaName()
	case "TABLE":
		object = kind + " " + s.place.schemaName() + "." + quote(name)
	}
	return connectors.Errorf(connectors.Forbidden, "check", "the role lacks rights; let an administrator run: GRANT %s ON %s TO ROLE %s", strings.Join(lacks, ", "), object, role)
}
