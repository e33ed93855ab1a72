package demo

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"tributary/connectors"
	"tributary/connectors/builtin"
	"tributary/connectors/duckdb"
)

// Sabotage is how a destination lies about one record, so that it can be seen that the demo notices.
type Sabotage string

const (
	NoSabotage Sabotage = ""
	Drop       Sabotage = "drop"   // says that it wrote the record, and did not
	Alter      Sabotage = "alter"  // writes other bytes
	Double     Sabotage = "double" // writes it twice, under two IDs
)

// Sabotages lists them.
var Sabotages = []Sabotage{Drop, Alter, Double}

// sabotaged is the registry of this build whose destinations each lie once.
func sabotaged(how Sabotage) (*connectors.Registry, *duckdb.Files, error) {
	registry, files, err := builtin.New()
	if err != nil || how == NoSabotage {
		return registry, files, err
	}
	if !slices.Contains(Sabotages, how) {
		return nil, nil, fmt.Errorf("sabotage %q: want one of %v", how, Sabotages)
	}
	var defs []connectors.Definition
	for _, name := range registry.Names() {
		d, err := registry.Lookup(name)
		if err != nil {
			return nil, nil, err
		}
		if open := d.OpenDestination; open != nil {
			lied := new(atomic.Bool)
			d.OpenDestination = func(c connectors.Config) (connectors.Destination, error) {
				real, err := open(c)
				if err != nil || c.Mode != connectors.Append { // an upsert would make one of what is double
					return real, err
				}
				return &liar{Destination: real, how: how, lied: lied}, nil
			}
		}
		defs = append(defs, d)
	}
	registry, err = connectors.NewRegistry(defs...)
	return registry, files, err
}

type liar struct {
	connectors.Destination
	how  Sabotage
	lied *atomic.Bool
}

// Write lies about the first record that it sees, and is honest about all others.
func (l *liar) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	if len(b.Records) == 0 || !l.lied.CompareAndSwap(false, true) {
		return l.Destination.Write(ctx, b)
	}
	honest := len(b.Records)
	b.Records = slices.Clone(b.Records)
	switch l.how {
	case Drop:
		r, err := l.Destination.Write(ctx, withRecords(b, b.Records[1:]))
		if r.Outcomes != nil {
			r.Outcomes = append([]connectors.Outcome{connectors.Durable}, r.Outcomes...)
		}
		return r, err
	case Alter:
		b.Records[0].Data = bytes.Replace(b.Records[0].Data, []byte(`{`), []byte(`{ `), 1)
	case Double:
		again := b.Records[0]
		again.ID, again.Ordinal = again.ID+"-again", b.Records[honest-1].Ordinal
		b.Records = append(b.Records, again)
	}
	r, err := l.Destination.Write(ctx, b)
	if len(r.Outcomes) > honest {
		r.Outcomes = r.Outcomes[:honest]
	}
	return r, err
}

func withRecords(b connectors.Batch, records []connectors.Record) connectors.Batch {
	b.Records = records
	return b
}
