// Package documented keeps count of the errors that stand-ins return. A stand-in names the errors that its vendor documents and says when it
// returns one; the tests of its connector fail as a whole when one of them was never returned, and so was never met.
package documented

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Errors are a stand-in's documented errors, by names that are the vendor's. It may be used by several goroutines, and nil counts nothing.
type Errors struct {
	mu    sync.Mutex
	count map[string]int
}

// New documents errors.
func New(names ...string) *Errors {
	e := &Errors{count: make(map[string]int)}
	for _, name := range names {
		e.count[name] = 0
	}
	return e
}

// Return counts that the error was returned. One that is not documented is not counted: a test may ask for what nobody has heard of.
func (e *Errors) Return(name string) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.count[name]; ok {
		e.count[name]++
	}
}

// Missing lists the errors that were never returned, sorted.
func (e *Errors) Missing() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var missing []string
	for name, n := range e.count {
		if n == 0 {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

// Run runs a package's tests for its TestMain and returns the exit code: 1 also when an error was never returned by a run of all tests, for
// which arguments such as -run do not let it look.
func Run(m *testing.M, all ...*Errors) int {
	code := m.Run()
	if code != 0 || !whole(os.Args) {
		return code
	}
	for _, e := range all {
		if missing := e.Missing(); missing != nil {
			fmt.Fprintf(os.Stderr, "no test makes the stand-in return %q\n", missing)
			code = 1
		}
	}
	return code
}

// whole tells from a test binary's arguments whether it runs all tests.
func whole(args []string) bool {
	for _, arg := range args {
		for _, part := range []string{"run", "bench", "skip", "list", "fuzz"} {
			name := strings.TrimLeft(arg, "-")
			if name != arg && strings.HasPrefix(name, "test."+part+"=") {
				return false
			}
		}
	}
	return true
}
