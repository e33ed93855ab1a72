package catalog

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"tributary/connectors"
)

// clockSkew is by how much workers' clocks may differ before a window that seems to end too late is thrown away.
const clockSkew = time.Minute

// TakeCalls takes up to want calls to an account's app out of what b.Calls leaves in the running window of b.Per,
// for all workers together. What is granted may be used until wait has passed and is void then; when nothing is
// granted, there is more after wait. A window begins with the first call taken after the one before has ended.
// b.Concurrent is not looked at: see TakeSlot. Without b.Calls everything is granted.
func (c *Catalog) TakeCalls(ctx context.Context, account string, b connectors.Budget, want int, now time.Time) (granted int, wait time.Duration, err error) {
	if b.Calls <= 0 || b.Per <= 0 {
		return want, 0, nil
	}
	if want <= 0 {
		return 0, 0, fmt.Errorf("take calls of %s: want %d, must be at least 1", account, want)
	}
	// One statement, so that concurrent callers queue at the row.
	const over = `(budgets.window_end <= $2 OR budgets.window_end > $6)`
	var end int64
	err = c.write.QueryRowContext(ctx, `INSERT INTO budgets (account, window_end, used, granted) VALUES ($1, $3, $5, $5)
		ON CONFLICT (account) DO UPDATE SET
			window_end = CASE WHEN `+over+` THEN excluded.window_end ELSE budgets.window_end END,
			used = CASE WHEN `+over+` THEN excluded.used
				WHEN budgets.used >= $4 THEN budgets.used
				WHEN budgets.used + $5 > $4 THEN $4 ELSE budgets.used + $5 END,
			granted = CASE WHEN `+over+` THEN excluded.granted
				WHEN budgets.used >= $4 THEN 0
				WHEN budgets.used + $5 > $4 THEN $4 - budgets.used ELSE $5 END
		RETURNING granted, window_end`,
		account, micros(now), micros(now.Add(b.Per)), int64(b.Calls), int64(min(want, b.Calls)), micros(now.Add(b.Per+clockSkew))).
		Scan(&granted, &end)
	if err != nil {
		return 0, 0, fmt.Errorf("take calls of %s: %w", account, err)
	}
	return granted, fromMicros(end).Sub(now), nil
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
