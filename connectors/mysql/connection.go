package mysql

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Connection is how to reach a database: the parts, or a URL that holds them.
type Connection struct {
	URL      string `json:"url,omitempty" jsonschema:"description=mysql://user:password@host:port/database?ssl-mode=...; instead of the parts,format=password"`
	Host     string `json:"host,omitempty" jsonschema:"description=Name or address of the server"`
	Port     int    `json:"port,omitempty" jsonschema:"description=Port,default=3306,minimum=1,maximum=65535"`
	Database string `json:"database,omitempty" jsonschema:"description=Database"`
	User     string `json:"user,omitempty" jsonschema:"description=User to connect as"`
	Password string `json:"password,omitempty" jsonschema:"description=Password of the user,format=password"`
	SSLMode  string `json:"ssl_mode,omitempty" jsonschema:"description=How far TLS is wanted and the server's certificate checked,enum=disabled,enum=preferred,enum=required,enum=verify_ca,enum=verify_identity,default=preferred"`
	SSLCA    string `json:"ssl_ca,omitempty" jsonschema:"description=PEM text of the authority that signed the server's certificate; without it the system's authorities are trusted"`
}

// The modes have the names that the servers' own clients use: https://dev.mysql.com/doc/refman/8.0/en/connection-options.html#option_general_ssl-mode
const (
	disabled       = "disabled"
	preferred      = "preferred"
	required       = "required"
	verifyCA       = "verify_ca"
	verifyIdentity = "verify_identity"
)

var sslModes = []string{disabled, preferred, required, verifyCA, verifyIdentity}

const (
	maxConns       = 4
	connectTimeout = 10 * time.Second
)

// server is what the parts or the URL say, and the mode of TLS. No message repeats the URL: it holds a password.
func (c Connection) server() (s outbound.Server, mode string, err error) {
	if c.URL == "" {
		return outbound.Server{Host: c.Host, Port: c.Port, Database: c.Database, User: c.User, Password: c.Password}, c.SSLMode, nil
	}
	if c != (Connection{URL: c.URL}) {
		return s, "", connectors.Errorf(connectors.Invalid, "connection", "give url or the parts, not both")
	}
	s, query, err := outbound.ParseServer(c.URL, "mysql", "mariadb")
	if err != nil {
		return s, "", err
	}
	for key := range query {
		if strings.ReplaceAll(key, "_", "-") != "ssl-mode" {
			return s, "", connectors.Errorf(connectors.Invalid, "connection", "url: the only parameter is ssl-mode; a certificate authority is given as ssl_ca beside the parts")
		}
		mode = strings.ReplaceAll(strings.ToLower(query.Get(key)), "-", "_")
	}
	return s, mode, nil
}

// config makes the driver's configuration. Nothing of the worker's environment is in it; nothing inside the operator's network is dialled
// that is not allowed (I14); and no file is given to a server that asks for one: see loader.
func (c Connection) config(d *dialect, allowed []*net.IPNet) (*mysql.Config, error) {
	s, mode, err := c.server()
	if err != nil {
		return nil, err
	}
	s.Port, mode = cmp.Or(s.Port, 3306), cmp.Or(mode, preferred)
	problems := s.Problems()
	if !slices.Contains(sslModes, mode) {
		problems = append(problems, "ssl_mode: want "+strings.Join(sslModes, ", "))
	}
	roots, ok := outbound.Roots(c.SSLCA)
	if !ok {
		problems = append(problems, "ssl_ca: want the certificate itself as PEM text, not the name of a file")
	}
	if roots != nil && mode != verifyCA && mode != verifyIdentity {
		problems = append(problems, "ssl_ca needs ssl_mode verify_identity or verify_ca")
	}
	if problems != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "%s", strings.Join(problems, "; "))
	}

	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = s.User, s.Password, s.Database
	config.Net, config.Addr = "tcp", s.Address()
	config.TLS = tlsOf(mode, s.Host, roots)
	config.AllowFallbackToPlaintext = mode == preferred
	config.Timeout = connectTimeout
	config.MaxAllowedPacket = 0 // what the server says
	config.InterpolateParams = true
	config.ClientFoundRows = true
	config.Logger = &mysql.NopLogger{}
	dialer := outbound.Dialer(allowed)
	config.DialFunc = func(ctx context.Context, _, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	}
	// What does not fit a column is an error, never cut. The limits end an attempt that nobody waits for any more, so that it can't hold the
	// ledger's row for ever: a connection that says nothing for a minute is closed, which rolls back.
	config.Params = map[string]string{
		"sql_mode": "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'", "time_zone": "'+00:00'",
		"innodb_lock_wait_timeout": "30", "lock_wait_timeout": "30", "wait_timeout": "60", "autocommit": "1",
	}
	maps.Copy(config.Params, d.session)
	if err := config.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "the parts do not make a connection")
	}
	return config, nil
}

func tlsOf(mode, host string, roots *x509.CertPool) *tls.Config {
	switch mode {
	case disabled:
		return nil
	case verifyIdentity:
		return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: roots}
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: true}
	if mode == verifyCA {
		t.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, roots) }
	}
	return t
}

// verifyChain is what verify_ca asks for: a certificate of an authority that is trusted, for whatever name.
func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(options)
	return err
}
