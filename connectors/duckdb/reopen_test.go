package duckdb_test

import (
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/duckdb"
)

// A file whose last destination was closed in the middle of a write can be opened again. DuckDB keeps an instance alive that an
// interrupted statement has not let go of, and waits for its end for ever when the file is opened again beside it.
func TestOpenAgainAfterInterruption(t *testing.T) {
	t.Parallel()
	files, path := duckdb.NewFiles(), filepath.Join(t.TempDir(), "w.duckdb")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 30 {
			var written sync.WaitGroup
			var all []connectors.Destination
			for _, stream := range []string{"orders", "customers"} {
				d := open(t, files, path, connectors.Append)
				all = append(all, d)
				b := batch(connectors.Append, stream, i*2000, 2000)
				b.Lane = stream
				written.Go(func() { _, _ = d.Write(t.Context(), b) })
			}
			time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond)
			for _, d := range all {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
			written.Wait()
		}
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("opening the file again does not return")
	}
}
