package receiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
)

const (
	// startGrace is how long a workflow may take to start after its installation stands in the catalog.
	startGrace = 10 * time.Minute
	endedTime  = time.Minute
)

// ended puts the records of an intent whose workflow is gone into quarantine (I4), unless the workflow had them before it
// went. It may be called again for the same intent: names and rows are then the same.
func (f *Forwarder) ended(ctx context.Context, it *intent) error {
	ctx, cancel := context.WithTimeout(ctx, endedTime)
	defer cancel()
	reason, err := f.whyEnded(ctx, it)
	if err != nil || reason == "" {
		return err
	}
	for _, ref := range it.Segments {
		if err := f.quarantine(ctx, it, ref, reason); err != nil {
			return fmt.Errorf("quarantine %s: %w", ref.Name, err)
		}
	}
	f.ForwarderConfig.Log.Info("put the records of an ended installation into quarantine",
		"installation", it.Installation, "epoch", it.Epoch, "records", it.records(), "reason", reason)
	return nil
}

// whyEnded says in plain words why the records can't be delivered; "" = they were, and this is a repetition.
func (f *Forwarder) whyEnded(ctx context.Context, it *intent) (string, error) {
	in, err := f.Catalog.InstallationByEpoch(ctx, it.Epoch)
	switch {
	case isNotFound(err):
		return "the catalog knows no such installation", nil
	case err != nil:
		return "", err
	}
	marks, _, err := f.Catalog.Marks(ctx, it.Epoch)
	switch {
	case err != nil && !isNotFound(err):
		return "", err
	case marks[it.Journal] > it.From:
		return "", nil // the workflow had it and needs it no more
	case in.State == catalog.Installing && time.Since(it.At) < startGrace:
		return "", ErrAgain
	case in.State == catalog.Ended:
		return "the installation had ended before the webhook reached it", nil
	}
	return "the installation's workflow is not running", nil
}

// quarantine copies a segment to where the janitor keeps it and lists its records.
func (f *Forwarder) quarantine(ctx context.Context, it *intent, ref segment.Ref, reason string) error {
	from, err := f.Store.Load(ctx, ref.Name)
	if errors.Is(err, os.ErrNotExist) {
		// Only what is below the workflow's mark or long ended is ever deleted.
		f.ForwarderConfig.Log.Warn("a segment of an ended installation was swept already", "segment", ref.Name, "records", ref.Records)
		return nil
	}
	if err != nil {
		return err
	}
	records := make([]held, 0, from.Len())
	for _, r := range from.Records() {
		records = append(records, held{r, reason})
	}
	name := segment.Name{Epoch: it.Epoch, Stream: ref.Stream, Sequence: it.From, Suffix: strings.ReplaceAll(it.Journal, "-", "")} // two journals count alike
	if err := quarantine(ctx, f.Store, f.Catalog, it.Installation, connectors.Gone, name, records); err != nil {
		return err
	}
	f.Metrics.quarantined.Add(float64(len(records)))
	return nil
}
