package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"tributary/connectors"
	"tributary/connectors/postgres"
)

// splitsFile, in the engine's directory, has a byte for each too_large.
const splitsFile = "splits"

// limited is PostgreSQL behind something that takes only so much at once, and says so in every way that there is: before it
// wrote anything, after part of the batch, or when it wrote all of it and could not answer.
func limited(seed uint64) connectors.Definition {
	d := postgres.Definition()
	d.Name = "limited"
	open := d.OpenDestination
	d.OpenDestination = func(c connectors.Config) (connectors.Destination, error) {
		inner, err := open(c)
		if err != nil {
			return nil, err
		}
		return &limit{Destination: inner, splits: filepath.Join(c.Env.Dir, splitsFile), rng: rand.New(rand.NewPCG(seed, 4))}, nil
	}
	return d
}

type limit struct {
	connectors.Destination
	splits string
	mu     sync.Mutex
	rng    *rand.Rand
}

var _ connectors.Checker = (*limit)(nil)

func (l *limit) Check(ctx context.Context) error {
	return l.Destination.(connectors.Checker).Check(ctx)
}

func (l *limit) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	n := len(b.Records)
	if n < 2 {
		return l.Destination.Write(ctx, b)
	}
	l.mu.Lock()
	mood := l.rng.IntN(12)
	l.mu.Unlock()
	result := connectors.NewResult(n)
	switch mood {
	case 0: // nothing is written
	case 1: // all is, and nobody hears of it
		if _, err := l.Destination.Write(ctx, b); err != nil {
			return result, err
		}
	case 2: // half is
		half := b
		half.Records, half.Next = b.Records[:n/2], b.Records[n/2].Ordinal
		written, err := l.Destination.Write(ctx, half)
		copy(result.Outcomes, written.Outcomes)
		result.Reasons = written.Reasons
		if err != nil {
			return result, err
		}
	default:
		return l.Destination.Write(ctx, b)
	}
	if err := note(l.splits); err != nil {
		return result, connectors.AsError("note", err)
	}
	return result, connectors.Errorf(connectors.TooLarge, "write", "%d records are more than fit", n)
}

func note(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(".")
	return err
}

// splits counts the too_large of an engine's directory.
func splits(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, splitsFile))
	if err != nil {
		return 0
	}
	return info.Size()
}
