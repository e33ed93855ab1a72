package magento

import (
	"context"
	"time"

	"tributary/connectors"
)

// Check proves the URL, the store view, the credentials and the right to each stream of the block, by asking for one object that changed lately.
// Where a connection is checked by itself, the right to any stream will do.
func (s *source) Check(ctx context.Context) error {
	if s.streams != nil {
		for _, name := range s.streams {
			if err := s.probe(ctx, name); err != nil {
				return err
			}
		}
		return nil
	}
	var refused error
	for _, st := range streams {
		err := s.probe(ctx, st.name)
		if err == nil {
			return nil
		}
		if kind := connectors.AsError("check", err).Kind; kind != connectors.Forbidden {
			return err
		}
		if refused == nil {
			refused = err
		}
	}
	return refused
}

func (s *source) probe(ctx context.Context, name string) error {
	op := "check " + connectors.Clip(name, 100)
	st, err := lookup(op, name)
	if err != nil {
		return err
	}
	criteria := stockBehind(stockPlace{}, 1)
	if st.id != "" {
		criteria = changedBehind(place{At: s.now().Add(-time.Hour).Unix()}, 1)
	}
	_, err = s.find(ctx, op, st, criteria)
	return err
}
