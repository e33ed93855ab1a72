package segment

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sweep deletes the objects that nobody needs any more (I12) and says how many. It asks marks once for each
// epoch that it meets: for every origin the first sequence that is still needed, how long the integration
// keeps what is older for replay, and whether the epoch has ended.
//
// An object goes when it was written longer ago than both grace and retention and it either has a
// sequence below its origin's mark, or belongs to an epoch that has ended. What is quarantined always
// stays: discarding deletes it. So does an origin without a mark, as of an epoch that never published any,
// and an object whose name isn't a Name. An epoch whose marks can't be had is passed over, and the error
// is returned when the others are done.
func Sweep(ctx context.Context, store *Store,
	marks func(ctx context.Context, epoch string) (marks map[string]uint64, retention time.Duration, ended bool, err error),
	now time.Time, grace time.Duration,
) (deleted int, err error) {
	var (
		current epoch
		errs    []error
	)
	for o, err := range store.List(ctx, "") {
		if err != nil {
			return deleted, errors.Join(append(errs, fmt.Errorf("sweep: %w", err))...)
		}
		n, err := ParseName(o.Name)
		if err != nil || n.Origin == OriginQuarantine || now.Sub(o.ModTime) <= grace {
			continue
		}
		if n.Epoch != current.id {
			current = epoch{id: n.Epoch}
			current.marks, current.retention, current.ended, err = marks(ctx, n.Epoch)
			if err != nil {
				current = epoch{id: n.Epoch}
				errs = append(errs, fmt.Errorf("sweep epoch %s: %w", n.Epoch, err))
			}
		}
		if now.Sub(o.ModTime) <= current.retention || !current.released(n) {
			continue
		}
		if err := store.Delete(ctx, o.Name); err != nil {
			errs = append(errs, fmt.Errorf("sweep: %w", err))
			continue
		}
		deleted++
	}
	return deleted, errors.Join(errs...)
}

// epoch is what is known of the epoch whose objects are being listed. Its zero value releases nothing.
type epoch struct {
	id        string
	marks     map[string]uint64
	retention time.Duration
	ended     bool
}

func (e epoch) released(n Name) bool {
	mark, ok := e.marks[n.Origin]
	return e.ended || ok && n.Sequence < mark
}
