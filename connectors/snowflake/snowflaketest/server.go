// Package snowflaketest is a server that speaks as much of Snowflake as the connector uses: the protocol of its drivers over HTTP, stages that take files by signed URLs, and
// tables that lie in an embedded DuckDB, in real transactions. It runs the statements that it knows; any other is refused as a syntax error.
//
// What it answers follows
//   - the official drivers, which are the only description of the protocol: https://github.com/snowflakedb/gosnowflake/tree/v2.1.0
//   - https://docs.snowflake.com/en/sql-reference/transactions: read committed; a lock of a writer on what it writes until it commits, here on everything at once; a change
//     of a table commits what is open; a transaction that is idle and in the way of another is ended, after which its session commits statement by statement
//   - https://docs.snowflake.com/en/sql-reference/sql/copy-into-table: a file is loaded once a table unless it is forced; the answer has a row a file
//   - https://docs.snowflake.com/en/sql-reference/sql/put and https://docs.snowflake.com/en/sql-reference/sql/merge
//   - https://docs.snowflake.com/en/sql-reference/functions/parse_json and https://docs.snowflake.com/en/sql-reference/data-types-semistructured: VARIANT is
//     spelled anew, with the members of objects in order, the last of one name, numbers of up to 38 digits exact and others as floats
package snowflaketest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the engine

	"tributary/connectors/connectortest/fault"
)

// Names of what a server has.
const (
	Account   = "MYORG-TEST"
	User      = "WRITER"
	Password  = "correct horse"
	Role      = "LOADER"
	Warehouse = "LOADING"
	Database  = "ANALYTICS"
	Schema    = "CRM"
	Stage     = "LOADS"
	External  = "LAKE" // an external stage, which PUT can't write to
)

// Server is an account with one database.
type Server struct {
	fault.Calls // by its path or, for statements, their first words

	URL      string
	web      *httptest.Server
	returned *Returned
	db       *sql.DB
	key      *rsa.PrivateKey
	writer   writerLock

	mu       sync.Mutex
	serial   int64
	password string
	oauth    string
	refresh  string // the next refresh token
	expired  bool   // the OAuth token has
	sessions map[string]*session
	queries  map[string]*query // by request ID
	denied   map[string]bool   // privileges
	schemas  map[string]bool
	tables   map[string]*stored
	files    map[string][]byte // by stage and path
	uploads  map[string]string // path by signature
	lake     *Lake             // behind the stage External
	lose     bool
	// collation is the default of tables that are made.
	collation string
	patience  time.Duration // until an answer says that the statement still runs

	faults sync.Mutex
	answer func(statement string) *Error
	upload func() int
}

// New starts a server that ends with the test.
func New(t testing.TB, returned *Returned) *Server {
	t.Helper()
	s := &Server{
		returned: returned, password: Password, oauth: "oauth-token", refresh: "refresh-token-0", sessions: make(map[string]*session), queries: make(map[string]*query), denied: make(map[string]bool),
		schemas: map[string]bool{Schema: true}, tables: make(map[string]*stored), files: make(map[string][]byte), uploads: make(map[string]string), patience: 45 * time.Second,
	}
	s.writer.free = make(chan struct{}, 1)
	s.writer.free <- struct{}{}
	s.writer.idle = 100 * time.Millisecond
	var err error
	if s.key, err = sharedKey(); err != nil {
		t.Fatal(err)
	}
	if s.db, err = sql.Open("duckdb", "?autoinstall_known_extensions=false&autoload_known_extensions=false&threads=2"); err != nil {
		t.Fatal(err)
	}
	s.db.SetMaxIdleConns(0)
	if err := register(s.db); err != nil {
		t.Fatal(err)
	}
	s.web = httptest.NewServer(s.handler())
	s.URL = s.web.URL
	t.Cleanup(func() {
		s.web.CloseClientConnections()
		s.web.Close()
		s.mu.Lock()
		sessions := s.sessions
		s.sessions = make(map[string]*session)
		s.mu.Unlock()
		for _, session := range sessions {
			s.end(session)
		}
		_ = s.db.Close()
	})
	return s
}

// sharedKey is the user's at all servers: making one takes long.
var sharedKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// Key is the private key of the server's user.
func (s *Server) Key() *rsa.PrivateKey { return s.key }

// OAuthToken is one that the server takes.
func (s *Server) OAuthToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.oauth
}

// RefreshToken is the one that gets the next OAuth token.
func (s *Server) RefreshToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh
}

// Deny takes a privilege away, such as CREATE TABLE.
func (s *Server) Deny(privilege string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[privilege] = true
}

