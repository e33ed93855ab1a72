package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tributary/internal/integration"
)

// Integration is one revision of a definition.
type Integration struct {
	Spec     integration.Spec
	Revision int // from 1
	// Active is of the integration, not of the revision: an inactive one takes no new installations.
	Active    bool
	CreatedAt time.Time // of the revision
}

// SaveIntegration stores spec as the next revision of the integration of its name, unless it equals the latest one,
// which is then returned. A new integration is active.
func (c *Catalog) SaveIntegration(ctx context.Context, spec integration.Spec) (int, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false) // settings stay as they were written
	if err := encoder.Encode(spec); err != nil {
		return 0, fmt.Errorf("save integration %s: %w", spec.Name, err)
	}
	text := buffer.String()
	var revision int
	err := c.transact(ctx, func(tx *sql.Tx) error {
		// The update changes nothing: it locks the row, so that revisions are numbered one after the other.
		const lock = `INSERT INTO integrations (name, active) VALUES ($1, TRUE) ON CONFLICT (name) DO UPDATE SET name = excluded.name`
		if _, err := tx.ExecContext(ctx, lock, spec.Name); err != nil {
			return err
		}
		var latest string
		err := tx.QueryRowContext(ctx, `SELECT revision, spec FROM revisions WHERE integration = $1 ORDER BY revision DESC LIMIT 1`,
			spec.Name).Scan(&revision, &latest)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if latest == text {
			return nil
		}
		revision++
		_, err = tx.ExecContext(ctx, `INSERT INTO revisions (integration, revision, spec, created_at) VALUES ($1, $2, $3, $4)`,
			spec.Name, revision, text, micros(time.Now()))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("save integration %s: %w", spec.Name, err)
	}
	return revision, nil
}

const selectIntegration = `SELECT r.spec, r.revision, i.active, r.created_at FROM integrations i JOIN revisions r ON r.integration = i.name `

// Integration returns a revision, 0 = the latest; ErrNotFound.
func (c *Catalog) Integration(ctx context.Context, name string, revision int) (Integration, error) {
	found, err := scanIntegration(c.read.QueryRowContext(ctx,
		selectIntegration+`WHERE i.name = $1 AND (r.revision = $2 OR $2 = 0) ORDER BY r.revision DESC LIMIT 1`, name, int64(revision)))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil && revision != 0 {
		return Integration{}, fmt.Errorf("integration %s revision %d: %w", name, revision, err)
	}
	if err != nil {
		return Integration{}, fmt.Errorf("integration %s: %w", name, err)
	}
	return found, nil
}

// Integrations returns the latest revision of each, by name.
func (c *Catalog) Integrations(ctx context.Context) ([]Integration, error) {
	rows, err := c.read.QueryContext(ctx, selectIntegration+
		`WHERE r.revision = (SELECT max(revision) FROM revisions WHERE integration = i.name) ORDER BY i.name`)
	all, err := collect(rows, err, scanIntegration)
	if err != nil {
		return nil, fmt.Errorf("integrations: %w", err)
	}
	return all, nil
}

// SetActive opens or closes an integration for new installations; ErrNotFound.
func (c *Catalog) SetActive(ctx context.Context, name string, active bool) error {
	n, err := c.change(ctx, `UPDATE integrations SET active = $2 WHERE name = $1`, name, active)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("integration %s: %w", name, err)
	}
	return nil
}

func scanIntegration(r row) (Integration, error) {
	var (
		i       Integration
		text    string
		created int64
	)
	if err := r.Scan(&text, &i.Revision, &i.Active, &created); err != nil {
		return Integration{}, err
	}
	i.CreatedAt = fromMicros(created)
	if err := json.Unmarshal([]byte(text), &i.Spec); err != nil {
		return Integration{}, fmt.Errorf("revision %d: %w", i.Revision, err)
	}
	return i, nil
}
