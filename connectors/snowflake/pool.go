package snowflake

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"tributary/connectors"
	"tributary/connectors/table"
)

const maxConns = 4

// pool is the sessions of one connection, and which tables are known to be ready.
type pool struct {
	*sql.DB
	config gosnowflake.Config
	bucket *bucket // of an external stage, or nil
	log    *slog.Logger

	ready table.Ready[readiness]

	mu     sync.Mutex
	staged map[stagedIn]bool
}

// readiness names a table that fits a mode and a layout; with mode "" the engine's own.
type readiness struct {
	table  string
	mode   connectors.Mode
	layout string
}

// stagedIn says that a session has the temporary table of a schema.
type stagedIn struct {
	session any
	table   string
}

// connector bounds the whole of logging in.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, &loginError{err}
	}
	return conn, nil
}

// loginError says that there is no session.
type loginError struct{ error }

func (e *loginError) Unwrap() error { return e.error }

// quiet keeps the driver from logging: what it says may quote statements, answers and rows (I7). Errors come back as values.
var quiet = sync.OnceFunc(func() { _ = gosnowflake.GetLogger().SetLogLevel("off") })

func newPool(config gosnowflake.Config, s Storage, operator bool, env connectors.Env) (*pool, error) {
	quiet()
	p := &pool{config: config, log: env.Logger(), staged: make(map[stagedIn]bool)}
	switch {
	case s.StageURL != "":
		var err error
		if p.bucket, err = s.open(operator, env); err != nil {
			return nil, err
		}
	case s != Storage{}:
		return nil, connectors.Errorf(connectors.Invalid, "connection", "stage_url: the credentials of a bucket are for the URL of an external stage, which is missing")
	}
	db := sql.OpenDB(connector{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, config)})
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(20 * time.Minute)
	p.DB = db
	return p, nil
}

func (p *pool) Close() error {
	err := p.DB.Close()
	if idle, ok := p.config.Transporter.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
	if p.bucket != nil {
		err = errors.Join(err, p.bucket.Close())
	}
	return err
}

// forget makes the next write look at its tables again, after something was found missing or changed.
func (p *pool) forget() {
	p.ready.Forget()
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.staged)
}

// maxStaged bounds what is remembered of sessions, most of which have ended.
const maxStaged = 256

// once calls f unless it has succeeded in the session before.
func (p *pool) once(conn *sql.Conn, name string, f func() error) error {
	s := stagedIn{table: name}
	if err := conn.Raw(func(of any) error { s.session = of; return nil }); err != nil {
		return err
	}
	p.mu.Lock()
	done := p.staged[s]
	p.mu.Unlock()
	if done {
		return nil
	}
	if err := f(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.staged) >= maxStaged {
		clear(p.staged)
	}
	p.staged[s] = true
	return nil
}

// discard makes the pool close a session instead of using it again, which rolls back what is open in it.
func discard(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }
