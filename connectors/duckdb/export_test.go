package duckdb

import "context"

// Exec runs a statement as who has the file might.
func (f *Files) Exec(ctx context.Context, path, statement string) error {
	held, release, err := f.hold(path)
	if err != nil {
		return err
	}
	defer func() { _ = release() }()
	db, err := held.database()
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return err
}

// FileOptions are those of every handle.
const FileOptions = options
