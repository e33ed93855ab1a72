// Package netsuitetest is a server that speaks as much of a NetSuite account as the connector uses: SuiteQL over REST web services, and the token
// endpoint of OAuth 2.0 client credentials. Queries run in an embedded SQLite, translated by translate.go; what is not in its part of SuiteQL is
// refused, as are unknown parameters, headers that are missing and credentials that are not right. What a query leaves unsorted comes in any order.
//
// What it answers follows
//   - https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157909186990.html (SuiteQL over REST; 100,000 results)
//   - https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_156414087576.html (paging)
//   - https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_156570709583.html (errors)
//   - https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_1500275531.html (requests at once)
//   - https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_162755359851.html (token endpoint)
//   - https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_162790605110.html (assertions)
//   - https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157652573296.html (token-based authentication)
package netsuitetest

import (
	"crypto"
	"crypto/rand"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the engine

	"tributary/connectors/connectortest/clock"
	"tributary/connectors/connectortest/documented"
)

// Names of what an account has.
const (
	Account        = "1234567_SB1"
	Host           = "1234567-sb1.suitetalk.api.netsuite.com"
	ClientID       = "client-of-the-integration"
	CertificateID  = "certificate-1"
	ConsumerKey    = "consumer-key"
	ConsumerSecret = "canary-consumer-secret"
	TokenID        = "canary-token-id"
	TokenSecret    = "canary-token-secret"
)

// maxResults is what a query may find at most.
const maxResults = 100_000

// Server is an account. Its clock moves only when it is told to.
type Server struct {
	URL string
	// Requests at once that the account takes.
	Concurrent int
	// Zone is the time zone of the user whose credentials are used.
	Zone *time.Location

	*clock.Clock
	http *httptest.Server

	mu       sync.Mutex
	db       *sql.DB
	keys     map[string]crypto.PublicKey // of certificates, by ID
	tokens   map[string]time.Time        // access tokens and when they expire
	nonces   map[string]bool
	hidden   map[string]bool // record types that the role may not see
	running  int
	largest  int      // results that a query had at most
	queries  []string // that ran
	exchange int      // tokens handed out
	entered  func()
	failing  string // the code of an error that all requests get; "" = none
	returned *documented.Errors
}

// New starts an account that ends with the test. It is noon of 1 March 2026 in it, UTC.
// returned, unless nil, counts the errors that it returns.
func New(t testing.TB, returned *documented.Errors) *Server {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.returned = returned // nobody has its URL yet
	return s
}

// Start starts an account in which it is noon of 1 March 2026, UTC. Who calls it closes it.
func Start() (*Server, error) {
	zone, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		return nil, err
	}
	s := &Server{
		Clock:      clock.New(),
		Concurrent: 5, Zone: zone, keys: map[string]crypto.PublicKey{},
		tokens: map[string]time.Time{}, nonces: map[string]bool{}, hidden: map[string]bool{},
	}
	if s.db, err = sql.Open("sqlite", ":memory:"); err != nil {
		return nil, err
	}
	s.db.SetMaxOpenConns(1) // each connection to :memory: is a database of its own
	if _, err := s.db.Exec(schema); err != nil {
		s.db.Close()
		return nil, err
	}
	s.http = httptest.NewServer(s)
	s.URL = s.http.URL
	return s, nil
}

// Close ends it.
func (s *Server) Close() {
	s.http.Close()
	s.db.Close()
}

// Upload stores the public part of a certificate under its ID.
func (s *Server) Upload(id string, key crypto.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = key
}

// Login gives an access token without an assertion.
func (s *Server) Login() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := "canary-access-" + rand.Text()
	s.tokens[token] = s.Now().Add(tokenLife)
	return token
}

// Revoke ends all access tokens.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Hide takes the right to see a record type from the role.
func (s *Server) Hide(record string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden[record] = true
}

// Largest is how many results a query had at most.
func (s *Server) Largest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.largest
}

// Queries are those that ran.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.queries...)
}

// Exchanged is how many access tokens were handed out.
func (s *Server) Exchanged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exchange
}

// Entered calls f in each query while it is under way.
func (s *Server) Entered(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entered = f
}

// ServeHTTP answers for the account.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/services/rest/auth/oauth2/v1/token":
		s.token(w, r)
	case "/services/rest/query/v1/suiteql":
		s.suiteql(w, r)
	default:
		s.refuse(w, &failure{status: http.StatusNotFound, code: "NONEXISTENT_ID", detail: "The requested resource does not exist."})
	}
}

// enter counts a request in; what is over the account's limit is refused at once.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= s.Concurrent {
		return false
	}
	s.running++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

// login checks who calls.
func (s *Server) login(r *http.Request) *failure {
	header := r.Header.Get("Authorization")
	s.mu.Lock()
	defer s.mu.Unlock()
	if bearer, ok := strings.CutPrefix(header, "Bearer "); ok {
		if expires, known := s.tokens[bearer]; known && s.Now().Before(expires) {
			return nil
		}
	} else if s.signed(r, header) {
		return nil
	}
	return &failure{status: http.StatusUnauthorized, code: "INVALID_LOGIN", detail: "Invalid login attempt. For more details, see the Login Audit Trail in the " +
		"NetSuite UI at Setup > Users/Roles > User Management > View Login Audit Trail."}
}
