package receiver

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Run runs a server and a forwarder of the same journal until ctx ends or one of them fails. Then the server stops and
// finishes what is in flight, the forwarder gets up to flush to hand over what is in the journal, and stops. What it
// does not get done it does after the next start. The caller closes the journal afterwards.
func Run(ctx context.Context, s *Server, f *Forwarder, flush time.Duration, log *slog.Logger) error {
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	forwarding, stopForwarding := context.WithCancel(context.WithoutCancel(ctx))
	defer stopForwarding()
	forwarded := make(chan error, 1)
	go func() {
		forwarded <- f.Run(forwarding)
		stopServing() // webhooks that nobody forwards would only fill the journal
	}()

	err := s.Run(serving)
	bounded, cancel := context.WithTimeout(forwarding, flush)
	defer cancel()
	if late := f.Flush(bounded); late != nil {
		log.Info("some webhooks stay in the journal until the next start", "reason", late)
	}
	stopForwarding()
	return errors.Join(err, <-forwarded)
}
