// Package duckdb writes records into tables of a DuckDB file on the worker's own disk.
//
// Docs: docs/destinations/duckdb.md.
package duckdb

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// Settings is what a block may say.
type Settings struct {
	Path  string `json:"path,omitempty" jsonschema:"description=The database file; a relative path lies in the worker's folder,default=warehouse.duckdb"`
	Table string `json:"table,omitempty" jsonschema:"description=Name of the table; {stream} {integration} and {user} stand for the record's,default={stream}"`
}

// limits of a statement. A batch goes whole: DuckDB's cost lies in the transaction, not in the row.
var limits = table.Limits{Records: 50_000, Bytes: 64 << 20, Data: 64 << 20, Name: 255}

// dialect of the columns. A decimal has 38 digits in all, and as many behind the point in each row.
var dialect = table.Dialect{
	Integer: 20, Fraction: 18, Name: 255, Columns: 1_200, Fold: strings.ToLower,
	Reserved: func(name string) bool { return strings.EqualFold(name, "rowid") },
}

// Files holds the database files that the process has open: DuckDB allows one process a file, and all of it shares one handle. What is opened
// through one Files sees the same file as one.
//
// A file that was opened once stays open until Close, also when no destination uses it: an interrupted statement may leave DuckDB's instance alive,
// and DuckDB then waits for its end, for ever, when the file is opened again (https://github.com/duckdb/duckdb/issues/25965).
type Files struct {
	shared lifetime.Shared[*file]

	mu   sync.Mutex
	kept map[string]func() error // by path
}

// NewFiles makes a Files that has no file open.
func NewFiles() *Files { return &Files{} }

// Definition describes the connector; its destinations share the files of f.
func (f *Files) Definition() connectors.Definition {
	return connectors.Definition{
		Name:            "duckdb",
		Title:           "DuckDB",
		Doc:             "Writes records into tables of a DuckDB file beside the worker: every change as a row, or one row an object. The payload is kept byte for byte in a JSON column, or each of its fields gets a column.",
		Settings:        Settings{},
		Modes:           []connectors.Mode{connectors.Append, connectors.ModeUpsert},
		Layouts:         []string{connectors.LayoutRaw, connectors.LayoutColumns},
		OpenDestination: f.open,
	}
}

// hold returns the file at an absolute path. It is opened when it is first used.
func (f *Files) hold(path string) (*file, func() error, error) {
	if folder, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(folder, filepath.Base(path))
	}
	acquire := func() (*file, func() error, error) {
		return f.shared.Acquire(path, func() (*file, error) { return newFile(path), nil })
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept[path] == nil {
		_, keep, err := acquire()
		if err != nil {
			return nil, nil, err
		}
		if f.kept == nil {
			f.kept = make(map[string]func() error)
		}
		f.kept[path] = keep
	}
	return acquire()
}

// Close lets go of the files: each is written back whole and closed when its last destination is.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for path, release := range f.kept {
		delete(f.kept, path)
		errs = append(errs, release())
	}
	return errors.Join(errs...)
}

type destination struct {
	table.Destination
	file *file
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

func (f *Files) open(c connectors.Config) (connectors.Destination, error) {
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	options, err := table.ReadOptions(c, settings.Table)
	if err != nil {
		return nil, err
	}
	options.Limits, options.Dialect = limits, dialect
	if settings.Path == "" {
		settings.Path = "warehouse.duckdb"
	}
	if strings.ContainsAny(settings.Path, "?%\x00") || strings.Contains(settings.Path, "://") {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "path: want the path of a file, without ? and %%")
	}
	if !filepath.IsAbs(settings.Path) {
		settings.Path = filepath.Join(c.Env.Dir, settings.Path)
	}
	path, err := filepath.Abs(settings.Path)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "settings", "path: it can't be made absolute")
	}
	held, release, err := f.hold(path)
	if err != nil {
		return nil, err
	}
	d := &destination{file: held}
	d.Open(options, func(mode connectors.Mode) table.Store {
		return &store{file: held, mode: mode, layout: options.Layout}
	}, release)
	return d, nil
}

// Check opens the file and looks at the table where its name is known; a missing file is made by the first write.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if _, err := os.Stat(d.file.path); os.IsNotExist(err) {
		return checkFolder(filepath.Dir(d.file.path))
	}
	db, err := d.file.database()
	if err != nil {
		return err
	}
	if name, fixed := d.Options.Name.Fixed(); fixed {
		_, err = recordLayout(name, d.Options.Mode, d.Options.Layout).inspect(ctx, db)
	}
	if err != nil {
		return failed("check", err)
	}
	return nil
}

// checkFolder finds out whether a file can be made in a folder or, where that has yet to be made, in the one that will hold it: only by
// making one can that be known.
func checkFolder(folder string) error {
	for {
		if _, err := os.Stat(folder); !os.IsNotExist(err) || folder == filepath.Dir(folder) {
			break
		}
		folder = filepath.Dir(folder)
	}
	f, err := os.CreateTemp(folder, ".tributary-*")
	if err != nil {
		return connectors.Errorf(connectors.Forbidden, "check", "no file can be made in %s: %v", folder, err)
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	return nil
}
