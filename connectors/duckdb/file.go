package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"os"
	"path/filepath"
	"sync"

	"github.com/duckdb/duckdb-go/v2"

	"tributary/connectors"
)

// options of every handle. No extension is fetched from elsewhere, no statement reaches another file; the log of changes grows to 128 MB before it is
// worked into the file, which would otherwise happen after each large batch: it takes a second or so to read again after a crash, and half of that log
// costs an append a quarter more. The memory is not all of the worker's.
const options = "?autoinstall_known_extensions=false&autoload_known_extensions=false&enable_external_access=false" +
	"&checkpoint_threshold=128MB&memory_limit=1GB"

// file is one database file, opened by the first who uses it.
type file struct {
	path string
	// writing holds a token while nobody writes. DuckDB would let transactions run at once and fail the second to touch a row.
	writing chan struct{}

	mu    sync.Mutex
	db    *sql.DB
	ready map[readiness]bool
}

// readiness names a table that fits a mode and a layout; with mode "" the ledger.
type readiness struct {
	table  string
	mode   connectors.Mode
	layout string
}

func newFile(path string) *file {
	f := &file{path: path, writing: make(chan struct{}, 1), ready: make(map[readiness]bool)}
	f.writing <- struct{}{}
	return f
}

// database returns the open handle.
func (f *file) database() (*sql.DB, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db != nil {
		return f.db, nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return nil, connectors.Errorf(connectors.Forbidden, "open", "the folder of %s can't be made: %v", f.path, err)
	}
	c, err := duckdb.NewConnector(f.path+options, func(driver.ExecerContext) error { return nil })
	if err != nil {
		return nil, opening(f.path, err)
	}
	f.db = sql.OpenDB(c)
	return f.db, nil
}

// drop closes a handle that DuckDB has declared broken, so that the next use opens the file anew.
func (f *file) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db != nil {
		_ = f.db.Close()
		f.db = nil
	}
	clear(f.ready)
}

// Close writes the file back and lets other processes have it.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return nil
	}
	err := f.db.Close()
	f.db = nil
	if err != nil {
		return failed("close", err)
	}
	return nil
}

// lock waits until nobody else writes.
func (f *file) lock(ctx context.Context) error {
	select {
	case <-f.writing:
		return nil
	case <-ctx.Done():
		return connectors.AsError("wait for other writes", ctx.Err())
	}
}

func (f *file) unlock() { f.writing <- struct{}{} }

func (f *file) isReady(r readiness) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready[r]
}

func (f *file) setReady(r readiness) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready[r] = true
}

func (f *file) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.ready)
}
