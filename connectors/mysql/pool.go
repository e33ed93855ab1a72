package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"tributary/connectors"
)

// pool is the connections to one database, what is known of its server, and which of its tables are known to be ready.
type pool struct {
	*sql.DB
	dialect *dialect
	config  *mysql.Config
	widens  int64 // the largest table, in bytes, of which a column is widened
	mu      sync.Mutex
	ready   map[readiness]bool
	known   *server
	noLoads bool // LOAD DATA LOCAL, or its temporary table, was refused
}

// server is what a server says of itself.
type server struct {
	packet int  // the largest statement, in bytes
	local  bool // takes LOAD DATA LOCAL
	fold   bool // ignores the case of tables' names
}

// readiness names a table that fits a mode and a layout; with mode "" the ledger.
type readiness struct {
	table  string
	mode   connectors.Mode
	layout string
}

// connector bounds the whole of connecting, not the dialling alone: a server may accept and say nothing.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return c.Connector.Connect(ctx)
}

func newPool(d *dialect, config *mysql.Config) (*pool, error) {
	c, err := mysql.NewConnector(config)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "the parts do not make a connection")
	}
	db := sql.OpenDB(connector{c})
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(30 * time.Second) // before the server closes it
	return &pool{DB: db, dialect: d, config: config, widens: maxWidened, ready: make(map[readiness]bool)}, nil
}

// server asks once what the server is, and refuses one that this package is not for.
func (p *pool) server(ctx context.Context) (*server, error) {
	p.mu.Lock()
	known := p.known
	p.mu.Unlock()
	if known != nil {
		return known, nil
	}
	// A connection keeps the rights to its database that the user had when it was made.
	p.SetMaxIdleConns(0)
	p.SetMaxIdleConns(maxConns)
	var s server
	var version string
	var fold int
	err := p.QueryRowContext(ctx, "SELECT VERSION(), @@max_allowed_packet, @@local_infile, @@lower_case_table_names").Scan(&version, &s.packet, &s.local, &fold)
	if err != nil {
		return nil, p.failed("connect", err)
	}
	if problem := p.dialect.fits(version); problem != "" {
		return nil, connectors.Errorf(connectors.Invalid, "connect", "%s", problem)
	}
	s.fold = fold != 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = &s
	return &s, nil
}

func (p *pool) isReady(r readiness) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready[r]
}

func (p *pool) setReady(r readiness) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready[r] = true
}

// forget makes the next write look at the server and its tables again, after something was found missing or changed.
func (p *pool) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.ready)
	p.known, p.noLoads = nil, false
}

// locked calls f with a connection that alone, of all that change tables in this database, holds a lock of that name. A change of a table
// commits, so no row can be the lock.
func (p *pool) locked(ctx context.Context, name string, f func(*sql.Conn) error) error {
	conn, err := p.Conn(ctx)
	if err != nil {
		return p.failed("connect", err)
	}
	sum := sha256.Sum256([]byte(p.config.DBName + "\x00" + name))
	lock := "tributary " + hex.EncodeToString(sum[:16]) // names of locks end at 64 characters
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if _, err := conn.ExecContext(ctx, "DO RELEASE_LOCK(?)", lock); err != nil {
			discard(conn) // which releases it
		}
		_ = conn.Close() // gives it back to the pool
	}()
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 30)", lock).Scan(&got); err != nil {
		return p.failed("lock tables", err)
	}
	if got.Int64 != 1 {
		return connectors.Errorf(connectors.Unavailable, "lock tables", "another worker has been changing tables for 30 seconds")
	}
	return f(conn)
}

// discard makes the pool close a connection instead of using it again.
func discard(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }
