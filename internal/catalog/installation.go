package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// State is how far an epoch is in its life. Values stand in the database: they are never renamed.
type State string

const (
	Installing State = "installing"
	Active     State = "active"
	Ended      State = "ended" // final
)

// Installation is one epoch of an integration installed for one user. At most one epoch of an ID has not ended.
type Installation struct {
	ID, Integration, User, Name, Epoch string
	Connector, Account                 string // of the source; what deliveries to app-wide URLs are routed by
	// TokenHash is the SHA-256 of the token in the webhook URL, all zero = no URL of its own; SealedToken is the token, encrypted.
	TokenHash   [32]byte
	SealedToken []byte
	Revision    int
	State       State
	// Pressure tells the receiver to refuse deliveries because the backlog is full.
	Pressure bool
	// Note says in plain words why the state is what it is.
	Note string
	// CreatedAt and EndedAt are in microseconds, UTC; EndedAt is zero until then.
	CreatedAt, EndedAt time.Time
}

// CreateInstallation begins an epoch. It gives ErrNotFound for an unknown integration or revision, ErrInactive for a
// deactivated one, and ErrExists when an epoch of the same ID, or with the same token, has not ended. Creating an
// epoch again is success, since the answer to the first attempt may have been lost. A zero CreatedAt becomes now.
func (c *Catalog) CreateInstallation(ctx context.Context, i Installation) error {
	if i.CreatedAt.IsZero() {
		i.CreatedAt = time.Now()
	}
	err := c.transact(ctx, func(tx *sql.Tx) error {
		// Shared: a deactivation that follows finds this installation.
		var active bool
		err := tx.QueryRowContext(ctx, `SELECT active FROM integrations WHERE name = $1`+c.dialect.share, i.Integration).Scan(&active)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("integration %s: %w", i.Integration, ErrNotFound)
		}
		if err != nil {
			return err
		}
		var known bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM revisions WHERE integration = $1 AND revision = $2)`,
			i.Integration, i.Revision).Scan(&known); err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("integration %s revision %d: %w", i.Integration, i.Revision, ErrNotFound)
		}
		same, err := scanInstallation(tx.QueryRowContext(ctx, selectInstallation+`WHERE epoch = $1`, i.Epoch))
		switch {
		case err == nil && same.ID == i.ID:
			return nil
		case err == nil:
			return fmt.Errorf("epoch %s, of %s: %w", i.Epoch, same.ID, ErrExists)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		case !active:
			return fmt.Errorf("integration %s %w: activate it to install it", i.Integration, ErrInactive)
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO installations (epoch, id, integration, revision, user_id, name, connector, account,
			token_hash, sealed_token, state, pressure, note, created_at, ended_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING`,
			i.Epoch, i.ID, i.Integration, i.Revision, i.User, i.Name, i.Connector, i.Account,
			hashOrNull(i.TokenHash), i.SealedToken, string(i.State), i.Pressure, i.Note, micros(i.CreatedAt), micros(i.EndedAt))
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			return err
		}
		var living bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM installations WHERE id = $1 AND state <> 'ended')`, i.ID).Scan(&living); err != nil {
			return err
		}
		if !living {
			return fmt.Errorf("an installation with the same webhook token %w", ErrExists)
		}
		return ErrExists
	})
	if err != nil {
		return fmt.Errorf("create installation %s: %w", i.ID, err)
	}
	return nil
}

const selectInstallation = `SELECT id, integration, user_id, name, epoch, connector, account, token_hash, sealed_token,
	revision, state, pressure, note, created_at, ended_at FROM installations `

// Installation returns the newest epoch of an ID, ended or not; ErrNotFound.
func (c *Catalog) Installation(ctx context.Context, id string) (Installation, error) {
	return c.oneInstallation(ctx, "installation "+id, `WHERE id = $1 ORDER BY seq DESC LIMIT 1`, id)
}

// InstallationByToken returns the newest epoch with a token of that SHA-256, ended or not; ErrNotFound.
func (c *Catalog) InstallationByToken(ctx context.Context, hash [32]byte) (Installation, error) {
	return c.oneInstallation(ctx, "installation of webhook token", `WHERE token_hash = $1 ORDER BY seq DESC LIMIT 1`, hash[:])
}

// InstallationByEpoch returns an epoch, ended or not; ErrNotFound.
func (c *Catalog) InstallationByEpoch(ctx context.Context, epoch string) (Installation, error) {
	return c.oneInstallation(ctx, "installation with epoch "+epoch, `WHERE epoch = $1`, epoch)
}

// InstallationsByAccount returns what has not ended and reads that account of the connector's app; perhaps nothing.
func (c *Catalog) InstallationsByAccount(ctx context.Context, connector, account string) ([]Installation, error) {
	rows, err := c.read.QueryContext(ctx, selectInstallation+
		`WHERE connector = $1 AND account = $2 AND state <> 'ended' ORDER BY seq`, connector, account)
	all, err := collect(rows, err, scanInstallation)
	if err != nil {
		return nil, fmt.Errorf("installations of %s account %s: %w", connector, account, err)
	}
	return all, nil
}

// Filter narrows Installations; its zero value leaves in all that have not ended.
type Filter struct {
	Integration, User string
	Ended             bool // with ended epochs too
}

// Installations returns epochs in the order in which they were created.
func (c *Catalog) Installations(ctx context.Context, f Filter) ([]Installation, error) {
	where, args := []string{"1 = 1"}, []any{}
	if f.Integration != "" {
		args = append(args, f.Integration)
		where = append(where, fmt.Sprintf("integration = $%d", len(args)))
	}
	if f.User != "" {
		args = append(args, f.User)
		where = append(where, fmt.Sprintf("user_id = $%d", len(args)))
	}
	if !f.Ended {
		where = append(where, "state <> 'ended'")
	}
	rows, err := c.read.QueryContext(ctx, selectInstallation+`WHERE `+strings.Join(where, " AND ")+` ORDER BY seq`, args...)
	all, err := collect(rows, err, scanInstallation)
	if err != nil {
		return nil, fmt.Errorf("installations: %w", err)
	}
	return all, nil
}

// SetState moves an epoch to a state and notes why; ErrNotFound. Ended is final: from there any other state is ErrEnded,
// and ending again keeps the first EndedAt.
func (c *Catalog) SetState(ctx context.Context, epoch string, s State, note string) error {
	var ended int64
	if s == Ended {
		ended = micros(time.Now())
	}
	return c.update(ctx, epoch, `state = $2, note = $3, ended_at = CASE WHEN state = 'ended' THEN ended_at ELSE $4 END`,
		`(state <> 'ended' OR $2 = 'ended')`, ErrEnded, string(s), note, ended)
}

// SetRevision moves an epoch to another revision of its integration; ErrNotFound for either.
func (c *Catalog) SetRevision(ctx context.Context, epoch string, revision int) error {
	return c.update(ctx, epoch, `revision = $2`,
		`EXISTS (SELECT 1 FROM revisions r WHERE r.integration = installations.integration AND r.revision = $2)`,
		fmt.Errorf("revision %d: %w", revision, ErrNotFound), int64(revision))
}

// SetPressure tells the receiver to refuse deliveries of an epoch, or to take them again; ErrNotFound.
func (c *Catalog) SetPressure(ctx context.Context, epoch string, on bool) error {
	return c.update(ctx, epoch, `pressure = $2`, `1 = 1`, nil, on)
}

// SetAccount routes an app-wide account's deliveries to an epoch, after a connection changed; ErrNotFound.
func (c *Catalog) SetAccount(ctx context.Context, epoch, account string) error {
	return c.update(ctx, epoch, `account = $2`, `1 = 1`, nil, account)
}

// update sets columns of an epoch under a condition; refused is the error when the epoch is there and the
// condition is not met.
func (c *Catalog) update(ctx context.Context, epoch, set, condition string, refused error, args ...any) error {
	n, err := c.change(ctx, `UPDATE installations SET `+set+` WHERE epoch = $1 AND `+condition, append([]any{epoch}, args...)...)
	if err != nil {
		return fmt.Errorf("update installation with epoch %s: %w", epoch, err)
	}
	if n == 1 {
		return nil
	}
	found, err := c.InstallationByEpoch(ctx, epoch)
	if err != nil {
		return err
	}
	return fmt.Errorf("installation %s with epoch %s: %w", found.ID, epoch, refused)
}

func (c *Catalog) oneInstallation(ctx context.Context, what, where string, args ...any) (Installation, error) {
	i, err := scanInstallation(c.read.QueryRowContext(ctx, selectInstallation+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Installation{}, fmt.Errorf("%s: %w", what, err)
	}
	return i, nil
}

func scanInstallation(r row) (Installation, error) {
	var (
		i              Installation
		hash           []byte
		created, ended int64
	)
	if err := r.Scan(&i.ID, &i.Integration, &i.User, &i.Name, &i.Epoch, &i.Connector, &i.Account, &hash, &i.SealedToken,
		&i.Revision, &i.State, &i.Pressure, &i.Note, &created, &ended); err != nil {
		return Installation{}, err
	}
	copy(i.TokenHash[:], hash)
	i.CreatedAt, i.EndedAt = fromMicros(created), fromMicros(ended)
	return i, nil
}

// hashOrNull makes no token NULL, which the unique index lets many rows have.
func hashOrNull(hash [32]byte) any {
	if hash == ([32]byte{}) {
		return nil
	}
	return hash[:]
}
