package catalog

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"strings"
	"text/template"
	"time"
)

// Migrations are numbered from 1 without gaps. One that was released never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the tables up to date in one transaction that only one process can be in.
func (c *Catalog) migrate(ctx context.Context) error {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	return c.transact(ctx, func(tx *sql.Tx) error {
		if c.dialect.lockMigrations != "" {
			if _, err := tx.ExecContext(ctx, c.dialect.lockMigrations); err != nil {
				return err
			}
		}
		const table = `CREATE TABLE IF NOT EXISTS catalog_version (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL)`
		if _, err := tx.ExecContext(ctx, table); err != nil {
			return err
		}
		var version int
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM catalog_version`).Scan(&version); err != nil {
			return err
		}
		if version > len(files) {
			return fmt.Errorf("its tables have version %d and this binary knows versions up to %d: run a Tributary at least as new as the one that changed them",
				version, len(files))
		}
		for i, file := range files[version:] {
			if err := c.apply(ctx, tx, file.Name(), version+i+1); err != nil {
				return fmt.Errorf("migration %s: %w", file.Name(), err)
			}
		}
		return nil
	})
}

func (c *Catalog) apply(ctx context.Context, tx *sql.Tx, file string, version int) error {
	if !strings.HasPrefix(file, fmt.Sprintf("%04d_", version)) {
		return fmt.Errorf("want number %04d", version)
	}
	t, err := template.ParseFS(migrations, "migrations/"+file)
	if err != nil {
		return err
	}
	var statements strings.Builder
	if err := t.Execute(&statements, c.dialect); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, statements.String()); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO catalog_version (version, applied_at) VALUES ($1, $2)`, version, micros(time.Now()))
	return err
}
