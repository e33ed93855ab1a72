package catalog

import (
	"context"
	"database/sql"
	"fmt"
)

// AddSubscriber counts an epoch among those that share an app's webhooks, once, and returns how many there are.
func (c *Catalog) AddSubscriber(ctx context.Context, app, epoch string) (int, error) {
	n, err := c.subscribers(ctx, app, `INSERT INTO subscribers (app, epoch) VALUES ($1, $2) ON CONFLICT (app, epoch) DO NOTHING`, epoch)
	if err != nil {
		return 0, fmt.Errorf("add subscriber of %s: %w", app, err)
	}
	return n, nil
}

// RemoveSubscriber takes an epoch out of the count, if it is in, and returns how many are left. Whoever gets 0
// took the last one, or came later.
func (c *Catalog) RemoveSubscriber(ctx context.Context, app, epoch string) (int, error) {
	n, err := c.subscribers(ctx, app, `DELETE FROM subscribers WHERE app = $1 AND epoch = $2`, epoch)
	if err != nil {
		return 0, fmt.Errorf("remove subscriber of %s: %w", app, err)
	}
	return n, nil
}

func (c *Catalog) subscribers(ctx context.Context, app, statement, epoch string) (count int, err error) {
	err = c.transact(ctx, func(tx *sql.Tx) error {
		// The update changes nothing: it locks the row. Without it two that leave at once would both count the other.
		const lock = `INSERT INTO apps (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET name = excluded.name`
		if _, err := tx.ExecContext(ctx, lock, app); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, statement, app, epoch); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM subscribers WHERE app = $1`, app).Scan(&count)
	})
	return count, err
}
