// Package redshifttest serves as much of Amazon Redshift in this process as loads rows: PostgreSQL behind a proxy that speaks Redshift's dialect of SQL, refuses what Redshift
// refuses, and carries out COPY from S3; and the bucket that it reads, by gofakes3 with verified signatures.
//
// What it does is what AWS documents:
//
//   - names are folded to lower case, also quoted ones: https://docs.aws.amazon.com/redshift/latest/dg/r_names.html
//   - unique keys are not enforced: https://docs.aws.amazon.com/redshift/latest/dg/t_Defining_constraints.html
//   - there are no ON CONFLICT, indexes, arrays, row locks and types of PostgreSQL's such as json:
//     https://docs.aws.amazon.com/redshift/latest/dg/c_unsupported-postgresql-features.html, https://docs.aws.amazon.com/redshift/latest/dg/c_unsupported-postgresql-datatypes.html
//   - one column is added a statement, and only a VARCHAR changes its size: https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_TABLE.html
//   - transactions are serializable, and one that conflicts ends with error 1023; LOCK takes no snapshot:
//     https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation.html, https://docs.aws.amazon.com/redshift/latest/dg/r_LOCK.html
//   - a backslash escapes in every string, and E'...' is unknown, as in PostgreSQL 8.0: https://docs.aws.amazon.com/redshift/latest/dg/c_redshift-and-postgres-sql.html
//   - SUPER holds no string of more than 65,535 bytes and no object with two attributes of one name, and numbers as Redshift's types do:
//     https://docs.aws.amazon.com/redshift/latest/dg/limitations-super.html, https://docs.aws.amazon.com/redshift/latest/dg/super-configurations.html
//   - passwords that IAM gives: see giveCredentials
//   - COPY reads what a manifest names, by a role that is attached to the cluster; a row that it refuses stands in SYS_LOAD_ERROR_DETAIL:
//     https://docs.aws.amazon.com/redshift/latest/dg/r_COPY.html, https://docs.aws.amazon.com/redshift/latest/dg/SYS_LOAD_ERROR_DETAIL.html
package redshifttest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/connectors/amazon/amazontest"
	"tributary/connectors/connectortest/documented"
	"tributary/internal/pgtest"
)

// What the server has from the beginning.
const (
	Region   = amazontest.Region
	Bucket   = "loads"
	Role     = "arn:aws:iam::123456789012:role/redshift-load"
	User     = "ada"
	Database = "warehouse"
)

// Server is a running server with one database, one bucket and one role by which it reads the bucket.
type Server struct {
	*amazontest.S3
	// Address is where the database listens, Endpoint the URL of S3 and STS, DSN the PostgreSQL behind, for looking past Redshift.
	Address, Endpoint, DSN string

	returned *documented.Errors
	database string // as PostgreSQL calls it
	listener net.Listener
	running  sync.WaitGroup

	mu         sync.Mutex
	passwords  map[string]string
	iam        map[string]string // passwords that IAM gave, by user
	given      int               // how many
	now        func() time.Time
	identified []string        // users that were made for identities of IAM
	policy     bool            // the key lacks the right to get one
	tls        *tls.Config     // nil: it is not spoken
	attached   map[string]bool // roles by which the cluster reads
	denied     bool            // the roles may not use the bucket
	conns      map[net.Conn]bool
	statements []string
	fail       func(sql string) *Failure
	version    string
	refuse     string // in a line that COPY refuses
	refuseCode int
	closed     bool
}

// Failure is an error of a statement.
type Failure struct{ Code, Message, Detail string }

