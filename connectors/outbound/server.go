package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tributary/connectors"
)

// Server is a database's server that a user names, and who logs in there.
type Server struct {
	Host, Database, User, Password string
	Port                           int
}

// ParseServer reads scheme://user:password@host:port/database, of one of the schemes, the usual one first, and returns the URL's parameters too. No error
// repeats the URL: it holds a password.
func ParseServer(raw string, schemes ...string) (Server, url.Values, error) {
	u, err := url.Parse(raw)
	if err != nil || !slices.Contains(schemes, u.Scheme) {
		return Server{}, nil, connectors.Errorf(connectors.Invalid, "connection", "url: want %s://user:password@host:port/database, with special characters in the password percent-encoded", schemes[0])
	}
	s := Server{Host: u.Hostname(), Database: strings.TrimPrefix(u.Path, "/"), User: u.User.Username()}
	s.Password, _ = u.User.Password()
	if port := u.Port(); port != "" {
		if s.Port, err = strconv.Atoi(port); err != nil {
			return Server{}, nil, connectors.Errorf(connectors.Invalid, "connection", "url: the port is not a number")
		}
	}
	return s, u.Query(), nil
}

// Problems lists what is wrong with it.
func (s Server) Problems() (problems []string) {
	if s.Host == "" || strings.ContainsAny(s.Host, ",/@\x00") {
		problems = append(problems, "host: want the name or address of one server")
	}
	if s.Port < 1 || s.Port > 65535 {
		problems = append(problems, "port: want 1 to 65535")
	}
	if s.Database == "" || strings.Contains(s.Database, "\x00") {
		problems = append(problems, "database is missing")
	}
	if s.User == "" || strings.Contains(s.User, "\x00") {
		problems = append(problems, "user is missing")
	}
	return problems
}

// Address is host:port.
func (s Server) Address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Roots reads the PEM text of the authorities that sign a server's certificate. Nil = the system's, where there is no text.
func Roots(text string) (roots *x509.CertPool, ok bool) {
	if text == "" {
		return nil, true
	}
	roots = x509.NewCertPool()
	return roots, roots.AppendCertsFromPEM([]byte(text))
}

// Advice is what a user can do about a database's server that is not reached.
type Advice struct {
	Public  string // give such an address that is not inside the network
	Trusted string // have the certificate trusted
	Plain   string // do without TLS
}

// ErrNoTLS is the cause of an error when a server does not speak TLS.
var ErrNoTLS = errors.New("the server does not speak TLS")

// Unreached explains an error of reaching the server at an address, which it names, or of speaking to it: it holds nothing that the server sent (I7). What
// the user has to mend is Invalid, anything else Unavailable.
func (a Advice) Unreached(op, address string, err error) *connectors.Error {
	e := &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: "the connection to " + address + " failed", Err: err}
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		network  *net.OpError
		lookup   *net.DNSError
	)
	mend := func(message string) { e.Kind, e.Message = connectors.Invalid, message }
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.Message = "timed out or cancelled at " + address
	case errors.Is(err, ErrRefused):
		mend("the address of " + address + " is inside the network or reserved: " + a.Public + ", or let the operator allow its network")
	case errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &verify):
		mend("the certificate of " + address + " is not to be trusted: " + a.Trusted)
	case errors.Is(err, ErrNoTLS):
		mend(address + " does not speak TLS: " + a.Plain + " if it may be spoken to in the clear")
	case errors.As(err, &lookup):
		e.Message = "the name " + lookup.Name + " is not found"
	case errors.As(err, &network):
		e.Message = "can't reach " + address + ": " + network.Err.Error()
	}
	return e
}
