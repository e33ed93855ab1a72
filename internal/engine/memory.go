package engine

import (
	"os"
	"runtime/debug"
)

// collectLess lets the heap grow to three times what is in use before garbage is collected, unless the operator has set GOGC: batches
// are large and soon gone, so that at the usual two times a tenth of the CPU time goes into looking for what is still in use.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}
