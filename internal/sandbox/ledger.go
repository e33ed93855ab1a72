package sandbox

import (
	"context"
	"fmt"
)

// DeliveryState is what became of a webhook.
type DeliveryState uint8

const (
	Pending      DeliveryState = iota // under way, or waiting for its next attempt
	Acknowledged                      // answered 2xx
	Lost                              // every attempt failed
	Withheld                          // never sent, see Withhold
)

// Delivery is one webhook in the ledger.
type Delivery struct {
	Subscription string
	URL          string
	Topic        string // customers/update
	Stream       Stream
	ID           int64
	EventID      string
	WebhookID    string
	SHA256       [32]byte // of the body
	State        DeliveryState
	Attempts     int
	Status       int // of the last attempt; 0 = no answer
}

// Served is a node that a query was answered with.
type Served struct {
	Stream Stream
	ID     int64
	SHA256 [32]byte // of the node's JSON
}

// Ledger lists every webhook there ever was, oldest first.
func (s *Shop) Ledger() []Delivery {
	s.sender.mu.Lock()
	defer s.sender.mu.Unlock()
	out := make([]Delivery, len(s.sender.ledger))
	for i, d := range s.sender.ledger {
		out[i] = d.Delivery
	}
	return out
}

// Acknowledged lists the webhooks that were answered 2xx.
func (s *Shop) Acknowledged() (out []Delivery) {
	for _, d := range s.Ledger() {
		if d.State == Acknowledged {
			out = append(out, d)
		}
	}
	return out
}

// Served returns the different nodes that answers held; an answer that a fault spoiled counts too.
func (s *Shop) Served() []Served {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Served, 0, len(s.served))
	for v := range s.served {
		out = append(out, v)
	}
	return out
}

// Settle waits until no webhook is pending.
func (s *Shop) Settle(ctx context.Context) error {
	s.sender.mu.Lock()
	idle := s.sender.idle
	s.sender.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		s.sender.mu.Lock()
		defer s.sender.mu.Unlock()
		return fmt.Errorf("sandbox: settle: %d webhooks are still pending: %w", s.sender.open, ctx.Err())
	}
}
