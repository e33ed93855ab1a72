package catalog

import (
	"context"
	"fmt"
)

// BindStore makes the catalog belong to the store of a kind ("segments", "key file") that the first caller names. Later callers with
// another ID get ErrOtherStore: they would write where the other workers don't look.
func (c *Catalog) BindStore(ctx context.Context, kind, id string) error {
	if _, err := c.change(ctx, `INSERT INTO stores (kind, id) VALUES ($1, $2) ON CONFLICT (kind) DO NOTHING`, kind, id); err != nil {
		return fmt.Errorf("bind %s: %w", kind, err)
	}
	var bound string
	if err := c.read.QueryRowContext(ctx, `SELECT id FROM stores WHERE kind = $1`, kind).Scan(&bound); err != nil {
		return fmt.Errorf("bind %s: %w", kind, err)
	}
	if bound != id {
		return fmt.Errorf("bind %s: this one has the ID %s and the catalog %w, %s: use the one that the other workers use, or another catalog",
			kind, id, ErrOtherStore, bound)
	}
	return nil
}
