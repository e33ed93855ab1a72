// Package fault is what befalls the calls of a stand-in: a test decides it, call by call.
package fault

import "sync"

// Fault is what befalls a call.
type Fault int

const (
	None    Fault = iota
	Lost          // it never arrives
	Unheard       // it takes effect, and its answer is lost
)

// Calls are a stand-in's. Its zero value lets them all through.
type Calls struct {
	mu     sync.Mutex
	decide func(call string) Fault
}

// Befall lets faults happen: f is asked before each call, by the name that the stand-in gives it; nil: none happen.
func (c *Calls) Befall(f func(call string) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decide = f
}

// Befalls says what befalls a call that has come.
func (c *Calls) Befalls(call string) Fault {
	c.mu.Lock()
	f := c.decide
	c.mu.Unlock()
	if f == nil {
		return None
	}
	return f(call)
}
