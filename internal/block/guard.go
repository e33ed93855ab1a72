package block

import (
	"fmt"
	"path"
	"runtime"
	"strings"

	"tributary/connectors"
)

// Guard, deferred around every call into a connector, turns its panic into an error, so that the worker lives. The error
// says where it panicked and with what type; the value itself may hold a payload or a secret (I7).
func Guard(name string, err *error) {
	if p := recover(); p != nil {
		*err = connectors.Errorf(connectors.Unknown, name, "the connector panicked with %s in %s: report it to who maintains the connector",
			connectors.Clip(fmt.Sprintf("%T", p), 100), origin())
	}
}

// origin names the function and line that panicked. It is called by what recovers.
func origin() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s, line %d", path.Base(f.Function), f.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