// Collate sets DEFAULT_DDL_COLLATION of the schema. Call it before anybody writes.
func (s *Server) Collate(collation string) { s.collation = collation }

// SetPassword changes the user's password; sessions go on.
func (s *Server) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// ExpireOAuth lets the OAuth token expire.
func (s *Server) ExpireOAuth() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = true
}

// ExpireSessions lets the tokens of all sessions expire; with master, those too that they are renewed by.
func (s *Server) ExpireSessions(master bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		session.expired, session.masterExpired = true, master
	}
}

// Sessions counts those that are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// SetPatience makes the server answer after a time that a statement still runs.
func (s *Server) SetPatience(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patience = d
}

// DropSchema drops the schema that is there from the start.
func (s *Server) DropSchema() {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.schemas, Schema)
}

// LoseLine makes the next COPY miss the last line of its file, as where an upload was cut between two lines.
func (s *Server) LoseLine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = true
}

// Files lists the files on stages.
func (s *Server) Files() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.files {
		names = append(names, name)
	}
	return names
}

// Answer lets statements be answered with an error: f is asked before each and returns one, or nil.
func (s *Server) Answer(f func(statement string) *Error) {
	s.faults.Lock()
	defer s.faults.Unlock()
	s.answer = f
}

func (s *Server) answers(statement string) *Error {
	s.faults.Lock()
	f := s.answer
	s.faults.Unlock()
	if f == nil {
		return nil
	}
	return f(statement)
}

// Upload lets uploads be answered with the HTTP status that f returns; 0: as always.
func (s *Server) Upload(f func() int) {
	s.faults.Lock()
	defer s.faults.Unlock()
	s.upload = f
}

func (s *Server) uploadStatus() int {
	s.faults.Lock()
	f := s.upload
	s.faults.Unlock()
	if f == nil {
		return 0
	}
	return f()
}

// number is the next of numbers that are never used twice.
func (s *Server) number() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	return s.serial
}

func (s *Server) base(r *http.Request) string {
	return (&url.URL{Scheme: "http", Host: r.Host}).String() // through a proxy too
}

// Drop drops a table, as an operator would.
func (s *Server) Drop(t testing.TB, name string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	full := fullName(Database, Schema, name)
	if s.tables[full] == nil {
		t.Fatalf("there is no table %s", name)
	}
	delete(s.tables, full)
}

// AddColumn adds a column, as an operator would.
func (s *Server) AddColumn(t testing.TB, name, column, kind string) {
	t.Helper()
	s.Run(t, fmt.Sprintf("ALTER TABLE %s.%s.%s ADD COLUMN %s %s", quoted(Database), quoted(Schema), quoted(name), quoted(column), kind))
}

// Run runs a statement of those that the server knows, as an operator would.
func (s *Server) Run(t testing.TB, statement string) {
	t.Helper()
	session, err := s.open(Role, Warehouse)
	if err != nil {
		t.Fatal(err)
	}
	defer s.end(session)
	if _, e := s.execute(context.Background(), session, &request{SQLText: statement}, s.URL); e != nil {
		t.Fatalf("%s: %v", statement, e)
	}
}

// Column is a column as DESCRIBE TABLE shows it.
type Column struct{ Name, Type string }

// Table returns the columns of a table and what it is clustered by.
func (s *Server) Table(t testing.TB, name string) (columns []Column, clustered string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	table := s.tables[fullName(Database, Schema, name)]
	if table == nil {
		t.Fatalf("there is no table %s", name)
	}
	for _, c := range table.columns {
		columns = append(columns, Column{c.name, c.shown()})
	}
	return columns, table.cluster
}

// Read calls f with the rows of each table that has a column, as text by column.
func (s *Server) Read(t testing.TB, having string, f func(table string, row map[string]*string)) {
	t.Helper()
	s.mu.Lock()
	tables := make(map[string]*stored)
	for name, table := range s.tables {
		if table.column(having) != nil {
			tables[name] = table
		}
	}
	s.mu.Unlock()
	for _, table := range tables {
		list := "1"
		for _, c := range table.columns {
			list += ", CAST(" + encoded(c.name) + " AS VARCHAR)"
		}
		rows, err := s.db.QueryContext(context.Background(), "SELECT "+list+" FROM "+table.name)
		if err != nil {
			t.Fatal(err)
		}
		values, targets := make([]*string, len(table.columns)+1), make([]any, len(table.columns)+1)
		for rows.Next() {
			for i := range values {
				values[i], targets[i] = nil, &values[i]
			}
			if err := rows.Scan(targets...); err != nil {
				t.Fatal(err)
			}
			row := make(map[string]*string)
			for i, c := range table.columns {
				row[c.name] = values[i+1]
			}
			f(table.shown, row)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
