package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"tributary/connectors"
)

// clockSkew is by how much workers' clocks may differ before a window that seems to end too late is thrown away.
const clockSkew = time.Minute

// Bounds of what an app may say that it allows. What is beyond them is an app's mistake, and must neither stop an account nor overflow a sum.
const (
	maxCalls      = 1_000_000_000
	maxConcurrent = 1_000
	minPer        = time.Millisecond
	maxPer        = 31 * 24 * time.Hour
)

// Grant is what TakeCalls took.
type Grant struct {
	// Calls may be made until Wait has passed and are void then; where it is 0, there are more after Wait.
	Calls int
	Wait  time.Duration
	// Allowed is what AllowCalls last said of the account; zero = nothing.
	Allowed connectors.Budget
}

// TakeCalls takes up to want calls to an account's app out of what b.Calls, or AllowCalls in place of it, leaves in the running window of
// b.Per, for all workers together. A window begins with the first call taken after the one before has ended.
// b.Concurrent is not looked at: see TakeSlot. Without any such number everything is granted.
func (c *Catalog) TakeCalls(ctx context.Context, account string, b connectors.Budget, want int, now time.Time) (Grant, error) {
	if want <= 0 {
		return Grant{}, fmt.Errorf("take calls of %s: want %d, must be at least 1", account, want)
	}
	bounded := b.Calls > 0 && b.Per > 0
	if !bounded {
		b.Calls, b.Per = maxCalls, time.Minute
	}
	// One statement, so that concurrent callers queue at the row.
	const (
		limit  = `(CASE WHEN budgets.allowed_calls > 0 THEN budgets.allowed_calls ELSE $4 END)`
		atOnce = `(CASE WHEN $5 > ` + limit + ` THEN ` + limit + ` ELSE $5 END)`
		over   = `(budgets.window_end <= $2 OR budgets.window_end > ` + ends + ` + $6)`
		update = `UPDATE SET
			window_end = CASE WHEN ` + over + ` THEN ` + ends + ` ELSE budgets.window_end END,
			used = CASE WHEN ` + over + ` THEN ` + atOnce + `
				WHEN budgets.used >= ` + limit + ` THEN budgets.used
				WHEN budgets.used + $5 > ` + limit + ` THEN ` + limit + ` ELSE budgets.used + $5 END,
			granted = CASE WHEN ` + over + ` THEN ` + atOnce + `
				WHEN budgets.used >= ` + limit + ` THEN 0
				WHEN budgets.used + $5 > ` + limit + ` THEN ` + limit + ` - budgets.used ELSE $5 END`
	)
	var (
		g        Grant
		end, per int64
	)
	err := c.write.QueryRowContext(ctx, `INSERT INTO budgets (account, window_end, used, granted) VALUES ($1, $3, $7, $7)
		ON CONFLICT (account) DO `+update+`
		RETURNING granted, window_end, allowed_calls, allowed_per, allowed_concurrent`,
		account, micros(now), micros(now.Add(b.Per)), int64(b.Calls), int64(want), clockSkew.Microseconds(), int64(min(want, b.Calls))).
		Scan(&g.Calls, &end, &g.Allowed.Calls, &per, &g.Allowed.Concurrent)
	if err != nil {
		return Grant{}, fmt.Errorf("take calls of %s: %w", account, err)
	}
	g.Allowed.Per = time.Duration(per) * time.Microsecond
	if !bounded && g.Allowed.Calls == 0 {
		g.Calls = want
		return g, nil
	}
	g.Wait = fromMicros(end).Sub(now)
	return g, nil
}

// ends is when a window that begins at $2 ends: at $3, unless the app said otherwise.
const ends = `(CASE WHEN budgets.allowed_calls > 0 THEN $2 + budgets.allowed_per ELSE $3 END)`

// ChargeCalls books calls that were made already. They count in the running window, also beyond what it holds: then nothing is granted
// until it has ended.
func (c *Catalog) ChargeCalls(ctx context.Context, account string, b connectors.Budget, calls int, now time.Time) error {
	if calls <= 0 {
		return nil
	}
	if b.Calls <= 0 || b.Per <= 0 {
		b.Per = time.Minute
	}
	const over = `(budgets.window_end <= $2 OR budgets.window_end > ` + ends + ` + $5)`
	_, err := c.change(ctx, `INSERT INTO budgets (account, window_end, used, granted) VALUES ($1, $3, $4, 0) ON CONFLICT (account) DO UPDATE SET
		window_end = CASE WHEN `+over+` THEN `+ends+` ELSE budgets.window_end END,
		used = CASE WHEN `+over+` THEN excluded.used ELSE budgets.used + excluded.used END`,
		account, micros(now), micros(now.Add(b.Per)), int64(min(calls, maxCalls)), clockSkew.Microseconds())
	if err != nil {
		return fmt.Errorf("charge calls of %s: %w", account, err)
	}
	return nil
}

