package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Connection is stored credentials as the vault encrypted them.
type Connection struct {
	Owner, Connector, Name string // what identifies it
	Account                string // the app's account that it belongs to; "" where there is no such thing
	Ciphertext             []byte
	// Version changes whenever the connection does, and grows; after a deletion it doesn't begin again.
	Version   int64
	UpdatedAt time.Time
}

// PutConnection creates or replaces a connection and returns its new version; Version and UpdatedAt of the argument
// are not read.
func (c *Catalog) PutConnection(ctx context.Context, n Connection) (int64, error) {
	// Microseconds since 1970, so that a connection made anew doesn't get a version that a worker remembers.
	now := micros(time.Now())
	var version int64
	err := c.transact(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO connections (owner, connector, name, account, ciphertext, version, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (owner, connector, name) DO UPDATE SET
		account = excluded.account, ciphertext = excluded.ciphertext, updated_at = excluded.updated_at,
		version = CASE WHEN excluded.version > connections.version THEN excluded.version ELSE connections.version + 1 END
		RETURNING version`, n.Owner, n.Connector, n.Name, n.Account, n.Ciphertext, now).Scan(&version)
	})
	if err != nil {
		return 0, fmt.Errorf("put connection %s of %s for %s: %w", n.Name, n.Owner, n.Connector, err)
	}
	return version, nil
}

// ReplaceConnection puts another ciphertext where the connection still has n.Version, keeps its account, and returns the new version;
// ErrChanged where somebody set or deleted the connection since.
func (c *Catalog) ReplaceConnection(ctx context.Context, n Connection) (int64, error) {
	now := micros(time.Now())
	var version int64
	err := c.transact(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `UPDATE connections SET ciphertext = $5, updated_at = $6,
		version = CASE WHEN $6 > version THEN $6 ELSE version + 1 END
		WHERE owner = $1 AND connector = $2 AND name = $3 AND version = $4
		RETURNING version`, n.Owner, n.Connector, n.Name, n.Version, n.Ciphertext, now).Scan(&version)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrChanged
	}
	if err != nil {
		return 0, fmt.Errorf("replace connection %s of %s for %s: %w", n.Name, n.Owner, n.Connector, err)
	}
	return version, nil
}

const selectConnection = `SELECT owner, connector, name, account, ciphertext, version, updated_at FROM connections `

// Connection returns a connection; ErrNotFound.
func (c *Catalog) Connection(ctx context.Context, owner, connector, name string) (Connection, error) {
	n, err := scanConnection(c.read.QueryRowContext(ctx,
		selectConnection+`WHERE owner = $1 AND connector = $2 AND name = $3`, owner, connector, name))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Connection{}, fmt.Errorf("connection %s of %s for %s: %w", name, owner, connector, err)
	}
	return n, nil
}

// Connections returns the connections of an owner, "" = of all, in order.
func (c *Catalog) Connections(ctx context.Context, owner string) ([]Connection, error) {
	rows, err := c.read.QueryContext(ctx, selectConnection+`WHERE owner = $1 OR $1 = '' ORDER BY owner, connector, name`, owner)
	all, err := collect(rows, err, scanConnection)
	if err != nil {
		return nil, fmt.Errorf("connections: %w", err)
	}
	return all, nil
}

// IdleConnections names the connections of a connector that nobody has set or replaced since then, without their ciphertexts.
func (c *Catalog) IdleConnections(ctx context.Context, connector string, since time.Time) ([]Connection, error) {
	rows, err := c.read.QueryContext(ctx, `SELECT owner, name FROM connections WHERE connector = $1 AND updated_at < $2 ORDER BY updated_at`,
		connector, micros(since))
	all, err := collect(rows, err, func(r row) (Connection, error) {
		n := Connection{Connector: connector}
		return n, r.Scan(&n.Owner, &n.Name)
	})
	if err != nil {
		return nil, fmt.Errorf("idle connections of %s: %w", connector, err)
	}
	return all, nil
}

// DeleteConnection removes a connection; ErrNotFound.
func (c *Catalog) DeleteConnection(ctx context.Context, owner, connector, name string) error {
	n, err := c.change(ctx, `DELETE FROM connections WHERE owner = $1 AND connector = $2 AND name = $3`, owner, connector, name)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete connection %s of %s for %s: %w", name, owner, connector, err)
	}
	return nil
}

func scanConnection(r row) (Connection, error) {
	var (
		n       Connection
		updated int64
	)
	err := r.Scan(&n.Owner, &n.Connector, &n.Name, &n.Account, &n.Ciphertext, &n.Version, &updated)
	n.UpdatedAt = fromMicros(updated)
	return n, err
}
