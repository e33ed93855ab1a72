// Package bigquerytest is a server that speaks as much of BigQuery as the connector uses: tables, jobs and the token exchange over REST, the Storage Write API over
// gRPC. Rows lie in an embedded DuckDB, which runs the few statements that it knows; any other is refused, as are fields that it does not know.
//
// What it answers follows
//   - https://cloud.google.com/bigquery/docs/reference/rest
//   - https://cloud.google.com/bigquery/docs/error-messages
//   - https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1
//   - https://cloud.google.com/bigquery/docs/write-api-streaming
//   - https://developers.google.com/identity/protocols/oauth2/service-account#httprest
package bigquerytest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"sync"
	"testing"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	_ "github.com/duckdb/duckdb-go/v2" // the engine
	rest "google.golang.org/api/bigquery/v2"
	"google.golang.org/grpc"

	"tributary/connectors/connectortest/documented"
	"tributary/connectors/connectortest/fault"
)

// Names of what a server has.
const (
	Project = "tributary-test"
	Dataset = "warehouse"
	account = "writer@tributary-test.iam.gserviceaccount.com"
)

// Server is a project with one dataset.
type Server struct {
	fault.Calls // by the name of the method

	// REST and Write are the addresses of the two APIs.
	REST, Write string
	key         *rsa.PrivateKey
	returned    *documented.Errors

	mu      sync.Mutex // one thing at a time
	db      *sql.Conn
	serial  int64
	token   string
	denied  map[string]bool // permissions
	tables  map[string]*stored
	streams map[string]*stream
	jobs    map[string]*job
	// collation is the dataset's default.
	collation string

	faults sync.Mutex
	answer func(call string) string
}

// stored is a table.
type stored struct {
	rest.Table
	name string // in the engine
	deep int64  // when it was made, in serials
}

// New starts a server that ends with the test.
func New(t testing.TB, returned *documented.Errors) *Server {
	t.Helper()
	s := &Server{returned: returned, token: "token", denied: make(map[string]bool), tables: make(map[string]*stored), streams: make(map[string]*stream), jobs: make(map[string]*job)}
	var err error
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("duckdb", "?autoinstall_known_extensions=false&autoload_known_extensions=false&threads=2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if s.db, err = db.Conn(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })

	web := &http.Server{Handler: s.handler()}
	webAt := listen(t)
	go func() { _ = web.Serve(webAt) }()
	t.Cleanup(func() { _ = web.Close() })
	write := grpc.NewServer(grpc.MaxRecvMsgSize(20 << 20))
	storagepb.RegisterBigQueryWriteServer(write, &writer{server: s})
	writeAt := listen(t)
	go func() { _ = write.Serve(writeAt) }()
	t.Cleanup(write.Stop)
	s.REST, s.Write = webAt.Addr().String(), writeAt.Addr().String()
	return s
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Key is a key of the project's service account whose tokens come from the server at an address, its own or a proxy's.
func (s *Server) Key(address string) string { return keyOf(s.key, address) }

// OtherKey is a key that the server does not know.
func (s *Server) OtherKey(t testing.TB, address string) string {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(k, address)
}

func keyOf(k *rsa.PrivateKey, address string) string {
	der, _ := x509.MarshalPKCS8PrivateKey(k) // an RSA key
	text, _ := json.Marshal(map[string]string{
		"type": "service_account", "project_id": Project, "private_key_id": "1", "client_email": account, "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "http://" + address + "/token",
	})
	return string(text)
}

// Deny takes a permission away.
func (s *Server) Deny(permission string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[permission] = true
}

// Collate makes a collation that of tables that are made without one: https://cloud.google.com/bigquery/docs/collation
func (s *Server) Collate(collation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collation = collation
}

// CollateColumn changes a column's collation, as ALTER COLUMN does.
func (s *Server) CollateColumn(t testing.TB, id, name, collation string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	field(&s.tables[id].Table, name).Collation = collation
}

// Revoke makes the tokens that were given invalid.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token += "'"
}

// Answer lets calls be answered with a documented error: f is asked before each call and names one, or none.
func (s *Server) Answer(f func(call string) string) {
	s.faults.Lock()
	defer s.faults.Unlock()
	s.answer = f
}

func (s *Server) answers(call string) string {
	s.faults.Lock()
	f := s.answer
	s.faults.Unlock()
	if f == nil {
		return ""
	}
	return f(call)
}

// Secret stands in the message of each error that is asked for.
const Secret = "the value of a row"

// Drop drops a table, as an operator would.
func (s *Server) Drop(t testing.TB, id string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables[id] == nil {
		t.Fatalf("there is no table %s", id)
	}
	delete(s.tables, id)
}

// Table returns a table as the REST API shows it.
func (s *Server) Table(t testing.TB, id string) rest.Table {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables[id] == nil {
		t.Fatalf("there is no table %s", id)
	}
	return s.tables[id].Table
}

// AddColumn adds a column, as an operator would.
func (s *Server) AddColumn(t testing.TB, id, name, kind string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.addColumns(s.tables[id], []*rest.TableFieldSchema{{Name: name, Type: kind, Mode: "NULLABLE"}}); err != nil {
		t.Fatal(err)
	}
}

// Read calls f with the rows of each table that has a column, as text by column.
func (s *Server) Read(t testing.TB, having string, f func(id string, row map[string]*string)) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, table := range s.tables {
		if field(&table.Table, having) == nil {
			continue
		}
		rows, err := s.db.QueryContext(context.Background(), "SELECT "+selection(&table.Table)+" FROM "+table.name)
		if err != nil {
			t.Fatal(err)
		}
		values, targets := make([]*string, len(table.Schema.Fields)), make([]any, len(table.Schema.Fields))
		for rows.Next() {
			for i := range values {
				values[i], targets[i] = nil, &values[i]
			}
			if err := rows.Scan(targets...); err != nil {
				t.Fatal(err)
			}
			row := make(map[string]*string)
			for i, f := range table.Schema.Fields {
				row[f.Name] = values[i]
			}
			f(id, row)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
}
