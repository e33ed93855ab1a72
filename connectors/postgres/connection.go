package postgres

import (
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Connection is how to reach a database: the parts, or a URL that holds them.
type Connection struct {
	URL         string `json:"url,omitempty" jsonschema:"description=postgres://user:password@host:port/database?sslmode=...; instead of the parts,format=password"`
	Host        string `json:"host,omitempty" jsonschema:"description=Name or address of the server"`
	Port        int    `json:"port,omitempty" jsonschema:"description=Port,default=5432,minimum=1,maximum=65535"`
	Database    string `json:"database,omitempty" jsonschema:"description=Database"`
	User        string `json:"user,omitempty" jsonschema:"description=Role to connect as"`
	Password    string `json:"password,omitempty" jsonschema:"description=Password of the role,format=password"`
	SSLMode     string `json:"sslmode,omitempty" jsonschema:"description=How far TLS is wanted and the server's certificate checked,enum=disable,enum=prefer,enum=require,enum=verify-ca,enum=verify-full,default=prefer"`
	SSLRootCert string `json:"sslrootcert,omitempty" jsonschema:"description=PEM text of the authority that signed the server's certificate; without it the system's authorities are trusted"`
}

var sslModes = []string{"disable", "prefer", "require", "verify-ca", "verify-full"}

const (
	maxConns       = 4
	connectTimeout = 10 * time.Second
)

// parts fills the parts from the URL. No message repeats the URL: it holds a password.
func (c Connection) parts() (Connection, error) {
	if c.URL == "" {
		return c, nil
	}
	if c != (Connection{URL: c.URL}) {
		return c, connectors.Errorf(connectors.Invalid, "connection", "give url or the parts, not both")
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return c, connectors.Errorf(connectors.Invalid, "connection", "url: want postgres://user:password@host:port/database, with special characters in the password percent-encoded")
	}
	p := Connection{Host: u.Hostname(), Database: strings.TrimPrefix(u.Path, "/"), User: u.User.Username()}
	p.Password, _ = u.User.Password()
	query := u.Query()
	for key := range maps.Keys(query) {
		switch value := query.Get(key); key {
		case "sslmode":
			p.SSLMode = value
		case "application_name", "connect_timeout": // ours stand
		default:
			return c, connectors.Errorf(connectors.Invalid, "connection", "url: the only parameter is sslmode; a certificate authority is given as sslrootcert beside the parts")
		}
	}
	if port := u.Port(); port != "" {
		if p.Port, err = strconv.Atoi(port); err != nil {
			return c, connectors.Errorf(connectors.Invalid, "connection", "url: the port is not a number")
		}
	}
	return p, nil
}

// config makes the pool's configuration. Everything is set here, so that no variable, password file or certificate of the worker's own
// account goes to a server that a user named; and nothing inside the operator's network is dialled that is not allowed (I14).
func (c Connection) config(allowed []*net.IPNet) (*pgxpool.Config, error) {
	c, err := c.parts()
	if err != nil {
		return nil, err
	}
	if c.Port == 0 {
		c.Port = 5432
	}
	if c.SSLMode == "" {
		c.SSLMode = "prefer"
	}
	var problems []string
	if c.Host == "" || strings.ContainsAny(c.Host, ",/@\x00") {
		problems = append(problems, "host: want the name or address of one server")
	}
	if c.Port < 1 || c.Port > 65535 {
		problems = append(problems, "port: want 1 to 65535")
	}
	if c.Database == "" || strings.Contains(c.Database, "\x00") {
		problems = append(problems, "database is missing")
	}
	if c.User == "" || strings.Contains(c.User, "\x00") {
		problems = append(problems, "user is missing")
	}
	if !slices.Contains(sslModes, c.SSLMode) {
		problems = append(problems, "sslmode: want "+strings.Join(sslModes, ", "))
	}
	var roots *x509.CertPool
	if c.SSLRootCert != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(c.SSLRootCert)) {
			problems = append(problems, "sslrootcert: want the certificate itself as PEM text, not the name of a file")
		}
		if !strings.HasPrefix(c.SSLMode, "verify-") {
			problems = append(problems, "sslrootcert needs sslmode verify-full or verify-ca")
		}
	}
	if problems != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "%s", strings.Join(problems, "; "))
	}

	config, err := pgxpool.ParseConfig(fmt.Sprintf(
		"host=%s port=%d dbname=%s user=%s sslmode=%s sslrootcert='' sslcert='' sslkey='' passfile='' target_session_attrs=any",
		quote(c.Host), c.Port, quote(c.Database), quote(c.User), c.SSLMode))
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "the parts do not make a connection")
	}
	config.ConnConfig.Password = c.Password
	config.ConnConfig.ConnectTimeout = connectTimeout
	config.ConnConfig.RuntimeParams = map[string]string{"application_name": "tributary", "client_encoding": "UTF8"}
	if config.ConnConfig.TLSConfig != nil {
		config.ConnConfig.TLSConfig.RootCAs = roots
	}
	config.ConnConfig.DialFunc = outbound.Dialer(allowed).DialContext
	config.MaxConns = maxConns
	config.MinConns = 0
	config.MaxConnIdleTime = time.Minute
	return config, nil
}

// quote makes a value of a key=value connection string.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
