// Package pgwire holds what destinations share whose servers speak PostgreSQL's protocol: how a pool of connections is set up, what the errors mean, which
// types columns have, and what to grant.
package pgwire

import (
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// MaxConns is how many connections a pool has at most.
const MaxConns = 4

var sslModes = []string{"disable", "prefer", "require", "verify-ca", "verify-full"}

// TLS reads a mode of TLS, as libpq has them, and the PEM text of the authorities to trust, nil = the system's; problems lists what is wrong with them.
func TLS(mode, authorities string) (roots *x509.CertPool, problems []string) {
	if !slices.Contains(sslModes, mode) {
		problems = append(problems, "sslmode: want "+strings.Join(sslModes, ", "))
	}
	roots, ok := outbound.Roots(authorities)
	if !ok {
		problems = append(problems, "sslrootcert: want the certificate itself as PEM text, not the name of a file")
	}
	if roots != nil && !strings.HasPrefix(mode, "verify-") {
		problems = append(problems, "sslrootcert needs sslmode verify-full or verify-ca")
	}
	return roots, problems
}

// Config makes a pool's configuration. Everything is set here, so that no variable, password file or certificate of the worker's own account goes to a server
// that a user named; and nothing inside the operator's network is dialled that is not allowed (I14). Nothing is prepared on the server, so that a pooler
// between may hand each transaction to another connection; parameters travel apart from the statement, as text.
func Config(s outbound.Server, mode string, roots *x509.CertPool, connect time.Duration, allowed []*net.IPNet) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(fmt.Sprintf(
		"host=%s port=%d dbname=%s user=%s sslmode=%s sslrootcert='' sslcert='' sslkey='' passfile='' target_session_attrs=any",
		parameter(s.Host), s.Port, parameter(s.Database), parameter(s.User), mode))
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "the parts do not make a connection")
	}
	c := config.ConnConfig
	c.User, c.Password = s.User, s.Password // without a user it was the worker's own
	c.ConnectTimeout = connect
	c.RuntimeParams = map[string]string{"application_name": "tributary", "client_encoding": "UTF8"}
	if c.TLSConfig != nil {
		c.TLSConfig.RootCAs = roots
	}
	c.DialFunc = outbound.Dialer(allowed).DialContext
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
	c.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	config.MaxConns, config.MinConns, config.MaxConnIdleTime = MaxConns, 0, time.Minute
	return config, nil
}

// parameter makes a value of a key=value connection string.
func parameter(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
