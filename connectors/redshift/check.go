package redshift

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5/pgconn"

	"tributary/connectors"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// Check connects, looks at the server and the rights of the user, asks S3 whether files may be written, and Redshift whether it may read them, and says
// what to grant. It changes nothing.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	conn, err := d.pool.session(ctx)
	if err != nil {
		return err
	}
	defer conn.end()
	if err := d.checkDatabase(ctx, conn); err != nil {
		return err
	}
	if err := d.pool.files.check(ctx); err != nil {
		return err
	}
	return d.checkRole(ctx, conn)
}

func (d *destination) failed(err error) *connectors.Error {
	return d.pool.explain(d.schema, "check", err)
}

// checkDatabase looks at rights and tables.
func (d *destination) checkDatabase(ctx context.Context, conn *session) error {
	var version string
	if err := conn.QueryRow(ctx, "SELECT version()").Scan(&version); err != nil {
		return d.failed(err)
	}
	if !strings.Contains(version, "Redshift") {
		return connectors.Errorf(connectors.Invalid, "check", "the server is no Amazon Redshift: use the destination postgres for PostgreSQL")
	}
	g := d.pool.grants(d.schema)
	var temporary bool
	var schemas int
	if err := conn.QueryRow(ctx, "SELECT has_database_privilege(current_database(), 'TEMPORARY')").Scan(&temporary); err != nil {
		return d.failed(err)
	}
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_namespace WHERE nspname = $1", d.schema).Scan(&schemas); err != nil {
		return d.failed(err)
	}
	var missing []string
	if !temporary {
		missing = append(missing, g.Temporary)
	}
	if schemas == 0 {
		var create bool
		if err := conn.QueryRow(ctx, "SELECT has_database_privilege(current_database(), 'CREATE')").Scan(&create); err != nil {
			return d.failed(err)
		}
		if !create {
			missing = append(missing, g.Create)
		}
		return lacking(missing)
	}
	var use, create bool
	if err := conn.QueryRow(ctx, "SELECT has_schema_privilege($1, 'USAGE'), has_schema_privilege($1, 'CREATE')", d.schema).Scan(&use, &create); err != nil {
		return d.failed(err)
	}
	if !use {
		return lacking(append(missing, g.Schema))
	}
	tablesMissing, denied, err := d.checkTables(ctx, conn)
	if err != nil {
		return err
	}
	if tablesMissing && !create {
		missing = append(missing, g.Schema)
	}
	if denied {
		missing = append(missing, g.Tables)
	}
	if err := lacking(missing); err != nil {
		return err
	}
	return d.checkOwner(ctx, conn)
}

func lacking(missing []string) error {
	if missing == nil {
		return nil
	}
	return connectors.Errorf(connectors.Forbidden, "check", "the user lacks rights; %s", pgwire.Administrator(missing...))
}

// checkTables looks at the tables whose names are known beforehand. missing says that some have yet to be created, denied that the user
// may not write into one that exists.
func (d *destination) checkTables(ctx context.Context, conn *session) (missing, denied bool, err error) {
	layouts := ledgerLayouts(d.schema, d.Options.Layout)
	name, fixed := d.Options.Name.Fixed()
	if fixed {
		layouts = append(layouts, d.store(d.Options.Mode).recordLayout(spell(name)))
	}
	missing = !fixed
	for _, l := range layouts {
		there, err := l.inspect(ctx, conn)
		if err != nil {
			return false, false, d.failed(err)
		}
		if !there {
			missing = true
			continue
		}
		rights := []string{"SELECT", "INSERT", "UPDATE"}
		if l.mode == "" {
			rights = append(rights, "DELETE")
		}
		for _, right := range rights {
			var has bool
			if err := conn.QueryRow(ctx, "SELECT has_table_privilege($1, '"+right+"')", l.name()).Scan(&has); err != nil {
				return false, false, d.failed(err)
			}
			denied = denied || !has
		}
	}
	return missing, denied, nil
}

// checkOwner looks whether the user may add columns to the table, where it may have to.
func (d *destination) checkOwner(ctx context.Context, conn *session) error {
	name, fixed := d.Options.Name.Fixed()
	if !fixed || d.Options.Layout != connectors.LayoutColumns || d.Options.Schema != connectors.Evolve {
		return nil
	}
	var others int
	err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_user u ON u.usesysid = c.relowner
		WHERE n.nspname = $1 AND c.relname = $2 AND u.usename <> current_user AND NOT EXISTS (SELECT 1 FROM pg_user me WHERE me.usename = current_user AND me.usesuper)`,
		d.schema, spell(name)).Scan(&others)
	if err != nil {
		return d.failed(err)
	}
	if others > 0 {
		hand := fmt.Sprintf("ALTER TABLE %s.%s OWNER TO %s", quote(d.schema), quote(spell(name)), quote(d.pool.user()))
		return connectors.Errorf(connectors.Forbidden, "check", "schema evolve has to change the table, which is another user's; set another rule, or %s", pgwire.Administrator(hand))
	}
	return nil
}

// check asks S3 to write an object under a condition that can't be met. Who may not write at all is told that instead.
func (f *files) check(ctx context.Context) error {
	key := f.prefix + "/check"
	_, err := f.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &f.bucket, Key: &key, Body: bytes.NewReader(nil), ContentLength: aws.Int64(0), IfMatch: aws.String(`"00000000000000000000000000000000"`),
	})
	if err == nil || unmet(err) {
		return nil
	}
	e := f.failed("check", err)
	if e.Kind == connectors.NotFound && strings.Contains(e.Message, "NoSuchKey") { // it is asked for a condition on what is not there
		return nil
	}
	return e
}

// checkRole asks Redshift to load a manifest that is not there: who may not assume the role or read the bucket is told that instead.
func (d *destination) checkRole(ctx context.Context, conn *session) error {
	g := &stage{name: table.Own + "check_" + strings.ToLower(rand.Text()[:16])}
	if _, err := conn.Exec(ctx, g.create()); err != nil {
		return d.pool.explain(d.schema, pgwire.CreatingStage, err)
	}
	_, err := conn.Exec(ctx, d.pool.files.load(g, d.pool.files.prefix+"/check-"+strings.ToLower(rand.Text())+".manifest"))
	_, dropped := conn.Exec(ctx, "DROP TABLE "+quote(g.name))
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return connectors.Errorf(connectors.Unknown, "check", "a load of a file that is not there did not fail")
	case errors.As(err, &pg) && isMissing(pg):
		if dropped != nil {
			return d.failed(dropped)
		}
		return nil
	}
	return d.failed(err)
}

// isMissing says that a file of a load is not there.
func isMissing(pg *pgconn.PgError) bool {
	text := pg.Message + " " + pg.Detail
	m := s3Sign.FindStringSubmatch(text)
	return m != nil && m[2] == "NoSuchKey" || m == nil && goneSign.MatchString(text)
}
