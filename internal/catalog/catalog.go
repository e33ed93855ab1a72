// Package catalog is the one SQL database that all workers share: the directory of integrations and
// installations, encrypted connections, the quarantine index, account budgets, leases and low-water marks.
//
// It is SQLite for one machine and PostgreSQL for many. Statements are the same for both; dialect.go holds what
// differs. Every function may be called by many goroutines and processes at once.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// What callers tell apart with errors.Is. Any other error means that the catalog gave no answer: the receiver
// then says 503, never 404.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	// ErrInactive: the integration was deactivated and takes no new installations.
	ErrInactive = errors.New("is not active")
	// ErrEnded: the epoch has ended, and that is final.
	ErrEnded = errors.New("has ended")
	// ErrChanged: what was to be replaced is no longer there as it was read.
	ErrChanged = errors.New("has changed")
	// ErrOtherStore: the catalog belongs to another store than the one at hand.
	ErrOtherStore = errors.New("belongs to another")
)

// Catalog is an open database.
type Catalog struct {
	// On PostgreSQL both are one pool. On SQLite there is a single writing connection, so that writers of one
	// process queue in Go, where that is fair, and don't meet SQLITE_BUSY.
	read, write *sql.DB
	dialect     dialect
}

// Open opens the catalog at a SQLite file (a path or sqlite:PATH) or a PostgreSQL database (postgres://...), and
// brings its tables up to date, which is safe when many processes start at once. It refuses a database that a
// newer version has changed. Errors never hold the password of the DSN.
func Open(ctx context.Context, dsn string) (*Catalog, error) {
	c, err := connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	if err := c.migrate(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	return c, nil
}

// Close waits for what is running and closes the database.
func (c *Catalog) Close() error {
	if c.read == c.write {
		return c.write.Close()
	}
	return errors.Join(c.read.Close(), c.write.Close())
}

// Ping proves that the database answers and has the catalog's tables.
func (c *Catalog) Ping(ctx context.Context) error {
	var version int
	if err := c.read.QueryRowContext(ctx, `SELECT max(version) FROM catalog_version`).Scan(&version); err != nil {
		return fmt.Errorf("ping catalog: %w", err)
	}
	return nil
}

// transact runs fn in a transaction, which on SQLite holds the write lock from its beginning.
func (c *Catalog) transact(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := c.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// change runs a statement and tells how many rows it changed.
func (c *Catalog) change(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := c.write.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// row is what *sql.Row and *sql.Rows have in common.
type row interface{ Scan(...any) error }

func collect[T any](rows *sql.Rows, err error, scan func(row) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// micros is how times are stored.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
