// Package clock is the time of stand-ins and of the connectors that are tested with them.
package clock

import (
	"sync"
	"time"
)

// Clock moves only when it is told to. It may be used by several goroutines.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// New returns a clock at noon of 1 March 2026, UTC.
func New() *Clock { return &Clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// Now is what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Set moves the clock to a time.
func (c *Clock) Set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}