// Clamp makes sense of what an app said that it allows: what is not positive is taken as not said, and then the connector's number holds;
// what is beyond all reason is brought within bounds. Calls without a time count for per. Zero = nothing was said that makes sense.
func Clamp(said connectors.Budget, per time.Duration) connectors.Budget {
	b := connectors.Budget{Concurrent: min(max(said.Concurrent, 0), maxConcurrent)}
	if said.Per > 0 {
		per = said.Per
	}
	if said.Calls > 0 && per > 0 {
		b.Calls, b.Per = min(said.Calls, maxCalls), min(max(per, minPer), maxPer).Truncate(time.Microsecond)
	}
	return b
}

// AllowCalls says what the app allows the account from now on, in place of what callers pass, for all workers. b is of Clamp; its zeroes
// leave callers their own numbers.
func (c *Catalog) AllowCalls(ctx context.Context, account string, b connectors.Budget) error {
	_, err := c.change(ctx, `INSERT INTO budgets (account, window_end, used, granted, allowed_calls, allowed_per, allowed_concurrent)
		VALUES ($1, 0, 0, 0, $2, $3, $4) ON CONFLICT (account) DO UPDATE SET allowed_calls = excluded.allowed_calls,
		allowed_per = excluded.allowed_per, allowed_concurrent = excluded.allowed_concurrent`,
		account, int64(b.Calls), b.Per.Microseconds(), int64(b.Concurrent))
	if err != nil {
		return fmt.Errorf("store what is allowed to %s: %w", account, err)
	}
	return nil
}

// AllowedCalls returns what AllowCalls last said; zero = nothing.
func (c *Catalog) AllowedCalls(ctx context.Context, account string) (b connectors.Budget, err error) {
	var per int64
	err = c.read.QueryRowContext(ctx, `SELECT allowed_calls, allowed_per, allowed_concurrent FROM budgets WHERE account = $1`, account).
		Scan(&b.Calls, &per, &b.Concurrent)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return b, fmt.Errorf("read what is allowed to %s: %w", account, err)
	}
	b.Per = time.Duration(per) * time.Microsecond
	return b, nil
}

// TakeSlot gives the holder one of the slots that an account has, for all workers together: so many callers at once
// its app bears. The slot is a lease, to be extended and released as such; "" = all are taken. A holder that has a slot keeps it, so
// that one whose worker died gets back what it held.
func (c *Catalog) TakeSlot(ctx context.Context, account string, slots int, holder string, ttl time.Duration, now time.Time) (string, error) {
	held, err := c.heldBy(ctx, holder)
	if err != nil {
		return "", fmt.Errorf("take slot of %s: %w", account, err)
	}
	for i := range slots {
		if name := slotName(account, i); slices.Contains(held, name) {
			if ok, err := c.AcquireLease(ctx, name, holder, ttl, now); ok || err != nil {
				return name, err
			}
		}
	}
	// Callers begin at different slots, so that they do not all ask for the first one first.
	h := fnv.New32a()
	h.Write([]byte(holder))
	first := int(h.Sum32() % uint32(max(slots, 1)))
	for i := range slots {
		name := slotName(account, (first+i)%slots)
		if ok, err := c.AcquireLease(ctx, name, holder, ttl, now); ok || err != nil {
			return name, err
		}
	}
	return "", nil
}

func slotName(account string, n int) string { return fmt.Sprintf("calls/%s/%d", account, n) }

// heldBy lists the leases of a holder, also those that have run out and nobody took since.
func (c *Catalog) heldBy(ctx context.Context, holder string) ([]string, error) {
	rows, err := c.read.QueryContext(ctx, `SELECT name FROM leases WHERE holder = $1`, holder)
	return collect(rows, err, func(r row) (name string, err error) { return name, r.Scan(&name) })
}

// AcquireLease gives the name to the holder for ttl, or extends what it holds, unless another holder's lease still
// runs. So many calls at once are so many names.
func (c *Catalog) AcquireLease(ctx context.Context, name, holder string, ttl time.Duration, now time.Time) (bool, error) {
	n, err := c.change(ctx, `INSERT INTO leases (name, holder, expires) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET
		holder = excluded.holder, expires = excluded.expires WHERE leases.holder = excluded.holder OR leases.expires <= $4`,
		name, holder, micros(now.Add(ttl)), micros(now))
	if err != nil {
		return false, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	return n == 1, nil
}

// ReleaseLease gives a lease up; one that the holder doesn't have stays as it is.
func (c *Catalog) ReleaseLease(ctx context.Context, name, holder string) error {
	if _, err := c.change(ctx, `DELETE FROM leases WHERE name = $1 AND holder = $2`, name, holder); err != nil {
		return fmt.Errorf("release lease %s: %w", name, err)
	}
	return nil
}