// New starts a server that ends with the test. It knows an access key and, with the password, the user. It counts the errors that it returns; nil counts nothing.
func New(t testing.TB, keyID, secret, password string, returned *documented.Errors) *Server {
	t.Helper()
	s := &Server{
		returned: returned,
		S3:       amazontest.ServeS3(t, amazontest.NewKeys(keyID, secret, "s3", "sts", "redshift", "redshift-serverless"), Bucket), DSN: pgtest.Database(t),
		passwords: make(map[string]string), iam: make(map[string]string), now: time.Now, attached: map[string]bool{Role: true}, conns: make(map[net.Conn]bool), version: version,
	}
	u, err := url.Parse(s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	s.database = strings.TrimPrefix(u.Path, "/")
	s.Exec(t, prelude...)
	s.CreateUser(t, User, password)
	s.Exec(t, `GRANT CREATE ON DATABASE "`+s.database+`" TO `+s.role(User))
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.Address = s.listener.Addr().String()
	s.Endpoint = s.URL
	s.Serve(s.giveCredentials)
	s.running.Go(s.accept)
	t.Cleanup(func() {
		s.close()
		for _, name := range s.identified {
			s.Exec(t, "DROP OWNED BY "+name+" CASCADE", "DROP ROLE "+name)
		}
	})
	return s
}

// prelude is what Redshift has and PostgreSQL has not.
var prelude = []string{
	`CREATE DOMAIN super AS json`,
	`CREATE FUNCTION json_parse(v varchar) RETURNS super LANGUAGE sql AS $$ SELECT v::json::super $$`,
	`CREATE TABLE sys_load_error_detail (user_id int, query_id bigserial, transaction_id bigint, session_id int, database_name char(64), table_id int, start_time timestamp DEFAULT clock_timestamp(),
		file_name char(256), line_number bigint, column_name char(127), column_type char(10), column_length char(10), position int, error_code int, error_message char(512))`,
	`GRANT SELECT ON sys_load_error_detail TO PUBLIC`,
}

// role is the name of a user in PostgreSQL, whose users all databases share. IAM gives passwords to users of other names.
func (s *Server) role(user string) string {
	user = strings.TrimPrefix(user, "IAM:")
	return `"` + user + "_" + s.database + `"`
}

// CreateUser makes a user of the database, who may use the schema public and make temporary tables, as everybody may in Redshift:
// https://docs.aws.amazon.com/redshift/latest/dg/r_Privileges.html
func (s *Server) CreateUser(t testing.TB, user, password string) {
	t.Helper()
	s.mu.Lock()
	s.passwords[user] = password
	s.mu.Unlock()
	s.Exec(t, "CREATE ROLE "+s.role(user)+" LOGIN", `GRANT TEMPORARY ON DATABASE "`+s.database+`" TO `+s.role(user), "GRANT USAGE, CREATE ON SCHEMA public TO "+s.role(user))
	t.Cleanup(func() { s.Exec(t, "DROP OWNED BY "+s.role(user)+" CASCADE", "DROP ROLE "+s.role(user)) })
}

// RevokeTemporary takes the right to make temporary tables from everybody.
func (s *Server) RevokeTemporary(t testing.TB) {
	t.Helper()
	s.Exec(t, `REVOKE TEMPORARY ON DATABASE "`+s.database+`" FROM PUBLIC, `+s.role(User))
}

// SetPassword gives a user another password.
func (s *Server) SetPassword(user, password string) { s.set(func() { s.passwords[user] = password }) }

// SpeakTLS makes the database speak TLS with a certificate.
func (s *Server) SpeakTLS(certificate tls.Certificate) {
	s.set(func() { s.tls = &tls.Config{Certificates: []tls.Certificate{certificate}} })
}

// AttachRole attaches a role to the cluster, or detaches it.
func (s *Server) AttachRole(arn string, attached bool) { s.set(func() { s.attached[arn] = attached }) }

// Deny keeps "role", by which the cluster reads, or "key", which writes, from the bucket, or "login" from getting passwords, or lets it again.
func (s *Server) Deny(who string, denied bool) {
	switch who {
	case "key":
		s.S3.Deny("", denied)
	case "login":
		s.set(func() { s.policy = denied })
	default:
		s.set(func() { s.denied = denied })
	}
}

// SetVersion makes version() say something else.
func (s *Server) SetVersion(version string) { s.set(func() { s.version = version }) }

// Fail makes statements fail for which f returns a failure.
func (s *Server) Fail(f func(sql string) *Failure) { s.set(func() { s.fail = f }) }

// RefuseLines makes COPY refuse lines that have a text in them, for a reason that nobody could have known, with a code of loadErrors.
func (s *Server) RefuseLines(text string, code int) {
	s.set(func() { s.refuse, s.refuseCode = text, code })
}

func (s *Server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// Statements are those that have all parts, as they came, since the start.
func (s *Server) Statements(parts ...string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.statements), func(sql string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(sql, p) })
	})
}

// Objects are the names of what is in the bucket.
func (s *Server) Objects(t testing.TB) []string {
	t.Helper()
	names, err := s.Names(Bucket)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Exec runs statements of PostgreSQL past Redshift.
func (s *Server) Exec(t testing.TB, statements ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = true
		s.mu.Unlock()
		s.running.Go(func() {
			s.serve(conn)
			conn.Close()
			s.set(func() { delete(s.conns, conn) })
		})
	}
}

func (s *Server) close() {
	s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// object reads from the bucket as the cluster does, by its role. The error is in the words of COPY:
// https://docs.aws.amazon.com/redshift/latest/dg/s3serviceexception-error.html
func (s *Server) object(bucket, key string) ([]byte, *Failure) {
	refused := func(message string, status int, code string) *Failure {
		return &Failure{"XX000", fmt.Sprintf("S3ServiceException:%s,Status %d,Error %s,Rid 5C5EXAMPLE,ExtRid 9yEXAMPLE,CanRetry 1", message, status, code), ""}
	}
	s.mu.Lock()
	denied := s.denied
	s.mu.Unlock()
	if denied {
		return nil, refused("Access Denied", http.StatusForbidden, "AccessDenied")
	}
	content, code := s.Object(bucket, key)
	switch code {
	case "":
		return content, nil
	case "NoSuchBucket":
		return nil, refused("The specified bucket does not exist", http.StatusNotFound, code)
	case "NoSuchKey":
		return nil, refused("The specified key does not exist.", http.StatusNotFound, code)
	}
	return nil, refused("We encountered an internal error. Please try again.", http.StatusInternalServerError, code)
}
