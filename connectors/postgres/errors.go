package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tributary/connectors"
	"tributary/connectors/outbound"
	"tributary/connectors/table"
)

// kinds maps SQLSTATEs to kinds (I9), the longest prefix first that fits. https://www.postgresql.org/docs/current/errcodes-appendix.html
// The table stands in docs/destinations/postgres.md too.
var kinds = []struct {
	prefix string
	kind   connectors.Kind
}{
	{"25006", connectors.Unavailable}, // read-only: a standby, or a disk that filled up
	{"28", connectors.Unauthorized},
	{"3D000", connectors.NotFound},
	{"3F000", connectors.NotFound},
	{"42501", connectors.Forbidden},
	{"42P01", connectors.Unavailable}, // a table vanished: the next attempt makes it again
	{"55P03", connectors.Unavailable},
	{"57014", connectors.Unavailable},
	{"08", connectors.Unavailable},
	{"25", connectors.Unavailable},
	{"40", connectors.Unavailable},
	{"53", connectors.Unavailable},
	{"55", connectors.Unavailable},
	{"57", connectors.Unavailable},
	{"58", connectors.Unavailable},
	{"0A", connectors.Invalid},
	{"22", connectors.Invalid},
	{"23", connectors.Invalid},
	{"42", connectors.Invalid},
	{"44", connectors.Invalid},
	{"54", connectors.Invalid},
	{"P0", connectors.Invalid},
}

func kindOf(sqlstate string) connectors.Kind {
	for _, k := range kinds {
		if strings.HasPrefix(sqlstate, k.prefix) {
			return k.kind
		}
	}
	return connectors.Unknown
}

// rowClasses are the SQLSTATE classes of errors that lie in a row: data, constraints, size, views and triggers.
var rowClasses = []string{"21", "22", "23", "44", "54", "P0"}

// failed turns what pgx returned into an *Error. Only the server's own message is repeated, and of the classes that may quote a row
// not even that (I7).
func (p *pool) failed(op string, err error) *connectors.Error {
	var e *connectors.Error
	if errors.As(err, &e) {
		return e
	}
	config := p.Config().ConnConfig
	where := fmt.Sprintf("%s:%d", config.Host, config.Port)
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		kind := kindOf(pg.Code)
		if strings.HasPrefix(pg.Code, "42") {
			p.ready.Forget()
		}
		return &connectors.Error{Kind: kind, Op: op, Message: message(pg), Err: err}
	}
	e = &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: "the connection to " + where + " failed", Err: err}
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		network  *net.OpError
		lookup   *net.DNSError
	)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.Message = "timed out or cancelled at " + where
	case errors.Is(err, outbound.ErrRefused):
		e.Kind = connectors.Invalid
		e.Message = "the address of " + where + " is inside the network or reserved: give a public host, or let the operator allow its network"
	case errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &verify):
		e.Kind = connectors.Invalid
		e.Message = "the certificate of " + where + " is not to be trusted: give the right host and, as sslrootcert, the authority that signed it"
	case strings.Contains(err.Error(), "server refused TLS connection"):
		e.Kind = connectors.Invalid
		e.Message = where + " does not speak TLS: set sslmode to disable or prefer if it may be spoken to in the clear"
	case errors.As(err, &lookup):
		e.Message = "the name " + config.Host + " is not found"
	case errors.As(err, &network):
		e.Message = "can't reach " + where + ": " + network.Err.Error()
	}
	return e
}

// message describes a server's error without quoting data.
func message(pg *pgconn.PgError) string {
	for _, class := range rowClasses {
		if strings.HasPrefix(pg.Code, class) {
			return reason(pg)
		}
	}
	return fmt.Sprintf("%s (SQLSTATE %s)", connectors.Clip(pg.Message, 400), pg.Code)
}

// refused is failed for statements that carry rows: an error that lies in a row is a *table.RowError.
func (s *store) refused(op string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if pg.Code == "23502" {
			// Ours are never null where they must not be: each row would fail.
			s.pool.ready.Forget()
			return connectors.Errorf(connectors.Invalid, op, "column %q was added to the table as NOT NULL without a default: give it one", pg.ColumnName)
		}
		for _, class := range rowClasses {
			if strings.HasPrefix(pg.Code, class) {
				return &table.RowError{Reason: reason(pg)}
			}
		}
	}
	return s.failed(op, err)
}

// reason says why a row was refused in words of our own: the server's message may quote it.
func reason(pg *pgconn.PgError) string {
	what := "PostgreSQL refused it"
	switch {
	case pg.Code == "22P02" || pg.Code == "22P05" || pg.Code == "22030" || pg.Code == "22032":
		what = "PostgreSQL does not accept the payload as json"
	case pg.Code == "22021":
		what = "the text is not valid in the database's encoding"
	case pg.Code == "23505":
		what = "it breaks a unique index that was added to the table"
	case pg.Code == "23514":
		what = "it breaks a check that was added to the table"
	case strings.HasPrefix(pg.Code, "54"):
		what = "it goes beyond a limit of PostgreSQL, such as the depth of nesting or the size of an index row"
	case strings.HasPrefix(pg.Code, "P0"):
		what = "a trigger or function of the database refused it"
	}
	if pg.ConstraintName != "" {
		what += fmt.Sprintf(": %q", pg.ConstraintName)
	}
	return fmt.Sprintf("%s (SQLSTATE %s)", what, pg.Code)
}

// explain is failed for what happens in a schema: it says what to grant where a right is missing.
func (p *pool) explain(schema, op string, err error) *connectors.Error {
	e := p.failed(op, err)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return e
	}
	switch {
	case pg.Code == "23505" && op == creatingTable:
		e.Message = "the table has several rows of one key, so it can't serve this mode: set another table or schema"
	case e.Kind == connectors.Forbidden:
		g := p.grants(schema)
		advice := []string{g.schema, g.tables}
		switch op {
		case creatingSchema:
			advice = []string{g.create}
		case creatingStage:
			advice = []string{g.temporary}
		}
		e.Message += "; " + administrator(advice)
	}
	return e
}

// Operations whose failure has an advice of its own.
const (
	creatingSchema = "create schema"
	creatingTable  = "create table"
	creatingStage  = "create temporary table"
)

// grants are the statements that give the role what it needs.
type grants struct{ create, temporary, schema, tables string }

func (p *pool) grants(schema string) grants {
	config := p.Config().ConnConfig
	role, database, schema := pgx.Identifier{config.User}.Sanitize(), pgx.Identifier{config.Database}.Sanitize(), pgx.Identifier{schema}.Sanitize()
	return grants{
		create:    fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s", database, role),
		temporary: fmt.Sprintf("GRANT TEMPORARY ON DATABASE %s TO %s", database, role),
		schema:    fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s", schema, role),
		tables:    fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s TO %s", schema, role),
	}
}

func administrator(statements []string) string {
	return "let an administrator run: " + strings.Join(statements, "; ")
}
