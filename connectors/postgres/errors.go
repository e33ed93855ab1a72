package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"tributary/connectors"
	"tributary/connectors/outbound"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

var advice = outbound.Advice{Public: "give a public host", Trusted: "give the right host and, as sslrootcert, the authority that signed it"}

// failed turns what pgx returned into an *Error. Only the server's own message is repeated, and of the classes that may quote a row
// not even that (I7).
func (p *pool) failed(op string, err error) *connectors.Error {
	var e *connectors.Error
	if errors.As(err, &e) {
		return e
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return pgwire.Unreached(p.Config().ConnConfig, advice, op, err)
	}
	if strings.HasPrefix(pg.Code, "42") {
		p.ready.Forget()
	}
	e = &connectors.Error{Kind: pgwire.KindOf(pg.Code), Op: op, Message: fmt.Sprintf("%s (SQLSTATE %s)", connectors.Clip(pg.Message, 400), pg.Code), Err: err}
	if pgwire.InRow(pg.Code) {
		e.Message = reason(pg)
	}
	return e
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
		if pgwire.InRow(pg.Code) {
			return &table.RowError{Reason: reason(pg)}
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
	case pg.Code == "23505" && op == pgwire.CreatingTable:
		e.Message = "the table has several rows of one key, so it can't serve this mode: set another table or schema"
	case e.Kind == connectors.Forbidden:
		e.Message += "; " + p.grants(schema).Lacking(op)
	}
	return e
}

func (p *pool) grants(schema string) pgwire.Grants {
	config := p.Config().ConnConfig
	return pgwire.GrantsFor(config.User, config.Database, schema)
}
