package postgres

import (
	"cmp"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/outbound"
	"tributary/connectors/pgwire"
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

const connectTimeout = 10 * time.Second

// server is what the parts or the URL say, and the mode of TLS. No message repeats the URL: it holds a password.
func (c Connection) server() (s outbound.Server, mode string, err error) {
	if c.URL == "" {
		return outbound.Server{Host: c.Host, Port: c.Port, Database: c.Database, User: c.User, Password: c.Password}, c.SSLMode, nil
	}
	if c != (Connection{URL: c.URL}) {
		return s, "", connectors.Errorf(connectors.Invalid, "connection", "give url or the parts, not both")
	}
	s, query, err := outbound.ParseServer(c.URL, "postgres", "postgresql")
	if err != nil {
		return s, "", err
	}
	for key := range query {
		switch key {
		case "sslmode", "application_name", "connect_timeout": // ours stand for the other two
		default:
			return s, "", connectors.Errorf(connectors.Invalid, "connection", "url: the only parameter is sslmode; a certificate authority is given as sslrootcert beside the parts")
		}
	}
	return s, query.Get("sslmode"), nil
}

func (c Connection) config(allowed []*net.IPNet) (*pgxpool.Config, error) {
	s, mode, err := c.server()
	if err != nil {
		return nil, err
	}
	s.Port, mode = cmp.Or(s.Port, 5432), cmp.Or(mode, "prefer")
	roots, problems := pgwire.TLS(mode, c.SSLRootCert)
	if problems = append(s.Problems(), problems...); problems != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "%s", strings.Join(problems, "; "))
	}
	return pgwire.Config(s, mode, roots, connectTimeout, allowed)
}
