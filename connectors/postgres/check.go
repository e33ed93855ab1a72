package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// oldest server whose catalog and statements are as this package expects.
const oldest = 120000

// Check connects, looks at the server and the rights of the role, and says what to grant. It changes nothing.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var version int
	var readOnly, schemaExists, create, temporary, use bool
	err = d.pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int,
		pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
		n.oid IS NOT NULL,
		CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE') ELSE has_schema_privilege(n.oid, 'CREATE') END,
		has_database_privilege(current_database(), 'TEMPORARY'),
		n.oid IS NULL OR has_schema_privilege(n.oid, 'USAGE')
		FROM (SELECT) AS nothing LEFT JOIN pg_namespace n ON n.nspname = $1`,
		d.schema).Scan(&version, &readOnly, &schemaExists, &create, &temporary, &use)
	if err != nil {
		return d.pool.explain(d.schema, "check", err)
	}
	if version < oldest {
		return connectors.Errorf(connectors.Invalid, "check", "the server's version number is %d: want PostgreSQL %d or later", version, oldest/10000)
	}
	if readOnly {
		return connectors.Errorf(connectors.Invalid, "check", "the server or the role is read-only: give the host of the primary")
	}

	g := d.pool.grants(d.schema)
	var missing []string
	if !temporary {
		missing = append(missing, g.Temporary)
	}
	if !use {
		missing = append(missing, g.Schema)
		return connectors.Errorf(connectors.Forbidden, "check", "the role lacks rights; %s", pgwire.Administrator(missing...))
	}
	tablesMissing, tablesDenied, err := d.checkTables(ctx)
	if err != nil {
		return err
	}
	switch {
	case tablesMissing && !create && !schemaExists:
		missing = append(missing, g.Create)
	case tablesMissing && !create:
		missing = append(missing, g.Schema)
	}
	if tablesDenied {
		missing = append(missing, g.Tables)
	}
	if missing != nil {
		return connectors.Errorf(connectors.Forbidden, "check", "the role lacks rights; %s", pgwire.Administrator(missing...))
	}
	return d.checkOwner(ctx)
}

// checkOwner looks whether the role may change the table, where it may have to.
func (d *destination) checkOwner(ctx context.Context) error {
	name, fixed := d.Options.Name.Fixed()
	if !fixed || d.Options.Layout != connectors.LayoutColumns || d.Options.Schema != connectors.Evolve {
		return nil
	}
	var others bool
	err := d.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND NOT pg_has_role(c.relowner, 'USAGE'))`, d.schema, name).Scan(&others)
	if err != nil {
		return d.pool.explain(d.schema, "check", err)
	}
	if others {
		hand := fmt.Sprintf("ALTER TABLE %s OWNER TO %s", pgx.Identifier{d.schema, name}.Sanitize(), pgx.Identifier{d.pool.Config().ConnConfig.User}.Sanitize())
		return connectors.Errorf(connectors.Forbidden, "check", "schema evolve has to change the table, which is another role's; set another rule, or %s", pgwire.Administrator(hand))
	}
	return nil
}

// checkTables looks at the tables whose names are known beforehand. missing says that some have yet to be created, denied that the role
// may not write into one that exists.
func (d *destination) checkTables(ctx context.Context) (missing, denied bool, err error) {
	layouts := ledgerLayouts(d.schema, d.Options.Layout)
	name, fixed := d.Options.Name.Fixed()
	if fixed {
		layouts = append(layouts, recordLayout(d.schema, name, d.Options.Mode, d.Options.Layout))
	}
	missing = !fixed
	for _, l := range layouts {
		f, err := l.inspect(ctx, d.pool)
		if err != nil {
			return false, false, d.pool.explain(d.schema, "check", err)
		}
		missing = missing || !f.table || !f.key
		if !f.table {
			continue
		}
		rights := []string{"SELECT", "INSERT", "UPDATE"}
		if l.table == table.Rejections {
			rights = append(rights, "DELETE")
		}
		for _, right := range rights {
			var has bool
			query := fmt.Sprintf(`SELECT has_table_privilege(quote_ident($1) || '.' || quote_ident($2), '%s')`, right)
			if err := d.pool.QueryRow(ctx, query, l.schema, l.table).Scan(&has); err != nil {
				return false, false, d.pool.explain(d.schema, "check", err)
			}
			denied = denied || !has
		}
	}
	return missing, denied, nil
}
