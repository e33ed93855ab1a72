package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// dialect is what differs between the databases. Both understand $1, ON CONFLICT, RETURNING, partial indexes and
// transactional DDL.
type dialect struct {
	Blob, Serial string // column types
	// lockMigrations keeps other processes out until the transaction ends; SQLite's transactions do so anyway.
	lockMigrations string
	// share after a SELECT keeps the rows as they are until the transaction ends.
	share string
	// each makes the elements of a JSON array rows with a column named value. Many rows are passed so, as one
	// argument: statements keep one text, whatever the number, and databases one plan of it.
	each string
}

var (
	sqliteDialect = dialect{
		Blob:   "BLOB",
		Serial: "INTEGER PRIMARY KEY AUTOINCREMENT",
		each:   "json_each",
	}
	postgresDialect = dialect{
		Blob:           "BYTEA",
		Serial:         "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
		lockMigrations: "SELECT pg_advisory_xact_lock(7453110622150113121)",
		share:          " FOR SHARE",
		each:           "jsonb_array_elements",
	}
)

// marshal makes the argument for each.
func marshal(values any) (string, error) {
	text, err := json.Marshal(values)
	return string(text), err
}

const (
	busyTimeout     = 10 * time.Second // for the SQLite write lock of another process
	connectTimeout  = 10 * time.Second // where a PostgreSQL URL says nothing
	poolConnections = 10
)

func connect(ctx context.Context, dsn string) (*Catalog, error) {
	path, isFile := strings.CutPrefix(dsn, "sqlite:")
	scheme, _, isURL := strings.Cut(dsn, "://")
	switch {
	case dsn == "":
		return nil, errors.New("no database given: want the path of a SQLite file, or postgres://USER:PASSWORD@HOST/DATABASE")
	case isFile || !isURL:
		return openSQLite(ctx, path)
	case scheme == "postgres" || scheme == "postgresql":
		return openPostgres(ctx, dsn)
	}
	return nil, errors.New("unknown kind of database: want the path of a SQLite file, or postgres://USER:PASSWORD@HOST/DATABASE")
}

func openSQLite(ctx context.Context, path string) (*Catalog, error) {
	if path == "" || strings.Contains(path, ":memory:") {
		return nil, fmt.Errorf("SQLite database %q: want the path of a file; one in memory would not outlive the process", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	open := func(connections int, pragmas ...string) (*sql.DB, error) {
		q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "foreign_keys(1)", "synchronous(FULL)"}, pragmas...)}
		db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		return db, nil
	}
	write, err := open(1, "journal_mode(WAL)")
	if err != nil {
		return nil, err
	}
	// The first to come goes over to WAL, which outlives it; readers don't ask for it.
	if err := write.PingContext(ctx); err != nil {
		write.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	read, err := open(poolConnections, "query_only(1)")
	if err != nil {
		write.Close()
		return nil, err
	}
	return &Catalog{read: read, write: write, dialect: sqliteDialect}, nil
}

// createPrivate makes an empty file that only the owner may read, unless there is one; SQLite gives its other files the
// same mode. It is made under another name: closing it under its own would drop the locks that this process may have
// on it by then, https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_.
func createPrivate(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".catalog-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func openPostgres(ctx context.Context, dsn string) (*Catalog, error) {
	config, err := parsePostgres(dsn)
	if err != nil {
		return nil, err
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "tributary"
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(poolConnections)
	db.SetMaxIdleConns(poolConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return &Catalog{read: db, write: db, dialect: postgresDialect}, nil
}

// parsePostgres refuses what is ambiguous: a password with a bare @ or / would end up in the host or the database's
// name, which later errors show. For the same reason it keeps pgx's own words to itself (I7).
func parsePostgres(dsn string) (*pgx.ConnConfig, error) {
	_, rest, _ := strings.Cut(dsn, "://")
	_, afterUser, _ := strings.Cut(rest, "@")
	end := strings.IndexAny(rest, "/?")
	bare := strings.Contains(afterUser, "@") || end >= 0 && strings.Contains(rest[end:], "@")
	config, err := pgx.ParseConfig(dsn)
	if err != nil || bare {
		return nil, errors.New("the database's address is not valid: want postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=..., " +
			"with @, :, /, ? and % of user and password written as %40, %3A, %2F, %3F and %25")
	}
	return config, nil
}
